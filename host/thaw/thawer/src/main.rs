//! `vmlab-thawer`: becomes the frozen process whose image is open as a descriptor.
//!
//! Started as `TITLE...` with the descriptors of `vmlab_thaw_image` ([`IMAGE_FD`](vmlab_thaw_image::IMAGE_FD) and those behind it) and
//! with the descriptors that the process inherited when it was new. The arguments are what `ps` shows; the first one is also the
//! name of the process. If anything fails before the process has run, it prints a line and exits with 71.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "there is neither a C library nor a runtime: see the library of this package")]

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

use vmlab_thawer::start::{self, STACK_BYTES};

/// The first stack, which the kernel made, is unmapped on the way, so the program leaves it at once.
#[repr(C, align(64))]
struct Stack([u8; STACK_BYTES]);
#[unsafe(no_mangle)]
static mut FIRST_STACK: Stack = Stack([0; STACK_BYTES]);

// At its start a program's stack pointer is at argc (System V ABI, x86-64 supplement, "Initial Stack and Register State").
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "lea rsp, [FIRST_STACK + {bytes}]",
    "call {begin}",
    "ud2",
    bytes = const STACK_BYTES,
    begin = sym begin,
);

extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: `stack` is what the kernel has put there, and nothing has unmapped it yet. This is the only thread.
    unsafe { start::begin(stack) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    vmlab_thawer::exit::fail(&vmlab_thawer::failure::Failure::new("a fault in vmlab-thawer itself", 0))
}

// The compiler calls these. Those of the C library need start-up code, which selects an implementation for the processor.

/// memcpy(3)
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    // SAFETY: the caller has both ranges; the direction flag is clear (System V ABI).
    unsafe {
        asm!("rep movsb", inout("rcx") bytes => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
    to
}

/// memmove(3)
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= bytes {
        // SAFETY: copying upwards reads each byte before it is overwritten.
        return unsafe { memcpy(to, from, bytes) };
    }
    // SAFETY: the caller has both ranges, which have `bytes` > 0 bytes here; the direction flag is cleared again.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") bytes => _, inout("rdi") to.add(bytes - 1) => _,
             inout("rsi") from.add(bytes - 1) => _, options(nostack));
    }
    to
}

/// memset(3)
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, bytes: usize) -> *mut u8 {
    // SAFETY: the caller has the range; the direction flag is clear.
    unsafe {
        asm!("rep stosb", inout("rcx") bytes => _, inout("rdi") to => _, in("eax") byte,
             options(nostack, preserves_flags));
    }
    to
}

/// memcmp(3)
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, bytes: usize) -> i32 {
    let mut at = 0;
    while at < bytes {
        // SAFETY: the caller has both ranges, and `at` is within them.
        let (one, other) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
        at += 1;
    }
    0
}

/// bcmp(3)
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, bytes: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(a, b, bytes) }
}

/// strlen(3)
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut bytes = 0;
    // SAFETY: the text has a NUL, and nothing behind it is read.
    while unsafe { text.add(bytes).read_volatile() } != 0 {
        bytes += 1;
    }
    bytes
}
