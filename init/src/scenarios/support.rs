//! What the trials share.

use std::fmt::{self, Debug};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Finding, Trouble};
use crate::sandbox::cgroup::create_numbered_dir;
use crate::sandbox::{During, undo};

/// Writes a line to the leg's output. What was found travels apart from it, so an error here is of no consequence.
pub fn note(line: impl fmt::Display) {
    let _unread = writeln!(std::io::stdout(), "{line}");
}

/// The kernel's log, Documentation/ABI/testing/dev-kmsg.
pub const LOG: &str = "/dev/kmsg";

/// Opens the kernel's log at its oldest record; reading does not wait for more.
///
/// # Errors
/// As open(2).
pub fn open_log() -> Result<File, Trouble> {
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(LOG).during("opening /dev/kmsg")
}

/// Whether one of the log's records that have not been read yet holds this text.
///
/// # Errors
/// As read(2) of `/dev/kmsg`.
pub fn log_has(log: &mut File, text: &str) -> Result<bool, Trouble> {
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            // One read gives one record.
            Ok(len) => {
                if record.get(..len).is_some_and(|record| String::from_utf8_lossy(record).contains(text)) {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // The log has wrapped around meanwhile; the next read goes on with the oldest record.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error).during("reading /dev/kmsg"),
        }
    }
}

/// Judges what was seen: exactly `isolated`, or exactly `leaked`.
///
/// # Errors
/// [`Trouble`] where it is neither, naming all three.
pub fn judge<T: PartialEq + Debug>(what: &str, seen: &T, isolated: &T, leaked: &T) -> Result<Finding, Trouble> {
    decide(what, seen, (seen == isolated, seen == leaked), format_args!("{isolated:?} or {leaked:?}"))
}

/// Judges what was seen by two conditions, of which exactly one must hold: that of isolation and that of a leak.
///
/// # Errors
/// [`Trouble`] where none or both hold, with what was `expected`.
pub fn decide(
    what: &str,
    seen: &impl Debug,
    (isolated, leaked): (bool, bool),
    expected: impl fmt::Display,
) -> Result<Finding, Trouble> {
    let detail = format!("{what}: {seen:?}");
    note(&detail);
    weigh(detail, isolated, leaked, expected)
}

fn weigh(detail: String, isolated: bool, leaked: bool, expected: impl fmt::Display) -> Result<Finding, Trouble> {
    match (isolated, leaked) {
        (true, false) => Ok(Finding::Isolated(detail)),
        (false, true) => Ok(Finding::Leaked(detail)),
        (true, true) => Err(Trouble(format!("{detail}, which does not tell isolation from a leak"))),
        (false, false) => Err(Trouble(format!("{detail}; expected {expected}"))),
    }
}

/// Makes sure of something without which the trial would show nothing.
///
/// # Errors
/// [`Trouble`] where it is otherwise.
pub fn require<T: PartialEq + Debug>(what: &str, seen: &T, expected: &T) -> Result<(), Trouble> {
    note(format_args!("{what}: {seen:?}"));
    if seen == expected { Ok(()) } else { Err(Trouble(format!("{what}: {seen:?}; expected {expected:?}"))) }
}

/// Reads a small file, without the white space at its end.
///
/// # Errors
/// As open(2) and read(2).
pub fn read(path: impl AsRef<Path>) -> Result<String, Trouble> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).during(format_args!("reading {}", path.display()))?;
    Ok(text.trim_end().to_owned())
}

/// Writes a small file.
///
/// # Errors
/// As open(2) and write(2).
pub fn write(path: impl AsRef<Path>, text: &str) -> Result<(), Trouble> {
    let path = path.as_ref();
    fs::write(path, text).during(format_args!("writing {text:?} to {}", path.display()))
}

/// Whether there is something at a path.
///
/// # Errors
/// As stat(2), `ENOENT` and `ENOTDIR` excepted.
pub fn exists(path: &Path) -> Result<bool, Trouble> {
    path.try_exists().during(format_args!("stat({})", path.display()))
}

/// Mounts a new tmpfs, writable by all.
///
/// # Errors
/// As mount(2).
pub fn mount_tmpfs(target: &Path) -> Result<(), Trouble> {
    mount(Some("vmlab"), target, Some("tmpfs"), MsFlags::empty(), Some("mode=0777"))
        .during(format_args!("mount(tmpfs, {})", target.display()))
}

/// A directory outside the sandboxes, open to all. Dropping it detaches what is mounted on it and removes it.
pub struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// Makes it.
    ///
    /// # Errors
    /// As mkdir(2) and chmod(2).
    pub fn new() -> Result<Self, Trouble> {
        let scratch = Self { dir: create_numbered_dir(Path::new("/tmp"))? };
        // A root of a user namespace is nobody in particular to the file system.
        fs::set_permissions(&scratch.dir, Permissions::from_mode(0o777)).during("chmod(2) of a scratch directory")?;
        Ok(scratch)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn remove(&self) -> Result<(), Trouble> {
        loop {
            match umount2(&self.dir, MntFlags::MNT_DETACH) {
                Ok(()) => {}
                // Not, or no longer, a mount point.
                Err(Errno::EINVAL) => break,
                Err(error) => return Err(error).during("umount2(2)"),
            }
        }
        fs::remove_dir_all(&self.dir).during("removing it")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(trouble) = self.remove() {
            undo::failed(format_args!("the directory {}: {trouble}", self.dir.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_expected_sights_are_findings() {
        let weighed = |isolated, leaked| weigh("it: 1".to_owned(), isolated, leaked, "2 or 3");
        assert_eq!(weighed(true, false), Ok(Finding::Isolated("it: 1".to_owned())));
        assert_eq!(weighed(false, true), Ok(Finding::Leaked("it: 1".to_owned())));
        assert_eq!(weighed(false, false), Err(Trouble::new("it: 1; expected 2 or 3")));
        assert_eq!(weighed(true, true), Err(Trouble::new("it: 1, which does not tell isolation from a leak")));
    }
}
