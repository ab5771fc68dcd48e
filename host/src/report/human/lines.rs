//! One line for each thing that happened, told as it happens.

use std::collections::BTreeMap;

use super::paint::Paint;
use crate::event::{LabEvent, ScenarioReport};
use crate::report::run::Run;
use crate::report::style::Verbosity;
use crate::report::{clean, text};
use crate::verdict::{Class, Verdict};

/// The most characters of a verdict's sentence on its line; the rest is in the paragraph at the end.
const MAX_DETAIL: usize = 300;

/// What an event says to whoever reads line by line; nothing for most.
#[must_use]
pub fn of_event(event: &LabEvent, run: &Run, paint: Paint) -> String {
    match event {
        LabEvent::ScenarioFinished(report) => finished(report, run, paint),
        LabEvent::GuestStarting { kernel, accelerator, .. } => {
            let release = run.kernels.iter().find(|known| known.label == *kernel).map_or("", |known| &known.release);
            format!("BOOT  {}  {} with {}\n", clean::line(kernel), clean::line(release), clean::line(accelerator))
        }
        other => always(other),
    }
}

/// What is told above the live lines: what cannot wait for the end.
#[must_use]
pub fn above_live(event: &LabEvent, run: &Run, told: &BTreeMap<String, Verdict>, paint: Paint) -> String {
    match event {
        LabEvent::ScenarioFinished(report) => {
            // A guest that is gone takes all its scenarios with it: one line for the first of them is enough.
            let again = told.get(&report.kernel) == Some(&report.verdict);
            match report.verdict.class() {
                Class::Good | Class::Skipped | Class::NotRun => String::new(),
                Class::Bad | Class::TimedOut | Class::Crashed | Class::Lab if again => String::new(),
                Class::Bad | Class::TimedOut | Class::Crashed | Class::Lab => finished(report, run, paint),
            }
        }
        other => always(other),
    }
}

/// What is told in any case, and all that is told where the table follows at once.
#[must_use]
pub fn always(event: &LabEvent) -> String {
    match event {
        LabEvent::Notice { text } => note(text),
        LabEvent::KernelFailed { kernel, detail } => {
            format!("no kernel: {}: {}\n", clean::line(kernel), clean::line(detail))
        }
        LabEvent::GuestReady { guest, hello, .. } => {
            let problem = |problem: &String| note(&format!("guest {guest} ({}): {problem}", hello.kernel_release));
            hello.problems.iter().map(problem).collect()
        }
        LabEvent::Interrupted => note("interrupted; what runs is being ended"),
        LabEvent::RunStarted { .. }
        | LabEvent::KernelReady { .. }
        | LabEvent::GuestStarting { .. }
        | LabEvent::ScenarioStarted { .. }
        | LabEvent::ScenarioFinished(_)
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

/// `PASS  debian:trixie  uts.hostname  (12 ms)`
fn finished(report: &ScenarioReport, run: &Run, paint: Paint) -> String {
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let label_width = width(&mut run.kernels.iter().map(|kernel| clean::line(&kernel.label).chars().count()));
    let name_width = width(&mut run.scenarios.iter().map(|spec| spec.id.as_str().len()));
    let word = paint.verdict(&report.verdict, report.verdict.word());
    let gap = " ".repeat(4_usize.saturating_sub(report.verdict.word().len()));
    let (label, name) = (clean::line(&report.kernel), report.scenario.as_str());
    let end = match &report.verdict {
        Verdict::Skipped { .. } | Verdict::NotRun { .. } => detail(report),
        Verdict::Passed | Verdict::Leaks { .. } => took(report),
        _ => format!("{}  {}", took(report), detail(report)),
    };
    format!("{word}{gap}  {label:<label_width$}  {name:<name_width$}  {end}\n")
}

fn took(report: &ScenarioReport) -> String {
    format!("({})", text::duration(report.duration_ms))
}

fn detail(report: &ScenarioReport) -> String {
    clean::cut(&clean::line(report.verdict.detail()), MAX_DETAIL)
}

/// Whether lines are told at all.
#[must_use]
pub fn wanted(verbosity: Verbosity) -> bool {
    verbosity > Verbosity::Quiet
}
