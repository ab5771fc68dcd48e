//! What a fault is to come to, and whether it did. Pure.

use vmlab_events::clean;
use vmlab_events::event::LabEvent;
use vmlab_events::event::{JobReport, Stamped};
use vmlab_events::verdict::{Failure, Verdict};

/// The scenario that runs in the same run, after the fault, and has nothing to do with it.
pub const WITNESS: &str = "uts.hostname";

/// What a run is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The word of the fault's verdict.
    pub word: &'static str,
    /// What `vmlab run` exits with.
    pub exit: u8,
    /// What is to be found in the verdict's sentence, the trace or the warnings. `{NAME}` is the last part of the fault's
    /// name in capitals.
    pub words: &'static [&'static str],
    /// The word of the witness's verdict; none where no verdict is told.
    pub witness: Option<&'static str>,
    /// How much of the output is to be told as left out, at least, in bytes.
    pub dropped: u64,
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Came {
    /// Its exit code; none where a signal ended it.
    pub exit: Option<i32>,
    /// What it told.
    pub events: Vec<Stamped>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// What was wrong besides, each in a sentence.
    pub wrong: Vec<String>,
    /// What the record says of a run that told nothing more.
    pub record: Option<String>,
}

impl Came {
    /// The last words on all scenarios.
    pub fn reports(&self) -> impl Iterator<Item = &JobReport> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::JobFinished(report) => Some(&**report),
            _ => None,
        })
    }

    /// What came of the fault, in a line. Of several faults in a run the first one that is not as expected speaks.
    #[must_use]
    pub fn summary(&self, expected: &Expected) -> String {
        if let Some(record) = &self.record {
            return record.clone();
        }
        let exit = self.exit.map_or_else(|| "killed".to_owned(), |code| code.to_string());
        let faults = || self.reports().filter(|report| is_fault(report));
        let odd = faults().find(|report| report.verdict.label() != expected.word);
        match odd.or_else(|| faults().next()).or_else(|| self.reports().next()) {
            None => format!("nothing told, exit code {exit}"),
            Some(report) => {
                let detail = clean::line(&report.verdict.detail());
                let word = report.verdict.label();
                if detail.is_empty() { format!("{word} {exit}") } else { format!("{word} {exit}: {detail}") }
            }
        }
    }

    /// What a kernel said that does not take the suite's modules.
    #[must_use]
    pub fn refused_module(&self) -> Option<&str> {
        let refused = |detail: &&str| {
            let codes = ["EPERM", "EKEYREJECTED", "ENOKEY"];
            detail.contains("the kernel refused the module") && codes.iter().any(|code| detail.contains(code))
        };
        self.reports().filter_map(|report| leg_failure(&report.verdict)).find(refused)
    }
}

/// What a leg could not do, in the scenario's words.
fn leg_failure(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Failed { reason: Failure::LegFailed { detail, .. } } => Some(detail),
        _ => None,
    }
}

fn is_fault(report: &JobReport) -> bool {
    report.job.name().starts_with("fault.")
}

/// All that is not as expected, each in a sentence; nothing where all is right. `faults` are the names of the faults that
/// were to run.
#[must_use]
pub fn compare(expected: &Expected, faults: &[&str], came: &Came) -> Vec<String> {
    let mut wrong = came.wrong.clone();
    if came.exit != Some(i32::from(expected.exit)) {
        wrong.push(format!("vmlab exited with {:?}, not {}: {}", came.exit, expected.exit, came.stderr.trim()));
    }
    for name in faults {
        match reports_on(came, name).as_slice() {
            [report] => wrong.extend(compare_fault(expected, name, report)),
            several => wrong.push(format!("{name} has {} reports and not one", several.len())),
        }
    }
    if let Some(word) = expected.witness {
        match reports_on(came, WITNESS).as_slice() {
            [report] if report.verdict.label() != word => {
                wrong.push(format!("{WITNESS} came to {}, not {word}: {}", report.verdict.label(), text(report)));
            }
            [report] if report.verdict == Verdict::Passed && !report.warnings.is_empty() => {
                wrong.push(format!("{WITNESS} was charged with warnings: {:?}", report.warnings));
            }
            [_] => {}
            several => wrong.push(format!("{WITNESS} has {} reports and not one", several.len())),
        }
    }
    let others = came.reports().filter(|report| !faults.contains(&report.job.name()));
    let others = others.filter(|report| report.job.name() != WITNESS);
    wrong.extend(others.map(|report| format!("{} was not asked for, and has a report", report.job)));
    // The reports are for a terminal, and no guest has a say in what that does.
    for (name, text) in [("standard output", &came.stdout), ("standard error", &came.stderr)] {
        if text.chars().any(|c| c.is_control() && c != '\n') {
            wrong.push(format!("there are control characters in vmlab's {name}"));
        }
    }
    wrong
}

fn reports_on<'a>(came: &'a Came, name: &str) -> Vec<&'a JobReport> {
    came.reports().filter(|report| report.job.name() == name).collect()
}

