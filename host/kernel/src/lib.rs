//! Kernel sources: finds, fetches, recognises and unpacks the kernels that vmlab boots.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use vmlab_protocol::catalogue::KernelVersion;
use vmlab_protocol::job::SuiteId;

use vmlab_events::progress::Progress;
use vmlab_qemu::worker;
use vmlab_store::dirs::Dirs;
use vmlab_store::lease::Lease;

pub mod catalogue;
pub mod debian;
pub mod decompress;
pub mod depmod;
pub mod device_nodes;
pub mod fetched;
pub mod file;
pub mod indexes;
pub mod installed;
mod modinfo;
pub mod module_lists;
pub mod modules;
pub mod needs;
pub mod ordered;
mod path;
mod release;
pub mod source;
mod trie;
pub mod unpack;

mod error;
mod index_files;

pub use error::KernelError;
pub use release::{BadRelease, is_release};
pub use source::KernelSource;
pub use vmlab_build::library::list as fragments;
pub use vmlab_build::{config, order};

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
    /// The file of that configuration.
    pub config_file: Option<PathBuf>,
    /// The kernel's modules.
    pub modules: modules::Modules,
    /// The KUnit suites that are built in, sorted; None if they are not known.
    pub suites: Option<Vec<SuiteId>>,
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

/// How a kernel is obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// When a kernel or a source tree of the archive is fetched.
    pub fetch: FetchPolicy,
    /// Whether a kernel is built that was not built yet.
    pub build: bool,
    /// The number of parallel jobs of a build; the number of CPUs if not given.
    pub jobs: Option<NonZeroUsize>,
}

impl From<FetchPolicy> for How {
    fn from(fetch: FetchPolicy) -> Self {
        Self { fetch, build: true, jobs: None }
    }
}

/// Finds, fetches or builds a kernel. Its label is the source's text. Dropping the future stops all work and removes unfinished
/// files.
///
/// # Errors
/// [`KernelError`] if the kernel is not available.
pub fn obtain<'a>(
    source: &'a KernelSource,
    dirs: &'a Dirs,
    how: How,
    progress: &'a dyn Progress,
) -> LocalBoxFuture<'a, Result<Kernel, KernelError>> {
    Box::pin(obtain_from(source, dirs, how, progress))
}

async fn obtain_from(
    source: &KernelSource,
    dirs: &Dirs,
    how: How,
    progress: &dyn Progress,
) -> Result<Kernel, KernelError> {
    match source {
        KernelSource::Debian(debian) => {
            Ok(debian::obtain(debian, dirs, how.fetch, progress, &debian::System::from_env()).await?)
        }
        KernelSource::Installed(release) => {
            let release = release.clone();
            local(source, dirs, progress, move |search| {
                let installed = installed::choose(search.root, release.as_deref())?;
                path::obtain(search, &installed.path)
            })
            .await
        }
        KernelSource::Order(order) => {
            let built = ordered::obtain(order, dirs, how, progress).await?;
            let image = built.image();
            let kernel = local(source, dirs, progress, move |search| path::obtain(search, &image)).await?;
            Ok(Kernel { lease: built.lease, suites: Some(built.record.suites), ..kernel })
        }
        KernelSource::Path(file) => {
            let file = file.clone();
            local(source, dirs, progress, move |search| path::obtain(search, &file)).await
        }
    }
}

/// Work that takes less is not worth a line.
const UNTOLD: Duration = Duration::from_secs(1);

/// Finds a kernel of this machine. Unpacking a kernel, or reading a thousand modules, takes seconds.
async fn local(
    source: &KernelSource,
    dirs: &Dirs,
    progress: &dyn Progress,
    find: impl FnOnce(&path::Search<'_>) -> Result<Kernel, KernelError> + Send + 'static,
) -> Result<Kernel, KernelError> {
    let (label, cache) = (source.to_string(), dirs.cache.clone());
    let of_worker = label.clone();
    let work = move |stopped: &AtomicBool| {
        find(&path::Search { label: &of_worker, root: Path::new("/"), cache: &cache, stopped })
    };
    let mut work = pin!(worker::run(work));
    let found = match tokio::time::timeout(UNTOLD, &mut work).await {
        Ok(found) => found,
        Err(_) => {
            progress.step(&format!("{label}: reading the kernel and its modules"));
            let found = work.await;
            progress.done();
            found
        }
    };
    found.map_err(|error| KernelError::Worker { label, detail: error.to_string() })?
}
