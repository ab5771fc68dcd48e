//! JUnit XML: a suite for each target, a case for each job and for each test of a KUnit suite, in one document that is whole or does not exist.
//!
//! Elements and attributes are those of the schema that Jenkins' xunit plugin checks against (junit-10.xsd), which is
//! also what quick-junit follows. A failed check is a `failure`; what kept a check from being made is an `error`.

use std::fmt;
use std::io;
use std::time::Duration;

use chrono::DateTime;
use quick_junit::{FlakyOrRerun, NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::run::Run;
use super::{Reporter, loss, rate};
use vmlab_events::attempts::{Attempt, Attempts};
use vmlab_events::event::{JobReport, Stamped};
use vmlab_events::loss::LossReport;
use vmlab_events::suite::{Outcome, TestReport};
use vmlab_events::verdict::{Class, Verdict};
use vmlab_events::{clean, text};

/// Takes the document when it is complete.
pub type Deliver = Box<dyn FnOnce(&[u8]) -> io::Result<()> + Send>;

/// Collects the events and delivers one document at the end.
pub struct Junit {
    run: Run,
    deliver: Option<Deliver>,
}

impl fmt::Debug for Junit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Junit").field("run", &self.run).finish_non_exhaustive()
    }
}

impl Junit {
    /// `deliver` is called once, by [`Reporter::finish`].
    #[must_use]
    pub fn new(deliver: Deliver) -> Self {
        Self { run: Run::default(), deliver: Some(deliver) }
    }
}

