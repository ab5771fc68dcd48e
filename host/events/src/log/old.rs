//! Events of form 1, which vmlab wrote until November 2026, brought to today's form. Kernels and scenarios become targets and
//! jobs. A sentence where there are fields today becomes a `recorded` one, which is rendered as it is.

use serde_json::{Map, Value, json};

use crate::event::FORMAT;

type Fields = Map<String, Value>;

/// Brings an event to today's form. Gives `false` where nothing had to be changed.
pub(super) fn upgrade(event: &mut Value) -> bool {
    let Some(fields) = event.as_object_mut() else { return false };
    let tag = fields.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
    let today = match tag.as_str() {
        "scenario_started" => "job_started",
        "scenario_attempted" => "job_attempted",
        "scenario_finished" => "job_finished",
        other => other,
    };
    let mut changed = today != tag;
    if changed {
        fields.insert("event".to_owned(), today.into());
    }
    changed |= rename(fields, "kernel", "target", |label| label);
    changed |= rename(fields, "scenario", "job", job);
    changed |= match today {
        "run_started" => start(fields),
        "job_attempted" | "job_finished" => report(fields),
        "guest_lost" => loss(fields),
        "guest_ended" => ending(fields),
        _ => false,
    };
    changed
}

fn rename(fields: &mut Fields, old: &str, new: &str, convert: fn(Value) -> Value) -> bool {
    let Some(value) = fields.remove(old) else { return false };
    fields.insert(new.to_owned(), convert(value));
    true
}

/// A job, from the name of its scenario; null stays null.
fn job(scenario: Value) -> Value {
    if scenario.is_null() { scenario } else { json!({ "scenario": scenario }) }
}

fn jobs(scenarios: Value) -> Value {
    match scenarios {
        Value::Array(scenarios) => scenarios.into_iter().map(job).collect(),
        other => other,
    }
}

fn start(fields: &mut Fields) -> bool {
    let mut changed = rename(fields, "kernels", "targets", |labels| labels);
    changed |= rename(fields, "scenarios", "jobs", jobs);
    if !fields.contains_key("format") {
        fields.insert("format".to_owned(), FORMAT.into());
        changed = true;
    }
    changed
}

fn report(fields: &mut Fields) -> bool {
    let mut changed = verdict(fields);
    if let Some(Value::Array(kept)) = fields.get_mut("attempts").and_then(|attempts| attempts.get_mut("kept")) {
        for attempt in kept.iter_mut().filter_map(Value::as_object_mut) {
            changed |= verdict(attempt);
        }
    }
    changed
}

/// The sentence of a verdict, beside its name.
fn verdict(fields: &mut Fields) -> bool {
    let name = fields.get("verdict").and_then(Value::as_str).unwrap_or_default().to_owned();
    match name.as_str() {
        "vacuous" | "leaks" | "changed" => rename(fields, "detail", "recorded", |text| text),
        "skipped" | "not_run" if fields.get("reason").is_some_and(Value::is_string) => {
            rename(fields, "reason", "reason", recorded)
        }
        "failed" | "flaky" | "guest_vanished" | "launch_failed" | "protocol_violation" => {
            rename(fields, "detail", "reason", recorded)
        }
        "timed_out" if fields.contains_key("detail") => {
            let mut reason = recorded(fields.remove("detail").unwrap_or_default());
            if let Some(which) = fields.remove("which") {
                reason["deadline"] = deadline(which);
            }
            fields.insert("reason".to_owned(), reason);
            true
        }
        _ => false,
    }
}

fn recorded(text: Value) -> Value {
    [("kind", Value::from("recorded")), ("text", text)].into_iter().collect()
}

fn deadline(which: Value) -> Value {
    if which == "farewell" { "exit".into() } else { which }
}

fn loss(fields: &mut Fields) -> bool {
    let mut changed = rename(fields, "panic_told", "panic_reported", |reported| reported);
    changed |= rename(fields, "last_word", "shutdown_line", |line| line);
    changed | rename(fields, "watchdog", "deadline", deadline)
}

