//! What every report must be, whatever a guest, a kernel or QEMU has said: whole, readable by its format's own reader,
//! and harmless to whoever shows it.

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

/// A run in every format that is no journal.
#[derive(Debug)]
pub struct Rendered {
    /// For people, in plain lines.
    pub human: String,
    /// For people, in colour, with everything that passed.
    pub colourful: String,
    /// KTAP.
    pub ktap: String,
    /// JUnit XML.
    pub junit: String,
}

/// Somewhere to write to that stays readable.
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
    /// Renders events.
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

    /// Holds all of them against the events that they are of.
    ///
    /// # Panics
    /// A report is not what it must be.
    pub fn check(&self, events: &[Stamped]) {
        is_harmless(&self.human);
        is_harmless(&without_colours(&self.colourful));
        check_ktap(&self.ktap, events);
        check_junit(&self.junit, events);
    }
}

/// A text without the colours that vmlab itself sets (SGR, ECMA-48 8.3.117).
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

/// Sees to it that a text can be shown by a terminal and by a CI service.
///
/// # Panics
/// It cannot.
pub fn is_harmless(text: &str) {
    for line in text.split('\n') {
        assert!(!line.chars().any(is_hostile), "a terminal would obey {line:?}");
        // What GitHub's runner takes for a command (src/Runner.Common/ActionCommand.cs): two colons after white space,
        // and two more behind them; or `##[`, wherever it stands.
        let command = line.trim_start().strip_prefix("::").is_some_and(|rest| rest.contains("::"));
        assert!(!command && !line.contains("##["), "GitHub's runner would obey {line:?}");
    }
}

/// What the events say came of each scenario, by the places of kernel and scenario. Absence is no pass.
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

/// Sees to it that KTAP has exactly the results of the events.
///
/// # Panics
/// It has not.
pub fn check_ktap(text: &str, events: &[Stamped]) {
    is_harmless(text);
    let document = ktap::read(text.as_bytes());
    assert!(document.is_sound() && document.unknown_lines == 0, "{:?} in {text}", document.problems);
    let told: Vec<Vec<Outcome>> = document
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
    assert_eq!(told, due, "{text}");
    for (kernel, due) in document.block.tests.iter().zip(due) {
        let good = due.iter().all(|outcome| matches!(outcome, Outcome::Passed | Outcome::Skipped));
        assert_eq!(kernel.ok, good, "{kernel:?}");
    }
}

/// Sees to it that JUnit XML is well-formed and has exactly the results of the events.
///
/// # Panics
/// It is not, or has not.
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
    let told: Vec<Vec<&str>> = elements()
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
    assert_eq!(told, due, "{text}");
}

/// Sees to it that JSON Lines are harmless to look at, and are these events again.
///
/// # Panics
/// They are not.
pub fn check_json(text: &str, events: &[Stamped]) {
    assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)), "{text:?}");
    assert_eq!(log::read(text.as_bytes()).unwrap().events, events);
}
