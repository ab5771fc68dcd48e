//! Finds a kernel's modules, and makes their list, `modules.dep` (modules.dep(5)), if the directory has none: an
//! unpacked package has none before its installation. The directory is never written to: the list is kept in the cache,
//! as `module-lists/RELEASE-HASH.json`. The hash is that of the modules' paths, sizes and times.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::depmod::{self, DepmodError, Lacking};
use vmlab_store::cache::{Entry, EntryKind, disk};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::lease::touch;
use vmlab_store::warnings::CacheWarnings;
use vmlab_store::{CacheError, atomic, hex};

/// The name of the list in a module directory.
pub(crate) const LIST: &str = "modules.dep";

/// The version of the files in the cache.
const FORMAT: u32 = 1;

/// A kernel's modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modules {
    /// There are modules.
    Found(ModuleDir),
    /// There are none in these directories.
    NotFound {
        /// Where they were looked for.
        looked_in: Vec<PathBuf>,
    },
}

/// A directory of modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleDir {
    /// The directory, for example `/lib/modules/RELEASE`.
    pub path: PathBuf,
    /// The text of `modules.dep` if the directory has no such file.
    pub made_list: Option<Arc<str>>,
}

impl Modules {
    /// The directory, if there is one.
    #[must_use]
    pub const fn found(&self) -> Option<&ModuleDir> {
        match self {
            Self::Found(dir) => Some(dir),
            Self::NotFound { .. } => None,
        }
    }
}

/// The directories that were looked in, for messages: those named `lib/modules/RELEASE` by what they are below.
#[must_use]
pub fn describe(looked_in: &[PathBuf], release: &str) -> String {
    let below = Path::new("lib/modules").join(release);
    let (usual, others): (Vec<_>, Vec<_>) = looked_in.iter().partition(|dir| dir.ends_with(&below));
    let usual: Vec<_> =
        usual.iter().filter_map(|dir| dir.ancestors().nth(3)).map(|dir| dir.display().to_string()).collect();
    let mut parts: Vec<_> = others.iter().map(|dir| dir.display().to_string()).collect();
    if !usual.is_empty() {
        parts.push(format!("{} below {}", below.display(), usual.join(", ")));
    }
    parts.join(", ")
}

impl ModuleDir {
    /// A directory that has a `modules.dep`.
    #[must_use]
    pub const fn complete(path: PathBuf) -> Self {
        Self { path, made_list: None }
    }

    /// The text of `modules.dep`.
    ///
    /// # Errors
    /// read(2) of the file, or its text is no UTF-8.
    pub fn list(&self) -> io::Result<String> {
        match &self.made_list {
            Some(text) => Ok((**text).to_owned()),
            None => fs::read_to_string(self.path.join(LIST)),
        }
    }
}

/// `modules.dep` is missing and cannot be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "{dir} has no modules.dep, and vmlab cannot make one: {cause}; repair the directory, or make modules.dep with depmod(8)"
)]
pub struct NoList {
    dir: PathBuf,
    cause: DepmodError,
}

/// The first of `places` with modules. Making their list takes some seconds.
pub(crate) fn find(
    places: Vec<PathBuf>,
    release: &str,
    cache: &Path,
    cancelled: &AtomicBool,
    warnings: &mut CacheWarnings,
) -> Result<Modules, NoList> {
    for path in &places {
        if path.join(LIST).is_file() {
            return Ok(Modules::Found(ModuleDir::complete(path.clone())));
        }
        if !path.is_dir() {
            continue;
        }
        let failed = |cause| NoList { dir: path.clone(), cause };
        let files = depmod::module_files(path).map_err(failed)?;
        if !files.is_empty() {
            let text = made(path, &files, release, cache, cancelled, warnings).map_err(failed)?;
            return Ok(Modules::Found(ModuleDir { path: path.clone(), made_list: Some(text.into()) }));
        }
    }
    Ok(Modules::NotFound { looked_in: places })
}

/// A list in the cache.
#[derive(Serialize, Deserialize)]
struct Made {
    format: u32,
    text: String,
}

/// The list from the cache, or a new one.
fn made(
    dir: &Path,
    files: &[PathBuf],
    release: &str,
    cache: &Path,
    cancelled: &AtomicBool,
    warnings: &mut CacheWarnings,
) -> Result<String, DepmodError> {
    let path = root(cache).join(format!("{release}-{}.json", state(dir, files)?));
    // What cannot be read in the cache is made again.
    if let Ok(Stored::Sound(Made { format: FORMAT, text })) = checksummed::read(&path) {
        touch(&path);
        return Ok(text);
    }
    let text = depmod::modules_dep(dir, Lacking::LeaveOut, cancelled)?;
    let made = Made { format: FORMAT, text };
    let stored = atomic::create_dir(&root(cache)).and_then(|()| checksummed::write(&path, &made));
    warnings.grown |= warnings.note("the list of modules", stored).is_some();
    Ok(made.text)
}

/// A hash of the files' paths, sizes and times.
pub(crate) fn state(dir: &Path, files: &[PathBuf]) -> Result<String, DepmodError> {
    let mut hash = Sha256::new();
    hash.update(dir.as_os_str().as_encoded_bytes());
    for path in files {
        let file = fs::metadata(path).map_err(|cause| DepmodError::Read { path: path.clone(), cause })?;
        hash.update(path.as_os_str().as_encoded_bytes());
        // A path has no NUL.
        hash.update([0]);
        let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        hash.update(file.size().to_le_bytes());
        times.iter().for_each(|time| hash.update(time.to_le_bytes()));
    }
    Ok(hex(&hash.finalize())[..32].to_owned())
}