fn ending(fields: &mut Fields) -> bool {
    fields.get("how").is_some_and(Value::is_string) && rename(fields, "how", "how", recorded)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::event::{GuestOutcome, LabEvent, Stamped};
    use crate::loss::{Deadline, ShutdownLine, ShutdownReason};
    use crate::verdict::{
        Failure, LaunchFailure, NotRunReason, Seen, SkipReason, Timeout, Vanished, Verdict, Violation,
    };
    use crate::{fixture, log};

    /// The fixture as vmlab wrote it in November 2026.
    const WRITTEN: &[u8] = include_bytes!("2026-11.jsonl");

    /// A verdict of the fixture as it was written then: each kind had one sentence.
    fn recorded(verdict: &Verdict) -> Verdict {
        let s = str::to_owned;
        match verdict {
            Verdict::Passed | Verdict::KernelCrashed { .. } => verdict.clone(),
            Verdict::Failed { .. } => Verdict::Failed { reason: Failure::Recorded { text: s(fixture::HOSTILE) } },
            Verdict::Vacuous { .. } => Verdict::Vacuous { seen: Seen::Recorded(s("the control did not leak")) },
            Verdict::Leaks { .. } => Verdict::Leaks { seen: Seen::Recorded(s("/proc/loadavg shows the host's load")) },
            Verdict::Changed { .. } => {
                Verdict::Changed { seen: Seen::Recorded(s("/proc/loadavg no longer shows the host's load")) }
            }
            Verdict::Skipped { .. } => {
                let text = s("needs CONFIG_TIME_NS (not set in this kernel)");
                Verdict::Skipped { reason: SkipReason::Recorded { text } }
            }
            Verdict::TimedOut { .. } => {
                let (deadline, text) = (Some(Deadline::Leg), s("the subject leg ran for more than 10 s"));
                Verdict::TimedOut { reason: Timeout::Recorded { deadline, text } }
            }
            Verdict::ProtocolViolation { .. } => {
                let text = s("a leg that was never started has finished");
                Verdict::ProtocolViolation { reason: Violation::Recorded { text }, evidence: None }
            }
            Verdict::GuestVanished { .. } => {
                Verdict::GuestVanished { reason: Vanished::Recorded { text: s("QEMU was killed by SIGKILL") } }
            }
            Verdict::NotRun { .. } => {
                let text = s("the guest was gone before its turn");
                Verdict::NotRun { reason: NotRunReason::Recorded { text } }
            }
            Verdict::LaunchFailed { .. } => {
                let text = s("no kernel: the file ends after 512 of 9437184 bytes");
                Verdict::LaunchFailed { reason: LaunchFailure::Recorded { text } }
            }
            Verdict::Flaky { .. } => panic!("{verdict:?}"),
        }
    }

    /// The fixture with the sentences that it had then.
    fn fixture_as_recorded() -> Vec<Stamped> {
        let mut events = fixture::run();
        for stamped in &mut events {
            match &mut stamped.event {
                LabEvent::JobFinished(report) => report.verdict = recorded(&report.verdict),
                LabEvent::GuestEnded { how, .. } => *how = GuestOutcome::Recorded { text: "powered off".to_owned() },
                _ => {}
            }
        }
        events
    }

    #[test]
    fn a_run_of_form_1_reads_as_the_same_run_today() {
        let read = log::read(WRITTEN).unwrap();
        assert_eq!(read.notices, [""; 0]);
        assert_eq!(read.events, fixture_as_recorded());
    }

    #[test]
    fn a_verdict_of_form_1_is_rendered_with_its_sentence() {
        let read = log::read(WRITTEN).unwrap();
        let mut compared = 0;
        for (line, read) in WRITTEN.split(|&byte| byte == b'\n').zip(&read.events) {
            let LabEvent::JobFinished(report) = &read.event else { continue };
            let written: serde_json::Value = serde_json::from_slice(line).unwrap();
            let sentence = ["detail", "reason", "what"].iter().find_map(|field| written[field].as_str());
            assert_eq!(report.verdict.detail(), sentence.unwrap_or_default(), "{written}");
            compared += 1;
        }
        assert_eq!(compared, fixture::counts().total());
    }

    #[test]
    fn attempts_and_losses_of_form_1_keep_what_they_say() {
        let bare = json!({
            "elapsed_ms": 1, "event": "scenario_finished", "kernel": "k", "scenario": "uts.hostname", "guest": null,
            "verdict": "flaky", "detail": "1 of 2 attempts failed", "legs": [], "warnings": [], "stdout": "",
            "stderr": "", "output_dropped": 0, "duration_ms": 1,
            "attempts": {"runs": 2, "failures": 1, "kept": [
                {"attempt": 1, "guest": 1, "verdict": "timed_out", "detail": "late", "which": "farewell", "duration_ms": 1},
                {"attempt": 2, "guest": 2, "verdict": "passed", "duration_ms": 1},
            ]},
        });
        let read = log::decode_line(bare.to_string().as_bytes()).unwrap();
        let LabEvent::JobFinished(report) = read.event else { panic!("{read:?}") };
        assert_eq!(report.verdict.detail(), "1 of 2 attempts failed");
        let late = &report.attempts.unwrap().kept[0].verdict;
        assert_eq!(late.detail(), "late");
        let Verdict::TimedOut { reason } = late else { panic!("{late:?}") };
        assert_eq!(reason.deadline(), Some(Deadline::Exit));

        let lost = json!({
            "elapsed_ms": 1, "event": "guest_lost", "guest": 1, "kernel": "k", "scenario": null, "phase": "running",
            "watchdog": "silence", "panic_told": true, "shutdown": "guest-reset", "last_word": "halted",
            "qemu": {"lived": {"stopped": false}}, "console": [],
        });
        let read = log::decode_line(lost.to_string().as_bytes()).unwrap();
        let LabEvent::GuestLost(loss) = read.event else { panic!("{read:?}") };
        assert_eq!((loss.deadline, loss.panic_reported), (Some(Deadline::Silence), true));
        assert_eq!(loss.shutdown, Some(ShutdownReason::GuestReset));
        assert_eq!(loss.shutdown_line, Some(ShutdownLine::Halted));
    }
}
