//! Errors of building a kernel.

use std::io;
use std::path::PathBuf;

use vmlab_store::CacheError;

use crate::compiler::{LIBRARIES, Missing};
use crate::fragment::BadLine;
use crate::identity::IdentityError;
use crate::merge::Contradiction;
use crate::order::BadOrder;
use crate::steps::BuildFailure;
use crate::suites::SuitesError;
use crate::tree::TreeError;

/// Why a kernel cannot be built. Each message names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Nothing can be built from the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The files of the tree cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A fragment's file cannot be read.
    #[error("cannot read the fragment {path}: {cause}")]
    Fragment {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// A line of a fragment is no request.
    #[error(transparent)]
    Line(#[from] BadLine),
    /// A fragment is for another architecture.
    #[error(
        "{name} is a config for {architecture}, and vmlab builds kernels for x86-64: give a config of an x86-64 kernel, or \
         only the lines that all architectures have"
    )]
    Architecture {
        /// The fragment's name.
        name: String,
        /// The request that is for the architecture.
        architecture: String,
    },
    /// There is no such fragment.
    #[error(transparent)]
    Order(#[from] BadOrder),
    /// Two fragments contradict each other.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// Tools are missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The kernel's build does not work in such a directory.
    #[error(
        "the kernel's build refuses paths with blanks or colons, and vmlab's cache is {0}: set XDG_CACHE_HOME to another \
         directory"
    )]
    CachePath(PathBuf),
    /// Requested symbols are not as asked.
    #[error("{label}: the config is not as asked:\n{}", first(.unmet))]
    Unmet {
        /// The kernel's name.
        label: String,
        /// A sentence for each symbol.
        unmet: Vec<String>,
    },
    /// A kernel with the requested config is of no use.
    #[error("{0}")]
    Refused(String),
    /// make cannot be run.
    #[error("{label}: cannot run the kernel's build: {cause}")]
    Run {
        /// The kernel's name.
        label: String,
        /// The system's error.
        cause: io::Error,
    },
    /// The kernel's build failed.
    #[error("{label}: the kernel's build failed{}:\n{failure}\nThe whole output is in {log}", remedy(.failure))]
    Failed {
        /// The kernel's name.
        label: String,
        /// The first error.
        failure: BuildFailure,
        /// The path of the log.
        log: PathBuf,
    },
    /// The build made no kernel.
    #[error("{label}: the kernel's build reported success, and {path} cannot be read: {cause}")]
    NoKernel {
        /// The kernel's name.
        label: String,
        /// The path of the missing file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The kernel's KUnit suites cannot be listed.
    #[error("{label}: cannot list the kernel's KUnit suites from {path}: {cause}")]
    Suites {
        /// The kernel's name.
        label: String,
        /// The path of the kernel's vmlinux.
        path: PathBuf,
        /// Why.
        cause: SuitesError,
    },
    /// The tree changed again and again during the build.
    #[error("{label}: the source tree changed while the kernel was built, three times: build again when it is quiet")]
    Restless {
        /// The kernel's name.
        label: String,
    },
    /// A fault in vmlab itself: a thread has ended.
    #[error("a fault in vmlab itself, while it built {label}: {detail}")]
    Worker {
        /// The kernel's name.
        label: String,
        /// What is known of the thread's end.
        detail: String,
    },
}

/// The most symbols that an error names.
const MAX_UNMET: usize = 20;

/// The first sentences, each on an indented line, and how many more there are. One symbol that is off can take a hundred along.
fn first(unmet: &[String]) -> String {
    let shown = unmet.iter().take(MAX_UNMET).map(|line| format!("  {line}"));
    let more = unmet.len().checked_sub(MAX_UNMET).filter(|more| *more > 0).map(|more| format!("  and {more} more"));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

/// What programs say when the disk is full (ENOSPC).
pub(crate) const DISK_FULL: &str = "No space left on device";

/// What helps against some failures.
fn remedy(failure: &BuildFailure) -> String {
    if failure.mentions(DISK_FULL) {
        return ": the disk is full. Make room (`vmlab cache prune`), and build again; the object files of this build were removed, \
                because some are incomplete"
            .to_owned();
    }
    let library = LIBRARIES.iter().find(|(header, _)| failure.mentions(header) && failure.mentions("No such file"));
    library
        .map(|(_, package)| format!(", because {package} is missing: `vmlab doctor --fix --build` installs it"))
        .unwrap_or_default()
}

impl BuildError {
    /// Whether the cause is the user's input rather than the machine.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Tree(_)
            | Self::Fragment { .. }
            | Self::Line(_)
            | Self::Architecture { .. }
            | Self::Order(_)
            | Self::Contradiction(_)
            | Self::Unmet { .. }
            | Self::Refused(_)
            | Self::Failed { .. } => true,
            Self::Identity(_)
            | Self::Missing(_)
            | Self::Cache(_)
            | Self::CachePath(_)
            | Self::Run { .. }
            | Self::NoKernel { .. }
            | Self::Suites { .. }
            | Self::Restless { .. }
            | Self::Worker { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_symbols_is_cut_and_counted() {
        let lines = |count: usize| (0..count).map(|n| format!("CONFIG_{n}")).collect::<Vec<_>>();
        assert_eq!(first(&lines(2)), "  CONFIG_0\n  CONFIG_1");
        assert_eq!(first(&lines(20)).lines().count(), 20);
        assert!(first(&lines(23)).ends_with("  CONFIG_19\n  and 3 more"));
    }
}
