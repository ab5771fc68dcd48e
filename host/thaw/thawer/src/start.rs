//! From the first instruction to the frozen process.
#![expect(unsafe_code, reason = "the kernel passes arguments as addresses")]

use core::cell::UnsafeCell;
use core::convert::Infallible;
use core::slice;

use vmlab_thaw_image::{NOT_THAWED, OWN};

use crate::failure::{Failure, LINE_LIMIT};
use crate::kernel::{call, safe_call, six};
use crate::{address_space, descriptors, process, threads};

/// The size of the program's first stack, in bytes.
pub const STACK_BYTES: usize = 64 << 10;

/// The room for the process's arguments, which ps(1) shows, in bytes.
const TITLE_BYTES: usize = 256;

/// The title outlives the stack on which the kernel has put it.
struct Title(UnsafeCell<[u8; TITLE_BYTES]>);
// SAFETY: it is written once, while there is one thread.
unsafe impl Sync for Title {}
static TITLE: Title = Title(UnsafeCell::new([0; TITLE_BYTES]));

/// What the kernel passes to a program: its arguments and the address of the vDSO.
struct Passed {
    title: &'static [u8],
    vdso: usize,
}

/// Becomes the frozen process, or prints why not and exits.
///
/// # Safety
/// `stack` is the stack pointer at the program's first instruction, the memory there is as the kernel has made it, and this is the
/// only thread.
pub unsafe fn begin(stack: *const usize) -> ! {
    // SAFETY: the caller promises what `read` asks for.
    let passed = unsafe { read(stack) };
    match thaw(&passed) {
        Ok(never) => match never {},
        Err(failure) => fail(&failure),
    }
}

/// Prints why there is no process, and exits.
pub fn fail(failure: &Failure) -> ! {
    let mut line = [0; LINE_LIMIT];
    let length = failure.line(&mut line);
    // If standard error is closed, the exit status says it alone.
    let _ = safe_call!("", SYS_write, 2, line.as_ptr(), length);
    loop {
        // SAFETY: the process ends.
        unsafe { call(libc::SYS_exit_group, six([NOT_THAWED.unsigned_abs() as usize])) };
    }
}

fn thaw(passed: &Passed) -> Result<Infallible, Failure> {
    if !(OWN.0..OWN.1).contains(&(TITLE.0.get().addr() as u64)) {
        return Err(Failure::new("linked at addresses where the frozen process may be", 0));
    }
    let image = address_space::tables()?;
    address_space::clear(&image, passed.vdso)?;
    address_space::map(&image)?;
    descriptors::restore(&image)?;
    process::restore(&image, passed.title)?;
    threads::enter_all(&image, passed.title)
}

/// Reads argc, the arguments, the environment and the auxiliary vector (System V ABI, "Initial Stack and Register State").
///
/// # Safety
/// As [`begin`].
unsafe fn read(stack: *const usize) -> Passed {
    let mut at = stack;
    let mut next = || {
        // SAFETY: each of the lists has an end, behind which nothing is read.
        unsafe {
            let word = at.read();
            at = at.add(1);
            word
        }
    };
    // SAFETY: there is one thread, and nobody else has a reference.
    let title = unsafe { &mut *TITLE.0.get() };
    let (count, mut length) = (next(), 0);
    for _ in 0..count {
        let mut byte = next() as *const u8;
        loop {
            // SAFETY: an argument ends with a NUL, behind which nothing is read.
            let value = unsafe { byte.read() };
            // The last byte stays a NUL.
            if length < TITLE_BYTES - 1 {
                title[length] = value;
                length += 1;
            }
            if value == 0 {
                break;
            }
            byte = byte.wrapping_add(1);
        }
    }
    // The NULL behind the arguments, and the environment.
    next();
    while next() != 0 {}
    let mut vdso = 0;
    loop {
        let (kind, value) = (next(), next());
        match kind {
            0 => break,
            33 /* AT_SYSINFO_EHDR */ => vdso = value,
            _ => {}
        }
    }
    // SAFETY: from here on it is only read.
    let title = unsafe { slice::from_raw_parts(TITLE.0.get().cast::<u8>(), length) };
    Passed { title, vdso }
}
