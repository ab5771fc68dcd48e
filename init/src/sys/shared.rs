//! Memory that a process shares with its children (mmap(2), `MAP_SHARED | MAP_ANONYMOUS`).

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::Result;
use nix::errno::Errno;
use nix::libc;

/// The number of counters: those of a page of 4 KiB.
const COUNT: usize = 512;

/// A page of counters, which begin as 0. A child that is forked later has the same page.
#[derive(Debug)]
pub(crate) struct Shared {
    page: NonNull<[AtomicU64; COUNT]>,
}

impl Shared {
    /// # Errors
    /// As mmap(2): `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let bytes = size_of::<[AtomicU64; COUNT]>();
        // SAFETY: the kernel chooses the place of a new mapping, which replaces none.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(page.cast()).map(|page| Self { page }).ok_or(Errno::ENOMEM)
    }

    /// The counters.
    pub(crate) const fn counters(&self) -> &[AtomicU64; COUNT] {
        // SAFETY: the mapping has COUNT counters, is aligned to a page, and lives as long as `self`. Zeros are valid
        // counters, and all processes access them atomically.
        unsafe { self.page.as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows it any more. Failing is harmless: the process keeps a page.
        let _unmapped = unsafe { libc::munmap(self.page.as_ptr().cast(), size_of::<[AtomicU64; COUNT]>()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn counters_begin_as_zero_and_keep_what_is_stored() {
        let shared = Shared::new().unwrap();
        assert!(shared.counters().iter().all(|counter| counter.load(Ordering::Relaxed) == 0));
        shared.counters()[1].store(7, Ordering::Relaxed);
        assert_eq!(shared.counters()[1].load(Ordering::Relaxed), 7);
    }
}
