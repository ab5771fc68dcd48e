//! Compares what was observed of a fault with what is expected. Pure.

use vmlab_events::clean;
use vmlab_events::event::LabEvent;
use vmlab_events::event::{JobReport, Stamped};
use vmlab_events::verdict::{Failure, Verdict};

/// The scenario that runs after the fault in the same run, and has nothing to do with it.
pub const WITNESS: &str = "uts.hostname";

/// The expected result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The label of the fault's verdict.
    pub label: &'static str,
    /// The exit code of `vmlab run`.
    pub exit: u8,
    /// Texts that the verdict's detail, the trace or the warnings contain. `{NAME}` stands for the last part of the fault's
    /// name in capitals.
    pub texts: &'static [&'static str],
    /// The label of the witness's verdict; None where the run reports no verdict.
    pub witness: Option<&'static str>,
    /// The least number of bytes of output that vmlab reports as left out.
    pub dropped_bytes: u64,
}

/// What was observed of a run.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The exit code; None for a run that a signal ended.
    pub(crate) exit: Option<i32>,
    pub(crate) events: Vec<Stamped>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Faults of vmlab that were found before the comparison, each in a sentence.
    pub(crate) wrong: Vec<String>,
    /// What the record says of a run that reported no verdict.
    pub(crate) record: Option<String>,
}

impl Observed {
    /// The final verdicts of all scenarios.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &JobReport> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::JobFinished(report) => Some(&**report),
            _ => None,
        })
    }

    /// The fault's verdict in one line. In a run with several faults, that of the first fault with an unexpected label.
    pub(crate) fn summary(&self, expected: &Expected) -> String {
        if let Some(record) = &self.record {
            return record.clone();
        }
        let exit = self.exit.map_or_else(|| "killed".to_owned(), |code| code.to_string());
        let faults = || self.reports().filter(|report| is_fault(report));
        let odd = faults().find(|report| report.verdict.label() != expected.label);
        match odd.or_else(|| faults().next()).or_else(|| self.reports().next()) {
            None => format!("no verdict, exit code {exit}"),
            Some(report) => {
                let detail = clean::line(&report.verdict.detail());
                let word = report.verdict.label();
                if detail.is_empty() { format!("{word} {exit}") } else { format!("{word} {exit}: {detail}") }
            }
        }
    }

    /// The message of a kernel that refused a module of the suite because it is unsigned.
    pub(crate) fn refused_module(&self) -> Option<&str> {
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

/// All differences, each in a sentence. `faults` are the names of the faults that the run was asked for.
pub(crate) fn compare(expected: &Expected, faults: &[&str], observed: &Observed) -> Vec<String> {
    let mut wrong = observed.wrong.clone();
    if observed.exit != Some(i32::from(expected.exit)) {
        wrong.push(format!("vmlab exited with {:?}, not {}: {}", observed.exit, expected.exit, observed.stderr.trim()));
    }
    for name in faults {
        match reports_on(observed, name).as_slice() {
            [report] => wrong.extend(compare_fault(expected, name, report)),
            several => wrong.push(format!("{name} has {} reports and not one", several.len())),
        }
    }
    if let Some(word) = expected.witness {
        match reports_on(observed, WITNESS).as_slice() {
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
    let others = observed.reports().filter(|report| !faults.contains(&report.job.name()));
    let others = others.filter(|report| report.job.name() != WITNESS);
    wrong.extend(others.map(|report| format!("{} was not asked for, and has a report", report.job)));
    // The reports are for a terminal, which a guest must not be able to control.
    for (name, text) in [("standard output", &observed.stdout), ("standard error", &observed.stderr)] {
        if text.chars().any(|c| c.is_control() && c != '\n') {
            wrong.push(format!("there are control characters in vmlab's {name}"));
        }
    }
    wrong
}

fn reports_on<'a>(observed: &'a Observed, name: &str) -> Vec<&'a JobReport> {
    observed.reports().filter(|report| report.job.name() == name).collect()
}

fn compare_fault(expected: &Expected, name: &str, report: &JobReport) -> Vec<String> {
    let mut wrong = Vec::new();
    let (word, text) = (report.verdict.label(), text(report));
    if word != expected.label {
        wrong.push(format!("{name} came to {word}, not {}: {text}", expected.label));
    }
    let capitals = name.rsplit(['-', '.']).next().unwrap_or_default().to_uppercase();
    for wanted in expected.texts.iter().map(|wanted| wanted.replace("{NAME}", &capitals)) {
        if !text.contains(&wanted) {
            wrong.push(format!("the report on {name} does not contain `{wanted}`: {text}"));
        }
    }
    if report.output_dropped < expected.dropped_bytes {
        wrong.push(format!(
            "{name} left out {} bytes of output, not at least {}",
            report.output_dropped, expected.dropped_bytes
        ));
    }
    wrong
}

/// The detail, the trace and the warnings of a report.
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
        Expected { label: "FAIL", exit: 1, texts: &["killed by SIG{NAME}"], witness: Some("PASS"), dropped_bytes: 0 };
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

    fn observed(fault: Verdict, witness: Verdict) -> Observed {
        let events = vec![report(FAULT, fault), report(WITNESS, witness)];
        Observed { exit: Some(1), events, stdout: "text\n".to_owned(), ..Observed::default() }
    }

    /// The only difference.
    fn wrong(observed: &Observed) -> String {
        let wrong = compare(&EXPECTED, &[FAULT], observed);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        wrong.concat()
    }

    fn right() -> Observed {
        let reason = Failure::LegDied { leg: Leg::Subject, how: "killed by SIGHUP".to_owned() };
        observed(Verdict::Failed { reason }, Verdict::Passed)
    }

    #[test]
    fn a_run_as_expected_is_right() {
        assert_eq!(compare(&EXPECTED, &[FAULT], &right()), [""; 0]);
        assert_eq!(right().summary(&EXPECTED), "FAIL 1: leg subject: its process killed by SIGHUP");
    }

    #[test]
    fn every_difference_is_wrong() {
        let other_exit = Observed { exit: Some(0), ..right() };
        assert!(wrong(&other_exit).contains("exited with Some(0), not 1"));
        assert!(wrong(&observed(failed("killed by SIGINT"), Verdict::Passed)).contains("`killed by SIGHUP`"));
        assert!(
            wrong(&observed(Verdict::Leaks { seen: Seen::Finding("killed by SIGHUP".to_owned()) }, Verdict::Passed))
                .contains("LEAK")
        );
        assert!(wrong(&observed(failed("killed by SIGHUP"), failed("it, too"))).contains("uts.hostname came to FAIL"));
        let escape = Observed { stdout: "\u{1b}[2J".to_owned(), ..right() };
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
        let less = Expected { dropped_bytes: 1, ..EXPECTED };
        assert_eq!(compare(&less, &[FAULT], &right()).len(), 1);
    }

    #[test]
    fn a_false_pass_is_wrong_in_every_row() {
        for row in super::super::table::ROWS.iter().filter(|row| row.expected.label != "PASS") {
            let observed = Observed { exit: Some(0), ..observed(Verdict::Passed, Verdict::Passed) };
            assert!(!compare(&row.expected, &[FAULT], &observed).is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn a_kernel_that_takes_no_modules_is_found_out() {
        let refusal = "the kernel refused the module /faults/bug.ko: finit_module(2): EKEYREJECTED: Key was rejected";
        assert_eq!(observed(failed(refusal), Verdict::Passed).refused_module(), Some(refusal));
        assert_eq!(right().refused_module(), None);
    }
}
