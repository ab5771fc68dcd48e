//! A process in a cgroup, for trials that need more than the process inside the sandbox.

use std::io::{Read as _, Write as _, pipe};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, pause};

use super::super::Trouble;
use super::super::support::{note, pin_to};
use crate::sandbox::cgroup::Cgroup;
use crate::sandbox::{During, End, die_with_parent, undo};
use crate::sys::process::{fork_with, reap_any};

/// Confines the calling process to the first CPU, so that it competes with others that are there.
pub(super) fn use_first_cpu() -> Result<(), Trouble> {
    pin_to(0)
}

/// A child of the calling process. Dropping the guard kills and reaps it.
pub(super) struct Task {
    /// None after it was reaped.
    pid: Option<Pid>,
}

impl Task {
    /// Starts a process that runs `act` in the cgroup; returns when it is there.
    ///
    /// # Errors
    /// As fork(2); the process could not enter the cgroup.
    pub(super) fn start(cgroup: &Cgroup, act: impl FnOnce() -> Result<(), Trouble>) -> Result<Self, Trouble> {
        Self::start_boxed(cgroup, Box::new(act))
    }

    fn start_boxed(cgroup: &Cgroup, act: Box<dyn FnOnce() -> Result<(), Trouble> + '_>) -> Result<Self, Trouble> {
        let (mut ready, mut reporter) = pipe().during("pipe(2)")?;
        let pid = fork_with(|| {
            let entered = die_with_parent().and_then(|()| cgroup.enter());
            let said = entered.and_then(|()| reporter.write_all(&[0]).during("write(2)"));
            drop(reporter);
            match said.and_then(|()| act()) {
                Ok(()) => 0,
                Err(trouble) => {
                    note(format_args!("a process in a cgroup: {trouble}"));
                    1
                }
            }
        })
        .during("fork(2)")?;
        let task = Self { pid: Some(pid) };
        // The read fails if the process ends before it writes: fork_with has closed the other end here.
        ready.read_exact(&mut [0]).during("waiting for a process to enter its cgroup")?;
        Ok(task)
    }

    /// A process that uses the first CPU until it is killed.
    pub(super) fn busy(cgroup: &Cgroup) -> Result<Self, Trouble> {
        Self::start(cgroup, || {
            use_first_cpu()?;
            loop {
                std::hint::spin_loop();
            }
        })
    }

    /// A process that sleeps until it is killed.
    pub(super) fn idle(cgroup: &Cgroup) -> Result<Self, Trouble> {
        Self::start(cgroup, || {
            loop {
                pause();
            }
        })
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// As waitpid(2).
    pub(super) fn end(mut self) -> Result<End, Trouble> {
        let pid = self.pid.take().ok_or_else(|| Trouble::new("a process was waited for twice"))?;
        let status = waitpid(pid, None).during("waitpid(2)")?;
        End::from_status(status)
            .ok_or_else(|| Trouble::new(format_args!("waitpid(2) returned {status:?} for an ended process")))
    }

    /// Whether the process has not ended.
    ///
    /// # Errors
    /// As waitid(2).
    pub(super) fn is_alive(&self) -> Result<bool, Trouble> {
        let Some(pid) = self.pid else { return Ok(false) };
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let state = waitid(Id::Pid(pid), flags).during("waitid(2)")?;
        Ok(state == WaitStatus::StillAlive)
    }

    /// Kills the process and does not wait for its end.
    pub(super) fn doom(&self) {
        // The guard's own end kills it again and reports what is wrong.
        let _ = self.pid.map(|pid| kill(pid, Signal::SIGKILL));
    }

    /// Kills the process and returns how it ended.
    ///
    /// # Errors
    /// As kill(2) and waitpid(2).
    pub(super) fn kill(self) -> Result<End, Trouble> {
        if let Some(pid) = self.pid {
            kill(pid, Signal::SIGKILL).during("kill(2)")?;
        }
        self.end()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(pid) = self.pid else { return };
        // ESRCH cannot come: a process that was not reaped has its PID.
        let reaped = kill(pid, Signal::SIGKILL).and_then(|()| reap_any(pid));
        if let Err(errno) = reaped {
            undo::failed(format_args!("a process in a cgroup: {errno}"));
        }
    }
}
