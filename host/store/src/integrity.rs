//! Lists of files with their digests, stored in checksummed JSON: what a directory of the cache consists of.
//!
//! A file's digest is its SHA-256. The exception is a saved guest, whose digests are CRC-32: making a template takes about
//! 3 s under TCG, and SHA-256 of its 66 MiB took 0.05 s of that with the processor's SHA extensions and 0.15 s without
//! them (OpenSSL 3.0, a cloud machine of 2 x86-64 cores). Both detect damage; neither is against malice, as the cache
//! belongs to its user.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::fingerprint::Fingerprint;
use crate::stat_cache::Fact;
use crate::{CacheError, hex, host_boot_id, regular, sha256_of};

/// Bytes of sparse files that are looked at together. Most blocks of a guest's memory are empty, and cost nothing.
const BLOCK: usize = 64 * 1024;

/// How much of what was read before is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A file that stat(2) calls unchanged has the digest that it had.
    Stat,
    /// Every byte is read, so that bytes which a disk lost by itself are found, too.
    Nothing,
}

/// How long a comparison of digests is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// While stat(2) says that the files are unchanged: they were forced to the disk.
    WhileUnchanged,
    /// Likewise, but no longer than until the host's next boot: a crash of the host may have lost what was not written to
    /// the disk.
    UntilReboot,
}

/// How a file's digest is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    /// SHA-256 of all bytes.
    Sha256,
    /// CRC-32 of the blocks that are not zero, each with its offset, so that a copy without holes has the same digest.
    SparseCrc32,
}

/// The files below a directory; at most a few thousand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity(Vec<Listed>);

/// As text: `sha256:DIGEST SIZE PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Listed {
    algorithm: Algorithm,
    /// Hexadecimal.
    digest: String,
    size_bytes: u64,
    /// Below the directory, without `.` and `..`.
    path: String,
}

impl Integrity {
    /// Lists all files below a directory, and leaves links out. `None` where `stopped` was set meanwhile.
    ///
    /// # Errors
    /// [`CacheError`] where something cannot be read.
    pub fn of_tree(dir: &Path, stopped: &AtomicBool) -> Result<Option<Self>, CacheError> {
        let mut paths = Vec::new();
        find(dir, &mut paths)?;
        paths.sort();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            if stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let below = path.strip_prefix(dir).ok().and_then(Path::to_str);
            let not_utf8 = || io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8");
            let below = below.ok_or_else(|| CacheError::on("list", &path)(not_utf8()))?;
            files.push(Listed::of(dir, below, Algorithm::Sha256)?);
        }
        Ok(Some(Self(files)))
    }

    /// Lists the files of a saved guest, which are named below a directory.
    ///
    /// # Errors
    /// [`CacheError`] where something cannot be read.
    pub fn of_guest(dir: &Path, names: &[&str]) -> Result<Self, CacheError> {
        names.iter().map(|name| Listed::of(dir, name, Algorithm::SparseCrc32)).collect::<Result<_, _>>().map(Self)
    }

    /// From lines `SHA256 SIZE PATH`, as an older vmlab wrote them.
    #[must_use]
    pub fn from_lines(lines: impl Iterator<Item = String>) -> Option<Self> {
        lines.map(|line| Listed::parse(&format!("sha256:{line}"))).collect::<Option<_>>().map(Self)
    }

    /// The listed SHA-256 of a file, hexadecimal.
    #[must_use]
    pub fn sha256(&self, path: &str) -> Option<&str> {
        let listed = self.0.iter().find(|file| file.path == path && file.algorithm == Algorithm::Sha256);
        listed.map(|file| file.digest.as_str())
    }

    /// A digest over the list.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        self.0.iter().for_each(|file| hash.update(String::from(file.clone()) + "\n"));
        hex(&hash.finalize())
    }

    /// Compares the files below `dir` with the list; `Some` says what is wrong. A result without damage is remembered in
    /// the stat cache.
    ///
    /// # Errors
    /// [`CacheError`] where a file is there and cannot be read.
    pub fn damage(&self, dir: &Path, cache: &Path, trust: Trust, lasts: Lasts) -> Result<Option<String>, CacheError> {
        let seen = match self.look(dir)? {
            Ok(seen) => seen,
            Err(damage) => return Ok(Some(damage)),
        };
        let (files, looks) = ([dir], digest_of(&seen));
        // Where the boot cannot be told, the files are read again each time.
        let fact = fact(cache, &files, lasts);
        if trust == Trust::Stat && fact.as_ref().and_then(Fact::get::<String>).as_ref() == Some(&looks) {
            return Ok(None);
        }
        for file in &self.0 {
            let path = dir.join(&file.path);
            match file.algorithm.of(&path) {
                Ok(digest) if digest == file.digest => {}
                Ok(_) => return Ok(Some(changed(&path))),
                Err(error) => return damage_or(&path, error).map(Some),
            }
        }
        // The digest of a file that was written to meanwhile is that of no version of it.
        if seen.iter().all(Fingerprint::is_settled)
            && self.look(dir)?.is_ok_and(|again| again == seen)
            && let Some(fact) = fact
        {
            fact.put_if_possible(&looks);
        }
        Ok(None)
    }

    /// Remembers that the files below `dir` are as listed. This process has just written and listed them, and no other
    /// process writes to them.
    pub fn remember(&self, dir: &Path, cache: &Path, lasts: Lasts) {
        let files = [dir];
        if let Some(fact) = fact(cache, &files, lasts)
            && let Ok(Ok(seen)) = self.look(dir)
        {
            // Where the cache does not take it, the files are read once more.
            let _ = fact.put_of_own_files(&digest_of(&seen));
        }
    }

    /// What stat(2) says of all files, or which of them is missing or of another size.
    fn look(&self, dir: &Path) -> Result<Result<Vec<Fingerprint>, String>, CacheError> {
        let mut seen = Vec::with_capacity(self.0.len());
        for file in &self.0 {
            let path = dir.join(&file.path);
            match Fingerprint::of(&path) {
                Ok(there) if there.size_bytes == file.size_bytes => seen.push(there),
                Ok(_) => return Ok(Err(changed(&path))),
                Err(error) => return damage_or(&path, error).map(Err),
            }
        }
        Ok(Ok(seen))
    }
}

