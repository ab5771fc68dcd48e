//! Loads the kernel modules that the user named, before the program runs.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::libc::O_NONBLOCK;
use nix::sys::utsname::uname;
use vmlab_protocol::command::Text;

use crate::sandbox::{During as _, Trouble};

/// The number of the kernel's messages that an error repeats.
const MESSAGES: usize = 5;

/// Loads modules in order, by their paths in the command's root.
pub(super) fn load(paths: &[Text]) -> Result<(), Trouble> {
    paths.iter().try_for_each(|path| load_one(Path::new(path.as_os_str())))
}

fn load_one(path: &Path) -> Result<(), Trouble> {
    let file = File::open(path).during(format_args!("opening the kernel module {}", path.display()))?;
    let mut log = log();
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) => Ok(()),
        Err(errno) => {
            let release = uname().during("uname")?.release().to_string_lossy().into_owned();
            let module = fs::read(path).unwrap_or_default();
            let said = log.as_mut().map(messages).unwrap_or_default();
            Err(Trouble::new(explain(path, errno, vermagic(&module), &release, &said)))
        }
    }
}

/// The error of a module that the kernel refuses.
fn explain(path: &Path, errno: Errno, vermagic: Option<String>, release: &str, said: &[String]) -> String {
    let mut text = format!("the kernel refused the module {}: finit_module: {errno}", path.display());
    if let Some(vermagic) = vermagic.filter(|vermagic| vermagic.split(' ').next() != Some(release)) {
        text += &format!("; it was built for the kernel `{}`, and this one is `{release}`", vermagic.trim_end());
    }
    let hint = match errno {
        Errno::EEXIST => "; a module of this name is loaded already, or built in",
        Errno::ENOENT => "; a module that it needs must be loaded before it: give --load for each, in order",
        _ => "",
    };
    text += hint;
    if !said.is_empty() {
        text += &format!("; the kernel's messages: {}", said.join("; "));
    }
    text
}

/// The kernel that a module was built for (`MODULE_INFO(vermagic)`), and its options that must match.
fn vermagic(module: &[u8]) -> Option<String> {
    const FIELD: &[u8] = b"vermagic=";
    let at = module.windows(FIELD.len()).position(|window| window == FIELD)?;
    let text = module[at + FIELD.len()..].split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The end of the kernel's log (Documentation/ABI/testing/dev-kmsg), if it can be read.
fn log() -> Option<File> {
    let mut log = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg").ok()?;
    log.seek(SeekFrom::End(0)).ok()?;
    Some(log)
}

/// The messages since then.
fn messages(log: &mut File) -> Vec<String> {
    let mut found = Vec::new();
    let mut record = [0; 8192];
    while found.len() < MESSAGES {
        match log.read(&mut record) {
            Ok(length) => found.extend(message(&String::from_utf8_lossy(&record[..length]))),
            // EPIPE: the log has wrapped around; the next read returns the oldest record.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    found
}

/// The text of a record; its other lines are a dictionary.
fn message(record: &str) -> Option<String> {
    Some(record.lines().next()?.split_once(';')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_kernel_that_a_module_was_built_for() {
        let module = b"\x7fELF...license=GPL\0vermagic=6.1.0-56-cloud-amd64 SMP preempt mod_unload \0name=x\0";
        let vermagic = || vermagic(module);
        assert_eq!(vermagic().as_deref(), Some("6.1.0-56-cloud-amd64 SMP preempt mod_unload "));
        assert_eq!(super::vermagic(b"no module"), None);
        assert_eq!(super::vermagic(b"vermagic="), Some(String::new()));
        let said = ["x: version magic".to_owned()];
        assert_eq!(
            explain(Path::new("/x.ko"), Errno::ENOEXEC, vermagic(), "6.12.0", &said),
            "the kernel refused the module /x.ko: finit_module: ENOEXEC: Exec format error; it was built for the kernel \
             `6.1.0-56-cloud-amd64 SMP preempt mod_unload`, and this one is `6.12.0`; the kernel's messages: x: version magic"
        );
        let same = explain(Path::new("/x.ko"), Errno::EEXIST, vermagic(), "6.1.0-56-cloud-amd64", &[]);
        assert!(same.ends_with("EEXIST: File exists; a module of this name is loaded already, or built in"), "{same}");
        let needs = explain(Path::new("/x.ko"), Errno::ENOENT, None, "6.1.0", &[]);
        assert!(needs.contains("give --load for each, in order"), "{needs}");
    }

    #[test]
    fn a_message_is_the_first_line_of_a_record() {
        let record = "3,123,456,-;x: Unknown symbol y (err -2)\n SUBSYSTEM=net\n";
        assert_eq!(message(record).as_deref(), Some("x: Unknown symbol y (err -2)"));
        assert_eq!(message("malformed"), None);
    }
}
