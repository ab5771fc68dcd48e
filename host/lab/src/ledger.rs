//! Which of a guest's scenarios is where, and the one report that each of them gets.

use std::time::Duration;

use tokio::time::Instant;
use vmlab_protocol::catalogue::ScenarioSpec;

use super::attempts::Came;
use super::console_log::ConsoleLog;
use super::lab::{Lab, Prepared};
use crate::guest::session::Findings;
use crate::verdict::judge;
use vmlab_console::Finding;
use vmlab_events::event::{LabEvent, ScenarioReport};
use vmlab_events::verdict::{Class, Verdict};

/// The books on one guest's scenarios.
pub(super) struct Ledger<'a> {
    lab: &'a Lab,
    prepared: &'a Prepared,
    guest: u32,
    /// The guest's console.
    pub(super) console: ConsoleLog,
    /// Asked for and not announced yet.
    asked: Option<ScenarioSpec>,
    /// Announced and not ended yet.
    running: Option<Running>,
    /// Ended and not yet reported: what the console says until the next word still belongs to it.
    ended: Option<(Running, Box<Findings>, Duration)>,
    warnings: Vec<Finding>,
}

struct Running {
    spec: ScenarioSpec,
    /// Which attempt at it this is.
    attempt: u32,
    began: Instant,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(lab: &'a Lab, prepared: &'a Prepared, guest: u32, console: ConsoleLog) -> Self {
        let (asked, running, ended, warnings) = (None, None, None, Vec::new());
        Self { lab, prepared, guest, console, asked, running, ended, warnings }
    }

    pub(super) fn asked(&mut self, spec: ScenarioSpec) {
        self.asked = Some(spec);
    }

    /// Whether a scenario has ended in this guest whose report is still open to what the console says.
    pub(super) const fn has_open_report(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the console tells of a crash.
    pub(super) const fn has_crashed(&self) -> bool {
        self.console.reader.crash().is_some()
    }

    /// Whether the kernel had crashed before it printed the word that the guest was given last.
    pub(super) fn had_crashed_before(&self) -> bool {
        self.console.before().is_some_and(|before| before.crashed)
    }

    /// The scenario that was asked for has been announced, and the console has come as far. Gives its description.
    pub(super) fn started(&mut self) -> Option<&ScenarioSpec> {
        if let Some(before) = self.console.take_before() {
            self.warnings.extend(before.warnings);
            self.report_ended(None, before.crashed);
        }
        let spec = self.asked.take()?;
        let attempt = self.lab.book.number(&self.prepared.kernel.label, &spec.id);
        self.lab.emitter.emit(LabEvent::ScenarioStarted {
            guest: self.guest,
            kernel: self.prepared.kernel.label.clone(),
            scenario: spec.id.clone(),
            attempt,
        });
        let running = self.running.insert(Running { spec, attempt, began: Instant::now() });
        Some(&running.spec)
    }

    pub(super) fn finished(&mut self, findings: Box<Findings>) {
        self.ended = self.running.take().map(|running| {
            let duration = running.began.elapsed();
            (running, findings, duration)
        });
    }

    /// The guest has said goodbye, and its console has been read to the end.
    pub(super) fn goodbye(&mut self) {
        self.take_in();
        self.report_ended(None, true);
    }

    /// The guest was lost after its hello, and its console has been read to the end.
    ///
    /// The loss belongs to the scenario in flight; else to the one that ended last, since nothing else has run; else to
    /// the one that was asked for, so that a guest that always dies there is not started again for ever. Where the run
    /// was ended, and not the guest (`by_run`), it belongs to nothing but the scenario in flight.
    pub(super) fn lost(&mut self, verdict: Verdict, by_run: bool, findings: Findings) {
        self.take_in();
        if let Some(running) = self.running.take() {
            let duration = running.began.elapsed();
            // A crash is no matter of when the run ends.
            let cut = by_run && verdict.class() != Class::Crashed;
            self.report(running, verdict, findings, duration, if cut { Came::Cut } else { Came::Made });
        } else if by_run {
            // Where the console had not come as far, it may have had more to say.
            let cut = self.console.awaits_marker().then_some((verdict, Came::Cut));
            self.report_ended(cut, true);
        } else if self.ended.is_some() {
            self.report_ended(Some((verdict, Came::Made)), true);
        } else if let Some(spec) = self.asked.take() {
            let attempt = self.lab.book.number(&self.prepared.kernel.label, &spec.id);
            let running = Running { spec, attempt, began: Instant::now() };
            self.report(running, verdict, findings, Duration::ZERO, Came::Made);
        }
    }

    /// The scenario that a loss would belong to now.
    pub(super) fn in_flight(&self) -> Option<&ScenarioSpec> {
        let running = self.running.as_ref().or(self.ended.as_ref().map(|(running, ..)| running));
        running.map(|running| &running.spec).or(self.asked.as_ref())
    }

    /// What was asked for and never announced.
    pub(super) fn take_unannounced(&mut self) -> Option<ScenarioSpec> {
        self.asked.take()
    }

    /// Takes in all that the console told of.
    fn take_in(&mut self) {
        let before = self.console.take_before().map(|before| before.warnings);
        self.warnings.extend(before.unwrap_or_default());
        self.warnings.extend(self.console.reader.take_warnings());
    }

    /// `after` is what came of the guest since, where it was lost: a good verdict does not outlive that. `crash_counts`
    /// is whether a crash on the console belongs to what ended.
    fn report_ended(&mut self, after: Option<(Verdict, Came)>, crash_counts: bool) {
        let Some((running, findings, duration)) = self.ended.take() else { return };
        let kernel = &self.prepared.kernel;
        let facts = judge::KernelFacts { version: kernel.version, config: kernel.config.as_ref() };
        judge::allow(&running.spec, &mut self.warnings);
        let crash = self.console.reader.crash().filter(|_| crash_counts);
        let own = judge::finished(&running.spec, facts, &findings.legs, crash, &self.warnings);
        let (verdict, came) = match after {
            Some(after) if own.class() <= Class::Skipped => after,
            _ => (own, Came::Made),
        };
        self.report(running, verdict, *findings, duration, came);
    }

    fn report(&mut self, of: Running, verdict: Verdict, findings: Findings, duration: Duration, came: Came) {
        judge::allow(&of.spec, &mut self.warnings);
        let report = ScenarioReport {
            kernel: self.prepared.kernel.label.clone(),
            scenario: of.spec.id,
            guest: Some(self.guest),
            verdict,
            stdout: findings.stdout.text(),
            stderr: findings.stderr.text(),
            output_dropped: findings.dropped_by_guest.saturating_add(findings.stdout.dropped + findings.stderr.dropped),
            legs: findings.legs,
            warnings: std::mem::take(&mut self.warnings),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            attempt: of.attempt,
            attempts: None,
        };
        self.lab.came(report, came);
    }
}
