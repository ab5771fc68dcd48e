//! The end of a guest: collects the evidence, and reports on the guest's jobs.

use nix::sys::signal::Signal;
use vmlab_events::event::{GuestOutcome, LabEvent};
use vmlab_events::loss::{LossReport, QemuEnd, ShutdownLine, ShutdownReason};
use vmlab_events::verdict::Verdict;
use vmlab_qemu::template::BootReport;

use super::{Ending, GuestMachine, Now, Stage, Start, Timings};
use crate::guest::input::End;
use crate::guest::jobs::QueuedJob;
use crate::target::Target;
use crate::verdict::evidence::{Console, Evidence, GuestLoss, Link, Monitor};
use crate::verdict::outcome::{self, Booted};

/// The outcome of a guest.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All jobs are reported except these, which were never announced and need another guest.
    Served(Vec<QueuedJob>),
    /// The guest never said hello. The verdict is that of its jobs.
    NeverReady(Verdict, Vec<QueuedJob>),
    /// The fork failed before its first job, which is no evidence about the jobs.
    ForkFailed(DeadFork, Vec<QueuedJob>),
    /// The guest is saved as a template.
    Saved(Box<BootReport>),
    /// The guest could not be saved as a template.
    NotSaved(NotSaved),
    /// The standby was not needed.
    Unneeded,
}

/// Why there is no template.
#[derive(Debug)]
pub(crate) enum NotSaved {
    /// The guest never said hello.
    NeverReady(Verdict),
    /// The guest said hello and could not be saved.
    Failed(String),
    /// The guest said hello, and QEMU refused to save it.
    Refused(String),
}

/// A fork that failed before its first job.
#[derive(Debug)]
pub(crate) struct DeadFork {
    /// How the fork ended.
    pub(crate) why: String,
    /// Whether QEMU refused to restore it.
    pub(crate) refused: bool,
    /// Whether another process ended or stopped QEMU, or the host could not start it, which is no evidence about the template.
    pub(crate) by_others: bool,
}

impl GuestMachine {
    /// The outcome of the guest, and its timings. Call this after [`super::Input::Ended`]; before that the guest counts
    /// as one that served no job.
    pub(crate) fn into_outcome(mut self) -> (Outcome, Timings) {
        match self.stage {
            Stage::Ended(outcome) => (outcome, self.timings),
            _ => (Outcome::Served(self.jobs.take_unannounced()), self.timings),
        }
    }

    pub(super) fn ended(&mut self, now: Now, end: End) {
        self.timings.end_of("end", now.at);
        let End { state, console, qmp, qemu, stderr, registers, vmcore, notices } = end;
        qmp.iter().for_each(|event| self.note_qmp(event));
        self.qemu.monitor.state = state;
        self.console.push(&console);
        self.console.reader.end();
        notices.iter().for_each(|text| self.notice(text));
        let ending = std::mem::replace(&mut self.stage, Stage::Standby);
        let ending = match ending {
            Stage::Ending(Ending::Done) if self.qemu.monitor.contradicts_guest() => Ending::Lost(GuestLoss::Ended),
            Stage::Ending(ending) => ending,
            _ => Ending::Lost(GuestLoss::Ended),
        };
        let (how, verdict) = match &ending {
            Ending::Done => {
                self.take_in_warnings();
                let crash = self.console.reader.crash().cloned();
                let reported = self.jobs.close(crash.as_ref());
                self.report(reported);
                (GuestOutcome::Done, None)
            }
            Ending::Saved | Ending::NotSaved(_) => {
                let warnings = self.console.reader.take_warnings();
                self.note_boot_warnings(&warnings);
                (GuestOutcome::Done, None)
            }
            Ending::Unneeded(reason) => (GuestOutcome::NotNeeded { reason: *reason }, None),
            Ending::Lost(loss) => {
                let report = Lost { loss, qemu: &qemu, stderr, registers, vmcore };
                let verdict = self.lost(now, report);
                (GuestOutcome::Lost { verdict: Box::new(verdict.clone().without_trace()) }, Some(verdict))
            }
        };
        let console_bytes = self.console.bytes();
        self.emit(LabEvent::GuestEnded { guest: self.number, how, console_bytes });
        self.stage = Stage::Ended(self.outcome(ending, verdict, &qemu));
    }

    /// Collects and reports the evidence, and reports the verdict of the running job.
    fn lost(&mut self, now: Now, lost: Lost<'_>) -> Verdict {
        let Lost { loss, qemu, stderr, registers, vmcore } = lost;
        // QEMU does not close the port when the guest powers off, so that only now a frame is known to stay cut.
        let cut = self.session.closed().err();
        let closed = !self.qemu.control_open;
        let link = Link { booted: self.booted, phase: self.session.phase(), cut, closed };
        let reader = &self.console.reader;
        let monitor = &self.qemu.monitor;
        let evidence = Evidence { loss, link: &link, console: Console::of(reader), monitor, qemu, stderr: &stderr };
        let verdict = if self.booted {
            outcome::of(&evidence)
        } else {
            let Target { machine, append, lacking, .. } = &*self.target;
            let (append, lacking) = (append.as_deref(), lacking.as_ref());
            outcome::at_boot(&evidence, reader, Booted { memory_mib: machine.memory_mib, append, lacking })
        };
        let report = LossReport {
            guest: self.number,
            target: self.target.id.clone(),
            job: self.jobs.in_flight().filter(|_| self.booted),
            phase: link.phase,
            deadline: loss.deadline(),
            panic_reported: monitor.panicked,
            shutdown: monitor.shutdown.clone(),
            shutdown_line: ShutdownLine::of_console(reader),
            qemu: qemu.clone(),
            qemu_stderr: stderr,
            console: reader.last_lines().map(str::to_owned).collect(),
            registers,
            vmcore,
        };
        self.emit(LabEvent::GuestLost(Box::new(report)));
        if self.booted {
            let findings = self.session.findings_so_far().cloned().unwrap_or_default();
            let open = self.console.awaits_marker();
            self.take_in_warnings();
            let crash = self.console.reader.crash().cloned();
            let by_run = loss.is_the_runs();
            let reported = self.jobs.lost(verdict.clone(), by_run, open, crash.as_ref(), findings, now.at);
            self.report(reported);
        }
        verdict
    }

