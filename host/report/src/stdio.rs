//! Whether vmlab was started with a standard output. The host has unsafe code only here, in
//! `vmlab_qemu::spawn`, and in the command's allocator.
//!
//! The standard library opens `/dev/null` in place of a standard stream that is closed (Rust's
//! library/std/src/sys/pal/unix/mod.rs, `sanitize_standard_fds`), before `main` is called, and what is written there is
//! lost without an error. So this module looks before.

use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether standard output was closed when this process started, as by `>&-` in a shell.
#[must_use]
pub fn stdout_was_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

extern "C" fn look() {
    #[expect(unsafe_code, reason = "the safe ways of asking about a descriptor demand that it is open")]
    // SAFETY: F_GETFD of fcntl(2) takes no further argument, touches no memory and allows any number as a descriptor.
    let flags = unsafe { nix::libc::fcntl(nix::libc::STDOUT_FILENO, nix::libc::F_GETFD) };
    CLOSED.store(flags == -1, Ordering::Relaxed);
}

/// Functions in this section are called before `main` (System V ABI, "Initialization and Termination Functions").
#[expect(unsafe_code, reason = "a section is the only way to run before the standard library's own start")]
#[used]
// SAFETY: the section holds pointers to functions, which is what this is. The function makes one system call and sets an
// atomic flag; it needs nothing that is set up only after it.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
