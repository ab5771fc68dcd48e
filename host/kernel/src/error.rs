//! Why a kernel cannot be had.

use std::io;
use std::path::PathBuf;

use super::debian::DebianError;
use super::file::FileError;
use super::installed::InstalledError;

/// One paragraph each, naming the thing and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The file is no kernel to boot.
    #[error(transparent)]
    File(#[from] FileError),
    /// No such kernel is installed.
    #[error(transparent)]
    Installed(#[from] InstalledError),
    /// The archive's kernel cannot be had.
    #[error(transparent)]
    Debian(#[from] DebianError),
    /// Its configuration is there and cannot be read.
    #[error("cannot read {path}, the configuration of {label}: {cause}; make it readable for this user")]
    Config {
        /// The kernel's label.
        label: String,
        /// The file.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// Its release does not begin with a version.
    #[error(
        "{label}: its release `{release}` does not begin with a version such as 6.12, so vmlab cannot tell what it has"
    )]
    Release {
        /// The kernel's label.
        label: String,
        /// What it calls itself.
        release: String,
    },
}

impl KernelError {
    /// Whether the user asked for something that cannot be, rather than the machine or the network failing.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Debian(error) => error.is_usage(),
            Self::File(_) | Self::Installed(_) | Self::Config { .. } | Self::Release { .. } => true,
        }
    }
}
