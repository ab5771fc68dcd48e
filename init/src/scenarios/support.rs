//! Functions that trials share.

use std::fmt::{self, Debug};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, ErrorKind, Read as _, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::PollFlags;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Finding, Probe, Trouble};
use crate::sandbox::cgroup::create_numbered_dir;
use crate::sandbox::{During, WAIT_LIMIT, readable, undo};

/// Writes a line to the leg's output. Errors are ignored, because the result does not travel over the output.
pub(crate) fn note(line: impl fmt::Display) {
    let _unread = writeln!(std::io::stdout(), "{line}");
}

/// The kernel's log (Documentation/ABI/testing/dev-kmsg).
pub(crate) const LOG: &str = "/dev/kmsg";

/// Opens the kernel's log at its oldest record, for reads that do not block.
pub(crate) fn open_log() -> Result<File, Trouble> {
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(LOG).during("opening /dev/kmsg")
}

/// Reads the unread records of the log; returns whether a record contains this text.
pub(crate) fn log_has(log: &mut File, text: &str) -> Result<bool, Trouble> {
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            // A read returns a record.
            Ok(len) => {
                if record.get(..len).is_some_and(|record| String::from_utf8_lossy(record).contains(text)) {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            // EPIPE: the log has wrapped around; the next read returns the oldest record.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error).during("reading /dev/kmsg"),
        }
    }
}

/// Judges an observation, which must equal `isolated` or `leaked`.
///
/// # Errors
/// [`Trouble`] with all three values if the observation equals neither.
pub(crate) fn judge<T: PartialEq + Debug>(what: &str, seen: &T, isolated: &T, leaked: &T) -> Result<Finding, Trouble> {
    decide(what, seen, (seen == isolated, seen == leaked), format_args!("{isolated:?} or {leaked:?}"))
}

/// Judges an observation by two conditions: isolation and leak. Exactly one of them must hold.
///
/// # Errors
/// [`Trouble`] with the text of `expected` if none or both hold.
pub(crate) fn decide(
    what: &str,
    seen: &impl Debug,
    (isolated, leaked): (bool, bool),
    expected: impl fmt::Display,
) -> Result<Finding, Trouble> {
    weigh(noted(what, seen), isolated, leaked, &expected)
}

/// Writes an observation to the leg's output and returns it.
#[inline(never)]
fn noted(what: &str, seen: &dyn Debug) -> String {
    let detail = format!("{what}: {seen:?}");
    note(&detail);
    detail
}

fn weigh(detail: String, isolated: bool, leaked: bool, expected: &dyn fmt::Display) -> Result<Finding, Trouble> {
    match (isolated, leaked) {
        (true, false) => Ok(Finding::Isolated(detail)),
        (false, true) => Ok(Finding::Leaked(detail)),
        (true, true) => Err(Trouble::new(format_args!("{detail}, which does not distinguish isolation from a leak"))),
        (false, false) => Err(Trouble::new(format_args!("{detail}; expected {expected}"))),
    }
}

/// Judges a call of a probe. An errno of `absent` is what a kernel without the feature returns, an errno of `refused` what a kernel
/// with the feature returns for these arguments; for example `ENOSYS` and `EBADF`.
///
/// # Errors
/// [`Trouble`] for another errno, which says nothing about the feature.
pub(crate) fn known<T>(
    call: &str,
    answer: nix::Result<T>,
    absent: &[Errno],
    refused: &[Errno],
) -> Result<Probe, Trouble> {
    match answer.map(drop) {
        Err(errno) if absent.contains(&errno) => Ok(Probe::Missing(format!("{call}: {errno:?}"))),
        Err(errno) if !refused.contains(&errno) => Err(errno).during(call),
        Ok(_) | Err(_) => Ok(Probe::Available),
    }
}

/// Whether a file exists by which a kernel shows that it has a feature.
pub(crate) fn present(file: &str) -> Result<Probe, Trouble> {
    let missing = || Probe::Missing(format!("{file} does not exist"));
    Ok(if exists(Path::new(file))? { Probe::Available } else { missing() })
}

