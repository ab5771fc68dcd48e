//! The lines that change while guests run.

use std::collections::BTreeMap;

use crate::run::{Run, TargetRun};
use crate::screen::{Line, Screen};
use vmlab_events::event::LabEvent;
use vmlab_events::schedule::Repetition;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::Class;
use vmlab_events::{clean, text};

/// A line for each running guest, and one for all.
#[derive(Debug)]
pub struct Live {
    screen: Screen,
    guests: BTreeMap<u32, Guest>,
    all: Option<Line>,
}

#[derive(Debug)]
struct Guest {
    target: TargetId,
    doing: String,
    line: Option<Line>,
}

impl Live {
    /// On a screen that shows something.
    #[must_use]
    pub fn new(screen: Screen) -> Self {
        Self { screen, guests: BTreeMap::new(), all: None }
    }

    /// Shows what has changed.
    pub fn event(&mut self, event: &LabEvent, run: &Run) {
        match event {
            LabEvent::GuestStarting { guest, target, start, .. } => {
                // The line for all stays the last one.
                self.all = None;
                let line = self.screen.line();
                let doing = if matches!(start.as_str(), "fork" | "thaw") { "starting" } else { "booting" };
                let known = Guest { target: target.clone(), doing: doing.to_owned(), line };
                self.guests.insert(*guest, known);
            }
            LabEvent::GuestReady { guest, .. } => self.doing(*guest, "ready"),
            LabEvent::JobStarted { guest, job, .. } => self.doing(*guest, job.name()),
            LabEvent::GuestEnded { guest, .. } => {
                self.guests.remove(guest);
            }
            LabEvent::RunFinished { .. } => return self.clear(),
            _ => {}
        }
        for guest in self.guests.values() {
            if let Some(line) = &guest.line {
                line.say(guest.text(run));
            }
        }
        if self.all.is_none() {
            self.all = self.screen.line();
        }
        if let Some(line) = &self.all {
            line.say(summary(run));
        }
    }

    fn doing(&mut self, guest: u32, what: &str) {
        if let Some(guest) = self.guests.get_mut(&guest) {
            what.clone_into(&mut guest.doing);
        }
    }

    /// Takes all lines away.
    pub fn clear(&mut self) {
        self.guests.clear();
        self.all = None;
    }
}

impl Guest {
    /// `debian:trixie  3/24  uts.hostname`
    fn text(&self, run: &Run) -> String {
        let width = run.targets.iter().map(|kernel| clean::line(kernel.id.as_str()).chars().count()).max().unwrap_or(0);
        let kernel = run.targets.iter().find(|kernel| kernel.id == self.target);
        let done = match kernel {
            Some(kernel) if run.repetition.measures() => kernel.attempted().0,
            Some(kernel) => kernel.finished() as u64,
            None => 0,
        };
        let of = planned(run).map(|all| format!("/{all}")).unwrap_or_default();
        format!("{:<width$}  {done:>3}{of}  {}", clean::line(self.target.as_str()), clean::line(&self.doing))
    }
}

/// `37/96 done, 2 not good`, and where failures are counted: `143/200 attempts on 1 kernel, 2 failed`.
fn summary(run: &Run) -> String {
    let kernels = text::count(run.targets.len(), "kernel");
    if run.repetition.measures() {
        let (runs, failures) = run.attempted();
        let of = planned(run).map(|each| format!("/{}", each.saturating_mul(run.targets.len() as u64)));
        return format!("{runs}{} attempts on {kernels}, {failures} failed", of.unwrap_or_default());
    }
    let done: usize = run.targets.iter().map(TargetRun::finished).sum();
    let all = run.targets.len() * run.jobs.len();
    let bad = (0..run.targets.len())
        .flat_map(|kernel| run.reports(kernel))
        .filter(|(_, report)| !matches!(report.verdict.class(), Class::Good | Class::Skipped | Class::NotRun))
        .count();
    let bad = if bad == 0 { String::new() } else { format!(", {bad} not good") };
    format!("{done}/{all} done on {kernels}{bad}")
}

/// How many attempts there are to be on each kernel; none where that is not known.
fn planned(run: &Run) -> Option<u64> {
    let rounds = match run.repetition {
        Repetition::UntilFailure { at_most } => at_most?,
        other => other.rounds(),
    };
    Some(u64::from(rounds).saturating_mul(run.jobs.len() as u64))
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;
    use vmlab_events::fixture;

    #[test]
    fn where_failures_are_counted_the_lines_count_attempts() {
        let mut run = Run::default();
        fixture::repeated()[..13].iter().for_each(|event| run.apply(event).unwrap());
        assert_eq!(summary(&run), "9/120 attempts on 1 kernel, 2 failed");
        let guest = Guest { target: run.targets[0].id.clone(), doing: "cgroup.path".to_owned(), line: None };
        assert_eq!(guest.text(&run), "debian:bookworm    9/120  cgroup.path");
        run.repetition = Repetition::UntilFailure { at_most: None };
        assert_eq!(summary(&run), "9 attempts on 1 kernel, 2 failed");
    }

    /// The screen after the events up to and including the first for which `until` holds, without the spinners.
    fn seen(until: impl Fn(&LabEvent) -> bool) -> Vec<String> {
        let terminal = InMemoryTerm::new(20, 60);
        let mut live = Live::new(Screen::in_memory(&terminal));
        let mut run = Run::default();
        for stamped in fixture::run() {
            run.apply(&stamped).unwrap();
            live.event(&stamped.event, &run);
            if until(&stamped.event) {
                break;
            }
        }
        terminal.contents().lines().map(|line| line.chars().skip(2).collect()).collect()
    }

    #[test]
    fn each_guest_has_a_line_with_what_it_does() {
        let lines =
            seen(|event| matches!(event, LabEvent::JobStarted { guest: 1, job, .. } if job.name() == "ipc.shm"));
        assert_eq!(
            lines,
            [
                "debian:trixie                       2/6  ipc.shm",
                "debian:bookworm                     2/6  ipc.shm",
                "debian:bullseye                     1/6  ipc.shm",
                "7/24 done on 4 kernels, 5 not good",
            ]
        );
    }

    #[test]
    fn a_guest_that_ends_takes_its_line_away_and_the_end_takes_all() {
        let lines = seen(|event| matches!(event, LabEvent::GuestEnded { guest: 2, .. }));
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("debian:trixie"), "{lines:?}");
        assert_eq!(seen(|_| false), Vec::<String>::new());
    }
}