impl Reporter for Junit {
    fn event(&mut self, event: &Stamped) -> io::Result<()> {
        if let Err(contradiction) = self.run.apply(event) {
            self.run.notices.push(contradiction.to_string());
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut document = Vec::new();
        report(&self.run).serialize(&mut document).map_err(io::Error::other)?;
        self.deliver.take().map_or(Ok(()), |deliver| deliver(&document))
    }
}

fn report(run: &Run) -> Report {
    let mut report = Report::new("vmlab");
    report.set_time(Duration::from_millis(run.elapsed_ms));
    for kernel in 0..run.targets.len() {
        report.add_test_suite(suite(run, kernel));
    }
    report
}

fn suite(run: &Run, kernel: usize) -> TestSuite {
    let mut suite = TestSuite::new(clean::line(run.targets[kernel].id.as_str()));
    let mut property = |name: &str, value: &str| {
        suite.add_property(Property::new(name, clean::line(value)));
    };
    property("vmlab.version", &run.vmlab_version);
    property("run.id", &run.run_id);
    property("isolation", &run.isolation);
    for (name, value) in &run.targets[kernel].properties {
        property(name, value);
    }
    for spec in &run.jobs {
        if let Some(why) = spec.no_control() {
            property(&format!("no-control.{}", spec.name()), why);
        }
    }
    let start = i64::try_from(run.started_at_unix_ms).ok().and_then(DateTime::from_timestamp_millis);
    if let Some(start) = start {
        suite.set_timestamp(start);
    }
    let mut ms: u64 = 0;
    for (_, report) in run.reports(kernel) {
        ms = ms.saturating_add(report.duration_ms);
        // A case that passed has no element for text.
        if matches!(report.verdict, Verdict::Leaks { .. }) {
            let leak = clean::line(&report.verdict.detail());
            suite.add_property(Property::new(format!("leak.{}", report.job), leak));
        }
        if let (Some(attempts), true) = (&report.attempts, run.repetition.measures()) {
            let rate = format!("{}, {}", rate::text(attempts), rate::METHOD);
            suite.add_property(Property::new(format!("runs.{}", report.job), rate));
        }
        suite.add_test_case(case(&report, run.loss(&report)));
        suite.add_test_cases(report.tests.iter().map(|test| case_of_test(&report, test)));
    }
    suite.set_time(Duration::from_millis(ms));
    // A notice is about the run, and only suites have an element for it: the first suite has the notices.
    let notices = if kernel == 0 { run.notices.as_slice() } else { &[] };
    let notices: String = notices.iter().map(|text| format!("{}\n", clean::line(text))).collect();
    if !notices.is_empty() {
        suite.set_system_err(notices);
    }
    suite
}

fn case(report: &JobReport, loss: Option<&LossReport>) -> TestCase {
    let verdict = &report.verdict;
    let mut status = match verdict.class() {
        Class::Good => TestCaseStatus::success(),
        Class::Skipped => TestCaseStatus::skipped(),
        class => TestCaseStatus::non_success(kind(class)),
    };
    if let Some(attempts) = &report.attempts {
        add_attempts(&mut status, report, attempts);
    }
    status.set_type(verdict.label()).set_message(clean::line(&verdict.detail()));
    let evidence = evidence(report);
    if !evidence.is_empty() {
        status.set_description(evidence);
    }
    let mut case = TestCase::new(report.job.name(), status);
    case.set_classname(clean::line(report.target.as_str()));
    case.set_time(Duration::from_millis(report.duration_ms));
    let figures: String = text::figures(report).iter().map(|line| format!("{line}\n")).collect();
    let out = figures + &clean::block(&report.stdout) + &loss.map(loss::block).unwrap_or_default();
    if !out.is_empty() {
        case.set_system_out(out);
    }
    let warnings = report.warnings.iter().filter(|_| verdict.class() == Class::Good);
    let err: String = warnings
        .map(|warning| format!("{}: {}\n", text::warning(warning), clean::line(&warning.to_string())))
        .collect();
    let err = err + &clean::block(&report.stderr);
    if !err.is_empty() {
        case.set_system_err(err);
    }
    case
}

/// A test of a KUnit suite. Its class is the suite, which is a case of its own.
fn case_of_test(report: &JobReport, test: &TestReport) -> TestCase {
    let mut status = match test.result {
        Outcome::Passed | Outcome::ExpectedFailure => TestCaseStatus::success(),
        Outcome::Skipped => TestCaseStatus::skipped(),
        Outcome::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::TimedOut | Outcome::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_type(test.label());
    let detail: Vec<_> = test.detail.iter().map(|line| clean::line(line)).collect();
    if let Some(headline) = test.headline() {
        status.set_message(clean::line(headline));
        status.set_description(detail.join("\n"));
    }
    let mut case = TestCase::new(clean::line(&test.name), status);
    case.set_classname(clean::line(&format!("{}.{}", report.target.as_str(), report.job)));
    case
}

/// A failed check, or what kept a check from being made.
const fn kind(class: Class) -> NonSuccessKind {
    match class {
        Class::Good | Class::Skipped | Class::Flaky | Class::Bad => NonSuccessKind::Failure,
        Class::TimedOut | Class::Crashed | Class::Lab | Class::NotRun => NonSuccessKind::Error,
    }
}

/// The attempts that failed, as Maven Surefire and nextest write them: where others did not fail, each is a
/// `flakyFailure` or `flakyError`; where all failed, those after the first, which is the case's own, are a `rerunFailure`
/// or `rerunError`. Unlike theirs, a flaky case is itself a `failure`: it did not pass.
fn add_attempts(status: &mut TestCaseStatus, report: &JobReport, attempts: &Attempts) {
    let flaky = report.verdict.class() == Class::Flaky;
    status.set_rerun_kind(if flaky { FlakyOrRerun::Flaky } else { FlakyOrRerun::Rerun });
    status.add_reruns(attempts.failed().filter(|attempt| flaky || attempt.attempt != report.attempt).map(rerun));
}

fn rerun(attempt: &Attempt) -> TestRerun {
    let mut rerun = TestRerun::new(kind(attempt.verdict.class()));
    rerun.set_type(attempt.verdict.label()).set_message(clean::line(&attempt.verdict.detail()));
    rerun.set_time(Duration::from_millis(attempt.duration_ms));
    rerun
}

/// The text within `failure`, `error` and `skipped`.
fn evidence(report: &JobReport) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name}: {value}\n"));
    for leg in &report.legs {
        line(leg.leg.name(), &text::leg(leg));
    }
    if let Some(identity) = report.verdict.crash_identity() {
        line("crash", &clean::line(&identity));
    }
    for warning in &report.warnings {
        line(text::warning(warning), &clean::line(&warning.to_string()));
    }
    if report.output_dropped > 0 {
        line("output", &format!("{} bytes are not in system-out and system-err", report.output_dropped));
    }
    if let Verdict::KernelCrashed { trace, .. } = &report.verdict {
        trace.iter().flat_map(|raw| clean::lines(raw)).for_each(|raw| line("console", &raw));
    }
    if let Some(peer) = &report.peer {
        out.push_str(&format!("{}\n{}", text::second_guest(peer), evidence(peer)));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use roxmltree::{Document, Node};

    use super::*;
    use vmlab_events::event::LabEvent;
    use vmlab_events::fixture;

    fn render(events: &[Stamped]) -> String {
        let out = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&out);
        let mut reporter = Junit::new(Box::new(move |document| {
            sink.lock().unwrap().extend_from_slice(document);
            Ok(())
        }));
        events.iter().for_each(|event| reporter.event(event).unwrap());
        reporter.finish().unwrap();
        String::from_utf8(out.lock().unwrap().clone()).unwrap()
    }

