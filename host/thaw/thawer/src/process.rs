//! What belongs to the process as a whole.
#![expect(unsafe_code, reason = "`safe_call`")]

use vmlab_thaw_image::image::{Image, Section};
use vmlab_thaw_image::process::Addresses;

use crate::failure::Failure;
use crate::kernel::safe_call;

/// The arguments and the environment at addresses that stay. ps(1) shows them, and vmlab finds its processes by their environment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    pub(crate) arguments: &'static [u8],
    pub(crate) environment: &'static [u8],
}

/// `struct prctl_mm_map` of include/uapi/linux/prctl.h
#[repr(C)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// `struct sock_fprog` of include/uapi/linux/filter.h
#[repr(C)]
struct FilterProgram {
    instructions: u16,
    filter: *const u8,
}

/// Sets what the process has set for itself, all but the filter. Others see `words` as its arguments and environment.
pub(crate) fn restore(image: &Image<'static>, words: Words) -> Result<(), Failure> {
    for limit in image.limits() {
        let limit = limit?;
        let new = [limit.soft, limit.hard];
        safe_call!("cannot set a resource limit", SYS_prlimit64, 0, limit.resource, new.as_ptr(), 0)?;
    }
    let process = image.process()?;
    set_addresses(&process.addresses, words)?;
    // The parent's thread has set this before it executed the thawer. A privileged exec would have cleared it.
    safe_call!("cannot set the parent-death signal", SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0)?;
    if process.no_new_privileges == 1 {
        safe_call!("cannot give up new privileges", SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
    }
    for action in image.actions() {
        let action = action?;
        let new = [action.handler, action.flags, action.restorer, action.mask];
        safe_call!("cannot set a signal's action", SYS_rt_sigaction, action.signal, new.as_ptr(), 0, 8)?;
    }
    Ok(())
}

/// Where the kernel looks for the heap, and for what ps(1) shows.
fn set_addresses(addresses: &Addresses, words: Words) -> Result<(), Failure> {
    let (arguments, environment) = (words.arguments.as_ptr_range(), words.environment.as_ptr_range());
    let map = MemoryMap {
        start_code: addresses.start_code,
        end_code: addresses.end_code,
        start_data: addresses.start_data,
        end_data: addresses.end_data,
        start_brk: addresses.start_brk,
        brk: addresses.brk,
        start_stack: addresses.start_stack,
        arg_start: arguments.start.addr() as u64,
        arg_end: arguments.end.addr() as u64,
        env_start: environment.start.addr() as u64,
        env_end: environment.end.addr() as u64,
        auxv: 0,
        auxv_size: 0,
        // The program stays the thawer: to change it needs a capability.
        exe_fd: u32::MAX,
    };
    let (what, bytes) = ("cannot set the addresses of the process", size_of::<MemoryMap>());
    safe_call!(what, SYS_prctl, libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, bytes, 0).map(drop)
}

/// Puts the filter on all threads.
pub(crate) fn restore_filter(image: &Image<'static>) -> Result<(), Failure> {
    let Ok(instructions @ 1..) = u16::try_from(image.filter().count_all()) else { return Ok(()) };
    let program = FilterProgram { instructions, filter: image.bytes(Section::Filter).as_ptr() };
    let flags = u64::from(image.process()?.filter_flags) | libc::SECCOMP_FILTER_FLAG_TSYNC;
    let what = "cannot install the seccomp filter";
    match safe_call!(what, SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)? {
        0 => Ok(()),
        // The id of a thread that has a filter of its own.
        _ => Err(Failure::new("a thread does not take the seccomp filter", 0)),
    }
}
