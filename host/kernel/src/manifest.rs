//! The list of a fetched kernel's module files, by which it is told whether they are all there and as they were.
//!
//! A list is text, one file a line: SHA-256 in hexadecimal, size in bytes, and the path below the module directory, with
//! a space between each two. It is sorted by path.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use vmlab_store::fingerprint::Fingerprint;
use vmlab_store::memo::{self, Memo};
use vmlab_store::{CacheError, hex, plain, sha256_of};

/// Whether what was hashed before is hashed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A file that nobody wrote to since then has the hash it had.
    Fingerprints,
    /// Every byte is read: what a disk lost by itself is found, too.
    Nothing,
}

/// The files below a directory; at most a few thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest(Vec<Listed>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    /// Below the directory, without `.` and `..`.
    path: String,
    size_bytes: u64,
    /// Hexadecimal.
    sha256: String,
}

impl Manifest {
    /// Lists and hashes the files below a directory; links are left out. `None` where `stopped` was set meanwhile.
    ///
    /// # Errors
    /// [`CacheError`] where something cannot be read.
    pub fn of(dir: &Path, stopped: &AtomicBool) -> Result<Option<Self>, CacheError> {
        let mut paths = Vec::new();
        find(dir, &mut paths)?;
        paths.sort();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            if stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let mut file = File::open(&path).map_err(CacheError::on("read", &path))?;
            let size_bytes = file.metadata().map_err(CacheError::on("read", &path))?.len();
            let sha256 = sha256_of(&mut file).map_err(CacheError::on("read", &path))?;
            let below = path.strip_prefix(dir).ok().and_then(Path::to_str).filter(|below| !below.contains('\n'));
            let odd = || io::Error::new(io::ErrorKind::InvalidData, "its name cannot stand in a list");
            let below = below.ok_or_else(|| CacheError::on("list", &path)(odd()))?;
            files.push(Listed { path: below.to_owned(), size_bytes, sha256 });
        }
        Ok(Some(Self(files)))
    }

    /// As it is kept.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |file: &Listed| format!("{} {} {}\n", file.sha256, file.size_bytes, file.path);
        self.0.iter().map(line).collect()
    }

    /// From [`Self::to_text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let listed = |line: &str| {
            let (sha256, rest) = line.split_once(' ')?;
            let (size, path) = rest.split_once(' ')?;
            Some(Listed { path: path.to_owned(), size_bytes: size.parse().ok()?, sha256: sha256.to_owned() })
        };
        text.lines().map(listed).collect::<Option<_>>().map(Self)
    }

    /// Compares the files below `dir` with the list, which is kept at `list`; `Some` says what is wrong. What was found
    /// sound is remembered in `cache` until a file is written to.
    ///
    /// # Errors
    /// [`CacheError`] where a file is there and cannot be read.
    pub fn damage(&self, list: &Path, dir: &Path, cache: &Path, trust: Trust) -> Result<Option<String>, CacheError> {
        let seen = match self.look(dir)? {
            Ok(seen) => seen,
            Err(damage) => return Ok(Some(damage)),
        };
        let looks = digest(&seen);
        let memo = Memo::new(cache, "modules", vec![list]);
        if trust == Trust::Fingerprints && memo.recall::<String>() == Some(looks.clone()) {
            return Ok(None);
        }
        for file in &self.0 {
            let path = dir.join(&file.path);
            match plain::open(&path).and_then(|mut file| sha256_of(&mut file)) {
                Ok(sha256) if sha256 == file.sha256 => {}
                Ok(_) => return Ok(Some(changed(&path))),
                Err(error) => return damage_or(&path, error).map(Some),
            }
        }
        // What was written to while it was read has a hash of neither.
        if seen.iter().all(memo::is_settled) && self.look(dir)?.is_ok_and(|again| again == seen) {
            memo.keep_if_possible(&looks);
        }
        Ok(None)
    }

    /// What stat(2) says of all files, or which of them is not there or of another size.
    fn look(&self, dir: &Path) -> Result<Result<Vec<Fingerprint>, String>, CacheError> {
        let mut seen = Vec::with_capacity(self.0.len());
        for file in &self.0 {
            let path = dir.join(&file.path);
            match Fingerprint::of(&path) {
                Ok(there) if there.size_bytes() == file.size_bytes => seen.push(there),
                Ok(_) => return Ok(Err(changed(&path))),
                Err(error) => return damage_or(&path, error).map(Err),
            }
        }
        Ok(Ok(seen))
    }
}

