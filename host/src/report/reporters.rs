//! All reports that the user wants, fed together.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use super::human::Human;
use super::json::Json;
use super::junit::Junit;
use super::ktap::Ktap;
use super::screen::Screen;
use super::style::{Facts, Style, Verbosity};
use super::{Format, ReportSpec, Reporter, Target, output};
use crate::event::Stamped;

/// What the human report needs to know besides the events.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// For standard output; a file has [`Style::FILE`].
    pub style: Style,
    /// How much is told.
    pub verbosity: Verbosity,
    /// Whether there is a table of timings.
    pub timings: bool,
    /// The run record's directory, where there is one.
    pub record: Option<PathBuf>,
    /// Where live lines go.
    pub screen: Screen,
}

impl Setup {
    /// For a run at this terminal. To be made once in a process: it takes standard error for the live lines.
    #[must_use]
    pub fn for_run(facts: &Facts, verbosity: Verbosity, timings: bool) -> Self {
        let style = Style::decide(facts);
        let screen = if style.live { Screen::stderr() } else { Screen::none() };
        Self { style, verbosity, timings, record: None, screen }
    }
}

/// The reports cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two would be mixed.
    #[error("`{0}` and `{1}` would both be written to {target}; give one of them a file of its own, as `{1}=FILE`", target = .2)]
    SameTarget(Format, Format, Target),
    /// A file cannot be made.
    #[error(
        "cannot write the {format} report to {path}: {why}; name a file in a directory that can be written",
        path = path.display()
    )]
    File {
        /// Of the report.
        format: Format,
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
}

/// A report that stopped.
#[derive(Debug)]
pub struct ReportFailed {
    /// Which.
    pub spec: ReportSpec,
    /// What the system said.
    pub why: io::Error,
}

impl fmt::Display for ReportFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} report to {} is not whole: {}", self.spec.format, self.spec.target, self.why)
    }
}

/// Some reports stopped; the others are whole.
#[derive(Debug)]
pub struct ReportsFailed(pub Vec<ReportFailed>);

impl std::error::Error for ReportsFailed {}

impl fmt::Display for ReportsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failed in &self.0 {
            write!(f, "{failed}; ")?;
        }
        f.write_str("render it again from the run record with `vmlab report RUN --format FORMAT --output FILE`")
    }
}

/// Gives each event to all reports. One that fails stops alone.
#[derive(Default)]
pub struct Reporters {
    running: Vec<(ReportSpec, Box<dyn Reporter>)>,
    failed: Vec<ReportFailed>,
}

impl fmt::Debug for Reporters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running: Vec<_> = self.running.iter().map(|(spec, _)| spec).collect();
        f.debug_struct("Reporters").field("running", &running).field("failed", &self.failed).finish()
    }
}

impl Reporters {
    /// Opens all reports, before anything runs: what cannot be written is known at once.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(specs: &[ReportSpec], setup: &Setup) -> Result<Self, OpenError> {
        let mut reporters = Self::default();
        for (at, spec) in specs.iter().enumerate() {
            if let Some(other) = specs[..at].iter().find(|other| other.target == spec.target) {
                return Err(OpenError::SameTarget(other.format, spec.format, spec.target.clone()));
            }
        }
        let mut live = setup.style.live;
        for spec in specs {
            let mut setup = setup.clone();
            setup.style.live = live;
            live &= spec.format != Format::Human;
            let reporter = open(spec, setup).map_err(|why| match &spec.target {
                Target::File(path) => OpenError::File { format: spec.format, path: path.clone(), why },
                Target::Stdout => OpenError::File { format: spec.format, path: "/dev/stdout".into(), why },
            })?;
            reporters.running.push((spec.clone(), reporter));
        }
        Ok(reporters)
    }

    /// Gives an event to all that still run.
    pub fn event(&mut self, event: &Stamped) {
        self.each(|reporter| reporter.event(event));
    }

    /// No more events come.
    ///
    /// # Errors
    /// [`ReportsFailed`] names those that could not be written. A closed pipe at standard output is none: whoever reads
    /// it has seen enough.
    pub fn finish(mut self) -> Result<(), ReportsFailed> {
        self.each(|reporter| reporter.finish());
        if self.failed.is_empty() { Ok(()) } else { Err(ReportsFailed(self.failed)) }
    }

    fn each(&mut self, mut call: impl FnMut(&mut dyn Reporter) -> io::Result<()>) {
        let failed = &mut self.failed;
        self.running.retain_mut(|(spec, reporter)| match call(reporter.as_mut()) {
            Ok(()) => true,
            Err(why) => {
                if spec.target != Target::Stdout || why.kind() != io::ErrorKind::BrokenPipe {
                    failed.push(ReportFailed { spec: spec.clone(), why });
                }
                false
            }
        });
    }
}

