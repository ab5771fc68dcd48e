//! Loop devices (loop(4)).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::PathBuf;

use nix::Result;
use nix::errno::Errno;
use nix::libc::{c_int, c_ulong, ioctl};

// include/uapi/linux/loop.h
const LOOP_SET_FD: c_ulong = 0x4C00;
const LOOP_CLR_FD: c_ulong = 0x4C01;
const LOOP_CTL_ADD: c_ulong = 0x4C80;
const LOOP_CTL_REMOVE: c_ulong = 0x4C81;
const LOOP_CTL_GET_FREE: c_ulong = 0x4C82;

/// Adds the device `/dev/loopNUMBER`. `control` is `/dev/loop-control`.
///
/// # Errors
/// `EEXIST` if the device exists.
pub(crate) fn add(control: impl AsFd, number: i32) -> Result<()> {
    call(control, LOOP_CTL_ADD, number).map(drop)
}

/// Removes the device.
///
/// # Errors
/// `EBUSY` if it is open or has a file, `ENODEV` if the device does not exist.
pub(crate) fn remove(control: impl AsFd, number: i32) -> Result<()> {
    call(control, LOOP_CTL_REMOVE, number).map(drop)
}

/// Gives the device a file, which the kernel keeps open.
///
/// # Errors
/// `EBUSY` if the device has a file.
pub(crate) fn bind(device: impl AsFd, file: impl AsFd) -> Result<()> {
    call(device, LOOP_SET_FD, file.as_fd().as_raw_fd()).map(drop)
}

/// Takes the file from the device, or, while others have it open, at their last close(2).
///
/// # Errors
/// `ENXIO` if the device has no file.
pub(crate) fn unbind(device: impl AsFd) -> Result<()> {
    call(device, LOOP_CLR_FD, 0).map(drop)
}

/// Gives a free device this file; returns the path and the open device.
///
/// # Errors
/// As opening the devices, and as the ioctls; `EBUSY` if another process took the device first.
pub(crate) fn attach(image: &File) -> std::io::Result<(PathBuf, File)> {
    let number = call(File::open("/dev/loop-control")?, LOOP_CTL_GET_FREE, 0)?;
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = File::options().read(true).write(true).open(&path)?;
    bind(&device, image)?;
    Ok((path, device))
}

fn call(file: impl AsFd, request: c_ulong, argument: c_int) -> Result<c_int> {
    // SAFETY: these requests take a number or a descriptor, no pointers.
    Errno::result(unsafe { ioctl(file.as_fd().as_raw_fd(), request, argument) })
}