fn fact<'a>(cache: &'a Path, files: &'a [&'a Path; 1], lasts: Lasts) -> Option<Fact<'a>> {
    let fact = Fact::new(cache, "integrity", files);
    match lasts {
        Lasts::WhileUnchanged => Some(fact),
        Lasts::UntilReboot => Some(fact.on_boot(host_boot_id().ok()?)),
    }
}

fn changed(path: &Path) -> String {
    // A file of another size may be another kind of file.
    regular::no_file(path).unwrap_or_else(|| format!("{} has changed since it was put there", path.display()))
}

/// Says what is wrong with a file that could not be read, unless that is the host's failure.
fn damage_or(path: &Path, error: io::Error) -> Result<String, CacheError> {
    regular::damage(path, &error).ok_or_else(|| CacheError::on("read", path)(error))
}

fn digest_of(seen: &[Fingerprint]) -> String {
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

impl Listed {
    fn of(dir: &Path, below: &str, algorithm: Algorithm) -> Result<Self, CacheError> {
        let path = dir.join(below);
        let size_bytes = Fingerprint::of(&path).map_err(CacheError::on("read", &path))?.size_bytes;
        let digest = algorithm.of(&path).map_err(CacheError::on("read", &path))?;
        Ok(Self { algorithm, digest, size_bytes, path: below.to_owned() })
    }

    fn parse(line: &str) -> Option<Self> {
        let (algorithm, rest) = line.split_once(':')?;
        let algorithm =
            [Algorithm::Sha256, Algorithm::SparseCrc32].into_iter().find(|known| known.name() == algorithm)?;
        let (digest, rest) = rest.split_once(' ')?;
        let (size, path) = rest.split_once(' ')?;
        Some(Self { algorithm, digest: digest.to_owned(), size_bytes: size.parse().ok()?, path: path.to_owned() })
    }
}

impl TryFrom<String> for Listed {
    type Error = String;

    fn try_from(line: String) -> Result<Self, String> {
        Self::parse(&line).ok_or_else(|| format!("`{line}` is not a digest, a size and a path"))
    }
}

impl From<Listed> for String {
    fn from(Listed { algorithm, digest, size_bytes, path }: Listed) -> Self {
        format!("{}:{digest} {size_bytes} {path}", algorithm.name())
    }
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::SparseCrc32 => "crc32",
        }
    }

    fn of(self, path: &Path) -> io::Result<String> {
        let mut file = regular::open(path)?;
        match self {
            Self::Sha256 => sha256_of(&mut file),
            Self::SparseCrc32 => crc32_of(&mut file).map(|crc| format!("{crc:08x}")),
        }
    }
}

fn crc32_of(file: &mut File) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut block = Vec::with_capacity(BLOCK);
    let zeros = vec![0; BLOCK];
    let mut at: u64 = 0;
    while let Some(data) = next_data(file, at)? {
        at = data - data % BLOCK as u64;
        file.seek(SeekFrom::Start(at))?;
        block.clear();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        if block != zeros[..block.len()] {
            crc.update(&at.to_le_bytes());
            crc.update(&block);
        }
        at += block.len() as u64;
    }
    Ok(crc.finalize())
}

/// Where the next data begins; `None` where there is none. A file system without holes has data everywhere (lseek(2)).
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    let offset = i64::try_from(at).map_err(io::Error::other)?;
    match lseek(file, offset, Whence::SeekData) {
        Ok(data) => u64::try_from(data).map(Some).map_err(io::Error::other),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
