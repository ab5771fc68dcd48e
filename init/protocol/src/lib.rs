//! The protocol between vmlab's host and its guests. No IO, no unsafe code.
//!
//! [`frame`] encodes and decodes frames with a length and a checksum, also in a damaged stream; [`message`] has the
//! messages; [`job`] names what a guest can run, [`catalogue`] describes its scenarios, [`command`] what else it
//! runs, and [`archive`] the files that a command sends to the host.
#![forbid(unsafe_code)]

pub mod archive;
pub mod catalogue;
pub mod command;
pub mod figure;
pub mod frame;
pub mod job;
pub mod message;
pub mod stream;

/// Name of the virtio-serial port that carries the control link, as in `/sys/class/virtio-ports/*/name`.
pub const CONTROL_PORT: &str = "org.vmlab.control.0";

/// Name of the virtio-serial port that carries FUSE messages (fuse(4)), in guests that see the host's files.
pub const FILES_PORT: &str = "org.vmlab.files.0";

/// The prefix of each line that PID 1 writes to the console.
///
/// The host uses these lines only to explain why a guest sent no hello.
pub const CONSOLE_MARK: &str = "vmlab-init:";
