//! The end of a guest: what is left of it is read, the evidence is put together, and its scenarios get their last word.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use super::executor::{Drive, GuestRun};
use super::inputs::{Inputs, Rest};
use super::phases::{Kind, Recorder};
use super::templates::DeadFork;
use crate::verdict::evidence::{Console, Evidence, GuestLoss, Link, Monitor};
use crate::verdict::outcome;
use vmlab_events::event::{GuestOutcome, LabEvent};
use vmlab_events::job::Job;
use vmlab_events::loss::LossReport;
use vmlab_events::loss::{QemuEnd, ShutdownLine};
use vmlab_events::verdict::Verdict;
use vmlab_qemu::process::QemuEnded;
use vmlab_qemu::qmp::ShutdownReason;

impl Drive<'_> {
    /// Ends QEMU, reads what is left of the console, and settles what the guest's scenarios came to.
    /// What the recorder gives is still to be told.
    pub(super) async fn end(mut self, mut inputs: Inputs, loss: Option<GuestLoss>) -> (GuestRun, Recorder) {
        let mut stopped = false;
        if let Some(loss) = &loss {
            self.recorder.end_of("lost");
            stopped = inputs.vitals().is_some_and(|vitals| vitals.stopped);
            if is_worth_an_autopsy(loss) && !stopped && !inputs.is_over() {
                self.examine(&mut inputs).await;
            }
        }
        let Rest { console, told, qemu } = inputs.end().await;
        self.recorder.end_of("end");
        for told in &told {
            self.recorder.told(told);
            self.monitor.observe(&told.event);
        }
        // What QEMU tells of a guest is true whatever that guest has said.
        let loss = loss.or_else(|| self.monitor.contradicts_guest().then_some(GuestLoss::Ended));
        self.ledger.console.push(&console);
        self.ledger.console.reader.end();
        let console = &mut self.ledger.console;
        let notices: Vec<_> = console.take_failure().into_iter().chain(console.left_out()).collect();
        notices.iter().chain(&self.autopsy.notices).for_each(|text| self.notice(text));
        let (end, stderr) = qemu_end(qemu, stopped);
        let verdict = match &loss {
            None => {
                self.ledger.goodbye();
                None
            }
            Some(loss) => Some(self.settle(loss, &end, stderr)),
        };
        let how = verdict.clone().map_or(GuestOutcome::Done, |verdict| {
            let verdict = Box::new(verdict.without_trace());
            GuestOutcome::Lost { verdict }
        });
        let console_bytes = self.ledger.console.bytes();
        self.lab.emitter.emit(LabEvent::GuestEnded { guest: self.number, how: how.clone(), console_bytes });
        let rest = self.ledger.take_unannounced().into_iter().chain(self.queue).collect();
        let by_others = is_by_others(&self.monitor, &end);
        let run = match verdict {
            Some(verdict)
                if !self.booted
                    && self.lab.stopped().is_none()
                    && is_of_forks(self.recorder.kind(), by_others, &verdict) =>
            {
                let refused = is_refusal(&self.monitor, &end);
                GuestRun::ForkFailed(DeadFork { why: how.to_string(), refused, by_others }, rest)
            }
            Some(verdict) if !self.booted => GuestRun::NeverReady(verdict, rest),
            _ => GuestRun::Served(rest),
        };
        (run, self.recorder)
    }

    /// Puts the evidence together, tells of it, and has the scenario in flight get its last word.
    fn settle(&mut self, loss: &GuestLoss, qemu: &QemuEnd, stderr: String) -> Verdict {
        // QEMU does not close the port when the guest powers off, so it is only now that a frame is known to stay cut.
        let cut = self.session.closed().err();
        let link = Link { booted: self.booted, phase: self.session.phase(), cut, closed: self.port_closed };
        let reader = &self.ledger.console.reader;
        let evidence =
            Evidence { loss, link: &link, console: Console::of(reader), monitor: &self.monitor, qemu, stderr: &stderr };
        let verdict = if self.booted {
            outcome::of(&evidence)
        } else {
            outcome::at_boot(&evidence, reader, self.prepared.machine.memory_mib)
        };
        self.lab.emitter.emit(LabEvent::GuestLost(Box::new(LossReport {
            guest: self.number,
            target: self.prepared.target.clone(),
            job: self.ledger.in_flight().filter(|_| self.booted).map(|spec| Job::Scenario(spec.id.clone())),
            phase: link.phase,
            deadline: loss.deadline(),
            panic_reported: self.monitor.panicked,
            shutdown: self.monitor.shutdown.clone(),
            shutdown_line: ShutdownLine::of_console(reader),
            qemu: qemu.clone(),
            qemu_stderr: stderr,
            console: reader.last_lines().map(str::to_owned).collect(),
            registers: self.autopsy.registers.take(),
            vmcore: self.autopsy.vmcore.take(),
        })));
        if self.booted {
            let findings = self.session.findings_so_far().cloned().unwrap_or_default();
            self.ledger.lost(verdict.clone(), loss.is_the_runs(), findings);
        }
        verdict
    }
}

