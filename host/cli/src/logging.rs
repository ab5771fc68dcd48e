//! Logs: `vmlab.log` in the run record, and standard error with `-v`, `-vv` or `VMLAB_LOG`.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::Failure;

/// Levels by crate, as in `debug` or `info,vmlab_lab=trace`.
const VARIABLE: &str = "VMLAB_LOG";
/// The file in a run record.
const FILE: &str = "vmlab.log";
/// How much is held back until there is a record, in bytes. A run logs some KiB before.
const HELD_BACK_BYTES: usize = 1 << 20;

/// The process's logs.
#[derive(Debug, Clone)]
pub(crate) struct Logging {
    on_stderr: bool,
    file: LogFile,
}

/// Starts logging. `verbose` is how often `-v` was given.
pub(crate) fn start(verbose: u8) -> Result<Logging, Failure> {
    let asked: Option<Targets> = match std::env::var(VARIABLE) {
        Ok(filter) if !filter.is_empty() => Some(filter.parse().map_err(|error| {
            Failure::usage(format!(
                "{VARIABLE}={filter}: {error}; expected levels such as `debug` or `info,vmlab_lab=trace`"
            ))
        })?),
        _ => None,
    };
    let by_flag = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let on_stderr = asked.is_some() || by_flag != LevelFilter::OFF;
    let logging = Logging { on_stderr, file: LogFile::default() };
    let filter = |default: LevelFilter| asked.clone().unwrap_or_else(|| Targets::new().with_default(default));
    let file = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(logging.file.clone())
        .with_filter(filter(LevelFilter::DEBUG));
    let stderr = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(io::stderr)
        .with_filter(filter(by_flag));
    let subscriber = tracing_subscriber::registry().with(file).with(on_stderr.then_some(stderr));
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Failure::lab(format!("cannot start logging: {error}")))?;
    Ok(logging)
}

impl Logging {
    /// Whether log lines go to standard error.
    pub(crate) const fn is_on_stderr(&self) -> bool {
        self.on_stderr
    }

    /// Keeps the log in a run record, with what was logged before. A notice where that fails: the run goes on.
    pub(crate) fn keep_in(&self, record: &Path) -> Option<String> {
        let path = record.join(FILE);
        let opened = File::create_new(&path).and_then(|file| self.file.open(file));
        opened.err().map(|error| format!("no log is kept: cannot write {}: {error}", path.display()))
    }
}

/// A file that may be opened later than its first line.
#[derive(Debug, Clone, Default)]
struct LogFile(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    HeldBack(Vec<u8>),
    Open(File),
    /// It cannot be written.
    Broken,
}

impl Default for State {
    fn default() -> Self {
        Self::HeldBack(Vec::new())
    }
}

impl LogFile {
    fn open(&self, mut file: File) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match &*state {
            State::HeldBack(lines) => file.write_all(lines),
            State::Open(_) | State::Broken => Ok(()),
        };
        *state = if written.is_ok() { State::Open(file) } else { State::Broken };
        written
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::HeldBack(lines) if lines.len() + line.len() <= HELD_BACK_BYTES => lines.extend_from_slice(line),
            State::HeldBack(_) | State::Broken => {}
            // A full disk ends the log and nothing else: the record itself says so.
            State::Open(file) => {
                if file.write_all(line).is_err() {
                    *state = State::Broken;
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_before_the_record_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let logging = Logging { on_stderr: false, file: LogFile::default() };
        let mut writer = logging.file.make_writer();
        writer.write_all(b"before\n").unwrap();
        assert_eq!(logging.keep_in(dir.path()), None);
        writer.write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "before\nafter\n");
        assert!(logging.keep_in(dir.path()).is_some_and(|notice| notice.starts_with("no log is kept: ")));
    }
}
