//! Where kernels come from, and what is known about each.

use std::path::PathBuf;

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
pub mod path;
pub mod source;
pub mod unpack;

mod error;

pub use error::KernelError;
pub use source::KernelSource;

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
    /// Keeps a fetched kernel in the cache while it is used.
    pub lease: Option<Lease>,
    /// What the user should know of how it was had, each in a sentence.
    pub notices: Vec<String>,
}

/// Whether a kernel of an archive may be fetched. Kernels of this machine are always read anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchPolicy {
    /// Take the one that was fetched before; fetch it where there is none or it is damaged.
    CacheFirst,
    /// Likewise, and read all of it to see whether it is damaged.
    Verify,
    /// Ask the archive for the newest, and fetch it if it is not the one that is there.
    Refresh,
    /// Never use the network.
    Offline,
}

/// Finds or fetches a kernel. Its label is the source's text. Dropping the future ends what it started and leaves nothing
/// half-done behind.
///
/// # Errors
/// [`KernelError`], which names the thing and the remedy.
pub async fn obtain(
    source: &KernelSource,
    dirs: &Dirs,
    policy: FetchPolicy,
    progress: &dyn Progress,
) -> Result<Kernel, KernelError> {
    match source {
        KernelSource::Debian(debian) => {
            debian::obtain(debian, dirs, policy, progress, &debian::System::from_env()).await
        }
        // A file of this machine is read at once: hashing it is a fraction of a second.
        KernelSource::Installed(release) => installed::obtain(std::path::Path::new("/"), release.as_deref()),
        KernelSource::Path(file) => path::obtain(&source.to_string(), file, std::path::Path::new("/")),
    }
}

/// The numbers of a release.
fn version_of(label: &str, release: &str) -> Result<KernelVersion, KernelError> {
    release.parse().map_err(|_| KernelError::Release { label: label.to_owned(), release: release.to_owned() })
}
