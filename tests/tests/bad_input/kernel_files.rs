//! Paths that name no kernel to boot.

use std::fs;
use std::path::Path;

use vmlab_events::exit;
use vmlab_tests::bench::Bench;
use vmlab_tests::kernel;

use crate::{FAKE_QEMU, VMLAB, is_refused, lab};

fn refused(bench: &Bench, path: &Path, words: &[&str]) {
    let path = path.to_str().unwrap();
    let ended = bench.run(&["run", "--accel", "tcg", "--qemu", FAKE_QEMU, "--kernel", path, "uts"]);
    is_refused(bench, &ended, exit::USAGE, &[&[path], words].concat());
}

/// A bench with a QEMU that tells its version, and the path of a file in it with these contents.
fn with_file(contents: &[u8]) -> (Bench, std::path::PathBuf) {
    let lab = lab();
    let path = lab.bench.home().join("kernel");
    fs::write(&path, contents).unwrap();
    (lab.bench, path)
}

#[test]
fn no_such_file() {
    let lab = lab();
    for path in ["/no/such/kernel", "/etc/passwd/kernel"] {
        refused(&lab.bench, Path::new(path), &["there is no such file", "vmlab kernel list"]);
    }
}

#[test]
fn a_directory() {
    let lab = lab();
    refused(&lab.bench, lab.bench.home(), &["is a directory, not a kernel; give the path of the bzImage or vmlinux"]);
    let boot = lab.bench.home().join("tree/arch/x86/boot");
    let built = kernel::install(&boot, "bzImage", "");
    let hint = format!("did you mean {}?", built.display());
    refused(&lab.bench, &lab.bench.home().join("tree"), &[&hint]);
}

#[test]
fn no_kernel_at_all() {
    let lab = lab();
    refused(&lab.bench, Path::new("/etc/passwd"), &["this is not a Linux kernel", "look for /boot/vmlinuz"]);
    refused(&lab.bench, Path::new("/dev/null"), &["is a character device, not a kernel file; give the path"]);
    // An ELF file for this machine that is no kernel: vmlab itself.
    refused(&lab.bench, Path::new(VMLAB), &["this is not a Linux kernel"]);
}

#[test]
fn an_empty_file() {
    let (bench, path) = with_file(b"");
    refused(&bench, &path, &["the file is empty; build or fetch the kernel again"]);
}

#[test]
fn a_truncated_kernel() {
    let whole = kernel::bzimage();
    for length in [0x220, 0x400, whole.len() - 1] {
        let (bench, path) = with_file(&whole[..length]);
        refused(&bench, &path, &["the kernel is truncated", &format!("the file has {length}; copy it again")]);
    }
}

#[test]
fn a_kernel_for_another_machine() {
    let mut arm64 = vec![0; 4096];
    arm64[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let (bench, path) = with_file(&arm64);
    refused(&bench, &path, &["a kernel for arm64, but vmlab boots kernels for 64-bit x86; build it with ARCH=x86_64"]);

    let mut i386 = kernel::bzimage();
    i386[0x236] = 0;
    let (bench, path) = with_file(&i386);
    refused(&bench, &path, &["a kernel for 32-bit x86", "ARCH=x86_64"]);
}

#[test]
fn a_compressed_image() {
    let (bench, path) = with_file(&[0x1f, 0x8b, 8, 0, 0, 0]);
    refused(&bench, &path, &["gzip-compressed", "decompress it with `gunzip`"]);
}

#[test]
fn one_bad_kernel_among_good_ones_is_told_before_anything_runs() {
    let lab = lab();
    let ended = lab.bench.run(&lab.arguments(&["uts", "--kernel", "/no/such/kernel"]));
    is_refused(&lab.bench, &ended, exit::USAGE, &["/no/such/kernel"]);
    assert_eq!(lab.unclaimed(), [0]);
}
