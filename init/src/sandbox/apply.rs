//! Executes the steps of a plan.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read};

use nix::mount::{MsFlags, mount};
use nix::sched::unshare;
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};

use super::cgroup::Cgroup;
use super::plan::{Step, clone_flag};
use super::report::Report;
use super::{During, ID_COUNT, OUTER_ID, Trouble};

/// The offset of a time namespace's clock from the clock of the initial namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockOffset {
    /// The clock's name in `/proc/PID/timens_offsets`: `monotonic` or `boottime`.
    pub(crate) clock: &'static str,
    /// The offset, in seconds.
    pub(crate) seconds: i64,
}

/// The resources that a process's steps use.
pub(crate) struct Hands<'a> {
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) clock_offsets: &'a [ClockOffset],
    /// To the process outside.
    pub(crate) reports: &'a mut PipeWriter,
    /// From the process outside, which answers with single bytes.
    pub(crate) answers: &'a mut PipeReader,
}

impl Hands<'_> {
    /// Executes a step.
    ///
    /// # Errors
    /// The failed system call and its errno.
    pub(crate) fn take(&mut self, step: Step) -> Result<(), Trouble> {
        match step {
            Step::EnterCgroup => self.cgroup.map_or(Ok(()), Cgroup::enter),
            Step::Unshare(namespace) => {
                let (flag, name) = clone_flag(namespace);
                unshare(flag).during(format_args!("unshare({name})"))
            }
            Step::AwaitIdMaps => {
                Report::NeedIdMaps.send(self.reports)?;
                await_byte(self.answers)
            }
            Step::BecomeRoot => become_root(),
            Step::SetClockOffsets => set_clock_offsets(self.clock_offsets),
            Step::MakeMountsPrivate => {
                let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
                mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).during("mount(/, MS_REC | MS_PRIVATE)")
            }
            Step::MountProc => {
                let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
                mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).during("mount(proc, /proc)")
            }
        }
    }
}

/// Waits for a byte. Fails if the other end of the pipe is closed.
pub(crate) fn await_byte(pipe: &mut PipeReader) -> Result<(), Trouble> {
    pipe.read_exact(&mut [0]).during("waiting for the process at the other end of a pipe")
}

/// Has the kernel kill the calling process when its parent ends (prctl(2), `PR_SET_PDEATHSIG`).
pub(crate) fn die_with_parent() -> Result<(), Trouble> {
    set_pdeathsig(Signal::SIGKILL).during("prctl(PR_SET_PDEATHSIG)")
}

/// Writes the id maps of a process's new user namespace. The writer is outside, because only a process with
/// capabilities in the parent namespace may map other ids than its own (`user_namespaces(7)`).
///
/// # Errors
/// As write(2) to `/proc/PID/uid_map` and `gid_map`.
pub(crate) fn write_id_maps(process: Pid) -> Result<(), Trouble> {
    for name in ["uid_map", "gid_map"] {
        let file = format!("/proc/{process}/{name}");
        fs::write(&file, format!("0 {OUTER_ID} {ID_COUNT}\n")).during(format_args!("writing {file}"))?;
    }
    Ok(())
}

fn become_root() -> Result<(), Trouble> {
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).during("setgroups(2) in the new user namespace")?;
    setresgid(group, group, group).during("setresgid(2) in the new user namespace")?;
    setresuid(user, user, user).during("setresuid(2) in the new user namespace")?;
    // Changing ids makes the process undumpable, which gives its files in /proc to the outer root, and clears the
    // parent-death signal (prctl(2)).
    set_dumpable(true).during("prctl(PR_SET_DUMPABLE)")?;
    die_with_parent()
}

fn set_clock_offsets(offsets: &[ClockOffset]) -> Result<(), Trouble> {
    let lines: String = offsets.iter().map(|offset| format!("{} {} 0\n", offset.clock, offset.seconds)).collect();
    fs::write("/proc/self/timens_offsets", &lines)
        .during(format_args!("writing {lines:?} to /proc/self/timens_offsets"))
}
