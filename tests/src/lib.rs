//! What the end-to-end tests share.
//!
//! [`fake`] is a scripted QEMU: the host is tested whole, through its command line, without a kernel. [`mod@env`] runs
//! vmlab with directories of its own and sees to it that nothing outlives a test; [`lab`] puts the two together;
//! [`kernel`] makes the file of a kernel that never boots; [`reports`] says what every report must be, and [`fuzz`] what
//! every reader of foreign bytes must do.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this runs in tests, where what is not as expected ends the test"
)]

pub mod env;
pub mod fake;
pub mod fuzz;
pub mod kernel;
pub mod lab;
pub mod reports;
