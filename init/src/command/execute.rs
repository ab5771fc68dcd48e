//! Executes a program, and explains why that fails.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::execve;
use vmlab_protocol::command::{Command, CommandEnd, Text};

use super::program::{self, HEAD_BYTES, OWN_MACHINE, Program};

/// What execvp(3) uses for an environment without PATH.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The number of interpreters that have interpreters which the kernel follows (`exec_binprm` in fs/exec.c).
const MAX_DEPTH: u32 = 5;

/// Executes the program. Returns only if this fails.
pub(super) fn execute(command: &Command) -> CommandEnd {
    let Command { argv, env, found, .. } = command;
    let strings =
        |texts: &[Text]| texts.iter().map(|text| CString::new(text.as_bytes())).collect::<Result<Vec<_>, _>>();
    let (Ok(args), Ok(vars), Some(program)) = (strings(argv), strings(env), argv.first()) else {
        return not_executable("the command has no program, or an argument or a variable with a NUL byte".to_owned());
    };
    let attempt = |path: &Path| -> Result<Infallible, Errno> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        execve(&path, &args, &vars)
    };
    let name = program.as_os_str();
    if name.as_bytes().contains(&b'/') {
        let path = Path::new(name);
        let Err(errno) = attempt(path);
        return explain(path, errno);
    }
    let mut denied = None;
    if let Some(found) = found {
        // If this fails, the search finds out why.
        let Err(_) = attempt(Path::new(found.as_os_str()));
    }
    // To look first takes an emulated guest less time than an execve(2) that fails.
    for path in candidates(name, env).into_iter().filter(|path| path.exists()) {
        let Err(errno) = attempt(&path);
        match errno {
            // As in execvp(3), another directory may have a program that can be executed.
            Errno::EACCES => denied = denied.or(Some(path)),
            _ => return explain(&path, errno),
        }
    }
    match denied {
        Some(path) => explain(&path, Errno::EACCES),
        None => {
            CommandEnd::NotFound { detail: format!("no directory of PATH has a program {}", quoted(name.as_bytes())) }
        }
    }
}

/// The files that a name may stand for, in order.
fn candidates(name: &OsStr, env: &[Text]) -> Vec<PathBuf> {
    if name.is_empty() {
        return Vec::new();
    }
    let path = env.iter().find_map(|text| text.as_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let dirs = path.split(|&byte| byte == b':');
    // An empty entry is the working directory (execvp(3)).
    dirs.map(|dir| Path::new(OsStr::from_bytes(if dir.is_empty() { b"." } else { dir })).join(name)).collect()
}

/// The end of a command whose program cannot be executed.
fn explain(path: &Path, errno: Errno) -> CommandEnd {
    let shown = quoted(path.as_os_str().as_bytes());
    let call = format!("execve: {errno}");
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            let detail = missing_interpreter(path, MAX_DEPTH)
                .unwrap_or_else(|| format!("the program {shown} does not exist here: {call}"));
            CommandEnd::NotFound { detail }
        }
        Errno::EACCES if path.is_dir() => not_executable(format!("{shown} is a directory: {call}")),
        Errno::EACCES => match fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o7777) {
            Ok(mode) => not_executable(format!("{shown} has the permissions {mode:04o}: {call}")),
            Err(_) => not_executable(format!("{shown}: {call}")),
        },
        Errno::ENOEXEC => match program::read(&head(path)) {
            Program::Elf { machine, .. } if machine != OWN_MACHINE => not_executable(format!(
                "{shown} is a program for {}, and this kernel runs programs for {}: {call}",
                program::machine_name(machine),
                program::machine_name(OWN_MACHINE)
            )),
            Program::Other => {
                not_executable(format!("{shown} is neither a program nor a script that begins with #!: {call}"))
            }
            _ => not_executable(format!("{shown}: {call}")),
        },
        _ => not_executable(format!("{shown}: {call}")),
    }
}

/// Names the interpreter or loader that does not exist, of a program that does.
fn missing_interpreter(path: &Path, depth: u32) -> Option<String> {
    let head = head(path);
    let (what, name) = match program::read(&head) {
        Program::Script(name) => ("interpreter", name),
        Program::Elf { loader: Some(name), .. } => ("loader", name),
        Program::Elf { loader: None, .. } | Program::Other => return None,
    };
    let interpreter = Path::new(OsStr::from_bytes(name));
    if !interpreter.exists() {
        let shown = quoted(path.as_os_str().as_bytes());
        return Some(format!("{shown} needs the {what} {}, which does not exist here", quoted(name)));
    }
    depth.checked_sub(1).and_then(|depth| missing_interpreter(interpreter, depth))
}

/// The beginning of a file; empty if it cannot be read.
fn head(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if path.is_file()
        && let Ok(file) = File::open(path)
    {
        // What was read before an error is of use.
        let _ = file.take(HEAD_BYTES as u64).read_to_end(&mut bytes);
    }
    bytes
}

/// A name in backticks, with control characters escaped: a carriage return before the end of a `#!` line would not show.
fn quoted(name: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(name).escape_debug())
}

const fn not_executable(detail: String) -> CommandEnd {
    CommandEnd::NotExecutable { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_in_the_commands_own_path() {
        let name =
            |env: &[&str]| candidates(OsStr::new("x"), &env.iter().map(|&text| Text::from(text)).collect::<Vec<_>>());
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(name(&["HOME=/root", "PATH=/a:/b/c"]), paths(&["/a/x", "/b/c/x"]));
        assert_eq!(name(&["PATH=/a::"]), paths(&["/a/x", "./x", "./x"]));
        assert_eq!(name(&["PATHS=/a"]), paths(&["/bin/x", "/usr/bin/x"]));
        assert_eq!(candidates(OsStr::new(""), &[]), Vec::<PathBuf>::new());
    }
}
