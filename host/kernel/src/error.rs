//! Errors of finding or fetching a kernel.

use std::io;
use std::path::PathBuf;

use super::debian::DebianError;
use super::file::FileError;
use super::installed::InstalledError;
use super::release::BadRelease;

/// Why a kernel is not available. Each message is one paragraph and names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The file is no bootable kernel.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel is not installed.
    #[error(transparent)]
    Installed(#[from] InstalledError),
    /// The kernel cannot be fetched from the Debian archive.
    #[error(transparent)]
    Debian(#[from] DebianError),
    /// The kernel's config file exists but cannot be read.
    #[error("cannot read {path}, the configuration of {label}: {cause}; make it readable for this user")]
    Config {
        /// The kernel's label.
        label: String,
        /// The path of the config file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The kernel's release does not begin with a version.
    #[error(transparent)]
    Release(#[from] BadRelease),
}

impl KernelError {
    /// Whether the cause is the user's input rather than the machine or the network.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Debian(error) => error.is_usage(),
            Self::File(_) | Self::Installed(_) | Self::Config { .. } | Self::Release(_) => true,
        }
    }
}
