mod hostile;
mod written;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use vmlab_protocol::archive::{LINK, MTIME, OutReport, PATH, REPORT};

use crate::{OutError, Place, extract};

/// The most that all files of a test may have, in bytes.
const LIMIT: u64 = u64::MAX;

/// The archive of a guest.
pub(super) struct Sent {
    pub(super) builder: Builder<Vec<u8>>,
}

impl Sent {
    pub(super) fn new() -> Self {
        Self { builder: Builder::new(Vec::new()) }
    }

    pub(super) fn extended(mut self, fields: &[(&str, &[u8])]) -> Self {
        self.builder.append_pax_extensions(fields.iter().copied()).unwrap();
        self
    }

    pub(super) fn header(mut self, kind: EntryType, mode: u32, size: u64, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_cksum();
        self.builder.append(&header, content).unwrap();
        self
    }

    pub(super) fn file(self, path: impl AsRef<[u8]>, mode: u32, content: &str) -> Self {
        let fields = [(PATH, path.as_ref()), (MTIME, b"1000000000.000000007".as_slice())];
        self.extended(&fields).header(EntryType::Regular, mode, content.len() as u64, content.as_bytes())
    }

    pub(super) fn directory(self, path: impl AsRef<[u8]>, mode: u32) -> Self {
        self.extended(&[(PATH, path.as_ref()), (MTIME, b"-1.5")]).header(EntryType::Directory, mode, 0, b"")
    }

    pub(super) fn link(self, path: impl AsRef<[u8]>, target: &str) -> Self {
        let fields = [(PATH, path.as_ref()), (LINK, target.as_bytes()), (MTIME, b"5".as_slice())];
        self.extended(&fields).header(EntryType::Symlink, 0o777, 0, b"")
    }

    /// The whole archive.
    pub(super) fn end(self, places: usize) -> Vec<u8> {
        let json = serde_json::to_vec(&vec![OutReport { exists: true, ..OutReport::default() }; places]).unwrap();
        let last = self.extended(&[(PATH, REPORT.as_bytes())]);
        last.header(EntryType::Regular, 0, json.len() as u64, &json).builder.into_inner().unwrap()
    }
}

/// A host with a directory for files, and one that nothing must change.
pub(super) struct Host {
    dir: TempDir,
}

impl Host {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("outside/sub")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        Self { dir }
    }

    pub(super) fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    pub(super) fn place(&self, path: &str) -> Place {
        Place::prepare(&self.path(path), OsStr::new("name"), false).unwrap()
    }

    /// Writes an archive to the directory `out`.
    pub(super) fn extract(&self, archive: &[u8]) -> Result<Vec<OutReport>, OutError> {
        extract(archive, &[self.place("out")], LIMIT)
    }

    /// All there is: path, mode, and content.
    pub(super) fn listing(&self, below: &str) -> Vec<String> {
        let mut lines = Vec::new();
        list(&self.path(below), Path::new(""), &mut lines);
        lines
    }
}

fn list(root: &Path, below: &Path, lines: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(root.join(below)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = below.join(entry.file_name());
        let about = entry.metadata().unwrap();
        let mode = about.permissions().mode() & 0o7777;
        if about.is_dir() {
            lines.push(format!("{}/ {mode:o}", path.display()));
            list(root, &path, lines);
        } else if about.is_symlink() {
            lines.push(format!("{} -> {}", path.display(), fs::read_link(root.join(&path)).unwrap().display()));
        } else {
            let content = fs::read(root.join(&path)).unwrap();
            let content = String::from_utf8_lossy(&content).into_owned();
            lines.push(format!("{} {mode:o} {content} {}", path.display(), about.nlink()));
        }
    }
}
