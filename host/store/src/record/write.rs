//! Writes a record.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, Metadata, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use super::prune::{MAX_RECORDS, prune};
use super::{EVENTS, LATEST, RecordError, console_name, runs_dir};
use crate::dirs::Dirs;
use vmlab_events::event::Stamped;
use vmlab_events::log;

/// The number of ids that are tried. Fewer runs start within one second.
const ATTEMPTS: usize = 64;

/// The record of an active run. Dropping it releases its lock.
#[derive(Debug)]
pub struct RunRecord {
    /// The run's id, for example `20261122-110203-4f2a`.
    pub id: String,
    /// The record's directory.
    pub dir: PathBuf,
    /// Notices about failures that do not prevent the record, one sentence each.
    pub notices: Vec<String>,
    events: File,
    /// The length of all complete lines, in bytes.
    written: u64,
    broken: bool,
}

impl RunRecord {
    /// Creates a record whose id contains `now`, points `latest` to it, and removes old records.
    ///
    /// # Errors
    /// [`RecordError::Create`]; the run can continue without a record.
    pub fn create(dirs: &Dirs, now: SystemTime) -> Result<Self, RecordError> {
        let runs = runs_dir(dirs);
        let failed = |why| RecordError::Create { dir: runs.clone(), why };
        // A guest's output is private: mode 0700, as the XDG specification requires.
        DirBuilder::new().recursive(true).mode(0o700).create(&runs).map_err(failed)?;
        let time = DateTime::<Utc>::from(now).format("%Y%m%d-%H%M%S");
        for _ in 0..ATTEMPTS {
            let id = format!("{time}-{:04x}", RandomState::new().build_hasher().finish() & 0xffff);
            if let Some(mut record) = Self::try_create(&runs, id).map_err(failed)? {
                if let Err(why) = point_latest(&runs, &record.id) {
                    record.notices.push(format!("cannot point {} to this run: {why}", runs.join(LATEST).display()));
                }
                if let Err(error) = prune(dirs, MAX_RECORDS) {
                    record.notices.push(format!("cannot remove old run records: {error}"));
                }
                return Ok(record);
            }
        }
        Err(failed(io::Error::other(format!("{ATTEMPTS} ids for a run at {time} are in use"))))
    }

    /// `None` if the id is in use, or another process removes the new directory as an old one: try another id.
    fn try_create(runs: &Path, id: String) -> io::Result<Option<Self>> {
        let dir = runs.join(&id);
        let gone = |error: &io::Error| matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound);
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if gone(&error) => return Ok(None),
            made => made?,
        }
        let events = match File::options().append(true).create_new(true).open(dir.join(EVENTS)) {
            Err(error) if gone(&error) => return Ok(None),
            opened => opened?,
        };
        let mut notices = Vec::new();
        match events.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(why)) => {
                notices.push(format!(
                    "cannot lock {}, so another vmlab may remove it as an old one: {why}",
                    dir.display()
                ));
            }
        }
        if events.metadata()?.nlink() == 0 {
            return Ok(None);
        }
        Ok(Some(Self { id, dir, notices, events, written: 0, broken: false }))
    }

    /// Writes an event to the file with one write(2).
    ///
    /// # Errors
    /// [`RecordError::Lost`], or [`RecordError::Append`]. The record then ends with the event before. All further calls fail as well, because a
    /// record with a gap would be misleading.
    pub fn append(&mut self, event: &Stamped) -> Result<(), RecordError> {
        let failed = |why| RecordError::Append { path: self.dir.join(EVENTS), why };
        if self.broken {
            return Err(failed(io::Error::other("an earlier event could not be written")));
        }
        if self.events.metadata().map_err(failed)?.nlink() == 0 {
            self.broken = true;
            return Err(RecordError::Lost(self.dir.clone()));
        }
        let line = log::encode(event).map_err(failed)?;
        if let Err(why) = self.events.write_all(&line) {
            self.broken = true;
            // If this fails, the truncated line stays the last one, which readers accept.
            self.events.set_len(self.written).unwrap_or_default();
            return Err(failed(why));
        }
        self.written += line.len() as u64;
        Ok(())
    }

    /// The path of a guest's console file.
    #[must_use]
    pub fn console_path(&self, guest: u32) -> PathBuf {
        self.dir.join(console_name(guest))
    }

    /// Flushes the events to the disk.
    ///
    /// # Errors
    /// [`RecordError::Lost`] if the record is no longer at its path, or [`RecordError::Append`].
    pub fn finish(self) -> Result<(), RecordError> {
        let path = self.dir.join(EVENTS);
        let identity = |file: Metadata| (file.dev(), file.ino());
        // If the path cannot be looked up, it does not lead to the open file: the record counts as lost.
        let there = fs::metadata(&path).map(identity).ok();
        let failed = |why| RecordError::Append { path: path.clone(), why };
        if there != Some(identity(self.events.metadata().map_err(failed)?)) {
            return Err(RecordError::Lost(self.dir));
        }
        self.events.sync_all().map_err(failed)
    }
}

/// Points `latest` to a run, atomically.
fn point_latest(runs: &Path, id: &str) -> io::Result<()> {
    let aside = runs.join(format!(".{LATEST}-{id}"));
    symlink(id, &aside)?;
    fs::rename(&aside, runs.join(LATEST)).inspect_err(|_| {
        // Report the error of rename(2); a leftover link is harmless.
        fs::remove_file(&aside).unwrap_or_default();
    })
}

#[cfg(test)]
impl RunRecord {
    /// Redirects all further writes to `file`.
    pub(super) fn divert(&mut self, file: File) {
        self.events = file;
    }
}
