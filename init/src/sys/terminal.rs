//! The ioctls of terminals (ioctl_tty(2)).

use std::os::fd::{AsFd, AsRawFd as _};

use nix::Result;
use nix::libc;
use nix::pty::Winsize;

nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, Winsize);
nix::ioctl_write_int_bad!(tiocsctty, libc::TIOCSCTTY);

/// Sets the size in characters. The kernel sends SIGWINCH to the foreground process group.
///
/// # Errors
/// As ioctl(2): `ENOTTY`.
pub(crate) fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads a live winsize.
    unsafe { tiocswinsz(terminal.as_fd().as_raw_fd(), &raw const size) }.map(drop)
}

/// Makes the terminal the controlling terminal of the calling process, which must lead a session without one.
///
/// # Errors
/// As ioctl(2): `EPERM`.
pub(crate) fn take_control(terminal: impl AsFd) -> Result<()> {
    // SAFETY: the argument is no pointer; 0 takes the terminal from no other session.
    unsafe { tiocsctty(terminal.as_fd().as_raw_fd(), 0) }.map(drop)
}
