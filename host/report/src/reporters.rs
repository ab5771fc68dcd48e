//! All reports that the user wants, fed with the same events.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::spec::{Make, Stream};
use super::style::Style;
use super::{Destination, Format, ReportSpec, Reporter, Setup, file_identity, output};
use crate::stdio;
use vmlab_events::event::Stamped;

/// The reports cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two would be mixed.
    #[error(
        "`{}` and `{}` would both be written to {}{}; give one of them a file of its own, as `{}=FILE`",
        .0.format, .1.format, .0.destination, also(&.0.destination, &.1.destination), .1.format
    )]
    SameDestination(ReportSpec, ReportSpec),
    /// Standard output is closed.
    #[error(
        "the {0} report goes to standard output, which is closed; open it, or give the report a file, as `{0}=FILE`"
    )]
    Closed(Format),
    /// A file cannot be created.
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

fn also(one: &Destination, other: &Destination) -> String {
    if one == other { String::new() } else { format!(", which is the same file as {other}") }
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
        write!(f, "the {} report to {} is not whole: {}", self.spec.format, self.spec.destination, self.why)
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
    /// Tries whether [`Self::open`] would work, and changes nothing: for callers with much to do before they open.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn check(specs: &[ReportSpec]) -> Result<(), OpenError> {
        let mut taken: Vec<(&ReportSpec, _)> = Vec::new();
        for spec in specs {
            try_out(spec).map_err(|why| cannot_open(spec, why))?;
            // A missing report is a failure for a program, and none for a person who closed the output.
            if spec.destination == Destination::Stdout && spec.format != Format::Human && stdio::stdout_was_closed() {
                return Err(OpenError::Closed(spec.format));
            }
            let file = file_identity::of(&spec.destination).map_err(|why| cannot_open(spec, why))?;
            let Some(file) = file else { continue };
            if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == file) {
                return Err(OpenError::SameDestination((*other).clone(), spec.clone()));
            }
            taken.push((spec, file));
        }
        Ok(())
    }

    /// Opens all reports before anything runs, so that a report that cannot be written is known at once.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(specs: &[ReportSpec], setup: &Setup) -> Result<Self, OpenError> {
        Self::check(specs)?;
        let mut reporters = Self::default();
        let mut live = setup.style.live;
        for spec in specs {
            let mut setup = setup.clone();
            setup.style.live = live;
            live &= spec.format != Format::Human;
            let reporter = open(spec, setup).map_err(|why| cannot_open(spec, why))?;
            reporters.running.push((spec.clone(), reporter));
        }
        Ok(reporters)
    }

    /// Gives an event to all that still run.
    pub fn event(&mut self, event: &Stamped) {
        self.each(|reporter| reporter.event(event));
    }

    /// The run's record was removed, so that no report refers to it.
    pub fn record_lost(&mut self) {
        self.running.iter_mut().for_each(|(_, reporter)| reporter.record_lost());
    }

    /// No more events come.
    ///
    /// # Errors
    /// [`ReportsFailed`] names those that could not be written. A closed pipe at standard output is no failure of a human
    /// report: its reader has seen enough. A program that reads a part of a report would take it for the whole.
    pub fn finish(mut self) -> Result<(), ReportsFailed> {
        self.each(|reporter| reporter.finish());
        if self.failed.is_empty() { Ok(()) } else { Err(ReportsFailed(self.failed)) }
    }

    fn each(&mut self, mut call: impl FnMut(&mut dyn Reporter) -> io::Result<()>) {
        let failed = &mut self.failed;
        self.running.retain_mut(|(spec, reporter)| match call(reporter.as_mut()) {
            Ok(()) => true,
            Err(why) => {
                let seen_enough = spec.destination == Destination::Stdout
                    && spec.format == Format::Human
                    && why.kind() == io::ErrorKind::BrokenPipe;
                if !seen_enough {
                    failed.push(ReportFailed { spec: spec.clone(), why });
                }
                false
            }
        });
    }
}

fn cannot_open(spec: &ReportSpec, why: io::Error) -> OpenError {
    let path = match &spec.destination {
        Destination::File(path) => path.clone(),
        Destination::Stdout => "/dev/stdout".into(),
    };
    OpenError::File { format: spec.format, path, why }
}

