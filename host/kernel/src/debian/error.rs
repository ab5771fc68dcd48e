//! Errors of fetching kernels from the Debian archive.

use std::io;
use std::path::PathBuf;

use super::resolve::ResolveError;
use crate::depmod::DepmodError;
use crate::file::FileError;
use crate::release::BadRelease;
use vmlab_store::CacheError;

/// An error of fetching a kernel; a variant for each step. `label` is the source, for example `debian:trixie`.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// A program of apt or dpkg is not installed.
    #[error(
        "{program} is not installed; vmlab fetches Debian kernels with apt-get, apt-cache, apt-config and dpkg-deb: \
        install apt and dpkg, or give a kernel by its path"
    )]
    NoTool {
        /// The program's name.
        program: String,
    },
    /// A program cannot be started.
    #[error("cannot run {program}: {cause}")]
    Start {
        /// The program's name.
        program: String,
        /// The system's error.
        cause: io::Error,
    },
    /// apt's configuration cannot be read.
    #[error("cannot read apt's sources at {path}: {cause}; make them readable, or set VMLAB_DEBIAN_MIRROR")]
    Sources {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Neither apt's sources nor the environment name a mirror.
    #[error(
        "no mirror of the Debian archive is known: apt's sources in {0} name none; set VMLAB_DEBIAN_MIRROR (and \
        VMLAB_DEBIAN_SECURITY_MIRROR for security updates) to the mirror's URL, or give a kernel by its path"
    )]
    NoMirror(PathBuf),
    /// An environment variable is no URL.
    #[error("{variable} is `{value}`, which is not the URL of a mirror: expected for example http://HOST/debian")]
    BadMirror {
        /// The variable.
        variable: &'static str,
        /// The variable's value.
        value: String,
    },
    /// The archive's keyring is missing.
    #[error(
        "the keyring of the Debian archive is not installed (looked for {0}), so vmlab cannot verify packages; \
        install the package debian-archive-keyring"
    )]
    NoKeyring(PathBuf),
    /// The mirror cannot be reached.
    #[error("{label}: no network, or the mirror cannot be reached: {detail}; a kernel in the cache needs no network")]
    NoNetwork {
        /// The source.
        label: String,
        /// apt's message.
        detail: String,
    },
    /// The mirror lacks the suite.
    #[error(
        "{label}: the mirror has no suite `{suite}`; {}check its spelling (`vmlab kernel list` shows suites that are \
         known to work); old releases move to another archive: set VMLAB_DEBIAN_MIRROR to it",
        .meant.as_ref().map(|meant| format!("did you mean {meant}? Otherwise, ")).unwrap_or_default()
    )]
    NoSuchSuite {
        /// The source.
        label: String,
        /// The suite.
        suite: String,
        /// The source with a similar name that exists.
        meant: Option<String>,
    },
    /// A signature is invalid, or its key is unknown.
    #[error(
        "{label}: cannot verify the archive's signature: {detail}; a newer debian-archive-keyring package may \
        contain the key"
    )]
    Signature {
        /// The source.
        label: String,
        /// apt's message.
        detail: String,
    },
    /// The suite lacks the flavour.
    #[error(
        "{label}: the suite `{suite}` has no package {package}; flavours of Debian kernels are cloud-amd64, amd64 and \
         rt-amd64, in some suites also with a series as prefix, such as 6.12-cloud-amd64"
    )]
    NoSuchFlavour {
        /// The source.
        label: String,
        /// The suite.
        suite: String,
        /// The metapackage.
        package: String,
    },
    /// The kernel's packages cannot be determined from the archive's lists.
    #[error("{label}: {what}")]
    Resolve {
        /// The source.
        label: String,
        /// Why.
        what: ResolveError,
    },
    /// apt failed for another reason.
    #[error("{label}: apt failed to {doing}: {detail}")]
    Apt {
        /// The source.
        label: String,
        /// The failed step, for example `download the packages`.
        doing: &'static str,
        /// apt's message.
        detail: String,
    },
    /// The disk is full.
    #[error(
        "{label}: no space left in vmlab's cache at {dir}: fetching a kernel temporarily takes up to 300 MB; \
        free some space, or set XDG_CACHE_HOME to a directory with more space"
    )]
    Full {
        /// The source.
        label: String,
        /// The cache directory.
        dir: PathBuf,
    },
    /// The kernel of this machine killed a tool for want of memory.
    #[error(
        "{label}: out of memory: this machine's kernel killed a process of this cgroup while vmlab fetched the kernel; raise \
         the cgroup's limit (fetching takes about 128 MiB), or fetch the kernel elsewhere; the tool's own message: {detail}"
    )]
    Memory {
        /// The source.
        label: String,
        /// The tool's error.
        detail: String,
    },
    /// apt cannot use the path of the cache.
    #[error(
        "{label}: apt cannot fetch into {dir:?}, because this path contains a line break; set XDG_CACHE_HOME to a directory \
         without one"
    )]
    CachePath {
        /// The source.
        label: String,
        /// The cache directory.
        dir: PathBuf,
    },
    /// apt made no progress and was killed.
    #[error(
        "{label}: apt made no progress for {seconds} seconds and was killed; try again, or check the mirror with `apt-get update`"
    )]
    Stalled {
        /// The source.
        label: String,
        /// The time without progress, in seconds.
        seconds: u32,
    },
    /// A package cannot be unpacked.
    #[error("{label}: cannot unpack {package}: {detail}")]
    Unpack {
        /// The source.
        label: String,
        /// The package's file.
        package: String,
        /// dpkg's message.
        detail: String,
    },
    /// The packages lack a required part.
    #[error(
        "{label}: its packages contain no {what}, so vmlab cannot use it; fetch another flavour, or give a kernel by its path"
    )]
    Incomplete {
        /// The source.
        label: String,
        /// The missing part, for example `kernel`.
        what: &'static str,
    },
    /// The packages' kernel cannot be booted.
    #[error("the fetched kernel cannot be used: {0}")]
    File(FileError),
    /// The order of modules cannot be determined.
    #[error("{label}: {what}")]
    Depmod {
        /// The source.
        label: String,
        /// Why.
        what: DepmodError,
    },
    /// The kernel's release does not begin with a version.
    #[error(transparent)]
    Release(#[from] BadRelease),
    /// An error of the cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The network may not be used, and the kernel is not in the cache.
    #[error("{label} is not in the cache; fetch it first with `vmlab kernel fetch {label}`, which needs the network")]
    NotCached {
        /// The source.
        label: String,
    },
    /// The network may not be used, and the kernel in the cache is damaged.
    #[error("{label} is damaged in the cache: {damage}; fetch it again with `vmlab kernel fetch {label}`")]
    Damaged {
        /// The source.
        label: String,
        /// The damage.
        damage: String,
    },
    /// A worker thread ended without a result.
    #[error("{label}: preparing the kernel ended early: {detail}; this is a bug in vmlab, please report it")]
    Worker {
        /// The source.
        label: String,
        /// The runtime's error.
        detail: String,
    },
}

impl DebianError {
    /// Whether the cause is the user's input rather than the machine or the network.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoSuchSuite { .. }
                | Self::NoSuchFlavour { .. }
                | Self::BadMirror { .. }
                | Self::CachePath { .. }
                | Self::Release(_)
        )
    }
}
