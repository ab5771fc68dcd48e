//! The Kernel Test Anything Protocol, version 1 (the kernel's Documentation/dev-tools/ktap.rst).
//!
//! The top level has one test for each target, and each target one subtest for each job, in which a
//! KUnit suite has one for each of its tests. Targets run side by side, so
//! a target's block is written when it is complete and those announced before it are written: the same results give the
//! same bytes, whichever target was faster. At the end every test that was announced has its line.

use std::io::{self, Write};

use super::excerpt::{self, Excerpt};
use super::run::{Run, TargetRun};
use super::{Reporter, rate};
use vmlab_console::Finding;
use vmlab_events::event::{JobReport, LabEvent, Stamped};
use vmlab_events::suite::{Outcome, TestReport};
use vmlab_events::verdict::{Class, Verdict};
use vmlab_events::{clean, text};

/// The most characters of one diagnostic.
const MAX_CHARS: usize = 1000;
/// The most lines of one output.
const MAX_LINES: usize = 50;

/// Writes a block for each kernel.
#[derive(Debug)]
pub struct Ktap<W> {
    out: W,
    run: Run,
    started: bool,
    written: usize,
}

impl<W: Write + Send> Ktap<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, run: Run::default(), started: false, written: 0 }
    }

    fn notice(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "# notice: {}", diagnostic(text))
    }

    fn start(&mut self) -> io::Result<()> {
        self.started = true;
        let Run { run_id, vmlab_version, targets, .. } = &self.run;
        writeln!(self.out, "KTAP version 1\n1..{}", targets.len())?;
        writeln!(self.out, "# vmlab {}, run {}", diagnostic(vmlab_version), diagnostic(run_id))
    }

    fn write_block(&mut self) -> io::Result<()> {
        self.out.write_all(block(&self.run, self.written).as_bytes())?;
        self.written += 1;
        Ok(())
    }
}

impl<W: Write + Send> Reporter for Ktap<W> {
    fn event(&mut self, event: &Stamped) -> io::Result<()> {
        let applied = self.run.apply(event);
        match &event.event {
            LabEvent::RunStarted { .. } if !self.started => self.start()?,
            LabEvent::Notice { text } => self.notice(text)?,
            LabEvent::Interrupted => self.notice("interrupted by the user")?,
            _ => {}
        }
        if let Err(contradiction) = applied {
            self.notice(&contradiction.to_string())?;
        }
        while self.run.targets.get(self.written).is_some_and(TargetRun::is_complete) {
            self.write_block()?;
        }
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        if !self.started {
            writeln!(self.out, "KTAP version 1\n1..0 # SKIP nothing was run")?;
        }
        while self.written < self.run.targets.len() {
            self.write_block()?;
        }
        self.out.flush()
    }
}

/// Text for the part after `# `. A `#` in it could be taken for another directive, so it is quoted.
fn diagnostic(text: &str) -> String {
    clean::cut(&clean::line(text), MAX_CHARS).replace('#', "\\#")
}

/// Text for a description, which "can't include #".
fn description(text: &str) -> String {
    clean::cut(&clean::line(text), MAX_CHARS).replace('#', "\\x23")
}

fn block(run: &Run, kernel: usize) -> String {
    let TargetRun { id: label, properties, .. } = &run.targets[kernel];
    let label = description(label.as_str());
    let mut out = format!("  KTAP version 1\n  # Subtest: {label}\n  1..{}\n", run.jobs.len());
    for (name, value) in properties {
        out.push_str(&format!("  # {name}: {}\n", diagnostic(value)));
    }
    let (mut bad, mut skipped) = (0, 0);
    for (index, report) in run.reports(kernel) {
        for line in diagnostics(run, index, &report) {
            out.push_str(&format!("  # {line}\n"));
        }
        match report.verdict.class() {
            Class::Good => {}
            Class::Skipped => skipped += 1,
            Class::Flaky | Class::Bad | Class::TimedOut | Class::Crashed | Class::Lab | Class::NotRun => bad += 1,
        }
        out.push_str(&suite(&report));
        out.push_str(&format!("  {}\n", result(index + 1, &report)));
    }
    let (number, all) = (kernel + 1, run.jobs.len());
    out.push_str(&if bad > 0 {
        format!("not ok {number} {label} # {bad} of {} not ok\n", text::jobs(&run.jobs))
    } else if skipped == all {
        format!("ok {number} {label} # SKIP nothing here could run\n")
    } else {
        format!("ok {number} {label}\n")
    });
    out
}

