//! Kernels of the Debian archive: fetched through apt, put into the cache, pinned.

use std::time::{SystemTime, UNIX_EPOCH};

use super::source::DebianSource;
use super::{FetchPolicy, Kernel, config};
use crate::fetched::{Entry, Identity, KernelStore, Lookup, Package};
use crate::modules::{ModuleDir, Modules};
use crate::release::version_of;
use vmlab_events::progress::Progress;
use vmlab_store::CacheError;
use vmlab_store::atomic::Staging;
use vmlab_store::dirs::Dirs;
use vmlab_store::integrity::Trust;
use vmlab_store::lock::Lock;

mod apt;
pub mod code;
mod complaint;
mod error;
mod memory;
mod mirrors;
pub mod resolve;
pub mod sources;
mod stall;
pub mod stanza;
mod suites;
mod system;
mod unpack;

pub use error::DebianError;
pub use resolve::ResolveError;
pub use suites::OTHER_SUITES;
pub(crate) use system::System;

use apt::Apt;
use mirrors::Suites;
use resolve::Walk;
use system::Job;

/// Looks up a source in the cache, without fetching or verifying.
///
/// # Errors
/// The cache cannot be read.
pub fn cached(source: &DebianSource, dirs: &Dirs) -> Result<Lookup, CacheError> {
    KernelStore::new(&dirs.cache).peek(&source.file_stem())
}

/// All sources that are in the cache, sorted.
///
/// # Errors
/// The cache cannot be read.
pub fn all_cached(dirs: &Dirs) -> Result<Vec<DebianSource>, CacheError> {
    let stems = KernelStore::new(&dirs.cache).pinned()?;
    Ok(stems.iter().filter_map(|stem| DebianSource::from_file_stem(stem)).collect())
}

/// Takes a kernel from the cache or fetches it. Dropping the future kills apt and removes the unfinished fetch.
///
/// # Errors
/// [`DebianError`] if the kernel is neither in the cache nor can be fetched.
pub(crate) async fn obtain(
    source: &DebianSource,
    dirs: &Dirs,
    policy: FetchPolicy,
    progress: &dyn Progress,
    system: &System,
) -> Result<Kernel, DebianError> {
    let label = source.to_string();
    let job = Job { system, label: &label, cache: &dirs.cache, progress };
    let fetch = Fetch { source, store: KernelStore::new(&dirs.cache), job };
    let entry = fetch.entry(policy).await;
    progress.done();
    let (entry, notices) = entry?;
    let text = std::fs::read(entry.config()).map_err(CacheError::on("read", &entry.config()))?;
    let record = &entry.record;
    Ok(Kernel {
        version: version_of(&label, &record.release)?,
        label,
        release: record.release.clone(),
        path: entry.kernel(),
        sha256: entry.kernel_sha256().to_owned(),
        config: Some(config::KernelConfig::parse(&String::from_utf8_lossy(&text))),
        config_file: Some(entry.config()),
        modules: Modules::Found(ModuleDir::complete(entry.modules())),
        suites: None,
        lease: entry.lease,
        notices,
    })
}

struct Fetch<'a> {
    source: &'a DebianSource,
    store: KernelStore,
    job: Job<'a>,
}