    /// Adds all of the console's warnings to the next report.
    fn take_in_warnings(&mut self) {
        let before = self.console.take_before().map(|before| before.warnings).unwrap_or_default();
        self.jobs.warn(before);
        self.jobs.warn(self.console.reader.take_warnings());
    }

    fn outcome(&mut self, ending: Ending, verdict: Option<Verdict>, qemu: &QemuEnd) -> Outcome {
        let (fork, template) = (self.is_fork(), self.timings.how() == Start::Template);
        let by_others = is_by_others(&self.qemu.monitor, qemu);
        match (ending, verdict) {
            (Ending::Unneeded(_), _) => Outcome::Unneeded,
            (Ending::NotSaved(why), _) => Outcome::NotSaved(why),
            (Ending::Saved, _) => self.saved(),
            (Ending::Lost(loss), Some(_)) if template && loss.is_the_runs() => {
                Outcome::NotSaved(NotSaved::Failed("the run was stopped".to_owned()))
            }
            // If another process ended the QEMU of a future template, this is no evidence about the kernel.
            (Ending::Lost(_), Some(verdict)) if template => {
                Outcome::NotSaved(if by_others && !matches!(verdict, Verdict::KernelCrashed { .. }) {
                    NotSaved::Failed(verdict.detail())
                } else {
                    NotSaved::NeverReady(verdict)
                })
            }
            (Ending::Lost(loss), Some(verdict)) if !self.booted && fork && !loss.is_the_runs() => {
                let (why, refused) = (verdict.detail(), is_refusal(&self.qemu.monitor, qemu));
                Outcome::ForkFailed(DeadFork { why, refused, by_others }, self.unannounced())
            }
            (Ending::Lost(_), Some(verdict)) if !self.booted => Outcome::NeverReady(verdict, self.unannounced()),
            _ => Outcome::Served(self.unannounced()),
        }
    }

    fn saved(&mut self) -> Outcome {
        if let Some(crash) = self.console.reader.crash() {
            let why = format!("its kernel broke after its hello: {}", crash.title);
            return Outcome::NotSaved(NotSaved::Failed(why));
        }
        match self.hello.take() {
            Some(hello) => Outcome::Saved(Box::new(BootReport {
                hello: *hello,
                boot_notes: std::mem::take(&mut self.boot_notes),
                suite_warnings: self.jobs.take_suite_warnings(),
            })),
            None => Outcome::NotSaved(NotSaved::Failed("it has not said hello".to_owned())),
        }
    }

    fn unannounced(&mut self) -> Vec<QueuedJob> {
        self.jobs.take_unannounced()
    }
}

/// The evidence of a guest's loss from outside its own channels.
struct Lost<'a> {
    loss: &'a GuestLoss,
    qemu: &'a QemuEnd,
    stderr: String,
    registers: Option<String>,
    vmcore: Option<vmlab_events::loss::Vmcore>,
}

/// Whether QEMU itself refused the fork, and the host was not the cause: QEMU's monitor was ready, so QEMU had all its
/// memory.
fn is_refusal(monitor: &Monitor, end: &QemuEnd) -> bool {
    let gave_up = matches!(end, QemuEnd::Exited(code) if *code != 0);
    monitor.refused.is_some() || (monitor.answered && gave_up)
}

/// Whether a user, a supervisor or the host's out-of-memory killer ended or stopped QEMU.
fn is_by_others(monitor: &Monitor, end: &QemuEnd) -> bool {
    const SENT: [Signal; 4] = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    // QEMU ends in order on three of these signals.
    if monitor.shutdown == Some(ShutdownReason::HostSignal) {
        return true;
    }
    match end {
        QemuEnd::Killed(signal) => SENT.iter().any(|sent| *sent as i32 == *signal),
        QemuEnd::Lived { stopped } => *stopped,
        QemuEnd::Exited(_) | QemuEnd::Unknown(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_of_qemu_itself_is_a_refusal() {
        let up = Monitor { answered: true, ..Monitor::default() };
        let refused = Monitor {
            refused: Some(crate::verdict::evidence::refused("migrate-incoming", "no")),
            ..Monitor::default()
        };
        let lived = QemuEnd::Lived { stopped: false };
        assert!(is_refusal(&up, &QemuEnd::Exited(1)) && is_refusal(&refused, &lived));
        for (monitor, end) in [
            (&up, lived),
            (&up, QemuEnd::Lived { stopped: true }),
            (&up, QemuEnd::Killed(9)),
            (&up, QemuEnd::Exited(0)),
            (&up, QemuEnd::Unknown("it is gone".to_owned())),
            (&Monitor::default(), QemuEnd::Exited(1)),
        ] {
            assert!(!is_refusal(monitor, &end), "{monitor:?} {end:?}");
        }
    }
}