/// The tests of a KUnit suite, as subtests of its line.
fn suite(report: &JobReport) -> String {
    if report.tests.is_empty() {
        return String::new();
    }
    let mut out = format!("    KTAP version 1\n    # Subtest: {}\n    1..{}\n", report.job, report.tests.len());
    for (number, TestReport { name, result, detail }) in (1..).zip(&report.tests) {
        if result.is_failure() {
            detail.iter().for_each(|line| out.push_str(&format!("    # test: {}\n", diagnostic(line))));
        }
        let why = || detail.first().map(|line| diagnostic(line)).unwrap_or_default();
        let (ok, directive) = match result {
            Outcome::Passed => ("ok", String::new()),
            Outcome::Failed => ("not ok", String::new()),
            Outcome::Skipped => ("ok", format!(" # SKIP {}", why())),
            Outcome::ExpectedFailure => ("not ok", format!(" # XFAIL {}", why())),
            Outcome::TimedOut => ("not ok", " # TIMEOUT".to_owned()),
            Outcome::Error => ("not ok", " # ERROR".to_owned()),
        };
        out.push_str(format!("    {ok} {number} {}{directive}", description(name)).trim_end());
        out.push('\n');
    }
    out
}

fn result(number: usize, report: &JobReport) -> String {
    let verdict = &report.verdict;
    let (ok, directive) = match verdict.class() {
        Class::Good => ("ok", ""),
        Class::Skipped => ("ok", "SKIP "),
        Class::Flaky | Class::Bad => ("not ok", ""),
        Class::TimedOut => ("not ok", "TIMEOUT "),
        Class::Crashed | Class::Lab | Class::NotRun => ("not ok", "ERROR "),
    };
    let data = match verdict {
        Verdict::Passed => return format!("{ok} {number} {}", report.job),
        // The directive is the label.
        Verdict::Skipped { .. } | Verdict::TimedOut { .. } => diagnostic(&verdict.detail()),
        other => format!("{}: {}", other.label(), diagnostic(&other.detail())),
    };
    format!("{ok} {number} {} # {directive}{data}", report.job)
}

/// The lines before a result, without their `# `. Each begins with a prefix of vmlab's, so that no guest can write a
/// `Subtest:` or a plan.
fn diagnostics(run: &Run, scenario: usize, report: &JobReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(why) = run.jobs[scenario].no_control() {
        lines.push(format!("no control leg: {}", diagnostic(why)));
    }
    if let Some(attempts) = &report.attempts {
        lines.extend(run.repetition.measures().then(|| format!("{}, {}", rate::text(attempts), rate::METHOD)));
        lines.extend(text::attempts(attempts, run.repetition, usize::MAX).iter().map(|line| diagnostic(line)));
    }
    lines.extend(text::figures(report).iter().map(|line| format!("measured: {}", diagnostic(line))));
    let warning = |found: &Finding| format!("{}: {}", text::warning(found), diagnostic(&found.to_string()));
    lines.extend(report.warnings.iter().map(warning));
    if matches!(report.verdict.class(), Class::Good | Class::Skipped) {
        return lines;
    }
    evidence(report, &mut lines);
    if let Some(peer) = &report.peer {
        lines.push(diagnostic(&text::second_guest(peer)));
        evidence(peer, &mut lines);
    }
    lines
}

/// What the legs found, and what the kernel and the job printed.
fn evidence(report: &JobReport, lines: &mut Vec<String>) {
    lines.extend(report.legs.iter().map(|leg| format!("{}: {}", leg.leg.name(), diagnostic(&text::leg(leg)))));
    lines.extend(report.verdict.crash_identity().map(|identity| format!("crash: {}", diagnostic(&identity))));
    if let Verdict::KernelCrashed { trace, .. } = &report.verdict {
        excerpted("console", &excerpt::head(trace, MAX_LINES, MAX_CHARS), lines);
    }
    for (name, output) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        excerpted(name, &excerpt::tail(output, MAX_LINES, MAX_CHARS), lines);
    }
}

