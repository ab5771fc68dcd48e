//! Why a kernel of the Debian archive cannot be had.

use std::io;
use std::path::PathBuf;

use super::resolve::ResolveError;
use crate::depmod::DepmodError;
use crate::file::FileError;
use vmlab_store::CacheError;

/// One variant for each step that can fail. `label` is the source, `debian:trixie`.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// apt or dpkg is not there.
    #[error(
        "{program} is not on this machine, and kernels of the Debian archive are fetched with apt-get, apt-cache, \
         apt-config and dpkg-deb; install apt and dpkg, or give a kernel by its path"
    )]
    NoTool {
        /// The program.
        program: String,
    },
    /// A program is there and does not start.
    #[error("cannot run {program}: {cause}")]
    Start {
        /// The program.
        program: String,
        /// The system's word.
        cause: io::Error,
    },
    /// apt's configuration cannot be read.
    #[error("cannot read apt's sources at {path}: {cause}; make them readable, or set VMLAB_DEBIAN_MIRROR")]
    Sources {
        /// The file or directory.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// Nothing says where the archive is.
    #[error(
        "no mirror of the Debian archive is known: none of apt's sources in {0} is one; set VMLAB_DEBIAN_MIRROR (and \
         VMLAB_DEBIAN_SECURITY_MIRROR for security updates) to the mirror's URL, or give a kernel by its path"
    )]
    NoMirror(PathBuf),
    /// The environment names something that is no URL.
    #[error("{variable} is `{value}`, which is not the URL of a mirror: expected something like http://HOST/debian")]
    BadMirror {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The archive's signatures cannot be checked.
    #[error(
        "the keyring of the Debian archive is not on this machine (looked for {0}), so what is fetched could not be \
         verified; install the package debian-archive-keyring"
    )]
    NoKeyring(PathBuf),
    /// The mirror cannot be reached.
    #[error("{label}: no network, or the mirror cannot be reached: {detail}; a kernel fetched before works without")]
    NoNetwork {
        /// The source.
        label: String,
        /// apt's word.
        detail: String,
    },
    /// The mirror is there and has no such suite.
    #[error(
        "{label}: the mirror has no suite `{suite}`; check its spelling (`vmlab kernel list` shows suites that are \
         known to work), or it may have left the mirrors for the archive of old releases: then set VMLAB_DEBIAN_MIRROR"
    )]
    NoSuchSuite {
        /// The source.
        label: String,
        /// The suite.
        suite: String,
    },
    /// A signature is bad or its key unknown.
    #[error(
        "{label}: the archive's signature cannot be verified: {detail}; a newer debian-archive-keyring package may \
         know the key"
    )]
    Signature {
        /// The source.
        label: String,
        /// apt's word.
        detail: String,
    },
    /// The suite has no such kernel.
    #[error(
        "{label}: the suite `{suite}` has no package {package}; flavours of Debian kernels are cloud-amd64, amd64 and \
         rt-amd64, in some suites also with a series in front, as 6.12-cloud-amd64"
    )]
    NoSuchFlavour {
        /// The source.
        label: String,
        /// The suite.
        suite: String,
        /// The metapackage.
        package: String,
    },
    /// The archive's lists cannot be followed.
    #[error("{label}: {what}")]
    Resolve {
        /// The source.
        label: String,
        /// Why.
        what: ResolveError,
    },
    /// apt failed in a way that has no variant of its own.
    #[error("{label}: apt failed to {doing}: {detail}")]
    Apt {
        /// The source.
        label: String,
        /// As `download the packages`.
        doing: &'static str,
        /// apt's word.
        detail: String,
    },
    /// The disk filled up under apt or dpkg.
    #[error(
        "{label}: no space left in vmlab's cache at {dir}: fetching a kernel takes up to 300 MB there for a while; \
         free some, or set XDG_CACHE_HOME to a directory with more"
    )]
    Full {
        /// The source.
        label: String,
        /// Where.
        dir: PathBuf,
    },
    /// apt runs and does nothing.
    #[error(
        "{label}: apt got no further for {seconds} seconds and was ended; try again, or look at the mirror with `apt-get update`"
    )]
    Stalled {
        /// The source.
        label: String,
        /// For how long.
        seconds: u32,
    },
    /// A package cannot be unpacked.
    #[error("{label}: cannot unpack {package}: {detail}")]
    Unpack {
        /// The source.
        label: String,
        /// The package's file.
        package: String,
        /// dpkg's word.
        detail: String,
    },
    /// The packages lack something that a kernel needs.
    #[error(
        "{label}: its packages hold no {what}, so it cannot be used; fetch another flavour, or give a kernel by its path"
    )]
    Incomplete {
        /// The source.
        label: String,
        /// As `kernel`.
        what: &'static str,
    },
    /// What the packages hold cannot be booted.
    #[error("the kernel that was fetched cannot be used: {0}")]
    File(FileError),
    /// The order of modules cannot be told.
    #[error("{label}: {what}")]
    Depmod {
        /// The source.
        label: String,
        /// Why.
        what: DepmodError,
    },
    /// The cache fails.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Nothing may be fetched and nothing was.
    #[error("{label} is not in the cache; fetch it first, where there is a network, with `vmlab kernel fetch {label}`")]
    NotCached {
        /// The source.
        label: String,
    },
    /// Nothing may be fetched, and what was is not what it should be.
    #[error("{label} is damaged in the cache: {damage}; fetch it again with `vmlab kernel fetch {label}`")]
    Damaged {
        /// The source.
        label: String,
        /// What is wrong.
        damage: String,
    },
    /// Work on a thread of its own ended without a result.
    #[error("{label}: preparing the kernel ended early: {detail}; this is a fault of vmlab's")]
    Worker {
        /// The source.
        label: String,
        /// The runtime's word.
        detail: String,
    },
}

impl DebianError {
    /// Whether the user asked for something that cannot be, rather than the machine or the network failing.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::NoSuchSuite { .. } | Self::NoSuchFlavour { .. } | Self::BadMirror { .. })
    }
}
