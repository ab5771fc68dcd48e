//! System calls without a C library.
#![expect(unsafe_code, reason = "a system call is an instruction, and some change the memory that the program runs in")]

use core::arch::asm;
use core::ffi::CStr;

use crate::failure::Failure;

/// A system call. The result is negative if it failed: the error of errno(3).
///
/// # Safety
/// As the manual page of the call says.
pub(crate) unsafe fn call(number: libc::c_long, arguments: [usize; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    let result: i64;
    // SAFETY: the caller has read the manual page. The kernel changes rcx, r11 and rax only.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The result of a call, or the failure of a step.
pub(crate) fn checked(what: &'static str, result: i64) -> Result<usize, Failure> {
    usize::try_from(result).map_err(|_| Failure::new(what, i32::try_from(-result).unwrap_or(i32::MAX)))
}

/// A call that touches no memory but what it is given as references, so that it is safe.
macro_rules! safe_call {
    ($what:expr, $number:ident $(, $argument:expr)*) => {{
        #[expect(clippy::allow_attributes, reason = "not every argument needs a cast")]
        #[allow(
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "registers have 64 bits and no sign: the kernel reads as many bits as it needs"
        )]
        let arguments = $crate::kernel::six([$($argument as usize),*]);
        // SAFETY: the call reads and writes only memory that the caller has borrowed for it.
        let result = unsafe { $crate::kernel::call(libc::$number, arguments) };
        $crate::kernel::checked($what, result)
    }};
}
pub(crate) use safe_call;

pub(crate) const fn six<const N: usize>(arguments: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    let mut at = 0;
    while at < N {
        all[at] = arguments[at];
        at += 1;
    }
    all
}

/// A descriptor from a result.
pub(crate) fn descriptor(result: usize) -> i32 {
    // The kernel's descriptors are positive numbers of 32 bits.
    i32::try_from(result).unwrap_or(-1)
}

/// What stat(2) says about a file, as in an image.
pub(crate) struct Status {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size_bytes: u64,
    pub(crate) modified_ns: i64,
    pub(crate) changed_ns: i64,
}

/// fstat(2)
pub(crate) fn status(what: &'static str, file: i32) -> Result<Status, Failure> {
    // `struct stat` of arch/x86/include/uapi/asm/stat.h: 144 bytes.
    let mut words = [0_u64; 18];
    safe_call!(what, SYS_fstat, file, words.as_mut_ptr())?;
    let time = |seconds: u64, nanoseconds: u64| {
        seconds.cast_signed().wrapping_mul(1_000_000_000).wrapping_add(nanoseconds.cast_signed())
    };
    Ok(Status {
        device: words[0],
        inode: words[1],
        size_bytes: words[6],
        modified_ns: time(words[11], words[12]),
        changed_ns: time(words[13], words[14]),
    })
}

/// Opens a file for reading.
pub(crate) fn open(path: &'static CStr) -> Result<i32, Failure> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY;
    let opened = safe_call!("cannot open", SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0);
    opened.map(descriptor).map_err(|failure| failure.of(path))
}

/// Closes descriptors from the first to the last. Linux 5.9 and later.
pub(crate) fn close_range(first: i32, last: u32) -> Result<(), Failure> {
    safe_call!("cannot close descriptors", SYS_close_range, first, last, 0).map(drop)
}
