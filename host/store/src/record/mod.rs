//! Run records, under `$XDG_STATE_HOME/vmlab/runs/RUN_ID/`.
//!
//! A record consists of `events.jsonl`, with one event per line, and a console file for each guest. The link
//! `runs/latest` leads to the run that was started last. While a run is active it has a lock (flock(2)) on its events,
//! so that no other process removes the record, and readers can distinguish it from a killed run.

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

/// The name of the events' file in a record.
pub const EVENTS: &str = "events.jsonl";
/// The name of the link to the run that was started last.
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

/// Whether a name is a run's id: `YYYYMMDD-HHMMSS-xxxx`, UTC, the last part four hexadecimal digits.
#[must_use]
pub fn is_run_id(name: &str) -> bool {
    let lengths_and_bases = [(8, 10), (6, 10), (4, 16)];
    let parts: Vec<_> = name.split('-').collect();
    parts.len() == lengths_and_bases.len()
        && parts.iter().zip(lengths_and_bases).all(|(part, (length, base))| {
            part.len() == length && part.chars().all(|c| c.is_digit(base) && !c.is_ascii_uppercase())
        })
}

/// Why a run record cannot be created or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The record cannot be created.
    #[error(
        "cannot record the run in {dir}: {why}; free some space there or make it writable, or set XDG_STATE_HOME to a \
         writable directory",
        dir = dir.display()
    )]
    Create {
        /// The directory.
        dir: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// An event cannot be written.
    #[error(
        "cannot write to {path}: {why}; the record ends here; free some space there, or set XDG_STATE_HOME to a writable \
         directory",
        path = path.display()
    )]
    Append {
        /// The events' file.
        path: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// The record was removed or moved while its run was active.
    #[error(
        "the record of this run, {dir}, was removed while the run was active, so what the guests did is lost; remove only \
         records of runs that have ended (`vmlab report --list` shows which)",
        dir = .0.display()
    )]
    Lost(PathBuf),
    /// The directory of records, or a record, cannot be read.
    #[error("cannot read {path}: {why}; check its permissions, or set XDG_STATE_HOME", path = path.display())]
    Read {
        /// The unreadable file or directory.
        path: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// There are no records.
    #[error("there is no record of a run in {dir} yet; `vmlab run` creates one", dir = .0.display())]
    NoRuns(PathBuf),
    /// No record has this id.
    #[error("there is no record of a run `{name}` in {dir}; `vmlab report --list` lists all records", dir = dir.display())]
    Unknown {
        /// The text that the user typed.
        name: String,
        /// The directory of records.
        dir: PathBuf,
    },
    /// The path does not exist.
    #[error(
        "there is no record of a run `{path}`: the path does not exist; `vmlab report --list` lists all records, and a \
         file of events can be given by its path",
        path = .0.display()
    )]
    NoSuchPath(PathBuf),
    /// Several ids begin with the text.
    #[error("`{name}` is the beginning of {count} run names, among them {some}; type more characters")]
    Ambiguous {
        /// The text that the user typed.
        name: String,
        /// The number of matching ids.
        count: usize,
        /// The newest of these ids.
        some: String,
    },
    /// The directory is no record.
    #[error(
        "{dir} is no record of a run: there is no {EVENTS} in it; `vmlab report --list` lists all records",
        dir = .0.display()
    )]
    NotARecord(PathBuf),
    /// The record's events are damaged.
    #[error("{path} is no whole record of a run: {why}", path = path.display())]
    Events {
        /// The events' file.
        path: PathBuf,
        /// What is wrong with it.
        why: EventLogError,
    },
}

/// The ids of all runs in a directory of records, oldest first; ids begin with the time.
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
