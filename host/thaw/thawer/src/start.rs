//! From the first instruction to the frozen process.
#![expect(unsafe_code, reason = "the kernel passes arguments as addresses")]

use core::convert::Infallible;
use core::ffi::CStr;
use core::slice;

use vmlab_thaw_image::{OWN, VDSO_PARKED_AT, WORDS_AT};

use crate::exit::fail;
use crate::failure::Failure;
use crate::kernel::safe_call;
use crate::process::Words;
use crate::{address_space, descriptors, process, threads};

/// The size of the program's first stack, in bytes.
pub const STACK_BYTES: usize = 64 << 10;

/// What the kernel passes to a program.
struct Passed {
    /// The first byte of the arguments, each of which ends with a NUL.
    words: *const u8,
    arguments_bytes: usize,
    /// The environment is behind the arguments.
    environment_bytes: usize,
    /// The address of the vDSO.
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

fn thaw(passed: &Passed) -> Result<Infallible, Failure> {
    if !(OWN.0..OWN.1).contains(&(thaw as *const () as u64)) {
        return Err(Failure::new("linked at addresses where the frozen process may be", 0));
    }
    let image = address_space::tables()?;
    let words = keep(passed)?;
    address_space::clear(&image, passed.vdso)?;
    address_space::map(&image)?;
    descriptors::restore(&image)?;
    process::restore(&image, words)?;
    threads::enter_all(&image, words.arguments)
}

/// Copies the arguments and the environment, which are on the stack that is unmapped.
fn keep(passed: &Passed) -> Result<Words, Failure> {
    let bytes = passed.arguments_bytes + passed.environment_bytes;
    if bytes as u64 >= VDSO_PARKED_AT - WORDS_AT {
        return Err(Failure::new("the environment is too large", 0));
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // At least a byte: a mapping cannot be empty.
    safe_call!("cannot map memory for arguments", SYS_mmap, WORDS_AT, bytes + 1, protection, flags, -1_i32, 0)?;
    let place = address_space::address(WORDS_AT) as *mut u8;
    // SAFETY: the mapping was just made and is long enough, stays for the life of the process, and is only read after this. The
    // source is as `read` has found it.
    let all = unsafe {
        place.copy_from_nonoverlapping(passed.words, bytes);
        slice::from_raw_parts(place, bytes)
    };
    let (arguments, environment) = all.split_at(passed.arguments_bytes);
    Ok(Words { arguments, environment })
}

/// Reads argc, the arguments, the environment and the auxiliary vector (System V ABI, "Initial Stack and Register State"). Linux puts
/// the texts of the arguments behind each other, and those of the environment behind them (`copy_strings` in fs/exec.c).
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
    let text = |word: usize| {
        // SAFETY: an argument or a variable ends with a NUL.
        unsafe { CStr::from_ptr(word as *const core::ffi::c_char) }.count_bytes() + 1
    };
    let (count, mut first, mut end) = (next(), 0, 0);
    for number in 0..count {
        let word = next();
        first = if number == 0 { word } else { first };
        end = word + text(word);
    }
    // The NULL behind the arguments.
    next();
    let arguments_bytes = end - first;
    loop {
        match next() {
            0 => break,
            word => end = word + text(word),
        }
    }
    let mut vdso = 0;
    loop {
        let (kind, value) = (next(), next());
        match kind {
            0 => break,
            33 /* AT_SYSINFO_EHDR */ => vdso = value,
            _ => {}
        }
    }
    let environment_bytes = if count == 0 { 0 } else { end - first - arguments_bytes };
    Passed { words: first as *const u8, arguments_bytes, environment_bytes, vdso }
}