fn try_out(spec: &ReportSpec) -> io::Result<()> {
    match (spec.format.spec().make, &spec.destination) {
        (_, Destination::Stdout) => Ok(()),
        (Make::Streaming(_), Destination::File(path)) => output::try_stream(path),
        (Make::Whole(_), Destination::File(path)) => output::try_aside(path),
    }
}

fn open(spec: &ReportSpec, mut setup: Setup) -> io::Result<Box<dyn Reporter>> {
    if spec.destination != Destination::Stdout {
        setup.style = Style { live: setup.style.live, ..Style::FILE };
    }
    match (spec.format.spec().make, &spec.destination) {
        (Make::Streaming(make), destination) => {
            let out: Stream = match destination {
                Destination::Stdout => Box::new(io::stdout()),
                Destination::File(path) => Box::new(output::stream(path)?),
            };
            Ok(make(out, setup))
        }
        (Make::Whole(make), Destination::File(path)) => Ok(make(output::aside(path)?)),
        (Make::Whole(make), Destination::Stdout) => Ok(make(Box::new(output::to_stdout))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::FORMATS;
    use vmlab_events::fixture;

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
    fn a_closed_pipe_is_no_failure_of_a_human_report_on_standard_output() {
        let (end, seen) = feed("human", io::ErrorKind::BrokenPipe);
        assert!(end.is_ok());
        assert_eq!(seen, (fixture::run().len(), 1));
        assert!(feed("human=/some/fifo", io::ErrorKind::BrokenPipe).0.is_err());
        for format in ["json", "ktap", "junit"] {
            let error = feed(format, io::ErrorKind::BrokenPipe).0.unwrap_err().to_string();
            assert!(error.starts_with(&format!("the {format} report to standard output is not whole: ")), "{error}");
        }
    }

    #[test]
    fn two_reports_never_share_a_destination() {
        for (texts, start) in [
            (["human", "json"], "`human` and `json` would both be written to standard output; give one of them a file"),
            (["ktap=/tmp/a", "json=/tmp/a"], "`ktap` and `json` would both be written to /tmp/a"),
        ] {
            let error = Reporters::open(&specs(&texts), &Setup::default()).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn one_file_under_two_names_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("old"), "old").unwrap();
        fs::hard_link(at("old"), at("hard")).unwrap();
        std::os::unix::fs::symlink("new", at("soft")).unwrap();
        std::os::unix::fs::symlink("sub", at("dir")).unwrap();
        for (one, other) in [("new", "sub/../new"), ("new", "soft"), ("old", "hard"), ("sub/new", "dir/new")] {
            for (one, other) in [(one, other), (other, one)] {
                let texts = [format!("junit={}", at(one)), format!("json={}", at(other))];
                let specs: Vec<ReportSpec> = texts.iter().map(|text| text.parse().unwrap()).collect();
                let error = Reporters::open(&specs, &Setup::default()).unwrap_err().to_string();
                let text = format!("to {}, which is the same file as {}; give", at(one), at(other));
                assert!(error.contains(&text), "{error}");
            }
        }
        // The same path to Rust, too, which leaves `.` out.
        assert!(Reporters::check(&specs(&["junit=new", "json=./new"])).is_err());
        assert_eq!(fs::read(at("old")).unwrap(), b"old");
        assert!(!fs::exists(at("new")).unwrap());
        Reporters::check(&specs(&["human", "json=/dev/null", "ktap=/dev/null"])).unwrap();
    }

    #[test]
    fn standard_output_by_its_path_is_noticed() {
        let error = Reporters::check(&specs(&["human", "json=/proc/self/fd/1"])).err().map(|error| error.to_string());
        // Where the tests' standard output is /dev/null, all is lost anyway.
        let null = fs::read_link("/proc/self/fd/1").unwrap() == std::path::Path::new("/dev/null");
        assert_eq!(error.is_some_and(|error| error.contains("the same file as /proc/self/fd/1")), !null);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named_before_the_run() {
        for format in ["human", "ktap", "json", "junit"] {
            let text = format!("{format}=/proc/none/report");
            let error = Reporters::open(&specs(&[&text]), &Setup::default()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot write the {format} report to /proc/none/report: ")), "{error}");
            assert!(!error.contains("vmlab-report"), "{error}");
        }
    }

    #[test]
    fn all_formats_at_once_into_files() {
        let dir = tempfile::tempdir().unwrap();
        let texts = FORMATS.map(|row| format!("{}={}", row.name, dir.path().join(row.name).display()));
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
