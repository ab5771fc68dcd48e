//! What the guest is to run: from the arguments and the state of this process.

use std::env;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User as HostUser, getgrouplist};
use vmlab_events::job::{CommandId, CommandSpec, JobSpec};
use vmlab_lab::command::{CommandPlan, FilesPlan};
use vmlab_protocol::command::{Command, Text, User, WindowSize};
use vmlab_protocol::frame::MAX_PAYLOAD;
use vmlab_qemu::devices;

use super::ExecArgs;
use super::args::ProgramArgs;
use super::modules::Modules;
use super::out::OutDir;
use super::{environment, hidden, lookup};
use crate::Failure;

/// The host name of guests.
const HOSTNAME: &str = "vmlab";

/// What the guest is to run.
pub(super) struct Order {
    pub(super) job: JobSpec,
    pub(super) command: CommandPlan,
    /// In the order of those of the command.
    pub(super) out: Vec<OutDir>,
    /// Keeps the files of modules that were made for the guest.
    pub(super) _modules: Modules,
}

pub(super) fn of(args: &ExecArgs, terminal: Option<WindowSize>) -> Result<Order, Failure> {
    let ProgramArgs { share, home, no_host_files, env, clean_env, cwd, user, out, load, allow_warnings } =
        &args.program;
    let [program, ..] = args.command.as_slice() else { return Err(Failure::usage("no command was given")) };
    let cwd = match cwd {
        // The path as the shell shows it leads to the same directory, and programs print it.
        None => {
            env::current_dir().map_err(|error| Failure::usage(format!("cannot find the working directory: {error}")))?
        }
        Some(dir) => directory("--cwd", dir)?,
    };
    let home_dir = env::home_dir().filter(|home| home.is_absolute());
    let mut shares = share.iter().map(|path| shared(path)).collect::<Result<Vec<_>, _>>()?;
    shares.extend(repository(&cwd, home_dir.as_deref()));
    shares.extend(program_file(program, &cwd));
    let modules = Modules::prepare(load)?;
    shares.extend(modules.files.iter().cloned());
    let files = FilesPlan { home: home_dir, whole_home: *home, shares, cwd: cwd.clone() };
    let guest_cwd = if *no_host_files { PathBuf::from("/") } else { cwd };
    let out: Vec<_> =
        out.iter().map(|text| OutDir::parse(text, &guest_cwd)).collect::<Result<_, _>>().map_err(Failure::usage)?;
    let mut passed_on: Vec<_> = env::vars_os().collect();
    let seen = (!no_host_files).then_some(&files);
    passed_on
        .retain(|(name, dir)| env.contains(name) || !hidden::is_lost_temporary_directory(name, dir.as_ref(), seen));
    let variables = environment::of_command(passed_on, env, *clean_env).map_err(Failure::usage)?;
    let command = Command {
        argv: args.command.iter().map(Text::from).collect(),
        found: variable(&variables, "PATH").and_then(|path| lookup::in_guests(path, program)).map(Text::from),
        env: variables,
        cwd: Text::from(guest_cwd),
        user: user.as_deref().map_or(Ok(User::ROOT), user_of)?,
        terminal,
        hostname: HOSTNAME.to_owned(),
        host_files: !no_host_files,
        network: args.machine.net.then(devices::user_network),
        load: modules.files.iter().map(Text::from).collect(),
        out: out.iter().map(|directory| Text::from(directory.guest.clone())).collect(),
    };
    check_size(&command)?;
    let job = JobSpec::Command(Box::new(CommandSpec {
        id: CommandId::of_program(program),
        words: args.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        timeout_ms: args.timeout.map(|seconds| u64::from(seconds) * 1000),
        allow_warnings: *allow_warnings,
    }));
    let command = CommandPlan { command, files: (!no_host_files).then_some(files) };
    Ok(Order { job, command, out, _modules: modules })
}

/// An existing file or directory, without symbolic links: the guest finds it below the same path.
fn existing(option: &str, path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| Failure::usage(format!("{option} {}: {error}", path.display())))
}