pub(crate) fn root(cache: &Path) -> PathBuf {
    cache.join("module-lists")
}

/// The lists in the cache, as entries of a kind.
pub(crate) fn entries(cache: &Path, kind: &'static EntryKind) -> Result<Vec<Entry>, CacheError> {
    let found = disk::list(&root(cache))?;
    Ok(found.into_iter().filter_map(|(name, path)| look(&name, path, kind)).collect())
}

fn look(name: &str, path: PathBuf, kind: &'static EntryKind) -> Option<Entry> {
    let release = name.strip_suffix(".json")?.rsplit_once('-')?.0;
    let (useless, unreadable) = match checksummed::read::<IgnoredAny>(&path) {
        Ok(Stored::Missing) => return None,
        Ok(Stored::Damaged(why)) => (Some(why), None),
        Ok(Stored::Sound(_)) => (None, None),
        Err(error) => (None, Some(error.cause())),
    };
    Some(Entry { useless, unreadable, ..Entry::at(kind, format!("modules.dep of {release}"), path) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depmod::tests::tree;
    use crate::module_lists::list;

    const RELEASE: &str = "6.1.0-x y";

    fn find_in(places: &[&Path], cache: &Path) -> (Result<Modules, NoList>, CacheWarnings) {
        let mut warnings = CacheWarnings::default();
        let places = places.iter().map(|place| (*place).to_owned()).collect();
        let found = find(places, RELEASE, cache, &AtomicBool::new(false), &mut warnings);
        (found, warnings)
    }

    fn text(found: Result<Modules, NoList>) -> String {
        found.unwrap().found().unwrap().list().unwrap()
    }

    #[test]
    fn a_missing_list_is_made_once_and_the_directory_stays_as_it_is() {
        let cache = tempfile::tempdir().unwrap();
        let dir = tree(&[("kernel/a.ko.xz", "b"), ("kernel/b.ko", ""), ("kernel/c.ko", "not_packed")]);
        let before = depmod::module_files(dir.path()).unwrap();
        let (found, warnings) = find_in(&[Path::new("/nowhere"), dir.path()], cache.path());
        assert_eq!(text(found), "kernel/a.ko.xz: kernel/b.ko\nkernel/b.ko:\n");
        assert!(warnings.grown);
        let (again, warnings) = find_in(&[dir.path()], cache.path());
        assert_eq!(text(again), "kernel/a.ko.xz: kernel/b.ko\nkernel/b.ko:\n");
        assert!(!warnings.grown, "it came from the cache");
        let listed = list(cache.path());
        let what: Vec<_> = listed.entries.iter().map(|entry| entry.what.as_str()).collect();
        assert_eq!((what, listed.errors.len()), (vec!["modules.dep of 6.1.0-x y"], 0));
        assert_eq!(depmod::module_files(dir.path()).unwrap(), before);
        assert!(!dir.path().join(LIST).exists());
    }

    #[test]
    fn a_changed_module_or_a_damaged_cache_gives_a_new_list() {
        let cache = tempfile::tempdir().unwrap();
        let dir = tree(&[("a.ko", "b"), ("b.ko", "")]);
        assert_eq!(text(find_in(&[dir.path()], cache.path()).0), "a.ko: b.ko\nb.ko:\n");
        for entry in list(cache.path()).entries {
            fs::write(entry.path, "{}").unwrap();
        }
        let (repaired, warnings) = find_in(&[dir.path()], cache.path());
        assert_eq!(text(repaired), "a.ko: b.ko\nb.ko:\n");
        assert!(warnings.grown);
        fs::copy(dir.path().join("b.ko"), dir.path().join("a.ko")).unwrap();
        assert_eq!(text(find_in(&[dir.path()], cache.path()).0), "a.ko:\nb.ko:\n");
    }

    #[test]
    fn the_first_directory_with_modules_counts_and_its_own_list_is_used() {
        let cache = tempfile::tempdir().unwrap();
        let (empty, with_list) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(with_list.path().join(LIST), "x.ko:\n").unwrap();
        let unlisted = tree(&[("a.ko", "")]);
        let (found, _) = find_in(&[empty.path(), with_list.path(), unlisted.path()], cache.path());
        assert_eq!(found.unwrap().found(), Some(&ModuleDir::complete(with_list.path().to_owned())));
        assert_eq!(text(find_in(&[unlisted.path(), with_list.path()], cache.path()).0), "a.ko:\n");
        let looked_in = vec![empty.path().to_owned()];
        assert_eq!(find_in(&[empty.path()], cache.path()).0.unwrap(), Modules::NotFound { looked_in });
    }

    #[test]
    fn a_list_that_cannot_be_made_is_named_and_one_that_cannot_be_stored_is_used() {
        let dir = tree(&[("a.ko", "")]);
        let cache = dir.path().join("file");
        fs::write(&cache, "").unwrap();
        let (found, warnings) = find_in(&[dir.path()], &cache);
        assert_eq!(text(found), "a.ko:\n");
        let notices = warnings.notices();
        assert!(matches!(&notices[..], [only] if only.contains("the list of modules")), "{notices:?}");
        fs::write(dir.path().join("a.ko"), "no module").unwrap();
        let error = find_in(&[dir.path()], &cache).0.unwrap_err().to_string();
        assert!(error.contains("has no modules.dep") && error.contains("a.ko is not a kernel module"), "{error}");
    }
}