/// Makes the calling process one of an ordinary user: user and group of this id, no supplementary groups, no capabilities.
/// Not group 0, because checks such as that of the `hidepid` option compare groups too.
///
/// # Errors
/// As setgroups(2), setresgid(2) and setresuid(2).
pub(crate) fn become_user(id: u32) -> Result<(), Trouble> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[]).during("setgroups(2)")?;
    setresgid(group, group, group).during("setresgid(2)")?;
    setresuid(user, user, user).during("setresuid(2)")
}

/// Confines the calling process to a CPU.
///
/// # Errors
/// As sched_setaffinity(2).
pub(crate) fn pin_to(cpu: usize) -> Result<(), Trouble> {
    let mut set = CpuSet::new();
    set.set(cpu).during("a set of CPUs")?;
    sched_setaffinity(Pid::from_raw(0), &set).during(format_args!("sched_setaffinity(CPU {cpu})"))
}

/// Checks a precondition of the trial.
///
/// # Errors
/// [`Trouble`] if `seen` differs from `expected`.
pub(crate) fn require<T: PartialEq + Debug>(what: &str, seen: &T, expected: &T) -> Result<(), Trouble> {
    let detail = noted(what, seen);
    if seen == expected { Ok(()) } else { Err(unexpected(&detail, expected)) }
}

#[cold]
#[inline(never)]
fn unexpected(detail: &str, expected: &dyn Debug) -> Trouble {
    Trouble::new(format_args!("{detail}; expected {expected:?}"))
}

/// Reads a small file and strips trailing white space.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<String, Trouble> {
    fn read(path: &Path) -> Result<String, Trouble> {
        let text = fs::read_to_string(path).during(format_args!("reading {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }
    read(path.as_ref())
}

pub(crate) fn write(path: impl AsRef<Path>, text: &str) -> Result<(), Trouble> {
    fn write(path: &Path, text: &str) -> Result<(), Trouble> {
        fs::write(path, text).during(format_args!("writing {text:?} to {}", path.display()))
    }
    write(path.as_ref(), text)
}

/// The rest of the first line that begins with `name`, without white space around it: a field of /proc/PID/status, for example.
pub(crate) fn find_field(path: &str, name: &str) -> Result<Option<String>, Trouble> {
    let text = read(path)?;
    Ok(text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned()))
}

/// As [`find_field`].
///
/// # Errors
/// Among others if there is no such line.
pub(crate) fn field(path: &str, name: &str) -> Result<String, Trouble> {
    find_field(path, name)?.ok_or_else(|| Trouble::new(format_args!("{path} has no line {name}")))
}

/// A process's cgroup of the v2 hierarchy, as the caller sees it (cgroups(7)). `process` may be `self`.
pub(crate) fn cgroup_of(process: impl fmt::Display) -> Result<String, Trouble> {
    field(&format!("/proc/{process}/cgroup"), "0::")
}

/// Opens a namespace of a process: `link` is a name in /proc/PID/ns.
pub(crate) fn open_namespace(process: Pid, link: &str) -> Result<File, Trouble> {
    let path = format!("/proc/{process}/ns/{link}");
    File::open(&path).during(format_args!("opening {path}"))
}

/// Waits until a condition holds, with breaks, because the waiting process must not compete for the CPU.
///
/// # Errors
/// The condition did not hold within [`WAIT_LIMIT`].
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Trouble>) -> Result<(), Trouble> {
    fn until(what: &str, holds: &mut dyn FnMut() -> Result<bool, Trouble>) -> Result<(), Trouble> {
        let started = Instant::now();
        while !holds()? {
            if started.elapsed() > WAIT_LIMIT {
                return Err(waited(what));
            }
            sleep(PAUSE);
        }
        Ok(())
    }
    until(what, &mut holds)
}

