//! Errors before a run's first guest.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use vmlab_files::ViewError;
use vmlab_image::ImageError;
use vmlab_image::guest_init::CatalogueError;
use vmlab_image::recipe::BadRecipe;
use vmlab_kernel::KernelError;
use vmlab_kernel::catalogue::BadCatalogue;
use vmlab_qemu::accel::KvmUnusable;
use vmlab_qemu::qemu::QemuError;

use crate::machine_plan::MachineError;
use crate::plan::BadAppend;
use crate::select::NoMatch;

/// Why a run could not start. No guest was started.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no usable QEMU.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A kernel is not available.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No kernel was named, and the catalogue has none.
    #[error("no kernel was named")]
    NoKernel,
    /// vmlab's own catalogue of kernels is malformed.
    #[error(transparent)]
    Kernels(#[from] BadCatalogue),
    /// The accelerator that was asked for does not work.
    #[error(transparent)]
    Accelerator(#[from] KvmUnusable),
    /// vmlab's own catalogue of scenarios is malformed.
    #[error(transparent)]
    Scenarios(#[from] CatalogueError),
    /// vmlab's own image recipe is malformed.
    #[error(transparent)]
    Recipe(#[from] BadRecipe),
    /// No KUnit suite can be run.
    #[error(transparent)]
    Suites(#[from] NoMatch),
    /// The parameters that vmlab adds make the kernel's command line too long.
    #[error(transparent)]
    Append(#[from] BadAppend),
    /// A guest image cannot be built.
    #[error("{kernel}")]
    Image {
        /// The kernel's label.
        kernel: String,
        /// The cause.
        source: ImageError,
    },
    /// A kernel cannot show the host's files.
    #[error(
        "{kernel}: its config lacks {}, so that it cannot show the host's files to a command: name another kernel, add \
         `+host-files` to a kernel that vmlab builds, or give --no-host-files", .symbols.join(" and ")
    )]
    NoHostFiles {
        /// The kernel's label.
        kernel: String,
        /// The config symbols that are not set.
        symbols: Vec<String>,
    },
    /// The host's files cannot be shown.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The guests' machine cannot be made.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The directory for the memory of lost guests cannot be used.
    #[error("cannot use {dir} for --dump; name another directory", dir = dir.display())]
    DumpDir {
        /// The path that the user gave.
        dir: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The memory of lost guests is to be saved in the record, but there is no record.
    #[error("--dump needs a directory, because --no-record disables the run's record; give --dump=DIR")]
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
    /// Whether the cause is the user's input rather than the machine or the network.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Kernel(error) => error.is_usage(),
            Self::NoHostFiles { .. }
            | Self::View(_)
            | Self::Machine(_)
            | Self::NoKernel
            | Self::Suites(_)
            | Self::Append(_)
            | Self::DumpDir { .. }
            | Self::NoDumpDir => true,
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
