//! Each message of the fetched kernels that may report a broken kernel is a rule of the classifier, or is left out for a
//! reason. So a new kernel's new message is noticed.

mod compare;
mod left_out;

use std::fs;

use vmlab_events::progress::Silent;
use vmlab_kernel::{FetchPolicy, KernelSource, obtain, unpack};
use vmlab_qemu::accelerator::Accelerator;
use vmlab_qemu::argv::Machine;
use vmlab_store::dirs::Dirs;

use compare::Comparison;

use super::{BOOKWORM, CACHE, TRIXIE, env};

#[test]
fn every_alarming_message_of_a_kernel_is_a_rule_or_left_out_for_a_reason() {
    drop(env());
    let comparison = Comparison::new().unwrap();
    let cache = std::path::Path::new(CACHE).join("vmlab");
    let dirs = Dirs { cache: cache.clone(), state: cache.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for source in [BOOKWORM, TRIXIE] {
        let source: KernelSource = source.parse().unwrap();
        let kernel = runtime.block_on(obtain(&source, &dirs, FetchPolicy::Offline.into(), &Silent)).unwrap();
        let machine = Machine::bare(Accelerator::Tcg, 1024, 1);
        let (file, _) = unpack::boot_file(&kernel, &machine, &cache);
        assert_ne!(file.path, kernel.path, "{source}: the kernel cannot be unpacked");
        let vmlinux = fs::read(&file.path).unwrap();
        assert!(compare::count(&vmlinux) > 3000, "{source}: {} format strings", compare::count(&vmlinux));
        let unknown = comparison.unknown(&vmlinux);
        assert!(
            unknown.is_empty(),
            "messages of {source} that are neither a rule (host/console/src/rules) nor left out (left_out.rs):\n{unknown:#?}"
        );
    }
}

#[test]
fn a_new_alarming_message_is_noticed() {
    let image = b"\x013foo: the frobnicator is corrupted\n\0\x016bar: up\n\0\x013VFS: Close: file count is 0\n\0";
    let comparison = Comparison::new().unwrap();
    assert_eq!(compare::count(image), 3);
    assert_eq!(
        comparison.unknown(image).into_iter().collect::<Vec<_>>(),
        [r#"<3> "foo: the frobnicator is corrupted\n""#]
    );
}
