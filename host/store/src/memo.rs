//! What was once found out about files, remembered for as long as nobody writes to them. Hashing a kernel, asking QEMU
//! for its version and building an image each cost more than starting a guest.
//!
//! A memo is a small file of the cache. One that is missing, malformed or of other files is none: what it would tell is
//! found out again. The time of its file is when it was last recalled.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fingerprint::Fingerprint;
use super::hold::touch;
use super::json::{self, Json};
use super::{CacheError, atomic, hex, plain, sha256_of};

pub mod inventory;

/// A file that was changed so shortly ago could be changed again without its times telling.
const SETTLED: Duration = Duration::from_secs(2);

/// What memos are, for who is told that they could not be kept.
pub const FACTS: &str = "what was found out about files";

/// What is remembered of what.
#[derive(Debug)]
pub struct Memo<'a> {
    cache: &'a Path,
    /// What kind of thing is remembered, as `sha256`.
    kind: &'a str,
    /// The files that it follows from.
    files: Vec<&'a Path>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept<T> {
    kind: String,
    files: Vec<(PathBuf, Fingerprint)>,
    value: T,
}

impl<'a> Memo<'a> {
    /// The memo of that kind about these files.
    #[must_use]
    pub const fn new(cache: &'a Path, kind: &'a str, files: Vec<&'a Path>) -> Self {
        Self { cache, kind, files }
    }

    /// What was kept, if none of the files was written to since.
    #[must_use]
    pub fn recall<T: DeserializeOwned>(&self) -> Option<T> {
        let kept = match json::read::<Kept<T>>(&self.path()) {
            Ok(Json::Read(kept)) => kept,
            _ => return None,
        };
        let now = self.fingerprints().ok()?;
        let known = kept.kind == self.kind && kept.files == now;
        known.then(|| {
            touch(&self.path());
            kept.value
        })
    }

    /// Keeps a value, unless one of the files has changed so shortly ago that it may change once more unnoticed.
    ///
    /// # Errors
    /// The cache cannot be written, and nothing is lost but time.
    pub fn keep<T: Serialize>(&self, value: &T) -> Result<(), CacheError> {
        // A file that is gone has nothing to be remembered.
        let Ok(files) = self.fingerprints() else { return Ok(()) };
        if !files.iter().all(|(_, file)| is_settled(file)) {
            return Ok(());
        }
        atomic::create_dir(&root(self.cache))?;
        json::write(&self.path(), &Kept { kind: self.kind.to_owned(), files, value })
    }

    /// As [`Self::keep`]; where the cache cannot be written, it is found out again next time, and nobody is told.
    pub fn keep_if_possible<T: Serialize>(&self, value: &T) {
        // A run that this happens to puts other things into the same cache, and tells of those.
        let _ = self.keep(value);
    }

    fn fingerprints(&self) -> io::Result<Vec<(PathBuf, Fingerprint)>> {
        self.files.iter().map(|path| Ok((path.to_path_buf(), Fingerprint::of(path)?))).collect()
    }

    fn path(&self) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(self.kind);
        for path in &self.files {
            hash.update([0]);
            hash.update(path.as_os_str().as_encoded_bytes());
        }
        root(self.cache).join(format!("{}.json", &hex(&hash.finalize())[..32]))
    }
}

/// Where memos are kept.
fn root(cache: &Path) -> PathBuf {
    cache.join("memo")
}

/// Whether a file was changed so long ago that any further change would show in its fingerprint.
#[must_use]
pub fn is_settled(file: &Fingerprint) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age_ns = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX) - file.changed_ns();
    age_ns > i128::try_from(SETTLED.as_nanos()).unwrap_or(i128::MAX)
}

/// SHA-256 of a file, hexadecimal; computed only where the file was written to since the last time.
///
/// # Errors
/// As [`plain::open`] and read(2).
pub fn sha256(cache: &Path, file: &Path) -> io::Result<String> {
    let memo = Memo::new(cache, "sha256", vec![file]);
    if let Some(known) = memo.recall() {
        return Ok(known);
    }
    let before = Fingerprint::of(file)?;
    let hash = sha256_of(&mut plain::open(file)?)?;
    // What was written to while it was read has a hash of neither.
    if Fingerprint::of(file)? == before {
        memo.keep_if_possible(&hash);
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::old_file;

    #[test]
    fn a_value_is_kept_until_a_file_changes() {
        let cache = tempfile::tempdir().unwrap();
        let (old, young) = (old_file(), cache.path().join("young"));
        fs::write(&young, "1").unwrap();
        let memo = Memo::new(cache.path(), "test", vec![&old]);
        assert_eq!(memo.recall::<u32>(), None);
        memo.keep(&7_u32).unwrap();
        assert_eq!(memo.recall::<u32>(), Some(7));
        let memo = Memo::new(cache.path(), "test", vec![&young]);
        memo.keep(&8_u32).unwrap();
        assert_eq!(memo.recall::<u32>(), None, "a file that was just written is not trusted");
    }

    #[test]
    fn other_files_kinds_and_damage_are_no_memo() {
        let cache = tempfile::tempdir().unwrap();
        let old = old_file();
        let memo = Memo::new(cache.path(), "test", vec![&old]);
        let files = memo.fingerprints().unwrap();
        atomic::create_dir(memo.path().parent().unwrap()).unwrap();
        let kept = Kept { kind: "test".to_owned(), files: files.clone(), value: 7_u32 };
        json::write(&memo.path(), &kept).unwrap();
        assert_eq!(memo.recall(), Some(7_u32));
        assert_eq!(memo.recall::<String>(), None);
        json::write(&memo.path(), &Kept { kind: "other".to_owned(), files, value: 7_u32 }).unwrap();
        assert_eq!(memo.recall::<u32>(), None);
        fs::write(memo.path(), "{").unwrap();
        assert_eq!(memo.recall::<u32>(), None);
    }

    #[test]
    fn a_memo_that_cannot_be_kept_says_so() {
        let cache = tempfile::tempdir().unwrap();
        fs::write(cache.path().join("memo"), "").unwrap();
        let error = Memo::new(cache.path(), "test", vec![&old_file()]).keep(&7).unwrap_err();
        assert!(error.to_string().contains("memo"), "{error}");
    }

    #[test]
    fn a_written_file_has_its_new_hash() {
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("file");
        for text in ["one", "two"] {
            fs::write(&file, text).unwrap();
            assert_eq!(sha256(cache.path(), &file).unwrap(), hex(&Sha256::digest(text)));
        }
    }
}