impl Fetch<'_> {
    /// The kernel, and notices for the user.
    async fn entry(&self, policy: FetchPolicy) -> Result<(Entry, Vec<String>), DebianError> {
        let trust = match policy {
            FetchPolicy::CacheFirst | FetchPolicy::Offline => Trust::Stat,
            FetchPolicy::Verify | FetchPolicy::Refresh => Trust::Nothing,
        };
        if policy != FetchPolicy::Refresh {
            match (self.lookup(trust).await?, policy) {
                (Lookup::Found(entry), _) => return Ok((*entry, Vec::new())),
                (Lookup::Missing, FetchPolicy::Offline) => {
                    return Err(DebianError::NotCached { label: self.job.label.to_owned() });
                }
                (Lookup::Damaged(damage), FetchPolicy::Offline) => {
                    return Err(DebianError::Damaged { label: self.job.label.to_owned(), damage });
                }
                (Lookup::Damaged(damage), _) => self.job.step(&format!("{damage}; fetching it again")),
                (Lookup::Missing, _) => {}
            }
        }
        let stem = self.source.file_stem();
        let waiting = || self.job.step("waiting for another vmlab that is fetching it");
        let _lock = Lock::take(&self.store.lock_path(&stem), waiting).await?;
        let (present, damage) = match self.lookup(trust).await? {
            // Another vmlab has fetched it in the meantime.
            Lookup::Found(entry) if policy != FetchPolicy::Refresh => return Ok((*entry, Vec::new())),
            Lookup::Found(entry) => (Some(*entry), None),
            Lookup::Missing => (None, None),
            Lookup::Damaged(damage) => (None, Some(damage)),
        };
        let pinned = self.store.pinned_packages(&stem)?;
        let staging = self.store.staging(&stem)?;
        let wanted = if policy == FetchPolicy::Refresh { &[] } else { pinned.as_slice() };
        self.check_path()?;
        let kills = self.job.system.cgroups.kills();
        let fetched = self.fetch(&staging, present, wanted).await;
        let entry = fetched.map_err(|error| self.explained(error, self.job.system.cgroups.kills() > kills))?;
        self.store.pin(&stem, &entry, now_unix_ms())?;
        let notice = damage.map(|damage| self.refetch_notice(&damage, &pinned, &entry));
        Ok((entry, notice.into_iter().collect()))
    }

    /// apt divides its messages to and from its methods into lines.
    fn check_path(&self) -> Result<(), DebianError> {
        let cache = self.job.cache;
        if cache.as_os_str().as_encoded_bytes().contains(&b'\n') {
            return Err(DebianError::CachePath { label: self.job.label.to_owned(), dir: cache.to_owned() });
        }
        Ok(())
    }

    /// The error, or that memory ran out meanwhile: a tool that is killed for it looks like one that failed.
    fn explained(&self, error: DebianError, out_of_memory: bool) -> DebianError {
        match error {
            DebianError::Apt { .. } | DebianError::Unpack { .. } | DebianError::Stalled { .. } if out_of_memory => {
                DebianError::Memory { label: self.job.label.to_owned(), detail: error.to_string() }
            }
            error => error,
        }
    }

    /// The notice on a damaged kernel that was fetched again: whether its version is the same.
    fn refetch_notice(&self, damage: &str, pinned: &[Package], entry: &Entry) -> String {
        let version = &entry.record.version;
        let came_of_it = match pinned.first() {
            _ if pinned == entry.record.packages => format!("in the same version, {version}"),
            Some(image) => format!("as {version}, which has replaced {} in the archive", image.version),
            None => format!("as {version}, the archive's current version; the version before is unknown"),
        };
        format!("{} was not usable in the cache: {damage}; it was fetched again {came_of_it}", self.job.label)
    }

    /// Fetches the pinned packages if the archive still has them, else the current ones.
    async fn fetch(&self, staging: &Staging, present: Option<Entry>, pinned: &[Package]) -> Result<Entry, DebianError> {
        let suites = Suites::of(self.source.suite());
        let root = staging.path().join("apt");
        let apt = Apt::new(self.job, root, suites.preferred.clone()).await?;
        update(self.job, &apt, suites, self.source.suite()).await?;
        let packages = if apt.has(pinned).await? { pinned.to_vec() } else { self.resolve(&apt).await? };
        if let Some(entry) = present.filter(|entry| entry.record.packages == packages) {
            return Ok(entry);
        }
        let what = packages.first().map(|image| format!("{} {}", image.name, image.version)).unwrap_or_default();
        self.job.step(&format!("downloading {what}"));
        let debs = apt.download(&packages).await?;
        let tree = staging.path().join("tree");
        unpack::unpack(self.job, &debs, &tree).await?;
        self.job.step("computing its module dependencies");
        let prepared = staging.path().join("entry");
        let (release, files) = unpack::assemble(self.job.label, tree, prepared.clone()).await?;
        let identity = Identity {
            label: self.job.label,
            suite: self.source.suite(),
            release: &release,
            packages: &packages,
            now_unix_ms: now_unix_ms(),
        };
        Ok(self.store.publish(staging, &prepared, &identity, files)?)
    }

    /// The packages of the suite's current kernel.
    async fn resolve(&self, apt: &Apt<'_>) -> Result<Vec<Package>, DebianError> {
        self.job.step("looking up its packages");
        let failed = |what| DebianError::Resolve { label: self.job.label.to_owned(), what };
        let metapackage = format!("linux-image-{}", self.source.flavour());
        let Some(text) = apt.show_candidate(&metapackage).await? else {
            let (label, suite) = (self.job.label.to_owned(), self.source.suite().to_owned());
            return Err(DebianError::NoSuchFlavour { label, suite, package: metapackage });
        };
        let mut walk = Walk::from_metapackage(&metapackage, &text).map_err(failed)?;
        while !walk.wanted().is_empty() {
            let text = apt.show(walk.wanted()).await?;
            walk.take_in(&text).map_err(failed)?;
        }
        Ok(walk.into_packages())
    }

    /// Looks up the kernel in the cache. A worker thread does the hashing, so that signals are handled in the meantime.
    async fn lookup(&self, trust: Trust) -> Result<Lookup, DebianError> {
        let (store, stem) = (self.store.clone(), self.source.file_stem());
        let found = tokio::task::spawn_blocking(move || store.lookup(&stem, trust)).await;
        let worker = |error: tokio::task::JoinError| DebianError::Worker {
            label: self.job.label.to_owned(),
            detail: error.to_string(),
        };
        Ok(found.map_err(worker)??)
    }
}

/// Reads the package lists of a suite. The mirror may lack the suite's security updates.
async fn update(job: Job<'_>, apt: &Apt<'_>, mut suites: Suites, suite: &str) -> Result<(), DebianError> {
    let (mirrors, keyring) = (job.system.mirrors()?, job.system.keyring()?.to_string_lossy());
    loop {
        apt.set_sources(&mirrors::compose(&mirrors, &suites, &keyring))?;
        job.step("reading the package lists");
        let Err(missing) = apt.update().await? else { return Ok(()) };
        match missing.into_iter().find(|suite| suites.main.contains(suite)) {
            None if suites.security.take().is_some() => {}
            missing => {
                let suite = missing.unwrap_or_else(|| suite.to_owned());
                return Err(job.no_such_suite(suite));
            }
        }
    }
}

/// The wall clock in ms since 1970 UTC; 0 if the clock is before 1970.
fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