fn excerpted(name: &str, excerpt: &Excerpt, lines: &mut Vec<String>) {
    lines.extend(excerpt.left_out().map(|note| format!("{name}: {note}")));
    lines.extend(excerpt.lines.iter().map(|line| format!("{name}: {}", line.replace('#', "\\#"))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::fixture;
    use vmlab_events::target::TargetId;
    use vmlab_ktap as ktap;

    fn render(events: &[Stamped]) -> String {
        let mut reporter = Ktap::new(Vec::new());
        events.iter().for_each(|event| reporter.event(event).unwrap());
        reporter.finish().unwrap();
        String::from_utf8(reporter.out).unwrap()
    }

    /// Reads it back: each kernel's result, and how many scenarios are below it.
    fn check(text: &str) -> Vec<(bool, usize)> {
        let document = ktap::read(text.as_bytes());
        assert!(document.is_sound() && document.unknown_lines == 0, "{:?}: {text}", document.problems);
        let kernels = document.block.tests.iter();
        kernels.map(|test| (test.ok, test.subtests.as_ref().map_or(0, |below| below.tests.len()))).collect()
    }

    #[test]
    fn the_fixture_as_ktap() {
        let text = render(&fixture::run());
        let results = check(&text);
        assert_eq!(results, [(true, 6), (false, 6), (false, 6), (false, 6)]);
        let counts = fixture::counts();
        assert_eq!(text.matches("\n  ok ").count(), (counts.good + counts.skipped) as usize);
        assert_eq!(text.matches("# SKIP needs").count(), counts.skipped as usize);
        assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn attempts_and_rates_are_diagnostics_and_flaky_is_not_ok() {
        for (name, events) in [("retried", fixture::retried()), ("repeated", fixture::repeated())] {
            let text = render(&events);
            assert_eq!(check(&text), [(false, 6)]);
            assert!(text.contains("\n  not ok 1 cgroup.path # FLAKY: "), "{text}");
            insta::assert_snapshot!(name, text);
        }
    }

    #[test]
    fn the_tests_of_a_suite_are_its_subtests() {
        let text = render(&fixture::suites());
        assert_eq!(check(&text), [(false, 2)]);
        assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)));
        insta::assert_snapshot!("suites", text);
    }

    #[test]
    fn wherever_the_stream_ends_the_plan_is_kept() {
        let events = fixture::run();
        for end in 1..events.len() {
            let text = render(&events[..end]);
            let results = check(&text);
            assert_eq!(results.iter().map(|(_, below)| below).sum::<usize>(), 24, "{text}");
        }
        assert_eq!(render(&[]), "KTAP version 1\n1..0 # SKIP nothing was run\n");
        let early = render(&events[..3]);
        assert!(early.contains("  not ok 1 cgroup.path # ERROR NOT-RUN: "), "{early}");
        assert!(!early.contains("\nok "), "{early}");
    }

    #[test]
    fn an_endless_label_is_cut() {
        let label = "k".repeat(ktap::MAX_LINE);
        let mut events = fixture::run();
        events.truncate(1);
        let LabEvent::RunStarted { targets, .. } = &mut events[0].event else { panic!("the start comes first") };
        *targets = vec![TargetId::new(label)];
        assert_eq!(check(&render(&events)), [(false, 6)]);
    }

    #[test]
    fn blocks_are_written_as_soon_as_their_turn_comes() {
        let mut reporter = Ktap::new(Vec::new());
        let events = fixture::run();
        let last_of_first = events
            .iter()
            .rposition(|e| matches!(&e.event, LabEvent::JobFinished(r) if r.target.as_str() == "debian:bullseye"))
            .unwrap();
        events[..last_of_first].iter().for_each(|event| reporter.event(event).unwrap());
        assert!(!String::from_utf8_lossy(&reporter.out).contains("ok 1 debian:bullseye"));
        reporter.event(&events[last_of_first]).unwrap();
        assert!(String::from_utf8_lossy(&reporter.out).contains("\nok 1 debian:bullseye\n"));
    }
}
