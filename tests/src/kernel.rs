//! A kernel file that vmlab accepts and that does not boot.

use std::fs;
use std::path::{Path, PathBuf};

/// The kernel's release, as `uname -r` prints it.
pub const RELEASE: &str = "6.12.0-fixture";

/// The size of the kernel after the real-mode part, in units of 16 bytes.
const PARAGRAPHS: u32 = 4;

/// A bzImage of two setup sectors with the version string in the second: the kernel's Documentation/arch/x86/boot.rst,
/// "The Real-Mode Kernel Header".
#[must_use]
pub fn bzimage(release: &str) -> Vec<u8> {
    let mut bytes = vec![0; 3 * 512 + PARAGRAPHS as usize * 16];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0x1f1, &[2]);
    put(0x1f4, &PARAGRAPHS.to_le_bytes());
    put(0x1fe, &[0x55, 0xaa]);
    put(0x202, b"HdrS");
    // Boot protocol 2.15, and a 64-bit entry point.
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x236, &[1]);
    // The offset of the version string, less 0x200.
    put(0x20e, &0x0300_u16.to_le_bytes());
    put(0x500, format!("{release} (somebody@example) #1 SMP\0").as_bytes());
    bytes
}

/// Writes a kernel to a directory, and beside it the text of its `.config`, under the name that Debian uses. All kernels of
/// a directory share their configuration.
#[must_use]
pub fn install(dir: &Path, name: &str, config: &str) -> PathBuf {
    install_release(dir, name, RELEASE, config)
}

/// As [`install`], for another release.
#[must_use]
pub fn install_release(dir: &Path, name: &str, release: &str, config: &str) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join(name);
    fs::write(&path, bzimage(release)).unwrap();
    fs::write(dir.join(format!("config-{release}")), config).unwrap();
    path
}
