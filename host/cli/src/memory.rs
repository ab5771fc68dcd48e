//! Ends the process with an exit code of vmlab's when the system gives it no more memory. The standard library would abort,
//! which is SIGABRT and exit code 134 in a shell; its hook for this is not stable. Where code asks whether there is memory
//! (`try_reserve`), it gets no answer either: there is nothing that it could do better.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;

use vmlab_events::exit;

/// What is printed. It is complete, because making a text takes memory.
const MESSAGE: &[u8] = b"vmlab: out of memory: the system gives vmlab no more; raise its limit (ulimit -v, the memory \
cgroup) or free some, and run fewer guests at a time (--jobs)\n";

/// The system's allocator, whose failures end the process.
#[derive(Debug)]
struct OrEnd;

#[global_allocator]
static ALLOCATOR: OrEnd = OrEnd;

#[expect(unsafe_code, reason = "the trait is unsafe; the standard library has no stable hook for failed allocations")]
// SAFETY: each function passes its arguments on to the system's allocator, which upholds the contract, and returns what that
// one returns. Ending the process instead of returning null is allowed, and the end allocates nothing.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract.
        or_end(unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract.
        or_end(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller upholds the contract.
        or_end(unsafe { System.realloc(memory, layout, new_size) })
    }
}

/// Has the allocator take memory from the kernel in large steps, and all threads share it. For a thread that is not the first,
/// glibc makes a heap that grows page by page, with a system call for each (malloc/arena.c, `grow_heap`): a tenth of the
/// processor time of a run.
pub(crate) fn grow_in_large_steps() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "nix has no function for it")]
    // SAFETY: mallopt(3) only sets parameters of the allocator; no other thread runs yet.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
        nix::libc::mallopt(nix::libc::M_TOP_PAD, 1 << 20);
    }
}

fn or_end(memory: *mut u8) -> *mut u8 {
    if memory.is_null() { end() } else { memory }
}

/// Child processes die with this one (`PR_SET_PDEATHSIG`).
#[cold]
fn end() -> ! {
    // Nothing can be done about a standard error that cannot be written.
    let _ = nix::unistd::write(io::stderr(), MESSAGE);
    #[expect(unsafe_code, reason = "the safe way to end runs other code first, which may need memory")]
    // SAFETY: _exit(2) may be called at any time.
    unsafe {
        nix::libc::_exit(exit::LAB.into())
    }
}
