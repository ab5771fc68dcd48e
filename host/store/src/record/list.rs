//! Lists all records. Reads only the first and the last event of each.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::open::{is_running, state};
use super::{EVENTS, RecordError, RunState, run_ids, runs_dir};
use crate::dirs::Dirs;
use crate::regular;
use vmlab_events::event::{LabEvent, Stamped};
use vmlab_events::log;
use vmlab_events::target::TargetId;

/// The number of bytes that are read at the end of a record. The last event of a run is far shorter.
const TAIL: u64 = 64 << 10;

/// A record in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The run's id.
    pub id: String,
    /// The record's directory.
    pub dir: PathBuf,
    /// The run's targets; empty if the record has no valid first event.
    pub targets: Vec<TargetId>,
    /// The names of the selected jobs.
    pub jobs: Vec<String>,
    /// The run's state, or the error of reading it.
    pub state: Result<RunState, String>,
}

/// All records, newest first, including those that cannot be read.
///
/// # Errors
/// [`RecordError::Read`] if the records' directory cannot be read.
pub fn list(dirs: &Dirs) -> Result<Vec<Listed>, RecordError> {
    let runs = runs_dir(dirs);
    let mut listed = Vec::new();
    for id in run_ids(&runs)?.into_iter().rev() {
        let dir = runs.join(&id);
        let (first, state) = match ends(&dir.join(EVENTS)) {
            Ok((first, state)) => (first, Ok(state)),
            // The run was killed before its first event, or the record was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, Ok(RunState::CutOff)),
            Err(why) => (None, Err(why.to_string())),
        };
        let (targets, jobs) = match first.map(|first| first.event) {
            Some(LabEvent::RunStarted { targets, jobs, .. }) => {
                (targets, jobs.iter().map(|job| job.name().to_owned()).collect())
            }
            _ => (Vec::new(), Vec::new()),
        };
        listed.push(Listed { id, dir, targets, jobs, state });
    }
    Ok(listed)
}

/// The first event, and the state that follows from the last one.
fn ends(events: &Path) -> io::Result<(Option<Stamped>, RunState)> {
    let mut file = regular::open(events)?;
    let running = is_running(&file);
    let mut line = Vec::new();
    BufReader::new(file.by_ref()).take(log::MAX_LINE).read_until(b'\n', &mut line)?;
    let first = log::decode_line(&line);
    let length = file.metadata()?.len();
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("its {what} event is damaged"));
    // A line without an end is truncated, not damaged.
    if first.is_none() && line.ends_with(b"\n") {
        return Err(damaged("first"));
    }
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let last = tail.trim_ascii_end().rsplit(|&byte| byte == b'\n').next().and_then(log::decode_line);
    if last.is_none() && tail.ends_with(b"\n") {
        return Err(damaged("last"));
    }
    Ok((first, state(last.as_ref(), running)))
}
