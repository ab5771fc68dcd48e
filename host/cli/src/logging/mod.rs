//! Logs: `vmlab.log` in the run record, and standard error with `-v`, `-vv` or `VMLAB_LOG`.

use std::env::VarError;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use vmlab_events::clean;

use crate::Failure;

mod background;

use background::Background;

/// Levels by crate, as in `debug` or `info,vmlab_lab=trace`.
const VARIABLE: &str = "VMLAB_LOG";
/// The file in a run record.
const FILE: &str = "vmlab.log";
/// How much is held back until there is a record, in bytes. A run logs some KiB before.
const HELD_BACK_BYTES: usize = 1 << 20;

/// The start of the names of the crates that log.
const CRATES: &str = "vmlab";

/// The process's logs.
#[derive(Debug)]
pub(crate) struct Logging {
    stderr: Option<Background>,
    file: LogFile,
}

/// Starts logging. `verbose` is how often `-v` was given.
pub(crate) fn start(verbose: u8) -> Result<Logging, Failure> {
    let asked = match std::env::var(VARIABLE) {
        Ok(filter) if !filter.is_empty() => Some(levels(&filter)?),
        Ok(_) | Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(filter)) => return Err(bad_levels(&format!("{filter:?}"), &"it is not UTF-8")),
    };
    let by_flag = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let on_stderr = asked.is_some() || by_flag != LevelFilter::OFF;
    // A thread of its own writes to standard error, and lines that nobody reads are dropped: a reader that is slow or
    // stopped must not stop the run, whose limits and interrupts this thread serves.
    let stderr = on_stderr.then(|| Background::start(io::stderr())).transpose().map_err(cannot_start)?;
    let logging = Logging { stderr, file: LogFile::default() };
    let filter = |default: LevelFilter| asked.clone().unwrap_or_else(|| Targets::new().with_default(default));
    let file = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(CleanLines(logging.file.clone()))
        .with_filter(filter(LevelFilter::DEBUG));
    let stderr = logging.stderr.clone().map(|stderr| {
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(CleanLines(stderr)).with_filter(filter(by_flag))
    });
    let subscriber = tracing_subscriber::registry().with(file).with(stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(cannot_start)?;
    Ok(logging)
}

fn cannot_start(error: impl std::fmt::Display) -> Failure {
    Failure::lab(format!("cannot start logging: {error}"))
}

/// The levels of a filter.
///
/// # Errors
/// The filter is malformed, or names something that never logs: a misspelled level would be taken for a crate.
fn levels(filter: &str) -> Result<Targets, Failure> {
    let targets: Targets = filter.parse().map_err(|error| bad_levels(filter, &error))?;
    let unknown = targets.iter().map(|(name, _)| name.to_owned()).find(|name| !name.starts_with(CRATES));
    match unknown {
        Some(name) => Err(bad_levels(filter, &format!("`{name}` is neither a level nor a crate of vmlab"))),
        None => Ok(targets),
    }
}

fn bad_levels(filter: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{VARIABLE}={filter}: {why}; expected levels such as `debug` or `info,vmlab_lab=trace`"))
}

impl Logging {
    /// Whether log lines go to standard error.
    pub(crate) const fn is_on_stderr(&self) -> bool {
        self.stderr.is_some()
    }

    /// Keeps the log in a run record, with what was logged before. A notice where that fails: the run goes on.
    pub(crate) fn keep_in(&self, record: &Path) -> Option<String> {
        let path = record.join(FILE);
        let opened = File::create_new(&path).and_then(|file| self.file.open(file));
        opened.err().map(|error| format!("no log is kept: cannot write {}: {error}", path.display()))
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(stderr) = &self.stderr {
            stderr.finish();
        }
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

/// Writes each line with escapes for terminal control characters and line ends: a path or a guest's text may have them.
#[derive(Debug)]
struct CleanLines<W>(W);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for CleanLines<M> {
    type Writer = CleanLines<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        CleanLines(self.0.make_writer())
    }
}

impl<W: Write> Write for CleanLines<W> {
    /// Takes one whole line, as the layer writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut safe = clean::line(text.strip_suffix('\n').unwrap_or(&text));
        safe.push('\n');
        self.0.write_all(safe.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_level_is_an_error() {
        for filter in ["debug", "info,vmlab_lab=trace", "vmlab_qemu=debug", "off", "vmlab=info"] {
            assert!(levels(filter).is_ok(), "{filter}");
        }
        for filter in ["debgu", "99", "[", "[x", "==", "=,", "info,debgu", "debug,x=wat", "foo=debug"] {
            let failure = levels(filter).unwrap_err().to_string();
            assert!(failure.contains(filter) && failure.contains("such as `debug`"), "{failure}");
        }
    }

    #[test]
    fn a_log_line_stays_one_line_without_control_characters() {
        let mut written = CleanLines(Vec::new());
        written.write_all(b"kernel /tmp/k\x1b[31m\nINFO forged\n").unwrap();
        assert_eq!(written.0, b"kernel /tmp/k\\x1b[31m\\nINFO forged\n");
    }

    #[test]
    fn lines_from_before_the_record_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let logging = Logging { stderr: None, file: LogFile::default() };
        let mut writer = logging.file.make_writer();
        writer.write_all(b"before\n").unwrap();
        assert_eq!(logging.keep_in(dir.path()), None);
        writer.write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), "before\nafter\n");
        assert!(logging.keep_in(dir.path()).is_some_and(|notice| notice.starts_with("no log is kept: ")));
    }
}
