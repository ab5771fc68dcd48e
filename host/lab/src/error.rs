//! Why a run could not be made.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use vmlab_image::ImageError;
use vmlab_image::guest_init::CatalogueError;
use vmlab_image::recipe::BadRecipe;
use vmlab_kernel::KernelError;
use vmlab_kernel::catalogue::BadCatalogue;
use vmlab_qemu::accel::KvmUnusable;
use vmlab_qemu::qemu::QemuError;

/// Why a run could not be made. No guest was started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No usable QEMU.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A kernel cannot be had.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No kernel was named, and the catalogue has none.
    #[error("no kernel was named")]
    NoKernel,
    /// vmlab's own catalogue of kernels.
    #[error(transparent)]
    Kernels(#[from] BadCatalogue),
    /// The accelerator that was asked for does not work.
    #[error(transparent)]
    Accelerator(#[from] KvmUnusable),
    /// vmlab's own catalogue of scenarios.
    #[error(transparent)]
    Scenarios(#[from] CatalogueError),
    /// vmlab's own image recipe.
    #[error(transparent)]
    Recipe(#[from] BadRecipe),
    /// No guest image.
    #[error("{kernel}")]
    Image {
        /// The kernel's label.
        kernel: String,
        /// Why.
        source: ImageError,
    },
    /// No directory for the memory of lost guests.
    #[error("cannot use {dir} for --dump; name another directory", dir = dir.display())]
    DumpDir {
        /// As named.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Memory was to be kept in the record, and no record is kept.
    #[error("--dump has no directory and --no-record no record to use; name one: --dump=DIR")]
    NoDumpDir,
    /// The sink could not be opened.
    #[error(transparent)]
    Sink(Box<dyn Error + Send + Sync>),
    /// The run was interrupted before its first guest.
    #[error("interrupted")]
    Interrupted,
    /// A fault in vmlab itself.
    #[error("a fault in vmlab itself: {0}")]
    Task(tokio::task::JoinError),
}

impl RunError {
    /// Whether the user asked for something that cannot be, rather than the machine or the network failing.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Kernel(error) => error.is_usage(),
            Self::NoKernel | Self::DumpDir { .. } | Self::NoDumpDir => true,
            Self::Qemu(_)
            | Self::Kernels(_)
            | Self::Accelerator(_)
            | Self::Scenarios(_)
            | Self::Recipe(_)
            | Self::Image { .. }
            | Self::Sink(_)
            | Self::Interrupted
            | Self::Task(_) => false,
        }
    }
}
