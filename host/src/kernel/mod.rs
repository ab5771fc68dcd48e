//! Where kernels come from, and what is known about each.

use std::path::PathBuf;

use vmlab_protocol::catalogue::KernelVersion;

pub mod config;

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// As the user named it: `debian:trixie`, `installed:6.1.0-38-amd64`, `./arch/x86/boot/bzImage`.
    pub label: String,
    /// `uname -r` as read from the file or its package.
    pub release: String,
    /// The numbers of `release`.
    pub version: KernelVersion,
    /// bzImage or vmlinux.
    pub path: PathBuf,
    /// Of that file, hexadecimal.
    pub sha256: String,
    /// Its configuration, where it is known.
    pub config: Option<config::KernelConfig>,
    /// The directory with `modules.dep`, as `/lib/modules/RELEASE`, where there is one.
    pub modules: Option<PathBuf>,
}
