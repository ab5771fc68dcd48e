//! The stack limit, which programs inherit that vmlab starts.

use nix::libc::rlim_t;
use nix::sys::resource::{Resource, getrlimit};

use super::Failure;

/// The smallest stack limit with which QEMU starts, in KiB: QEMU 7.2 works with 40 KiB, and gets SIGSEGV with 32 KiB. Below
/// 16 KiB no program starts, vmlab included.
const LEAST_KIB: rlim_t = 40;

/// Checks the stack limit of this process.
///
/// # Errors
/// The limit is too small for QEMU.
pub(crate) fn check() -> Result<(), Failure> {
    // A limit that cannot be read is no reason to refuse a run.
    getrlimit(Resource::RLIMIT_STACK).map_or(Ok(()), |(soft, _)| check_bytes(soft))
}

fn check_bytes(limit: rlim_t) -> Result<(), Failure> {
    let kib = limit >> 10;
    if kib >= LEAST_KIB {
        return Ok(());
    }
    Err(Failure::lab(format!(
        "the stack limit is {kib} KiB, and QEMU needs {LEAST_KIB} KiB or more: it would be killed by SIGSEGV; raise the limit, \
         for example with `ulimit -s 8192`"
    )))
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::RLIM_INFINITY;
    use vmlab_events::exit;

    use super::*;

    #[test]
    fn a_stack_limit_that_is_too_small_for_qemu_is_named() {
        for kib in [0, 16, 39] {
            let failure = check_bytes(kib << 10).unwrap_err();
            assert!(failure.to_string().contains(&format!("the stack limit is {kib} KiB, and QEMU needs 40 KiB")));
            assert_eq!(failure.code, exit::LAB);
        }
        for limit in [40 << 10, 64 << 10, 8 << 20, RLIM_INFINITY] {
            assert!(check_bytes(limit).is_ok(), "{limit}");
        }
    }
}
