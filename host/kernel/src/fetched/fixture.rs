//! A fetched kernel for tests.
#![expect(clippy::unwrap_used, reason = "made for tests only")]

use std::fs;
use std::sync::atomic::AtomicBool;

use super::{CONFIG, Entry, Identity, KERNEL, KernelStore, Package, modules_below};
use vmlab_store::integrity::Integrity;

/// The kernel's release.
pub const RELEASE: &str = "6.1.0-56-cloud-amd64";

/// Publishes a small kernel and pins it.
pub fn publish(store: &KernelStore, stem: &str) -> Entry {
    let staging = store.staging(stem).unwrap();
    let prepared = staging.path().join("entry");
    let modules = prepared.join(modules_below(RELEASE));
    fs::create_dir_all(&modules).unwrap();
    fs::write(prepared.join(KERNEL), "kernel").unwrap();
    fs::write(prepared.join(CONFIG), "CONFIG_A=y\n").unwrap();
    fs::write(modules.join("modules.dep"), "kernel/virtio.ko:\n").unwrap();
    fs::create_dir(modules.join("kernel")).unwrap();
    fs::write(modules.join("kernel/virtio.ko"), "module").unwrap();
    let packages = [Package { name: "linux-image".into(), version: "6.1.192-2".into() }];
    let identity = Identity { label: stem, suite: "bookworm", release: RELEASE, packages: &packages, now_unix_ms: 7 };
    let files = Integrity::of_tree(&prepared, &AtomicBool::new(false)).unwrap().unwrap();
    let entry = store.publish(&staging, &prepared, &identity, files).unwrap();
    store.pin(stem, &entry, 7).unwrap();
    entry
}
