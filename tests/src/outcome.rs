//! A run that has ended: its results, and the checks of what must hold after every run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vmlab_events::event::{GuestOutcome, JobReport, LabEvent, Stamped};
use vmlab_events::loss::LossReport;
use vmlab_events::verdict::Verdict;
use vmlab_protocol::message::Leg;

use crate::env::{Ended, TestEnv, events_so_far};

/// A run that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// vmlab's exit status and output.
    pub ended: Ended,
    /// The JSON report.
    pub events: Vec<Stamped>,
}

impl Outcome {
    /// The outcome of a run that has ended, with its JSON report in a file.
    ///
    /// # Panics
    /// A condition that holds after every run does not hold.
    #[must_use]
    pub fn of(env: &TestEnv, events_file: &Path, ended: Ended) -> Self {
        let outcome = Self { events: events_so_far(events_file), ended };
        assert!(!outcome.ended.stderr.contains("panicked"), "{}", outcome.ended);
        assert_eq!(env.outliving(), [], "processes outlive vmlab: {}", outcome.ended);
        outcome.check();
        outcome.check_consoles(env);
        outcome
    }

    /// Checks vmlab's exit code.
    ///
    /// # Panics
    /// The exit code is another.
    pub fn exits(&self, code: u8) -> &Self {
        self.ended.exits(code);
        self
    }