    /// junit-10.xsd, as far as this reporter uses it: for each element the attributes that it must and may have, the
    /// elements that it may hold, and whether it may hold text. Beyond the schema is only `skipped` of `testsuites`,
    /// which quick-junit always writes.
    fn schema(name: &str) -> (&'static [&'static str], &'static [&'static str], &'static [&'static str], bool) {
        match name {
            "testsuites" => (&[], &["name", "time", "tests", "failures", "errors", "skipped"], &["testsuite"], false),
            "testsuite" => (
                &["name", "tests", "failures", "errors"],
                &["group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"],
                &["properties", "testcase", "system-out", "system-err"],
                false,
            ),
            "properties" => (&[], &[], &["property"], false),
            "property" => (&["name", "value"], &[], &[], false),
            "testcase" => (
                &["name"],
                &["time", "classname", "group"],
                &[
                    "skipped",
                    "error",
                    "failure",
                    "rerunFailure",
                    "rerunError",
                    "flakyFailure",
                    "flakyError",
                    "system-out",
                    "system-err",
                ],
                false,
            ),
            "rerunFailure" | "rerunError" | "flakyFailure" | "flakyError" => {
                (&["type"], &["message", "time"], &[], false)
            }
            "skipped" | "error" | "failure" => (&[], &["type", "message"], &[], true),
            "system-out" | "system-err" => (&[], &[], &[], true),
            other => panic!("the schema has no element {other}"),
        }
    }

    fn check(node: Node<'_, '_>) {
        let (must, may, children, text) = schema(node.tag_name().name());
        for name in must {
            assert!(node.has_attribute(*name), "{node:?} lacks {name}");
        }
        for attribute in node.attributes() {
            assert!(must.contains(&attribute.name()) || may.contains(&attribute.name()), "{attribute:?}");
        }
        if let Some(time) = node.attribute("time") {
            let (seconds, fraction) = time.split_once('.').unwrap();
            assert!([seconds, fraction].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit())), "{time}");
        }
        for child in node.children() {
            assert!(text || !child.is_text() || child.text().unwrap().trim().is_empty(), "{child:?}");
            if child.is_element() {
                assert!(children.contains(&child.tag_name().name()), "{child:?} in {node:?}");
                check(child);
            }
        }
        if let "testsuite" | "testsuites" = node.tag_name().name() {
            let count = |name: &str| node.descendants().filter(|n| n.has_tag_name(name)).count();
            for (attribute, element) in
                [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]
            {
                assert_eq!(node.attribute(attribute), Some(count(element).to_string().as_str()), "{attribute}");
            }
        }
    }

    #[test]
    fn the_fixture_as_junit() {
        let text = render(&fixture::run());
        let document = Document::parse(&text).unwrap();
        assert_eq!(document.root_element().tag_name().name(), "testsuites");
        check(document.root_element());
        let counts = fixture::counts();
        let errors = counts.timed_out + counts.crashed + counts.lab + counts.not_run;
        for (name, count) in
            [("tests", counts.total()), ("failures", counts.bad), ("errors", errors), ("skipped", counts.skipped)]
        {
            assert_eq!(document.root_element().attribute(name), Some(count.to_string().as_str()), "{name}");
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn hostile_text_is_all_there_and_only_text() {
        let text = render(&fixture::run());
        assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)));
        let document = Document::parse(&text).unwrap();
        let failure = document.descendants().find(|n| n.attribute("type") == Some("FAIL")).unwrap();
        let message = clean::line(&format!("not isolated: {}", fixture::HOSTILE));
        assert_eq!(failure.attribute("message"), Some(message.as_str()));
        let out = failure.next_sibling_element().unwrap();
        assert_eq!(out.tag_name().name(), "system-out");
        assert_eq!(out.text().unwrap(), format!("{}\n{}", "x".repeat(10_000), clean::block(fixture::HOSTILE)));
    }

    #[test]
    fn attempts_are_reruns_and_what_is_flaky_fails() {
        for (name, events) in [("retried", fixture::retried()), ("repeated", fixture::repeated())] {
            let text = render(&events);
            check(Document::parse(&text).unwrap().root_element());
            insta::assert_snapshot!(name, text);
        }
        let text = render(&fixture::retried());
        let document = Document::parse(&text).unwrap();
        let below = |case: &str| {
            let case = document.descendants().find(|node| node.attribute("name") == Some(case)).unwrap();
            case.children().filter(Node::is_element).map(|node| node.tag_name().name()).collect::<Vec<_>>()
        };
        assert_eq!(below("cgroup.path"), ["failure", "flakyFailure"]);
        assert_eq!(below("ipc.shm"), ["error", "rerunFailure", "rerunError"]);
        assert_eq!(below("uts.hostname"), ["error"]);
    }

    #[test]
    fn each_test_of_a_suite_is_a_case() {
        let text = render(&fixture::suites());
        let document = Document::parse(&text).unwrap();
        check(document.root_element());
        assert_eq!(document.root_element().attribute("tests"), Some("9"));
        assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)));
        insta::assert_snapshot!("suites", text);
    }

    #[test]
    fn wherever_the_stream_ends_every_case_is_there() {
        let events = fixture::run();
        for end in 1..events.len() {
            let text = render(&events[..end]);
            let document = Document::parse(&text).unwrap();
            check(document.root_element());
            assert_eq!(document.root_element().attribute("tests"), Some("24"));
        }
        check(Document::parse(&render(&[])).unwrap().root_element());
    }

    #[test]
    fn a_duration_beyond_all_measure_does_no_harm() {
        let mut events = fixture::run();
        for stamped in &mut events {
            if let LabEvent::JobFinished(report) = &mut stamped.event {
                report.duration_ms = u64::MAX;
            }
        }
        check(Document::parse(&render(&events)).unwrap().root_element());
    }

    #[test]
    fn a_document_that_cannot_be_delivered_is_an_error() {
        let mut reporter = Junit::new(Box::new(|_| Err(io::ErrorKind::StorageFull.into())));
        assert_eq!(reporter.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
