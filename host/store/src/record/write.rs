//! Writing a record.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, TryLockError};
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

/// How many names are tried: more runs never start in one second.
const ATTEMPTS: usize = 64;

/// The record of a run that is going on. Its lock ends when it is dropped.
#[derive(Debug)]
pub struct RunRecord {
    /// The run's name, as `20261122-110203-4f2a`.
    pub id: String,
    /// The record's directory.
    pub dir: PathBuf,
    /// Failures that do not prevent the record; each is a sentence for a notice.
    pub notices: Vec<String>,
    events: File,
    /// Bytes of whole lines.
    written: u64,
    broken: bool,
}

impl RunRecord {
    /// Begins a record whose name says `now`, points `latest` to it, and removes all but the newest records.
    ///
    /// # Errors
    /// [`RecordError::Create`]; a run can go on without a record.
    pub fn create(dirs: &Dirs, now: SystemTime) -> Result<Self, RecordError> {
        let runs = runs_dir(dirs);
        let failed = |why| RecordError::Create { dir: runs.clone(), why };
        // What a guest printed is private: mode 0700, as the XDG specification asks for.
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
        Err(failed(io::Error::other(format!("all of {ATTEMPTS} names for a run at {time} are taken"))))
    }

    /// `None` where the name is taken, or another process removes the new directory as an old one: try another name.
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

    /// Writes one event, which is in the file, as far as the kernel is concerned, when this returns.
    ///
    /// # Errors
    /// [`RecordError::Append`]. The record then ends with the event before: a record with a hole in its middle could not
    /// be trusted, so all further calls fail as well.
    pub fn append(&mut self, event: &Stamped) -> Result<(), RecordError> {
        let failed = |why| RecordError::Append { path: self.dir.join(EVENTS), why };
        if self.broken {
            return Err(failed(io::Error::other("an earlier event could not be written")));
        }
        let line = log::encode(event).map_err(failed)?;
        if let Err(why) = self.events.write_all(&line) {
            self.broken = true;
            // Where not even this works, the cut line stays the last one, which readers expect.
            self.events.set_len(self.written).unwrap_or_default();
            return Err(failed(why));
        }
        self.written += line.len() as u64;
        Ok(())
    }

    /// The file of a guest's console.
    #[must_use]
    pub fn console_path(&self, guest: u32) -> PathBuf {
        self.dir.join(console_name(guest))
    }

    /// Forces the events to the disk, so that they survive a power cut.
    ///
    /// # Errors
    /// [`RecordError::Append`]
    pub fn finish(self) -> Result<(), RecordError> {
        self.events.sync_all().map_err(|why| RecordError::Append { path: self.dir.join(EVENTS), why })
    }
}

/// Makes `latest` point to a run. A reader sees the old or the new target.
fn point_latest(runs: &Path, id: &str) -> io::Result<()> {
    let aside = runs.join(format!(".{LATEST}-{id}"));
    symlink(id, &aside)?;
    fs::rename(&aside, runs.join(LATEST)).inspect_err(|_| {
        // The rename's error is the one to report; a link that stays behind is harmless.
        fs::remove_file(&aside).unwrap_or_default();
    })
}

#[cfg(test)]
impl RunRecord {
    /// Makes all further writing go to `file`.
    pub(super) fn divert(&mut self, file: File) {
        self.events = file;
    }
}
