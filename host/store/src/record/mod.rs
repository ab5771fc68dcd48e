//! Run records, under `$XDG_STATE_HOME/vmlab/runs/RUN_ID/`.
//!
//! A record is `events.jsonl`, one event a line in order, and a console file for each guest. `runs/latest` points to the
//! run that was started last. A run that is going on has a lock (flock(2)) on its events, so that no other process removes
//! the record, and readers can tell it from a run that was killed.

use std::io;
use std::path::{Path, PathBuf};

use super::dirs::Dirs;
use vmlab_events::log::EventLogError;

mod list;
mod open;
mod prune;
mod write;

pub use list::{Listed, list};
pub use open::{RunState, StoredRun, open};
pub use write::RunRecord;

/// The events' file within a record.
pub const EVENTS: &str = "events.jsonl";
/// The link to the run that was started last.
pub const LATEST: &str = "latest";

/// The directory of all records.
#[must_use]
pub fn runs_dir(dirs: &Dirs) -> PathBuf {
    dirs.state.join("runs")
}

/// A guest's console file within a record: `console-1.log`.
#[must_use]
pub fn console_name(guest: u32) -> String {
    format!("console-{guest}.log")
}

/// Whether a name is that of a run: `YYYYMMDD-HHMMSS-xxxx`, UTC, the last part four hexadecimal digits.
#[must_use]
pub fn is_run_id(name: &str) -> bool {
    let lengths_and_bases = [(8, 10), (6, 10), (4, 16)];
    let parts: Vec<_> = name.split('-').collect();
    parts.len() == lengths_and_bases.len()
        && parts.iter().zip(lengths_and_bases).all(|(part, (length, base))| {
            part.len() == length && part.chars().all(|c| c.is_digit(base) && !c.is_ascii_uppercase())
        })
}

/// Why a run record cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record cannot be created.
    #[error(
        "cannot keep a record of the run in {dir}: {why}; make room there or make it writable, or set XDG_STATE_HOME to \
         a directory that can be written",
        dir = dir.display()
    )]
    Create {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A record that was begun cannot be continued.
    #[error(
        "cannot write to {path}: {why}; the record ends here. Make room there, or set XDG_STATE_HOME to a directory \
         that can be written",
        path = path.display()
    )]
    Append {
        /// The events' file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The directory of records, or one of them, cannot be looked at.
    #[error("cannot read {path}: {why}; check its permissions, or set XDG_STATE_HOME", path = path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// There is no record at all.
    #[error("there is no record of a run in {dir} yet: `vmlab run` makes one", dir = .0.display())]
    NoRuns(PathBuf),
    /// No record has that name.
    #[error("there is no record of a run `{name}` in {dir}: `vmlab report --list` names those there are", dir = dir.display())]
    Unknown {
        /// As typed.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The path leads nowhere.
    #[error(
        "there is no record of a run `{path}`: nothing is at that path; `vmlab report --list` names the runs that are \
         kept, and a file of events can be given by its path",
        path = .0.display()
    )]
    NoSuchPath(PathBuf),
    /// More than one name begins so.
    #[error("`{name}` is the beginning of {count} run names, among them {some}; type more of it")]
    Ambiguous {
        /// As typed.
        name: String,
        /// How many.
        count: usize,
        /// The newest of them.
        some: String,
    },
    /// The directory holds something else.
    #[error(
        "{dir} is no record of a run: there is no {EVENTS} in it; `vmlab report --list` names the runs that are kept",
        dir = .0.display()
    )]
    NotARecord(PathBuf),
    /// Its events cannot be read.
    #[error("{path} is no whole record of a run: {why}", path = path.display())]
    Events {
        /// The events' file.
        path: PathBuf,
        /// What is wrong with it.
        why: EventLogError,
    },
}

/// The names of all runs in a directory of records, oldest first: the names begin with the time.
fn run_ids(runs: &Path) -> Result<Vec<String>, RecordError> {
    let failed = |why| RecordError::Read { path: runs.to_owned(), why };
    let entries = match runs.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        ids.extend(entry.file_name().into_string().ok().filter(|name| is_run_id(name)));
    }
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests;
