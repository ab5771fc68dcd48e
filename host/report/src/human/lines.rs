//! One line for each event that is worth one, written as it happens.

use std::collections::BTreeMap;

use super::paint::Paint;
use super::suite_tests;
use crate::rate;
use crate::run::Run;
use crate::style::Verbosity;
use vmlab_events::event::{JobReport, LabEvent};
use vmlab_events::target::TargetId;
use vmlab_events::verdict::{Class, Verdict};
use vmlab_events::{clean, text};

/// The most characters of a verdict's detail on its line; all of it is in the paragraph at the end. The advice is at the
/// detail's end, so the middle is left out.
const MAX_DETAIL: usize = 300;
/// How many of them are for the end.
const END_OF_DETAIL: usize = 140;

/// The line of an event; nothing for most events.
#[must_use]
pub fn of_event(event: &LabEvent, run: &Run, paint: Paint) -> String {
    match event {
        LabEvent::JobAttempted(report) => attempted(report, run, paint) + &milestone(run),
        LabEvent::JobFinished(report) => finished(report, run, paint),
        // Where failures are counted there are too many guests to name each.
        LabEvent::GuestStarting { .. } if run.repetition.measures() => String::new(),
        LabEvent::GuestStarting { target, start, accelerator, .. } => {
            let release = run.targets.iter().find(|known| known.id == *target).map_or("", |known| &known.release);
            let (kernel, release, with) =
                (clean::line(target.as_str()), clean::line(release), clean::line(accelerator));
            match start.as_str() {
                "fork" => format!("FORK  {kernel}  {release} with {with}\n"),
                "thaw" => format!("THAW  {kernel}  {release} with {with}\n"),
                "template" => format!("BOOT  {kernel}  {release} with {with}, to be forked\n"),
                _ => format!("BOOT  {kernel}  {release} with {with}\n"),
            }
        }
        other => always(other),
    }
}

/// The line that stands above the live lines, for what cannot wait for the end. `reported` is each target's verdict that has
/// such a line already.
#[must_use]
pub fn above_live(event: &LabEvent, run: &Run, reported: &BTreeMap<TargetId, Verdict>, paint: Paint) -> String {
    match event {
        LabEvent::JobAttempted(report) if report.verdict.class().is_failure() => attempted(report, run, paint),
        LabEvent::JobFinished(report) => {
            // A guest that is gone takes all its scenarios with it: one line for the first of them is enough.
            let again = reported.get(&report.target) == Some(&report.verdict);
            match report.verdict.class() {
                Class::Good | Class::Skipped | Class::NotRun => String::new(),
                _ if again => String::new(),
                Class::Flaky | Class::Bad | Class::TimedOut | Class::Crashed | Class::Lab => {
                    finished(report, run, paint)
                }
            }
        }
        other => always(other),
    }
}

/// The lines that are shown in any case, and the only ones where the table follows at once.
#[must_use]
pub fn always(event: &LabEvent) -> String {
    match event {
        LabEvent::Notice { text } => note(text),
        LabEvent::GuestReady { guest, hello, .. } => {
            let problem = |problem: &String| note(&format!("guest {guest} ({}): {problem}", hello.kernel_release));
            hello.problems.iter().map(problem).collect()
        }
        LabEvent::Interrupted => note("interrupted; what runs is being ended"),
        LabEvent::RunStarted { .. }
        | LabEvent::KernelReady { .. }
        | LabEvent::GuestStarting { .. }
        | LabEvent::JobStarted { .. }
        | LabEvent::JobAttempted(_)
        | LabEvent::JobFinished(_)
        | LabEvent::GuestLost(_)
        | LabEvent::GuestEnded { .. }
        | LabEvent::GuestTimings { .. }
        | LabEvent::RunTimings { .. }
        | LabEvent::RunFinished { .. } => String::new(),
    }
}

/// A notice as a line.
#[must_use]
pub fn note(text: &str) -> String {
    format!("note: {}\n", clean::line(text))
}