/// Says that a file is not what it was.
pub(super) fn changed(path: &Path) -> String {
    format!("{} has changed since it was fetched", path.display())
}

/// Says what is wrong with a file that could not be read, where that is not the host's failure.
pub(super) fn damage_or(path: &Path, error: io::Error) -> Result<String, CacheError> {
    plain::damage(path, &error).ok_or_else(|| CacheError::on("read", path)(error))
}

fn digest(seen: &[Fingerprint]) -> String {
    let mut hash = Sha256::new();
    seen.iter().for_each(|file| hash.update(format!("{file:?}\n")));
    hex(&hash.finalize())
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), CacheError> {
    for entry in fs::read_dir(dir).map_err(CacheError::on("list", dir))? {
        let entry = entry.map_err(CacheError::on("list", dir))?;
        // Links such as `build` lead out of the tree: the type is that of the link itself.
        let kind = entry.file_type().map_err(CacheError::on("list", dir))?;
        if kind.is_dir() {
            find(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    static RUNNING: AtomicBool = AtomicBool::new(false);

    fn modules() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("kernel/a b")).unwrap();
        fs::write(dir.path().join("modules.dep"), "").unwrap();
        fs::write(dir.path().join("kernel/a b/x.ko"), "module").unwrap();
        symlink("/usr/src", dir.path().join("build")).unwrap();
        dir
    }

    #[test]
    fn a_list_reads_back_as_it_was_written() {
        let dir = modules();
        let manifest = Manifest::of(dir.path(), &RUNNING).unwrap().unwrap();
        let text = manifest.to_text();
        let hashes = ["module", ""].map(|text| hex(&Sha256::digest(text)));
        assert_eq!(text, format!("{} 6 kernel/a b/x.ko\n{} 0 modules.dep\n", hashes[0], hashes[1]));
        assert_eq!(Manifest::parse(&text), Some(manifest));
        assert_eq!(Manifest::parse("x\n"), None);
        assert_eq!(Manifest::of(dir.path(), &AtomicBool::new(true)).unwrap(), None);
    }

    #[test]
    fn damage_is_seen_whoever_is_trusted() {
        let (dir, cache) = (modules(), tempfile::tempdir().unwrap());
        let list = cache.path().join("list");
        fs::write(&list, "").unwrap();
        let manifest = Manifest::of(dir.path(), &RUNNING).unwrap().unwrap();
        let damage = |trust| manifest.damage(&list, dir.path(), cache.path(), trust).unwrap();
        let module = dir.path().join("kernel/a b/x.ko");
        for trust in [Trust::Fingerprints, Trust::Nothing] {
            assert_eq!(damage(trust), None);
            for text in ["modul", "modulf"] {
                fs::write(&module, text).unwrap();
                assert!(damage(trust).unwrap().ends_with("x.ko has changed since it was fetched"));
            }
            fs::remove_file(&module).unwrap();
            assert!(damage(trust).unwrap().ends_with("x.ko is missing"));
            fs::write(&module, "module").unwrap();
        }
    }

    #[test]
    fn what_is_remembered_is_not_read_again_unless_that_is_asked_for() {
        let (dir, cache) = (modules(), tempfile::tempdir().unwrap());
        // A file that is old enough to be trusted, as the memo is kept for it.
        let list = vmlab_store::fixture::old_file();
        let mut manifest = Manifest::of(dir.path(), &RUNNING).unwrap().unwrap();
        let seen = manifest.look(dir.path()).unwrap().unwrap();
        let memo = Memo::new(cache.path(), "modules", vec![&list]);
        memo.keep(&digest(&seen)).unwrap();
        manifest.0[0].sha256 = "another".to_owned();
        let damage = |trust| manifest.damage(&list, dir.path(), cache.path(), trust).unwrap();
        assert_eq!(damage(Trust::Fingerprints), None);
        assert!(damage(Trust::Nothing).is_some());
    }
}
