//! What vmlab's host and its guest say to each other, and nothing else: no IO, no unsafe code.
//!
//! [`frame`] turns messages into self-delimiting, checksummed frames and finds them again in a damaged stream;
//! [`message`] is what the two sides say; [`catalogue`] describes the scenarios that a guest can run.
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod frame;
pub mod message;

/// Name of the virtio-serial port that carries the control link, as in `/sys/class/virtio-ports/*/name`.
pub const CONTROL_PORT: &str = "org.vmlab.control.0";

/// First words of each line that PID 1 writes to the console itself, before or instead of a word on the link.
///
/// The host takes such a line as the guest's explanation only where the link said nothing at all.
pub const CONSOLE_MARK: &str = "vmlab-init:";