/// Whether it was QEMU that would not have the fork, and not the host that kept it from it: its monitor had come up, so
/// it had the memory that it wanted.
fn is_refusal(monitor: &Monitor, end: &QemuEnd) -> bool {
    let gave_up = matches!(end, QemuEnd::Exited(code) if *code != 0);
    monitor.refused.is_some() || (monitor.answered && gave_up)
}

/// Whether the end of a guest says nothing of its kernel: it is a fork, or was to be a template, and somebody ended its
/// QEMU.
const fn is_of_forks(kind: Kind, by_others: bool, verdict: &Verdict) -> bool {
    match kind {
        Kind::Fork => true,
        Kind::Template => by_others && !matches!(verdict, Verdict::KernelCrashed { .. }),
        Kind::Boot => false,
    }
}

/// Whether the guest's registers may tell something of the loss.
const fn is_worth_an_autopsy(loss: &GuestLoss) -> bool {
    matches!(loss, GuestLoss::Ended | GuestLoss::Deadline { .. } | GuestLoss::Broken)
}

/// Whether QEMU ended or stands still by the doing of a user, a supervisor or a kernel that is short of memory.
fn is_by_others(monitor: &Monitor, end: &QemuEnd) -> bool {
    const SENT: [Signal; 4] = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    // QEMU ends in order on three of them.
    if monitor.shutdown == Some(ShutdownReason::HostSignal) {
        return true;
    }
    match end {
        QemuEnd::Killed(signal) => SENT.iter().any(|sent| *sent as i32 == *signal),
        QemuEnd::Lived { stopped } => *stopped,
        QemuEnd::Exited(_) | QemuEnd::Unknown(_) => false,
    }
}

fn qemu_end(ended: std::io::Result<QemuEnded>, stopped: bool) -> (QemuEnd, String) {
    match ended {
        Ok(QemuEnded { by_itself, stderr }) => (by_itself.map_or(QemuEnd::Lived { stopped }, of_status), stderr),
        Err(error) => (QemuEnd::Unknown(format!("it cannot be reaped: {error}")), String::new()),
    }
}

fn of_status(status: ExitStatus) -> QemuEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => QemuEnd::Exited(code),
        (None, Some(signal)) => QemuEnd::Killed(signal),
        (None, None) => QemuEnd::Unknown(format!("it ended as {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::evidence::refused;

    #[test]
    fn only_what_qemu_itself_would_not_do_is_a_refusal() {
        let up = Monitor { answered: true, ..Monitor::default() };
        let by_reply = Monitor { refused: Some(refused("migrate-incoming", "no")), ..Monitor::default() };
        let lived = QemuEnd::Lived { stopped: false };
        assert!(is_refusal(&up, &QemuEnd::Exited(1)) && is_refusal(&by_reply, &lived));
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
