//! Errors of finding or fetching a kernel.

use std::io;
use std::path::PathBuf;

use vmlab_build::BuildError;

use super::debian::DebianError;
use super::file::FileError;
use super::installed::InstalledError;
use super::modules::NoList;
use super::needs::Unsuitable;
use super::release::BadRelease;
use vmlab_store::CacheError;

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
    /// The kernel cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The kernel is not built yet, and may not be.
    #[error("{label} is not built, and --offline builds nothing that is not in the cache: run without --offline")]
    NotBuilt {
        /// The kernel's label.
        label: String,
    },
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
    /// The kernel has no `modules.dep`, and none can be made.
    #[error("{label}: {what}")]
    Modules {
        /// The kernel's label.
        label: String,
        /// What failed.
        what: NoList,
    },
    /// The kernel cannot be taken out of a unified kernel image.
    #[error(
        "{path} is a unified kernel image, and vmlab cannot keep the kernel in it: {cause}. Take it out with `objcopy -O \
        binary --only-section=.linux {path} vmlinuz`, and give that file"
    )]
    Uki {
        /// The path of the image.
        path: PathBuf,
        /// The error of the cache.
        cause: CacheError,
    },
    /// The kernel's configuration says that vmlab cannot use it.
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
    /// A fault in vmlab itself: the thread that inspects a kernel has ended.
    #[error("a fault in vmlab itself, while it inspected {label}: {detail}")]
    Worker {
        /// The kernel's label.
        label: String,
        /// What is known of the thread's end.
        detail: String,
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
            Self::Build(error) => error.is_usage(),
            Self::NotBuilt { .. } | Self::Uki { .. } | Self::Worker { .. } => false,
            Self::File(_)
            | Self::Installed(_)
            | Self::Config { .. }
            | Self::Modules { .. }
            | Self::Unsuitable(_)
            | Self::Release(_) => true,
        }
    }
}