/// `PASS  debian:trixie  uts.hostname  (12 ms)`, and after several attempts how many there were instead of the time.
fn finished(report: &JobReport, run: &Run, paint: Paint) -> String {
    let took = match &report.attempts {
        Some(attempts) if run.repetition.measures() => format!("({})", rate::text(attempts)),
        Some(attempts) => format!("({} attempts)", attempts.runs),
        None => took(report),
    };
    let end = match &report.verdict {
        Verdict::Skipped { .. } | Verdict::NotRun { .. } | Verdict::Flaky { .. } => detail(report),
        Verdict::Passed | Verdict::Leaks { .. } => took,
        _ => format!("{took}  {}", detail(report)),
    };
    let tests = if run.repetition.measures() { String::new() } else { suite_tests::lines(report) };
    line(report, run, paint, &end) + &tests
}

/// `FAIL  debian:trixie  uts.hostname  (12 ms)  attempt 1: not isolated`; where failures are counted, nothing for attempts
/// that did not fail.
fn attempted(report: &JobReport, run: &Run, paint: Paint) -> String {
    if run.repetition.measures() && !report.verdict.class().is_failure() {
        return String::new();
    }
    let detail = detail(report);
    let colon = if detail.is_empty() { "" } else { ": " };
    let end = format!("{}  attempt {}{colon}{detail}", took(report), report.attempt);
    line(report, run, paint, &end)
}

/// How many attempts were made, after 10, 20, 50, 100, 200 runs and so on.
fn milestone(run: &Run) -> String {
    let (runs, failures) = run.attempted();
    let round = runs
        .checked_ilog10()
        .is_some_and(|digits| [1, 2, 5].contains(&(runs / 10_u64.pow(digits))) && runs % 10_u64.pow(digits) == 0);
    if !run.repetition.measures() || !round || runs < 10 {
        return String::new();
    }
    format!("DONE  {runs} attempts, {failures} failed ({})\n", text::duration(run.elapsed_ms))
}

fn line(report: &JobReport, run: &Run, paint: Paint, end: &str) -> String {
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let target_width = width(&mut run.targets.iter().map(|kernel| clean::line(kernel.id.as_str()).chars().count()));
    let name_width = width(&mut run.jobs.iter().map(|spec| spec.name().len()));
    let label = paint.verdict(&report.verdict, report.verdict.label());
    let gap = " ".repeat(4_usize.saturating_sub(report.verdict.label().len()));
    let (target, name) = (clean::line(report.target.as_str()), report.job.name());
    format!("{label}{gap}  {target:<target_width$}  {name:<name_width$}  {end}\n")
}

fn took(report: &JobReport) -> String {
    let time = text::duration(report.duration_ms);
    match report.tests.len() {
        0 => format!("({time})"),
        tests => format!("({time}, {})", text::count(tests, "test")),
    }
}

fn detail(report: &JobReport) -> String {
    shortened(&clean::line(&report.verdict.detail()))
}

/// A clean text without its middle, which ends between two words, if it is longer than [`MAX_DETAIL`].
fn shortened(text: &str) -> String {
    let count = text.chars().count();
    let at = |number: usize| text.char_indices().nth(number).map_or(text.len(), |(at, _)| at);
    if count <= MAX_DETAIL {
        return text.to_owned();
    }
    let (head, end) = (&text[..at(MAX_DETAIL - END_OF_DETAIL)], &text[at(count - END_OF_DETAIL)..]);
    let head = head.rsplit_once(' ').map_or(head, |(words, _)| words);
    let end = end.split_once(' ').map_or(end, |(_, words)| words);
    format!("{head} … {end}")
}

/// Whether there are lines at all.
#[must_use]
pub fn wanted(verbosity: Verbosity) -> bool {
    verbosity > Verbosity::Quiet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_keeps_its_beginning_and_its_end() {
        let short = "x".repeat(MAX_DETAIL);
        assert_eq!(shortened(&short), short);
        let advice = "perhaps because it has too little memory: it has 64 MiB, give it more with --memory";
        for middle in ["word ".repeat(100), "ä".repeat(400), "\u{1f427} ".repeat(300)] {
            let long = shortened(&format!("the guest was reset: {middle}; {advice}"));
            assert!(
                long.starts_with("the guest was reset:") && long.contains(" … ") && long.ends_with(advice),
                "{long}"
            );
            assert!(long.chars().count() <= MAX_DETAIL + 3, "{long}");
        }
    }
}
