//! Processes that stay, so that namespaces do.

use std::io::{Read as _, Write as _, pipe};

use nix::sched::CloneFlags;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pause};

use crate::sandbox::During;
use crate::scenarios::{Trouble, note};
use crate::sys::create::Clone3;

/// A process that stays until it is dropped.
pub(super) struct Member(Pid);

impl Member {
    /// Starts a process in new namespaces, which does `act`, then sleeps. Waits until it has done it.
    ///
    /// # Errors
    /// As clone3(2); or `act` failed.
    pub(super) fn start(flags: CloneFlags, act: impl FnOnce() -> Result<(), Trouble>) -> Result<Self, Trouble> {
        Self::busy(flags, act, pause)
    }

    /// As [`Self::start`], but with a process that does `repeat` again and again, and does not sleep.
    ///
    /// # Errors
    /// As clone3(2); or `act` failed.
    pub(super) fn busy(
        flags: CloneFlags,
        act: impl FnOnce() -> Result<(), Trouble>,
        repeat: impl Fn(),
    ) -> Result<Self, Trouble> {
        let clone3 = Clone3::with(u64::from(flags.bits().unsigned_abs()));
        let (mut reader, mut writer) = pipe().during("pipe(2)")?;
        let child = clone3.fork_with(|| {
            let done = set_pdeathsig(Signal::SIGKILL).during("prctl(PR_SET_PDEATHSIG)").and_then(|()| act());
            if let Err(trouble) = done.and_then(|()| writer.write_all(&[0]).during("write(2)")) {
                note(format_args!("in a member: {trouble}"));
                return 1;
            }
            loop {
                repeat();
            }
        });
        let member = Self(child.during("clone3(2)")?.0);
        drop(writer);
        reader.read_exact(&mut [0]).during("waiting for a member, whose output says more")?;
        Ok(member)
    }

    pub(super) const fn pid(&self) -> Pid {
        self.0
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Err(errno) = kill(self.0, Signal::SIGKILL).and_then(|()| waitpid(self.0, None)) {
            note(format_args!("ending a member: {errno}"));
        }
    }
}
