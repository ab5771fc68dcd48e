//! The index files that modprobe(8) reads and a module directory lacks: an unpacked package has none before its
//! installation. The directory is never written to: the files are made once and kept in the cache, as
//! `module-lists/RELEASE-HASH.index`. The hash is that of what says that the modules are the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::depmod::{self, DepmodError};
use crate::index_files;
use crate::modules::{self, LIST, ModuleDir};
use vmlab_store::atomic::{self, Staging};
use vmlab_store::cache::{Disposal, Entry, EntryKind, disk};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::lease::{Lease, touch};
use vmlab_store::lock::{Lock, Mode};
use vmlab_store::warnings::CacheWarnings;
use vmlab_store::{CacheError, hex};

/// The file without which libkmod finds no module.
const FIRST: &str = "modules.dep.bin";
/// The version of the files in the cache.
const FORMAT: u32 = 1;
const SUFFIX: &str = ".index";
/// The record of an index in the cache, beside the directory of its files.
const RECORD: &str = "index.json";
const FILES: &str = "files";

/// A directory of index files.
#[derive(Debug, Clone)]
pub struct ModuleIndex {
    /// The directory. A guest must see its files in place of those of the module directory.
    pub path: PathBuf,
    /// Prevents the removal of the directory while it is used.
    _lease: Lease,
}

/// What an index consists of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// The SHA-256 of each file, in hexadecimal.
    files: BTreeMap<String, String>,
}

/// Index files cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("modprobe finds no module in guests: the index of {dir} cannot be made: {cause}")]
pub struct NoIndex {
    dir: PathBuf,
    #[source]
    cause: DepmodError,
}

/// The index files that a module directory lacks, from the cache or new; None if it has its own, or if they cannot be
/// stored, which `warnings` then has. Making them takes some seconds; setting `cancelled` stops it.
///
/// # Errors
/// [`NoIndex`] if a module or a list cannot be read.
pub fn obtain(
    dir: &ModuleDir,
    release: &str,
    cache: &Path,
    cancelled: &AtomicBool,
    warnings: &mut CacheWarnings,
) -> Result<Option<ModuleIndex>, NoIndex> {
    if dir.path.join(FIRST).is_file() {
        return Ok(None);
    }
    let failed = |cause| NoIndex { dir: dir.path.clone(), cause };
    let path = modules::root(cache).join(format!("{release}-{}{SUFFIX}", state(dir).map_err(failed)?));
    if let Some(index) = kept(&path) {
        return Ok(Some(index));
    }
    let files = index_files::make(dir, cancelled).map_err(failed)?;
    let index = warnings.note("the index of the modules, which modprobe needs", keep(&files, &path, cache));
    warnings.grown |= index.is_some();
    Ok(index)
}

/// A hash that is another one for other modules. vmlab and depmod(8) make `modules.dep` when all modules are there.
fn state(dir: &ModuleDir) -> Result<String, DepmodError> {
    if dir.made_list.is_some() {
        return modules::state(&dir.path, &depmod::module_files(&dir.path)?);
    }
    modules::state(&dir.path, &[dir.path.join(LIST)])
}

/// The index in the cache, if it is whole.
fn kept(path: &Path) -> Option<ModuleIndex> {
    let lease = Lease::shared(path)?;
    let record = path.join(RECORD);
    let Ok(Stored::Sound(Record { format: FORMAT, files })) = checksummed::read(&record) else { return None };
    let files_dir = path.join(FILES);
    let is_whole = |(name, sha256): (&String, &String)| {
        fs::read(files_dir.join(name)).is_ok_and(|bytes| hex(&Sha256::digest(bytes)) == *sha256)
    };
    if !files.iter().all(is_whole) {
        return None;
    }
    touch(&record);
    Some(ModuleIndex { path: files_dir, _lease: lease })
}

