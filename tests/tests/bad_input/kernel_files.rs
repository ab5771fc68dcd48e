//! Paths of files that are no bootable kernels.

use std::fs;
use std::path::Path;

use vmlab_events::exit;
use vmlab_tests::env::TestEnv;
use vmlab_tests::kernel;

use crate::{FAKE_QEMU, VMLAB, is_refused, lab};

fn refused(env: &TestEnv, path: &Path, words: &[&str]) {
    let path = path.to_str().unwrap();
    let ended = env.run(&["run", "--accel", "tcg", "--qemu", FAKE_QEMU, "--kernel", path, "uts"]);
    is_refused(env, &ended, exit::USAGE, &[&[path], words].concat());
}

/// An environment with a QEMU that prints its version, and the path of a file with these contents.
fn with_file(contents: &[u8]) -> (TestEnv, std::path::PathBuf) {
    let lab = lab();
    let path = lab.env.home().join("kernel");
    fs::write(&path, contents).unwrap();
    (lab.env, path)
}

#[test]
fn a_missing_kernel_file_is_refused() {
    let lab = lab();
    for path in ["/no/such/kernel", "/etc/passwd/kernel"] {
        refused(&lab.env, Path::new(path), &["there is no such file", "tree:PATH", "vmlab help kernels"]);
    }
}

#[test]
fn a_directory_as_kernel_is_refused() {
    let lab = lab();
    refused(&lab.env, lab.env.home(), &["is a directory, not a kernel; give the path of the bzImage or vmlinux"]);
    let boot = lab.env.home().join("tree/arch/x86/boot");
    let built = kernel::install(&boot, "bzImage", "");
    let hint = format!("did you mean {}?", built.display());
    refused(&lab.env, &lab.env.home().join("tree"), &[&hint]);
}

#[test]
fn a_file_that_is_no_kernel_is_refused() {
    let lab = lab();
    refused(&lab.env, Path::new("/etc/passwd"), &["this is not a Linux kernel", "look for /boot/vmlinuz"]);
    refused(&lab.env, Path::new("/dev/null"), &["is a character device, not a kernel file; give the path"]);
    // An ELF file for this machine that is no kernel: vmlab itself.
    refused(&lab.env, Path::new(VMLAB), &["this is not a Linux kernel"]);
}

#[test]
fn an_empty_kernel_file_is_refused() {
    let (env, path) = with_file(b"");
    refused(&env, &path, &["the file is empty; build or fetch the kernel again"]);
}

#[test]
fn a_truncated_kernel_is_refused() {
    let whole = kernel::bzimage(kernel::RELEASE);
    for length in [0x220, 0x400, whole.len() - 1] {
        let (env, path) = with_file(&whole[..length]);
        refused(&env, &path, &["the kernel is truncated", &format!("the file has {length}; copy it again")]);
    }
}

#[test]
fn a_kernel_for_another_architecture_is_refused() {
    let mut arm64 = vec![0; 4096];
    arm64[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let (env, path) = with_file(&arm64);
    refused(&env, &path, &["a kernel for arm64, but vmlab boots kernels for 64-bit x86; build it with ARCH=x86_64"]);

    let mut i386 = kernel::bzimage(kernel::RELEASE);
    i386[0x236] = 0;
    let (env, path) = with_file(&i386);
    refused(&env, &path, &["a kernel for 32-bit x86", "ARCH=x86_64"]);
}

#[test]
fn a_compressed_kernel_file_is_refused() {
    let (env, path) = with_file(&[0x1f, 0x8b, 8, 0, 0, 0]);
    refused(&env, &path, &["gzip-compressed", "decompress it with `gunzip`"]);
}

#[test]
fn a_bad_kernel_among_good_kernels_is_refused_before_anything_runs() {
    let lab = lab();
    let ended = lab.env.run(&lab.arguments(&["uts", "--kernel", "/no/such/kernel"]));
    is_refused(&lab.env, &ended, exit::USAGE, &["/no/such/kernel"]);
    assert_eq!(lab.unclaimed(), [0]);
}
