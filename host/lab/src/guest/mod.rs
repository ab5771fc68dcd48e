//! One guest: a pure state machine (`machine`), the parts of its state, and the driver that does the IO.

mod channels;
mod console;
mod console_file;
mod deadlines;
mod debugger;
mod driver;
mod files;
mod hardware;
mod input;
mod jobs;
mod launch;
pub(crate) mod link;
mod machine;
mod postmortem;
mod secrets;
pub mod session;
mod timings;

pub(crate) use driver::Guest;
pub(crate) use hardware::check as check_hardware;
pub(crate) use jobs::QueuedJob;
pub(crate) use launch::{Origin, boot_of, launch, launch_linked};
pub(crate) use machine::{DeadFork, NotSaved, Outcome};