/// The pause between two looks of [`until`].
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until there is something to read, or the end of a file.
///
/// # Errors
/// Nothing arrived within [`WAIT_LIMIT`].
pub(crate) fn await_input(what: &str, from: &impl AsFd) -> Result<(), Trouble> {
    if readable(from, PollFlags::POLLIN, WAIT_LIMIT)? { Ok(()) } else { Err(waited(what)) }
}

fn waited(what: &str) -> Trouble {
    Trouble::new(format_args!("waited {} s for {what}", WAIT_LIMIT.as_secs()))
}

/// Whether the path exists. `ENOENT` and `ENOTDIR` are no errors.
pub(crate) fn exists(path: &Path) -> Result<bool, Trouble> {
    path.try_exists().during(format_args!("stat({})", path.display()))
}

/// Sends a value as a line. In the form of [`serde_json::Value`], as values from a sandbox.
pub(crate) fn send_line(to: &mut dyn Write, value: &impl Serialize) -> Result<(), Trouble> {
    let value = serde_json::to_value(value).during("writing a line")?;
    to.write_all(format!("{value}\n").as_bytes()).during("sending a line")
}

/// Receives a value that was sent as a line.
pub(crate) fn receive_line<T: DeserializeOwned>(from: &mut dyn BufRead) -> Result<T, Trouble> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).during("receiving a line")?;
    let value: Value = serde_json::from_slice(&line).during("reading a line")?;
    serde_json::from_value(value).during("reading a line")
}

/// Mounts a file system of this kind without a device.
pub(crate) fn mount_kind(kind: &str, target: &Path, options: Option<&str>) -> nix::Result<()> {
    mount(Some("vmlab"), target, Some(kind), MsFlags::empty(), options)
}

/// Mounts a new tmpfs with mode 0777.
pub(crate) fn mount_tmpfs(target: &Path) -> Result<(), Trouble> {
    mount_kind("tmpfs", target, Some("mode=0777")).during(format_args!("mount(tmpfs, {})", target.display()))
}

/// A directory outside the sandboxes with mode 0777. Dropping the guard unmounts and removes it.
pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self, Trouble> {
        let scratch = Self { dir: create_numbered_dir(Path::new("/tmp"))? };
        // Outside, root of a user namespace is an ordinary user.
        fs::set_permissions(&scratch.dir, Permissions::from_mode(0o777)).during("chmod(2) of a scratch directory")?;
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn remove(&self) -> Result<(), Trouble> {
        loop {
            match umount2(&self.dir, MntFlags::MNT_DETACH) {
                Ok(()) => {}
                // EINVAL: the directory is no mount point.
                Err(Errno::EINVAL) => break,
                Err(error) => return Err(error).during("umount2(2)"),
            }
        }
        fs::remove_dir_all(&self.dir).during("removing the directory")
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
    fn only_a_documented_errno_means_absence() {
        let probed = |errno| known("msgget(2)", Err::<(), _>(errno), &[Errno::ENOSYS], &[Errno::ENOENT]);
        assert_eq!(probed(Errno::ENOENT), Ok(Probe::Available));
        assert_eq!(probed(Errno::ENOSYS), Ok(Probe::Missing("msgget(2): ENOSYS".to_owned())));
        assert!(probed(Errno::EPERM).is_err());
    }

    #[test]
    fn only_the_two_expected_observations_are_findings() {
        let weighed = |isolated, leaked| weigh("value: 1".to_owned(), isolated, leaked, &"2 or 3");
        assert_eq!(weighed(true, false), Ok(Finding::Isolated("value: 1".to_owned())));
        assert_eq!(weighed(false, true), Ok(Finding::Leaked("value: 1".to_owned())));
        assert_eq!(weighed(false, false), Err(Trouble::new("value: 1; expected 2 or 3")));
        assert_eq!(
            weighed(true, true),
            Err(Trouble::new("value: 1, which does not distinguish isolation from a leak"))
        );
    }
}
