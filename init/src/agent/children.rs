//! Notification of ended children.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A signalfd(2) for SIGCHLD, which is blocked. Opened once, before a template is saved.
#[derive(Debug)]
pub(super) struct Children {
    mask: SigSet,
    ended: SignalFd,
}

impl Children {
    pub(super) fn open() -> Result<Self, String> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None).map_err(|error| format!("sigprocmask: {error}"))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let ended = SignalFd::with_flags(&mask, flags).map_err(|error| format!("signalfd: {error}"))?;
        Ok(Self { mask, ended })
    }

    /// Reads the pending SIGCHLD, if any. Signals merge, so a SIGCHLD may stand for several children.
    pub(super) fn drain(&self) -> Result<(), String> {
        self.ended.read_signal().map(|_| ()).map_err(|error| format!("cannot read the signal descriptor: {error}"))
    }

    /// Waits until a child ends, for at most `limit`.
    pub(super) fn wait(&self, limit: Duration) -> Result<(), String> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("cannot wait for children: {error}")),
        }
        self.drain()
    }

    /// Unblocks SIGCHLD in a child of the agent.
    pub(super) fn forget_in_child(&self) -> Result<(), Errno> {
        sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&self.mask), None)
    }
}

impl AsFd for Children {
    /// The descriptor is readable after a child has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}