/// Puts an index into the cache.
fn keep(files: &BTreeMap<&str, Vec<u8>>, path: &Path, cache: &Path) -> Result<ModuleIndex, CacheError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let root = modules::root(cache);
    let unique = format!(".tmp-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let staging = Staging::new(root.join(unique))?;
    let (prepared, damaged) = (staging.path().join("new"), staging.path().join("damaged"));
    let files_dir = prepared.join(FILES);
    atomic::create_dir(&files_dir)?;
    for (name, bytes) in files {
        let file = files_dir.join(name);
        fs::write(&file, bytes).map_err(CacheError::on("write", &file))?;
    }
    let sums = files.iter().map(|(name, bytes)| ((*name).to_owned(), hex(&Sha256::digest(bytes))));
    checksummed::write(&prepared.join(RECORD), &Record { format: FORMAT, files: sums.collect() })?;
    atomic::sync_tree(&prepared)?;
    // The lock prevents the entry's removal before the lease is taken.
    let _changes = Lock::wait(&vmlab_store::changes_lock(cache), Mode::Shared)?;
    if fs::symlink_metadata(path).is_ok() {
        if let Some(index) = kept(path) {
            return Ok(index);
        }
        fs::rename(path, &damaged).map_err(CacheError::on("replace", path))?;
    }
    let renamed = fs::rename(&prepared, path).map_err(CacheError::on("create", path));
    let index = kept(path);
    // Another process may have been faster.
    match (renamed, index) {
        (_, Some(index)) => atomic::sync_dir(&root).map(|()| index),
        (Err(error), None) => Err(error),
        (Ok(()), None) => Err(CacheError::on("read", path)(std::io::ErrorKind::InvalidData.into())),
    }
}

/// The indexes in the cache, as entries of a kind.
pub(crate) fn entries(cache: &Path, kind: &'static EntryKind) -> Result<Vec<Entry>, CacheError> {
    let found = disk::list(&modules::root(cache))?;
    Ok(found.into_iter().filter_map(|(name, path)| look(&name, path, kind)).collect())
}