fn open(spec: &ReportSpec, mut setup: Setup) -> io::Result<Box<dyn Reporter>> {
    let stream = || -> io::Result<Box<dyn Write + Send>> {
        Ok(match &spec.target {
            Target::Stdout => Box::new(io::stdout()),
            Target::File(path) => Box::new(output::stream(path)?),
        })
    };
    if spec.target != Target::Stdout {
        setup.style = Style { live: setup.style.live, ..Style::FILE };
    }
    Ok(match (spec.format, &spec.target) {
        (Format::Human, _) => Box::new(Human::new(stream()?, setup)),
        (Format::Ktap, _) => Box::new(Ktap::new(stream()?)),
        (Format::Json, _) => Box::new(Json::new(stream()?)),
        (Format::Junit, Target::File(path)) => Box::new(Junit::new(output::aside(path)?)),
        (Format::Junit, Target::Stdout) => {
            let mut out = stream()?;
            Box::new(Junit::new(Box::new(move |document| out.write_all(document).and_then(|()| out.flush()))))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::fixture;

    fn specs(texts: &[&str]) -> Vec<ReportSpec> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    struct Fails(io::ErrorKind);

    impl Reporter for Fails {
        fn event(&mut self, _: &Stamped) -> io::Result<()> {
            Err(self.0.into())
        }

        fn finish(&mut self) -> io::Result<()> {
            panic!("called again after it failed")
        }
    }

    struct Counts(Arc<Mutex<(usize, usize)>>);

    impl Reporter for Counts {
        fn event(&mut self, _: &Stamped) -> io::Result<()> {
            self.0.lock().unwrap().0 += 1;
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            self.0.lock().unwrap().1 += 1;
            Ok(())
        }
    }

    fn feed(target: &str, kind: io::ErrorKind) -> (Result<(), ReportsFailed>, (usize, usize)) {
        let seen = Arc::new(Mutex::new((0, 0)));
        let mut reporters = Reporters::default();
        reporters.running.push((target.parse().unwrap(), Box::new(Fails(kind))));
        reporters.running.push((specs(&["json=other"]).remove(0), Box::new(Counts(Arc::clone(&seen)))));
        fixture::run().iter().for_each(|event| reporters.event(event));
        let end = reporters.finish();
        let seen = *seen.lock().unwrap();
        (end, seen)
    }

    #[test]
    fn one_failing_report_stops_alone_and_is_named() {
        let (end, seen) = feed("ktap=/some/file", io::ErrorKind::StorageFull);
        assert_eq!(seen, (fixture::run().len(), 1));
        let error = end.unwrap_err().to_string();
        assert!(error.starts_with("the ktap report to /some/file is not whole: "), "{error}");
    }

    #[test]
    fn a_closed_pipe_is_quiet_on_standard_output_only() {
        let (end, seen) = feed("human", io::ErrorKind::BrokenPipe);
        assert!(end.is_ok());
        assert_eq!(seen, (fixture::run().len(), 1));
        assert!(feed("human=/some/fifo", io::ErrorKind::BrokenPipe).0.is_err());
    }

    #[test]
    fn two_reports_never_share_a_target() {
        for (texts, words) in [
            (["human", "json"], "`human` and `json` would both be written to standard output; give one of them a file"),
            (["ktap=/tmp/a", "json=/tmp/a"], "`ktap` and `json` would both be written to /tmp/a"),
        ] {
            let error = Reporters::open(&specs(&texts), &Setup::default()).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named_before_the_run() {
        for format in ["human", "ktap", "json", "junit"] {
            let text = format!("{format}=/proc/none/report");
            let error = Reporters::open(&specs(&[&text]), &Setup::default()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot write the {format} report to /proc/none/report: ")), "{error}");
        }
    }

    #[test]
    fn all_formats_at_once_into_files() {
        let dir = tempfile::tempdir().unwrap();
        let texts = Format::ALL.map(|format| format!("{format}={}", dir.path().join(format.name()).display()));
        let specs: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let mut reporters = Reporters::open(&specs, &Setup::default()).unwrap();
        fixture::run().iter().for_each(|event| reporters.event(event));
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        assert_eq!(read("json").lines().count(), fixture::run().len());
        assert_eq!(read("junit"), "");
        reporters.finish().unwrap();
        assert!(read("human").contains("uts.hostname"));
        assert!(read("ktap").starts_with("KTAP version 1\n1..4\n"));
        assert!(read("junit").ends_with("</testsuites>\n"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4);
    }
}
