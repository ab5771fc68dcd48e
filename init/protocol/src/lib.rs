//! The protocol between vmlab's host and its guests. No IO, no unsafe code.
//!
//! [`frame`] encodes and decodes frames with a length and a checksum, also in a damaged stream; [`message`] has the
//! messages; [`job`] names what a guest can run, and [`catalogue`] describes its scenarios.
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod frame;
pub mod job;
pub mod message;

/// Name of the virtio-serial port that carries the control link, as in `/sys/class/virtio-ports/*/name`.
pub const CONTROL_PORT: &str = "org.vmlab.control.0";

/// The prefix of each line that PID 1 writes to the console.
///
/// The host uses these lines only to explain why a guest sent no hello.
pub const CONSOLE_MARK: &str = "vmlab-init:";
