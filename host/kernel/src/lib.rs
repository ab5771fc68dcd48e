//! Kernel sources: finds, fetches, recognises and unpacks the kernels that vmlab boots.

use std::path::{Path, PathBuf};

use futures_util::future::LocalBoxFuture;
use vmlab_protocol::catalogue::KernelVersion;

use vmlab_events::progress::Progress;
use vmlab_store::dirs::Dirs;
use vmlab_store::lease::Lease;

pub mod catalogue;
pub mod config;
pub mod debian;
pub mod decompress;
pub mod depmod;
pub mod fetched;
pub mod file;
pub mod installed;
mod path;
mod release;
pub mod source;
pub mod unpack;

mod error;

pub use error::KernelError;
pub use release::BadRelease;
pub use source::KernelSource;

/// A bootable kernel.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The name that the user gave: `debian:trixie`, `installed:6.1.0-38-amd64`, `./arch/x86/boot/bzImage`.
    pub label: String,
    /// `uname -r`, read from the file or its package.
    pub release: String,
    /// The numbers of `release`.
    pub version: KernelVersion,
    /// The path of the bzImage or vmlinux.
    pub path: PathBuf,
    /// The SHA-256 of that file, in hexadecimal.
    pub sha256: String,
    /// The kernel's configuration, if known.
    pub config: Option<config::KernelConfig>,
    /// The directory with `modules.dep`, for example `/lib/modules/RELEASE`, if there is one.
    pub modules: Option<PathBuf>,
    /// Keeps a fetched kernel in the cache while it is used.
    pub lease: Option<Lease>,
    /// Notices for the user on how the kernel was obtained, one sentence each.
    pub notices: Vec<String>,
}

/// When a kernel of the archive is fetched. Installed kernels and files are always read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchPolicy {
    /// Use the kernel in the cache; fetch it if it is missing or damaged.
    CacheFirst,
    /// As [`Self::CacheFirst`], and verify the whole kernel.
    Verify,
    /// Ask the archive for the newest version, and fetch it if the cache has another one.
    Refresh,
    /// Never use the network.
    Offline,
}

/// Finds or fetches a kernel. Its label is the source's text. Dropping the future stops all work and removes unfinished
/// files.
///
/// # Errors
/// [`KernelError`] if the kernel is not available.
pub fn obtain<'a>(
    source: &'a KernelSource,
    dirs: &'a Dirs,
    policy: FetchPolicy,
    progress: &'a dyn Progress,
) -> LocalBoxFuture<'a, Result<Kernel, KernelError>> {
    Box::pin(obtain_from(source, dirs, policy, progress))
}

async fn obtain_from(
    source: &KernelSource,
    dirs: &Dirs,
    policy: FetchPolicy,
    progress: &dyn Progress,
) -> Result<Kernel, KernelError> {
    match source {
        KernelSource::Debian(debian) => {
            Ok(debian::obtain(debian, dirs, policy, progress, &debian::System::from_env()).await?)
        }
        // Hashing a local file takes a fraction of a second, so it needs no worker thread.
        KernelSource::Installed(release) => {
            let installed = installed::choose(Path::new("/"), release.as_deref())?;
            path::obtain(&source.to_string(), &installed.path, Path::new("/"))
        }
        KernelSource::Path(file) => path::obtain(&source.to_string(), file, Path::new("/")),
    }
}
