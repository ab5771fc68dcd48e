//! Reads a record.

use std::fs::{File, TryLockError};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::{EVENTS, LATEST, RecordError, run_ids, runs_dir};
use crate::dirs::Dirs;
use crate::regular;
use vmlab_events::event::{Counts, LabEvent, Stamped};
use vmlab_events::{log, order};

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// The run is active.
    Running,
    /// The record has no last event: vmlab was killed, or the record was truncated.
    CutOff,
    /// The run ended.
    Finished {
        /// The number of jobs for each class of verdicts.
        counts: Counts,
        /// vmlab's exit code.
        exit_code: u8,
    },
}

/// A record, as read from the disk.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// The record's directory; `None` for a single file of events.
    pub dir: Option<PathBuf>,
    /// The events, in order; at least one.
    pub events: Vec<Stamped>,
    /// Notices about missing parts, one sentence each.
    pub notices: Vec<String>,
    /// The state of the run.
    pub state: RunState,
    /// The id of the run that was started last, if the user asked for that one and its record is gone.
    pub instead_of: Option<String>,
}

/// Reads the record `name`: `latest`, a run's id, the unambiguous beginning of an id, or the path of a record's
/// directory or of a file of events.
///
/// # Errors
/// [`RecordError`]
pub fn open(dirs: &Dirs, name: &str) -> Result<StoredRun, RecordError> {
    let Resolved { path, instead_of } = resolve(&runs_dir(dirs), name)?;
    let (dir, events) = if path.is_dir() { (Some(path.clone()), path.join(EVENTS)) } else { (None, path) };
    // A path that the user gave may be a pipe; a record's own file must be a regular file.
    let opened = if dir.is_some() { regular::open(&events) } else { File::open(&events) };
    let file = opened.map_err(|why| match (why.kind(), &dir) {
        (io::ErrorKind::NotFound, Some(dir)) => RecordError::NotARecord(dir.clone()),
        (io::ErrorKind::NotFound, None) => RecordError::NoSuchPath(name.into()),
        _ => RecordError::Read { path: events.clone(), why },
    })?;
    let running = is_running(&file);
    let damaged = |why| RecordError::Events { path: events.clone(), why };
    let log = log::read(BufReader::new(file)).map_err(damaged)?;
    order::check(&log.events).map_err(|why| damaged(why.into()))?;
    let state = state(log.events.last(), running);
    let mut notices = log.notices;
    match state {
        RunState::Running => notices.push("the run is still active: these are its events so far".to_owned()),
        RunState::CutOff => notices.push("the run was cut off: vmlab ended before the run's last event".to_owned()),
        RunState::Finished { .. } => {}
    }
    Ok(StoredRun { dir, events: log.events, notices, state, instead_of })
}

/// Whether a process writes to the events; false if the file system has no locks.
pub(super) fn is_running(events: &File) -> bool {
    matches!(events.try_lock_shared(), Err(TryLockError::WouldBlock))
}

pub(super) fn state(last: Option<&Stamped>, running: bool) -> RunState {
    match last.map(|last| &last.event) {
        Some(LabEvent::RunFinished { counts, exit_code }) => {
            RunState::Finished { counts: *counts, exit_code: *exit_code }
        }
        _ if running => RunState::Running,
        _ => RunState::CutOff,
    }
}

/// The path that a name stands for.
struct Resolved {
    path: PathBuf,
    /// As in [`StoredRun`].
    instead_of: Option<String>,
}

fn resolve(runs: &Path, name: &str) -> Result<Resolved, RecordError> {
    let as_asked = |path: PathBuf| Resolved { path, instead_of: None };
    if name.contains('/') || name == "." || name == ".." {
        return Ok(as_asked(name.into()));
    }
    let ids = run_ids(runs)?;
    if name != LATEST {
        return by_id(runs, &ids, name).map(as_asked);
    }
    // Not the resolved path, but the same path as the run itself printed.
    // If the link is missing or unreadable, the newest record is taken.
    let latest = runs.join(LATEST).read_link().ok();
    if let Some(dir) = latest.as_ref().map(|id| runs.join(id)).filter(|dir| dir.is_dir()) {
        return Ok(as_asked(dir));
    }
    let newest = ids.last().ok_or_else(|| RecordError::NoRuns(runs.to_owned()))?;
    let instead_of = latest.map(|id| id.to_string_lossy().into_owned());
    Ok(Resolved { path: runs.join(newest), instead_of })
}

/// The run whose id begins with `name`, or the file of that name.
fn by_id(runs: &Path, ids: &[String], name: &str) -> Result<PathBuf, RecordError> {
    let as_path = Path::new(name);
    let matching: Vec<_> = ids.iter().rev().filter(|id| id.starts_with(name) && !name.is_empty()).collect();
    match matching.as_slice() {
        [id] => Ok(runs.join(id)),
        [] if as_path.exists() => Ok(as_path.to_owned()),
        [] if ids.is_empty() => Err(RecordError::NoRuns(runs.to_owned())),
        [] => Err(RecordError::Unknown { name: name.to_owned(), dir: runs.to_owned() }),
        several => Err(RecordError::Ambiguous {
            name: name.to_owned(),
            count: several.len(),
            some: several.iter().take(3).map(|id| id.as_str()).collect::<Vec<_>>().join(", "),
        }),
    }
}