fn shared(path: &Path) -> Result<PathBuf, Failure> {
    existing("--share", path)
}

fn directory(option: &str, dir: &Path) -> Result<PathBuf, Failure> {
    let path = existing(option, dir)?;
    if path.is_dir() {
        Ok(path)
    } else {
        Err(Failure::usage(format!("{option} {}: it is not a directory", dir.display())))
    }
}

/// The repository that the working directory is in: cargo and others run programs of a whole workspace in the directory of a
/// member. A repository around the whole home does not count.
fn repository(cwd: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let above = cwd.ancestors().take_while(|dir| home.is_none_or(|home| !home.starts_with(dir)));
    above.filter(|dir| dir.parent().is_some()).find(|dir| dir.join(".git").exists()).map(Path::to_owned)
}

/// The file of a program that is named by a path.
fn program_file(program: &OsStr, cwd: &Path) -> Option<PathBuf> {
    let path = Path::new(program);
    // A program that is not there is reported by the guest.
    if path.components().count() > 1 || path.is_absolute() { cwd.join(path).canonicalize().ok() } else { None }
}

/// The value of a variable.
fn variable<'a>(variables: &'a [Text], name: &str) -> Option<&'a OsStr> {
    let value = |text: &'a Text| text.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    variables.iter().find_map(value).map(OsStr::from_bytes)
}

/// The user with this name or number, and the groups.
fn user_of(name: &str) -> Result<User, Failure> {
    let failed = |error: nix::Error| Failure::lab(format!("cannot look up the user {name}: {error}"));
    let is_number =
        name.strip_prefix('-').unwrap_or(name).bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty();
    // The last number stands for no user (chown(2)).
    let number: Option<u32> = name.parse().ok().filter(|uid| *uid != u32::MAX);
    let found = match number {
        Some(uid) => HostUser::from_uid(Uid::from_raw(uid)),
        None => HostUser::from_name(name),
    };
    match (found.map_err(failed)?, number) {
        (Some(user), _) => {
            let c_name =
                CString::new(user.name.clone()).map_err(|_| Failure::usage(format!("--user {name}: bad name")))?;
            let groups = getgrouplist(&c_name, user.gid).map_err(failed)?;
            let groups = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
            Ok(User { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups })
        }
        (None, Some(uid)) => Ok(User { uid, gid: uid, groups: Vec::new() }),
        (None, None) if is_number => {
            Err(Failure::usage(format!("--user {name}: user ids are numbers from 0 to {}", u32::MAX - 1)))
        }
        (None, None) => {
            Err(Failure::usage(format!("--user {name}: there is no such user; give a number to use it all the same")))
        }
    }
}

/// A command must fit into one message to the guest.
fn check_size(command: &Command) -> Result<(), Failure> {
    // Room for the other fields of the message.
    const LIMIT: usize = MAX_PAYLOAD - 4096;
    let length = serde_json::to_vec(command).map(|json| json.len()).map_err(Failure::lab)?;
    if length <= LIMIT {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "arguments and environment have {} KiB, and {} are possible; give --clean-env, or write the arguments to a file",
        length >> 10,
        LIMIT >> 10
    )))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_repository_around_the_working_directory_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let cwd = home.join("work/member/src");
        fs::create_dir_all(&cwd).unwrap();
        assert_eq!(repository(&cwd, Some(&home)), None);
        fs::create_dir(home.join(".git")).unwrap();
        assert_eq!(repository(&cwd, Some(&home)), None, "dotfiles in git show the whole home");
        fs::create_dir(home.join("work/.git")).unwrap();
        assert_eq!(repository(&cwd, Some(&home)), Some(home.join("work")));
    }

    #[test]
    fn a_program_with_a_path_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path().canonicalize().unwrap();
        fs::write(cwd.join("x"), "").unwrap();
        assert_eq!(program_file(OsStr::new("./x"), &cwd), Some(cwd.join("x")));
        assert_eq!(program_file(OsStr::new("x"), &cwd), None, "it is looked up in PATH");
        assert_eq!(program_file(OsStr::new("./none"), &cwd), None);
    }
}