    /// The final verdict of each scenario, in the order of the events.
    pub fn reports(&self) -> impl Iterator<Item = &JobReport> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::JobFinished(report) => Some(&**report),
            _ => None,
        })
    }

    /// The final verdict of a scenario that ran on one kernel.
    ///
    /// # Panics
    /// The scenario has no verdict.
    #[must_use]
    pub fn report(&self, scenario: &str) -> &JobReport {
        let found = self.reports().find(|report| report.job.name() == scenario);
        found.unwrap_or_else(|| panic!("no report on {scenario}: {}", self.ended))
    }

    /// The verdict's label and detail.
    #[must_use]
    pub fn verdict(&self, scenario: &str) -> (&'static str, String) {
        let verdict = &self.report(scenario).verdict;
        (verdict.label(), verdict.detail())
    }

    /// Checks that a scenario's verdict has this label, and that its detail contains this text.
    ///
    /// # Panics
    /// The verdict differs.
    pub fn has(&self, scenario: &str, label: &str, text: &str) -> &Self {
        let (is, detail) = self.verdict(scenario);
        assert!(is == label && detail.contains(text), "{scenario}: {is}: {detail}\n{}", self.ended);
        self
    }

    /// The label of each verdict, by the kernel's file name and the scenario.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<(String, String), &'static str> {
        let name = |kernel: &str| kernel.rsplit('/').next().unwrap_or_default().to_owned();
        self.reports().map(|r| ((name(r.target.as_str()), r.job.to_string()), r.verdict.label())).collect()
    }

    /// The reports on lost guests, in order.
    pub fn losses(&self) -> impl Iterator<Item = &LossReport> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::GuestLost(loss) => Some(&**loss),
            _ => None,
        })
    }

    /// The report on the only lost guest.
    ///
    /// # Panics
    /// The number of lost guests is not one.
    #[must_use]
    pub fn loss(&self) -> &LossReport {
        let losses: Vec<_> = self.losses().collect();
        assert_eq!(losses.len(), 1, "{}", self.ended);
        losses[0]
    }

    /// The texts of all notices.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::Notice { text } => Some(text.as_str()),
            _ => None,
        })
    }

    /// How many guests were started.
    #[must_use]
    pub fn guests(&self) -> usize {
        self.events.iter().filter(|stamped| matches!(stamped.event, LabEvent::GuestStarting { .. })).count()
    }

    /// Checks the events of a run: all that was announced has ended, and the reported exit code is vmlab's.
    fn check(&self) {
        let (Some(first), Some(last)) = (self.events.first(), self.events.last()) else {
            panic!("no events: {}", self.ended);
        };
        let LabEvent::RunStarted { targets, jobs, .. } = &first.event else { panic!("{first:?} came first") };
        let LabEvent::RunFinished { counts, exit_code } = &last.event else { panic!("{last:?} came last") };
        self.ended.exits(*exit_code);
        let mut due: Vec<_> =
            targets.iter().flat_map(|target| jobs.iter().map(move |spec| (target.as_str(), spec.name()))).collect();
        let mut reported: Vec<_> = self.reports().map(|r| (r.target.as_str(), r.job.name())).collect();
        due.sort_unstable();
        reported.sort_unstable();
        assert_eq!(reported, due, "each scenario has one report for each kernel: {}", self.ended);
        assert_eq!(counts.total() as usize, due.len());
        let numbers = |pick: fn(&LabEvent) -> Option<u32>| -> Vec<u32> {
            let mut numbers: Vec<_> = self.events.iter().filter_map(|stamped| pick(&stamped.event)).collect();
            numbers.sort_unstable();
            numbers
        };
        let starting =
            numbers(|event| if let LabEvent::GuestStarting { guest, .. } = event { Some(*guest) } else { None });
        let ended = numbers(|event| if let LabEvent::GuestEnded { guest, .. } = event { Some(*guest) } else { None });
        assert_eq!(starting, ended, "each guest that was started has ended");
        self.check_timings(&ended);
        assert!(self.events.is_sorted_by_key(|stamped| stamped.elapsed_ms));
        for report in self.reports() {
            assert!(
                report.verdict == Verdict::Passed || !report.verdict.detail().is_empty(),
                "{report:?} says nothing"
            );
        }
    }

    /// Checks the timings: one report for each guest that ended well, one for the run, and phases that add up to the total.
    fn check_timings(&self, ended: &[u32]) {
        let mut timed = Vec::new();
        let mut runs = 0;
        for stamped in &self.events {
            let phases = match &stamped.event {
                LabEvent::GuestTimings { guest, phases, .. } => {
                    timed.push(*guest);
                    phases
                }
                LabEvent::RunTimings { phases } => {
                    runs += 1;
                    phases
                }
                _ => continue,
            };
            let Some((total, parts)) = phases.split_last() else { panic!("{stamped:?} has no phases") };
            assert_eq!(total.name, "total");
            let legs = [Leg::Probe, Leg::Subject, Leg::Control].map(Leg::name);
            let sum: u64 =
                parts.iter().filter(|phase| !legs.contains(&phase.name.as_str())).map(|phase| phase.us).sum();
            let cut = parts.len() as u64;
            assert!((sum..=sum + cut).contains(&total.us), "{stamped:?}: the sum is {sum}");
        }
        timed.sort_unstable();
        assert!(timed.is_sorted_by(|a, b| a < b) && timed.iter().all(|guest| ended.contains(guest)), "{timed:?}");
        let done = |stamped: &&Stamped| matches!(&stamped.event, LabEvent::GuestEnded { how, .. } if *how == GuestOutcome::Done);
        assert!(timed.len() >= self.events.iter().filter(done).count(), "{timed:?} of {ended:?}");
        assert_eq!(runs, 1);
    }

    /// Checks that the record has every guest's console, with the reported length.
    fn check_consoles(&self, env: &TestEnv) {
        let Some(record) = record_dir(env) else { return };
        let mut names = BTreeMap::new();
        for stamped in &self.events {
            match &stamped.event {
                LabEvent::GuestStarting { guest, console, .. } => drop(names.insert(*guest, console.clone())),
                LabEvent::GuestEnded { guest, console_bytes, .. } => {
                    let kept = fs::read(record.join(&names[guest])).unwrap_or_default().len() as u64;
                    let more = format!("the guest wrote {} more", console_bytes - kept);
                    assert!(
                        kept == *console_bytes || self.notices().any(|text| text.contains(&more)),
                        "console of guest {guest}"
                    );
                }
                _ => {}
            }
        }
    }
}

/// The directory of the latest run's record.
#[must_use]
pub fn record_dir(env: &TestEnv) -> Option<PathBuf> {
    fs::canonicalize(env.state().join("vmlab/runs/latest")).ok()
}
