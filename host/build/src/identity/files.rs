//! The identity of a tree without a repository: each file is read once, and again when stat(2) reports a change.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vmlab_store::cache::{Entry, EntryKind, Listing, disk, leftovers};
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::{atomic, hex};

use super::{IdentityError, add};

/// A file that was changed so recently may change again without a new time, in s.
const FRESH: i64 = 2;

/// What stat(2) reports of a file: size, times of change in ns, inode.
type Look = (u64, i128, i128, u64);

/// What is kept of a tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The tree's path, for lists.
    pub(super) tree: String,
    /// Lines `SIZE MTIME CTIME INODE DIGEST PATH`: a tree has 80,000 files, and is looked at before each run.
    pub(super) files: String,
}

/// What is kept of source trees. Without it only the next look at the tree takes longer.
pub static TREES: EntryKind = EntryKind {
    name: "tree list",
    plural: "tree-lists",
    help: "Digests of the files of source trees without git",
    rank: Some(2),
    list,
};

fn list(cache: &Path) -> Listing {
    let mut listing = leftovers::half_written(&root(cache));
    match disk::list(&root(cache)) {
        Ok(files) => listing.entries.extend(files.into_iter().filter_map(|(name, path)| look(&name, path))),
        Err(error) => listing.errors.push(error),
    }
    listing
}

fn look(name: &str, path: PathBuf) -> Option<Entry> {
    let name = name.strip_suffix(".json")?;
    let (what, useless, unreadable) = match checksummed::read::<Kept>(&path) {
        Ok(Stored::Missing) => return None,
        Ok(Stored::Damaged(why)) => (name.to_owned(), Some(why), None),
        Ok(Stored::Sound(kept)) => {
            let gone = (!Path::new(&kept.tree).is_dir()).then(|| "there is no such tree any more".to_owned());
            (kept.tree, gone, None)
        }
        Err(error) => (name.to_owned(), None, Some(error.cause())),
    };
    Some(Entry { useless, unreadable, ..Entry::at(&TREES, what, path) })
}

/// The known files of a tree by path, with their digests.
type Memory<'a> = HashMap<&'a str, (Look, &'a str)>;

fn read(text: &str) -> Memory<'_> {
    text.lines().filter_map(known).collect()
}

fn known(line: &str) -> Option<(&str, (Look, &str))> {
    let mut parts = line.splitn(6, ' ');
    let mut next = || parts.next();
    let look = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
    let digest = next()?;
    Some((next()?, (look, digest)))
}

pub(super) fn identity(tree: &Path, cache: &Path, stopped: &AtomicBool) -> Result<String, IdentityError> {
    let place = memory_path(tree, cache);
    let earlier = match checksummed::read::<Kept>(&place) {
        Ok(Stored::Sound(kept)) => kept.files,
        // It only saves time.
        Ok(Stored::Missing | Stored::Damaged(_)) | Err(_) => String::new(),
    };
    let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let began = i64::try_from(began).unwrap_or(i64::MAX);
    let mut walk = Walk { stopped, earlier: read(&earlier), now: String::new(), hash: Sha256::new(), began };
    walk.directory(tree, &mut PathBuf::new())?;
    let Walk { now, hash, .. } = walk;
    if now != earlier {
        keep(&place, &Kept { tree: tree.display().to_string(), files: now });
    }
    Ok(hex(&hash.finalize()))
}

/// Keeps the known files for the next look at the tree.
fn keep(place: &Path, known: &Kept) {
    let kept = place.parent().map_or(Ok(()), atomic::create_dir).and_then(|()| checksummed::write(place, known));
    if let Err(error) = kept {
        // The next look reads the whole tree again, and is right all the same.
        tracing::debug!(%error, "what is known of the source tree cannot be kept");
    }
}

fn root(cache: &Path) -> PathBuf {
    cache.join("builds/trees")
}

/// Where the known files of a tree are kept.
fn memory_path(tree: &Path, cache: &Path) -> PathBuf {
    let name = hex(&Sha256::digest(tree.as_os_str().as_bytes()));
    root(cache).join(format!("{}.json", &name[..16]))
}

struct Walk<'a> {
    stopped: &'a AtomicBool,
    earlier: Memory<'a>,
    /// The lines of the files that were seen.
    now: String,
    hash: Sha256,
    /// When the walk began, in s since 1970.
    began: i64,
}

impl Walk<'_> {
    /// Adds a directory, whose path in the tree is `below`.
    fn directory(&mut self, path: &Path, below: &mut PathBuf) -> Result<(), IdentityError> {
        let read = |cause| IdentityError::Read { path: path.to_owned(), cause };
        let listed: io::Result<Vec<_>> = fs::read_dir(path).and_then(Iterator::collect);
        let mut entries = listed.map_err(read)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries.into_iter().filter(|entry| entry.file_name() != ".git") {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(IdentityError::Stopped);
            }
            let path = entry.path();
            let read = |cause| IdentityError::Read { path: path.clone(), cause };
            let about = entry.metadata().map_err(read)?;
            below.push(entry.file_name());
            if about.is_dir() {
                self.directory(&path, below)?;
            } else {
                add(&mut self.hash, below.as_os_str().as_bytes());
                let content = match about.is_symlink() {
                    true => fs::read_link(&path).map_err(read)?.as_os_str().as_bytes().to_vec(),
                    // The mode decides whether scripts can be run.
                    false if about.is_file() => {
                        let digest = self.digest(&path, &about, below).map_err(read)?;
                        format!("{:o} {digest}", about.mode() & 0o111).into_bytes()
                    }
                    false => b"special".to_vec(),
                };
                add(&mut self.hash, &content);
            }
            below.pop();
        }
        Ok(())
    }

    fn digest(&mut self, path: &Path, about: &fs::Metadata, below: &Path) -> io::Result<String> {
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        let times = (ns(about.mtime(), about.mtime_nsec()), ns(about.ctime(), about.ctime_nsec()));
        let look = (about.len(), times.0, times.1, about.ino());
        // A name that is no text, or has a line end, is read each time.
        let name = below.to_str().filter(|name| !name.contains('\n'));
        let known = name.and_then(|name| self.earlier.get(name)).filter(|(earlier, _)| *earlier == look);
        let digest = match known {
            Some((_, digest)) => (*digest).to_owned(),
            None => vmlab_store::sha256_of(&mut File::open(path)?)?,
        };
        if let Some(name) = name.filter(|_| about.ctime() + FRESH < self.began) {
            let (size, mtime, ctime, inode) = look;
            self.now.push_str(&format!("{size} {mtime} {ctime} {inode} {digest} {name}\n"));
        }
        Ok(digest)
    }
}