fn compare_fault(expected: &Expected, name: &str, report: &JobReport) -> Vec<String> {
    let mut wrong = Vec::new();
    let (word, text) = (report.verdict.label(), text(report));
    if word != expected.word {
        wrong.push(format!("{name} came to {word}, not {}: {text}", expected.word));
    }
    let capitals = name.rsplit(['-', '.']).next().unwrap_or_default().to_uppercase();
    for words in expected.words.iter().map(|words| words.replace("{NAME}", &capitals)) {
        if !text.contains(&words) {
            wrong.push(format!("{name} is not told with the words `{words}`: {text}"));
        }
    }
    if report.output_dropped < expected.dropped {
        wrong.push(format!(
            "{name} left out {} bytes, and {} at least were due",
            report.output_dropped, expected.dropped
        ));
    }
    wrong
}

/// All that the report says of why.
fn text(report: &JobReport) -> String {
    let mut lines = vec![report.verdict.detail()];
    if let Verdict::KernelCrashed { trace, .. } = &report.verdict {
        lines.extend(trace.iter().cloned());
    }
    lines.extend(report.warnings.iter().map(ToString::to_string));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::job::Job;
    use vmlab_events::target::TargetId;
    use vmlab_events::verdict::Seen;
    use vmlab_protocol::message::Leg;

    const EXPECTED: Expected =
        Expected { word: "FAIL", exit: 1, words: &["killed by SIG{NAME}"], witness: Some("PASS"), dropped: 0 };
    const FAULT: &str = "fault.signal-hup";

    fn report(scenario: &str, verdict: Verdict) -> Stamped {
        let report = JobReport {
            guest: Some(1),
            ..JobReport::without_guest(TargetId::new("k"), Job::Scenario(scenario.parse().unwrap()), verdict)
        };
        Stamped { elapsed_ms: 1, event: LabEvent::JobFinished(Box::new(report)) }
    }

    fn failed(detail: &str) -> Verdict {
        Verdict::Failed { reason: Failure::LegFailed { leg: Leg::Subject, detail: detail.to_owned() } }
    }

    fn came(fault: Verdict, witness: Verdict) -> Came {
        let events = vec![report(FAULT, fault), report(WITNESS, witness)];
        Came { exit: Some(1), events, stdout: "text\n".to_owned(), ..Came::default() }
    }

    /// What is wrong, which is one thing.
    fn wrong(came: &Came) -> String {
        let wrong = compare(&EXPECTED, &[FAULT], came);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        wrong.concat()
    }

    fn right() -> Came {
        let reason = Failure::LegDied { leg: Leg::Subject, how: "killed by SIGHUP".to_owned() };
        came(Verdict::Failed { reason }, Verdict::Passed)
    }

    #[test]
    fn what_is_as_expected_is_right() {
        assert_eq!(compare(&EXPECTED, &[FAULT], &right()), [""; 0]);
        assert_eq!(right().summary(&EXPECTED), "FAIL 1: leg subject: its process killed by SIGHUP");
    }

    #[test]
    fn whatever_differs_is_wrong() {
        let other_exit = Came { exit: Some(0), ..right() };
        assert!(wrong(&other_exit).contains("exited with Some(0), not 1"));
        assert!(wrong(&came(failed("killed by SIGINT"), Verdict::Passed)).contains("`killed by SIGHUP`"));
        assert!(
            wrong(&came(Verdict::Leaks { seen: Seen::Finding("killed by SIGHUP".to_owned()) }, Verdict::Passed))
                .contains("LEAK")
        );
        assert!(wrong(&came(failed("killed by SIGHUP"), failed("it, too"))).contains("uts.hostname came to FAIL"));
        let escape = Came { stdout: "\u{1b}[2J".to_owned(), ..right() };
        assert!(wrong(&escape).contains("control characters"));
        let mut twice = right();
        twice.events.extend(right().events.into_iter().take(1));
        assert!(wrong(&twice).contains("2 reports"));
        let mut stranger = right();
        stranger.events.push(report("uts.sysctl", Verdict::Passed));
        assert!(wrong(&stranger).contains("uts.sysctl was not asked for"));
        let mut none = right();
        none.events.truncate(1);
        assert!(wrong(&none).contains("uts.hostname has 0 reports"));
        let less = Expected { dropped: 1, ..EXPECTED };
        assert_eq!(compare(&less, &[FAULT], &right()).len(), 1);
    }

    #[test]
    fn a_false_pass_is_wrong_in_every_row() {
        for row in super::super::table::ROWS.iter().filter(|row| row.expected.word != "PASS") {
            let came = Came { exit: Some(0), ..came(Verdict::Passed, Verdict::Passed) };
            assert!(!compare(&row.expected, &[FAULT], &came).is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn a_kernel_that_takes_no_modules_is_found_out() {
        let refusal = "the kernel refused the module /faults/bug.ko: finit_module(2): EKEYREJECTED: Key was rejected";
        assert_eq!(came(failed(refusal), Verdict::Passed).refused_module(), Some(refusal));
        assert_eq!(right().refused_module(), None);
    }
}
