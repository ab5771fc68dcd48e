//! The report for people: events while they happen, and at the end one table and everything that is not good.

use std::collections::BTreeMap;
use std::io::{self, Write};

use self::detail::Details;
use self::live::Live;
use self::paint::Paint;
use super::run::Run;
use super::screen::Screen;
use super::style::Verbosity;
use super::{Reporter, Setup};
use vmlab_events::event::{LabEvent, Stamped};
use vmlab_events::target::TargetId;
use vmlab_events::verdict::Verdict;
use vmlab_events::{clean, text};

mod detail;
mod figures;
mod lines;
mod live;
mod paint;
mod rates;
mod suite_tests;
mod table;
mod timings;

/// Writes the report for people.
#[derive(Debug)]
pub struct Human<W> {
    out: W,
    setup: Setup,
    paint: Paint,
    run: Run,
    live: Option<Live>,
    /// The verdict of the last line above the live lines, by target.
    reported: BTreeMap<TargetId, Verdict>,
}

impl<W: Write + Send> Human<W> {
    /// Writes to `out`; live lines go to the screen of `setup`.
    pub fn new(out: W, mut setup: Setup) -> Self {
        if !setup.style.live {
            setup.screen = Screen::none();
        }
        let live = setup.screen.is_live().then(|| Live::new(setup.screen.clone()));
        Self { out, paint: Paint(setup.style.colour), setup, run: Run::default(), live, reported: BTreeMap::new() }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let out = &mut self.out;
        self.setup.screen.suspend(|| out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    fn line(&mut self, event: &LabEvent) -> String {
        if !lines::wanted(self.setup.verbosity) {
            return String::new();
        }
        if self.setup.style.lines {
            return lines::of_event(event, &self.run, self.paint);
        }
        if !self.setup.style.live {
            return lines::always(event);
        }
        let text = lines::above_live(event, &self.run, &self.reported, self.paint);
        if let (LabEvent::JobFinished(report), false) = (event, text.is_empty()) {
            self.reported.insert(report.target.clone(), report.verdict.clone());
        }
        text
    }

    fn end(&self) -> String {
        let Self { run, setup, paint, .. } = self;
        let mut out = String::new();
        if run.targets.is_empty() {
            return out;
        }
        if setup.verbosity > Verbosity::Quiet {
            out.push('\n');
        }
        out.push_str(&table::render(run, setup.style.columns, *paint));
        out.push_str(&rates::render(run, *paint));
        out.push_str(&figures::render(run, *paint));
        if setup.timings {
            out.push('\n');
            out.push_str(&timings::render(&run.timings, *paint));
        }
        let record = setup.record.as_deref();
        let details = Details { run, record, verbosity: setup.verbosity, paint: *paint };
        out.push_str(&details.paragraphs());
        if setup.verbosity > Verbosity::Quiet {
            out.push_str(&details.skips());
            out.push_str(&details.explanations());
        }
        out.push('\n');
        out.push_str(&paint.bold(&summary(run)));
        out.push('\n');
        if let (Some(record), true) = (record, setup.verbosity > Verbosity::Quiet) {
            let (dir, id) = (clean::line(&record.display().to_string()), clean::line(&run.run_id));
            out.push_str(&format!("record: {dir}\nrender it again: vmlab report {id} --format FORMAT\n"));
        }
        out
    }
}

impl<W: Write + Send> Reporter for Human<W> {
    fn event(&mut self, event: &Stamped) -> io::Result<()> {
        let applied = self.run.apply(event);
        let mut text = self.line(&event.event);
        if let (Err(contradiction), true) = (applied, lines::wanted(self.setup.verbosity)) {
            text.push_str(&lines::note(&contradiction.to_string()));
        }
        if let Some(live) = &mut self.live {
            live.event(&event.event, &self.run);
        }
        self.write(&text)
    }

    fn record_lost(&mut self) {
        self.setup.record = None;
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(live) = &mut self.live {
            live.clear();
        }
        let text = self.end();
        self.write(&text)
    }
}

/// `24 scenarios on 4 kernels: 90 passed, 4 skipped, 2 failed (3.2 s)`
fn summary(run: &Run) -> String {
    let leaks = (0..run.targets.len())
        .flat_map(|kernel| run.reports(kernel))
        .filter(|(_, report)| matches!(report.verdict, Verdict::Leaks { .. }))
        .count();
    let leaks = match leaks {
        0 => String::new(),
        1 => "; 1 of those passed is a documented leak".to_owned(),
        _ => format!("; {leaks} of those passed are documented leaks"),
    };
    let runs = match (run.repetition.measures(), run.attempted()) {
        (true, (runs, failures)) => format!("; {runs} attempts, of which {failures} failed"),
        (false, _) => String::new(),
    };
    let tests: usize =
        (0..run.targets.len()).flat_map(|kernel| run.reports(kernel)).map(|(_, report)| report.tests.len()).sum();
    let tests = if tests == 0 { String::new() } else { format!(" with {}", text::count(tests, "test")) };
    format!(
        "{}{}{tests} on {}: {}{leaks}{runs} ({})",
        if run.interrupted { "interrupted: " } else { "" },
        text::jobs(&run.jobs),
        text::count(run.targets.len(), "kernel"),
        text::counts(&run.counts()),
        text::duration(run.elapsed_ms),
    )
}

#[cfg(test)]
mod tests;