fn look(name: &str, path: PathBuf, kind: &'static EntryKind) -> Option<Entry> {
    let release = name.strip_suffix(SUFFIX)?.rsplit_once('-')?.0;
    let record = path.join(RECORD);
    let (useless, unreadable) = match checksummed::read::<Record>(&record) {
        Ok(Stored::Missing) => (Some(format!("{} is missing", record.display())), None),
        Ok(Stored::Damaged(why)) => (Some(why), None),
        Ok(Stored::Sound(_)) => (None, None),
        Err(error) => (None, Some(error.cause())),
    };
    // A leftover with this prefix is found by the next listing.
    let aside = path.with_file_name(format!(".tmp-removed-{name}"));
    let disposal = Disposal { aside: Some(aside), ..Disposal::default() };
    let entry = Entry::at(kind, format!("index of the modules of {release}"), path).used_as(&record);
    Some(Entry { useless, unreadable: unreadable.or_else(|| entry.unreadable.clone()), disposal, ..entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depmod::tests::{module, tree};
    use crate::trie::tests::read;
    use vmlab_store::cache::{Removal, remove};

    fn obtain_in(dir: &ModuleDir, cache: &Path) -> (Option<ModuleIndex>, CacheWarnings) {
        let mut warnings = CacheWarnings::default();
        (obtain(dir, "6.1.0-x y", cache, &AtomicBool::new(false), &mut warnings).unwrap(), warnings)
    }

    /// A tree of two modules with their list.
    fn listed() -> (tempfile::TempDir, ModuleDir) {
        let dir = tree(&[("kernel/a.ko.xz", "b-c"), ("kernel/b-c.ko", "")]);
        fs::write(dir.path().join(LIST), "kernel/a.ko.xz: kernel/b-c.ko\nkernel/b-c.ko:\n").unwrap();
        let modules = ModuleDir::complete(dir.path().to_owned());
        (dir, modules)
    }

    #[test]
    fn an_index_is_made_once_and_again_for_other_modules() {
        let cache = tempfile::tempdir().unwrap();
        let (dir, modules) = listed();
        let (index, warnings) = obtain_in(&modules, cache.path());
        let index = index.unwrap();
        assert!(warnings.grown);
        let found = read(&fs::read(index.path.join(FIRST)).unwrap());
        let expected = [("a", 0, "kernel/a.ko.xz: kernel/b-c.ko"), ("b_c", 1, "kernel/b-c.ko:")];
        assert_eq!(found, expected.map(|(key, priority, value)| (key.to_owned(), priority, value.to_owned())));
        let (again, warnings) = obtain_in(&modules, cache.path());
        assert_eq!((again.unwrap().path, warnings.grown), (index.path.clone(), false));
        fs::write(dir.path().join(LIST), "kernel/b-c.ko:\n").unwrap();
        let (other, _) = obtain_in(&modules, cache.path());
        assert_ne!(other.unwrap().path, index.path);
        fs::write(dir.path().join(FIRST), "depmod's").unwrap();
        assert!(obtain_in(&modules, cache.path()).0.is_none(), "the directory has its own");
    }

    #[test]
    fn without_a_list_changed_modules_count() {
        let cache = tempfile::tempdir().unwrap();
        let dir = tree(&[("a.ko", "")]);
        let modules = ModuleDir { path: dir.path().to_owned(), made_list: Some("a.ko:\n".into()) };
        let first = obtain_in(&modules, cache.path()).0.unwrap();
        fs::write(dir.path().join("a.ko"), module(b"depends=\0alias=fs-new\0")).unwrap();
        let second = obtain_in(&modules, cache.path()).0.unwrap();
        assert_ne!(first.path, second.path);
        assert_eq!(
            fs::read_to_string(second.path.join("modules.alias")).unwrap().lines().last(),
            Some("alias fs-new a")
        );
    }

    #[test]
    fn a_damaged_index_is_made_again() {
        let cache = tempfile::tempdir().unwrap();
        let (_dir, modules) = listed();
        let index = obtain_in(&modules, cache.path()).0.unwrap();
        let whole = fs::read(index.path.join(FIRST)).unwrap();
        for damage in [index.path.join(FIRST), index.path.with_file_name(RECORD)] {
            fs::write(&damage, "x").unwrap();
            let (repaired, warnings) = obtain_in(&modules, cache.path());
            assert!(warnings.grown);
            assert_eq!(fs::read(repaired.unwrap().path.join(FIRST)).unwrap(), whole);
        }
    }

    #[test]
    fn the_cache_lists_an_index_and_removes_it_when_no_run_uses_it() {
        let cache = tempfile::tempdir().unwrap();
        let (_dir, modules) = listed();
        let index = obtain_in(&modules, cache.path()).0.unwrap();
        let listed = crate::module_lists::list(cache.path());
        let [entry] = &listed.entries[..] else { panic!("{listed:?}") };
        assert_eq!((entry.what.as_str(), &entry.useless), ("index of the modules of 6.1.0-x y", &None));
        assert_eq!(remove(cache.path(), entry).unwrap(), Removal::InUse);
        drop(index);
        assert_eq!(remove(cache.path(), entry).unwrap(), Removal::Gone);
        assert_eq!(fs::read_dir(modules::root(cache.path())).unwrap().count(), 0);
    }

    #[test]
    fn an_index_that_cannot_be_stored_or_made_is_told() {
        let (dir, modules) = listed();
        let cache = dir.path().join("file");
        fs::write(&cache, "").unwrap();
        let (index, warnings) = obtain_in(&modules, &cache);
        let notices = warnings.notices();
        assert!(index.is_none() && matches!(&notices[..], [only] if only.contains("modprobe")), "{notices:?}");
        fs::write(dir.path().join("kernel/b-c.ko"), "no module").unwrap();
        let result = obtain(&modules, "6.1", &cache, &AtomicBool::new(false), &mut CacheWarnings::default());
        let error = result.unwrap_err().to_string();
        assert!(error.contains("b-c.ko is not a kernel module"), "{error}");
    }
}
