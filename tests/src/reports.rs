//! Checks that every report is complete, readable by a reader of its format, and harmless to the program that shows it,
//! whatever a guest, a kernel or QEMU has written.

use std::sync::{Arc, Mutex};

use roxmltree::Document;
use vmlab_events::clean::is_hostile;
use vmlab_events::event::{LabEvent, Stamped};
use vmlab_events::log;
use vmlab_events::verdict::Class;
use vmlab_ktap::{self as ktap, Outcome};
use vmlab_report::human::Human;
use vmlab_report::junit::Junit;
use vmlab_report::ktap::Ktap;
use vmlab_report::style::{Style, Verbosity};
use vmlab_report::{Reporter, Setup};

/// A run in every format except JSON Lines.
#[derive(Debug)]
pub struct Rendered {
    /// The human report in plain lines.
    pub human: String,
    /// The human report in colour and with all passed scenarios.
    pub colourful: String,
    /// The KTAP report.
    pub ktap: String,
    /// The JUnit report.
    pub junit: String,
}

/// A writer whose bytes can be read while a reporter owns it.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn render(events: &[Stamped], make: impl FnOnce(Sink) -> Box<dyn Reporter>) -> String {
    let sink = Sink::default();
    let mut reporter = make(sink.clone());
    events.iter().for_each(|event| reporter.event(event).unwrap());
    reporter.finish().unwrap();
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

impl Rendered {
    /// Renders events in all formats.
    #[must_use]
    pub fn of(events: &[Stamped]) -> Self {
        let colourful = Setup {
            style: Style { colour: true, lines: true, columns: Some(100), ..Style::FILE },
            verbosity: Verbosity::Verbose,
            timings: true,
            ..Setup::default()
        };
        let plain = Setup { style: Style::FILE, ..Setup::default() };
        let junit = |mut sink: Sink| -> Box<dyn Reporter> {
            use std::io::Write as _;
            Box::new(Junit::new(Box::new(move |document| sink.write_all(document))))
        };
        Self {
            human: render(events, |sink| Box::new(Human::new(sink, plain))),
            colourful: render(events, |sink| Box::new(Human::new(sink, colourful))),
            ktap: render(events, |sink| Box::new(Ktap::new(sink))),
            junit: render(events, junit),
        }
    }

    /// Compares all reports with the events.
    ///
    /// # Panics
    /// A report is harmful, or does not have the results of the events.
    pub fn check(&self, events: &[Stamped]) {
        is_harmless(&self.human);
        is_harmless(&without_colours(&self.colourful));
        check_ktap(&self.ktap, events);
        check_junit(&self.junit, events);
    }
}

/// Removes the colours that vmlab itself writes (SGR, ECMA-48 8.3.117).
#[must_use]
pub fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_once('m').expect("a colour ends");
        assert!(code.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'), "no colour: {code:?}");
        out.push_str(rest);
    }
    out
}

/// Checks that neither a terminal nor a CI service obeys a part of the text.
///
/// # Panics
/// A terminal or GitHub's runner would obey a line.
pub fn is_harmless(text: &str) {
    for line in text.split('\n') {
        assert!(!line.chars().any(is_hostile), "a terminal would obey {line:?}");
        // GitHub's runner takes two lines for commands (src/Runner.Common/ActionCommand.cs): a line that begins, after white
        // space, with `::` and has another `::`, and a line with `##[` anywhere.
        let command = line.trim_start().strip_prefix("::").is_some_and(|rest| rest.contains("::"));
        assert!(!command && !line.contains("##["), "GitHub's runner would obey {line:?}");
    }
}

/// The class of each scenario's verdict, by the index of the kernel and of the scenario. A missing report is NOT-RUN.
fn classes(events: &[Stamped]) -> Vec<Vec<Class>> {
    let Some(LabEvent::RunStarted { targets, jobs, .. }) = events.first().map(|first| &first.event) else {
        return Vec::new();
    };
    let mut classes = vec![vec![Class::NotRun; jobs.len()]; targets.len()];
    for stamped in events {
        if let LabEvent::JobFinished(report) = &stamped.event {
            let kernel = targets.iter().position(|target| *target == report.target).unwrap();
            let scenario = jobs.iter().position(|spec| spec.is(&report.job)).unwrap();
            classes[kernel][scenario] = report.verdict.class();
        }
    }
    classes
}

/// Checks that a KTAP report has exactly the results of the events.
///
/// # Panics
/// The report is malformed, or its results differ.
pub fn check_ktap(text: &str, events: &[Stamped]) {
    is_harmless(text);
    let document = ktap::read(text.as_bytes());
    assert!(document.is_sound() && document.unknown_lines == 0, "{:?} in {text}", document.problems);
    let found: Vec<Vec<Outcome>> = document
        .block
        .tests
        .iter()
        .map(|kernel| {
            let below = kernel.subtests.as_ref().unwrap();
            below.tests.iter().map(ktap::Test::outcome).collect()
        })
        .collect();
    let outcome = |class: &Class| match class {
        Class::Good => Outcome::Passed,
        Class::Skipped => Outcome::Skipped,
        Class::Bad | Class::Flaky => Outcome::Failed,
        Class::TimedOut => Outcome::TimedOut,
        Class::Crashed | Class::Lab | Class::NotRun => Outcome::Error,
    };
    let due: Vec<Vec<Outcome>> = classes(events).iter().map(|kernel| kernel.iter().map(outcome).collect()).collect();
    assert_eq!(found, due, "{text}");
    for (kernel, due) in document.block.tests.iter().zip(due) {
        let good = due.iter().all(|outcome| matches!(outcome, Outcome::Passed | Outcome::Skipped));
        assert_eq!(kernel.ok, good, "{kernel:?}");
    }
}

/// Checks that a JUnit report is well-formed and has exactly the results of the events.
///
/// # Panics
/// The report is malformed, or its results differ.
pub fn check_junit(text: &str, events: &[Stamped]) {
    assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)), "{text:?}");
    let document = Document::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let allowed = [
        "testsuites",
        "testsuite",
        "properties",
        "property",
        "testcase",
        "skipped",
        "error",
        "failure",
        "system-out",
        "system-err",
    ];
    let elements = || document.descendants().filter(roxmltree::Node::is_element);
    elements().for_each(|node| assert!(allowed.contains(&node.tag_name().name()), "{node:?}"));
    let element = |class: &Class| match class {
        Class::Good => "",
        Class::Skipped => "skipped",
        Class::Bad | Class::Flaky => "failure",
        Class::TimedOut | Class::Crashed | Class::Lab | Class::NotRun => "error",
    };
    let found: Vec<Vec<&str>> = elements()
        .filter(|node| node.has_tag_name("testsuite"))
        .map(|suite| {
            let cases = suite.children().filter(|node| node.has_tag_name("testcase"));
            let word = |case: roxmltree::Node<'_, '_>| {
                let of = |node: roxmltree::Node<'_, '_>| {
                    ["skipped", "failure", "error"].into_iter().find(|it| node.has_tag_name(*it))
                };
                case.children().find_map(of).unwrap_or("")
            };
            cases.map(word).collect()
        })
        .collect();
    let due: Vec<Vec<&str>> = classes(events).iter().map(|kernel| kernel.iter().map(element).collect()).collect();
    assert_eq!(found, due, "{text}");
}

/// Checks that JSON Lines are harmless on a terminal and are read as these events.
///
/// # Panics
/// The text is harmful, or other events are read.
pub fn check_json(text: &str, events: &[Stamped]) {
    assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)), "{text:?}");
    assert_eq!(log::read(text.as_bytes()).unwrap().events, events);
}
