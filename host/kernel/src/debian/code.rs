//! Source code of the Debian archive: a suite's package `linux-source`, fetched through apt, unpacked and pinned. Below
//! `$CACHE/sources`:
//!
//! - `trees/PACKAGE_VERSION/`: the source tree. Nothing writes to it after it was unpacked.
//! - `refs/SUITE.json`: the pin, which maps a suite to a tree, so that it means the same source tomorrow.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vmlab_events::progress::Progress;
use vmlab_store::CacheError;
use vmlab_store::atomic::{self, Staging};
use vmlab_store::cache::leftovers::{self, LEFTOVER};
use vmlab_store::cache::{Disposal, Entry, EntryKind, Listing};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::dirs::Dirs;
use vmlab_store::lease::{Lease, touch};
use vmlab_store::lock::Lock;

use super::apt::Apt;
use super::error::DebianError;
use super::mirrors::Suites;
use super::system::{self, Job, System};
use super::{stanza, unpack, update};
use crate::FetchPolicy;
use crate::fetched::Package;

/// Fetching a source tree again needs the network, and an archive that still has this version.
pub static SOURCES: EntryKind =
    EntryKind { name: "source", plural: "sources", help: "Source trees of kernels", rank: Some(3), list };

/// The metapackage that depends on the source package of a suite's kernel.
const METAPACKAGE: &str = "linux-source";

/// The source tree of a suite's kernel.
#[derive(Debug, Clone)]
pub(crate) struct SourceCode {
    pub(crate) tree: PathBuf,
    /// Package and version, which identify the tree's contents.
    pub(crate) identity: String,
    /// Keeps the tree in the cache while it is used.
    pub(crate) _lease: Lease,
}

/// The tree of a suite: `refs/SUITE.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    package: Package,
}

/// Takes a suite's source code from the cache or fetches it.
///
/// # Errors
/// [`DebianError`]
pub(crate) async fn obtain(
    suite: &str,
    dirs: &Dirs,
    policy: FetchPolicy,
    progress: &dyn Progress,
    system: &System,
) -> Result<SourceCode, DebianError> {
    let label = format!("source:{suite}");
    let job = Job { system, label: &label, cache: &dirs.cache, progress };
    let store = Store { root: dirs.cache.join("sources"), suite };
    if policy != FetchPolicy::Refresh
        && let Some(code) = store.find()?
    {
        return Ok(code);
    }
    if policy == FetchPolicy::Offline {
        return Err(DebianError::NotCached { label });
    }
    let waiting = || job.step("waiting for another vmlab that is fetching it");
    let lock = Lock::take(&lock_path(&store.root, suite), waiting).await?;
    if policy != FetchPolicy::Refresh
        && let Some(code) = store.find()?
    {
        return Ok(code);
    }
    let fetched = store.fetch(job).await;
    drop(lock);
    fetched
}

struct Store<'a> {
    root: PathBuf,
    suite: &'a str,
}

