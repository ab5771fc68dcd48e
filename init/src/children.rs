//! Notification of ended children.

use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A signalfd(2) for SIGCHLD, which is blocked. The agent opens it once, before a template is saved.
#[derive(Debug)]
pub(crate) struct Children {
    mask: SigSet,
    ended: SignalFd,
}

/// What a wait has found.
pub(crate) struct Ready {
    /// Whether each descriptor is ready, or has an error or a hang-up.
    pub(crate) fds: Vec<bool>,
    /// Signals merge: several children may have ended.
    pub(crate) has_child_ended: bool,
}

impl Children {
    pub(crate) fn open() -> Result<Self, String> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None).map_err(|error| format!("sigprocmask: {error}"))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let ended = SignalFd::with_flags(&mask, flags).map_err(|error| format!("signalfd: {error}"))?;
        Ok(Self { mask, ended })
    }

    /// Waits until a child ends, one of `fds` is ready, or `limit` has passed (None: no limit).
    pub(crate) fn wait_or<'fd>(&'fd self, mut fds: Vec<PollFd<'fd>>, limit: Option<Duration>) -> Result<Ready, String> {
        fds.push(PollFd::new(self.ended.as_fd(), PollFlags::POLLIN));
        // Rounded up: a timeout of 0 ms for the last fraction of a millisecond would make the caller's loop spin.
        let limit = limit.map(|limit| limit.saturating_add(Duration::from_millis(1)));
        let timeout = limit.map_or(PollTimeout::NONE, |limit| PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("cannot wait for children: {error}")),
        }
        let mut fds: Vec<_> = fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect();
        let has_child_ended = fds.pop() == Some(true);
        if has_child_ended {
            self.ended.read_signal().map_err(|error| format!("cannot read the signal descriptor: {error}"))?;
        }
        Ok(Ready { fds, has_child_ended })
    }

    /// Waits until a child ends, for at most `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Result<(), String> {
        self.wait_or(Vec::new(), Some(limit)).map(drop)
    }

    /// Unblocks SIGCHLD in a child of the agent.
    pub(crate) fn forget_in_child(&self) -> Result<(), Errno> {
        sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&self.mask), None)
    }
}