impl Store<'_> {
    fn pin_path(&self) -> PathBuf {
        self.root.join("refs").join(format!("{}.json", self.suite))
    }

    fn tree(&self, package: &Package) -> PathBuf {
        self.root.join("trees").join(format!("{}_{}", package.name, package.version))
    }

    /// The tree that the suite is pinned to, if it is there.
    fn find(&self) -> Result<Option<SourceCode>, CacheError> {
        match checksummed::read::<Pin>(&self.pin_path())? {
            Stored::Sound(pin) => Ok(self.look(&pin.package)),
            // What a damaged pin meant is not known: the suite's present source is fetched.
            Stored::Missing | Stored::Damaged(_) => Ok(None),
        }
    }

    fn look(&self, package: &Package) -> Option<SourceCode> {
        let tree = self.tree(package);
        let lease = Lease::shared(&tree)?;
        touch(&tree);
        Some(SourceCode { tree, identity: format!("{}={}", package.name, package.version), _lease: lease })
    }

    async fn fetch(&self, job: Job<'_>) -> Result<SourceCode, DebianError> {
        let staging = Staging::new(self.root.join("staging").join(self.suite))?;
        let suites = Suites::of(self.suite);
        let apt = Apt::new(job, staging.path().join("apt"), suites.preferred.clone()).await?;
        update(job, &apt, suites, self.suite).await?;
        job.step("looking up its source package");
        let package = self.resolve(job, &apt).await?;
        if self.look(&package).is_none() {
            job.step(&format!("downloading {} {}", package.name, package.version));
            let debs = apt.download(std::slice::from_ref(&package)).await?;
            let unpacked = staging.path().join("package");
            unpack::unpack(job, &debs, &unpacked).await?;
            let tree = staging.path().join("tree");
            self.extract(job, &unpacked, &package, &tree).await?;
            atomic::sync_tree(&tree)?;
            let place = self.tree(&package);
            atomic::create_dir(&self.root.join("trees"))?;
            fs::rename(&tree, &place).map_err(CacheError::on("create", &place))?;
        }
        atomic::create_dir(&self.root.join("refs"))?;
        checksummed::write(&self.pin_path(), &Pin { package: package.clone() })?;
        let gone = || DebianError::Incomplete { label: job.label.to_owned(), what: "source tree" };
        self.look(&package).ok_or_else(gone)
    }

    /// The package that the suite's metapackage depends on, in its present version.
    async fn resolve(&self, job: Job<'_>, apt: &Apt<'_>) -> Result<Package, DebianError> {
        let missing = || DebianError::NoSuchFlavour {
            label: job.label.to_owned(),
            suite: self.suite.to_owned(),
            package: METAPACKAGE.to_owned(),
        };
        let text = apt.show_candidate(METAPACKAGE).await?.ok_or_else(missing)?;
        let name = source_package(&text).ok_or_else(missing)?;
        let text = apt.show_candidate(&name).await?.ok_or_else(missing)?;
        let version = stanza::parse(&text).first().and_then(|stanza| stanza.get("Version").map(str::to_owned));
        Ok(Package { name, version: version.ok_or_else(missing)? })
    }

    /// Unpacks the archive in the package: `usr/src/linux-source-6.12.tar.xz`.
    async fn extract(&self, job: Job<'_>, from: &Path, package: &Package, into: &Path) -> Result<(), DebianError> {
        let archive = from.join("usr/src").join(format!("{}.tar.xz", package.name));
        job.step(&format!("unpacking {}.tar.xz", package.name));
        atomic::create_dir(into)?;
        let mut command = job.system.command("tar");
        command.arg("--strip-components=1").arg("-xf").arg(&archive).arg("-C").arg(into);
        let finished = system::run(command, |_| {}).await?;
        if finished.status.success() {
            return Ok(());
        }
        let (label, package) = (job.label.to_owned(), package.name.clone());
        if finished.stderr.contains("No space left on device") {
            return Err(DebianError::Full { label, dir: job.cache.to_owned() });
        }
        let needs = if finished.stderr.contains("xz: Cannot exec") { "; install the package xz-utils" } else { "" };
        Err(DebianError::Unpack { label, package, detail: format!("{}{needs}", finished.stderr) })
    }
}

/// The source package in the dependencies of the metapackage: `linux-source-6.12` of `linux-source-6.12 (= 6.12.117-1)`.
fn source_package(text: &str) -> Option<String> {
    let stanzas = stanza::parse(text);
    let depends = stanzas.first()?.get("Depends")?;
    let names = depends.split(',').filter_map(|dependency| dependency.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with("linux-source-")).map(str::to_owned)
}

fn list(cache: &Path) -> Listing {
    let root = cache.join("sources");
    let trees = |name: &str, path: PathBuf| {
        let aside = Some(root.join("staging").join(format!("removed-{name}")));
        let disposal = Disposal { aside, ..Disposal::default() };
        Entry { disposal, ..Entry::at(&SOURCES, name.replacen('_', " ", 1), path) }
    };
    let staging = |name: &str, path: PathBuf| {
        // A fetch has this lock while it prepares its tree here.
        let disposal = Disposal { lock: Some(lock_path(&root, name)), ..Disposal::default() };
        let useless = Some("the process that wrote it has ended".to_owned());
        Entry { useless, disposal, ..Entry::at(&LEFTOVER, "an unfinished source tree".to_owned(), path) }
    };
    let mut listing = leftovers::half_written(&root.join("refs"));
    listing.extend([
        Listing::of_directory(&root.join("trees"), trees),
        Listing::of_directory(&root.join("staging"), staging),
    ]);
    listing
}

fn lock_path(root: &Path, suite: &str) -> PathBuf {
    root.join("locks").join(format!("{suite}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_package_is_found_in_the_dependencies() {
        let text = "Package: linux-source\nVersion: 6.12.117-1\nDepends: xz-utils, linux-source-6.12 (= 6.12.117-1)\n";
        assert_eq!(source_package(text).as_deref(), Some("linux-source-6.12"));
        assert_eq!(source_package("Package: linux-source\n"), None);
    }
}
