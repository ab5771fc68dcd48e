//! One guest's life: start, hello, scenarios one after the other, goodbye, end.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::Instant;
use vmlab_protocol::catalogue::ScenarioSpec;
use vmlab_protocol::message::Hello;

use super::fresh;
use super::inputs::{Input, Inputs, Rest};
use super::lab::{Lab, Prepared};
use super::launch::Guest;
use super::ledger::Ledger;
use super::limits::FAREWELL;
use super::milliseconds;
use super::phases::{Kind, Moment, Recorder};
use crate::event::LabEvent;
use crate::guest::inventory;
use crate::guest::session::{Heard, Session};
use crate::verdict::Verdict;
use crate::verdict::judge::{self, GuestLoss};
use crate::vm::process::QemuEnd;
use crate::vm::qmp::QmpEvent;

/// How a guest's run ended for those who wait for its scenarios.
#[derive(Debug)]
pub(super) enum GuestRun {
    /// Every scenario has its report but these, which were never announced; they need another guest.
    Served(Vec<ScenarioSpec>),
    /// The guest never said hello: this is the verdict on all that it was to run.
    NeverReady(Verdict, Vec<ScenarioSpec>),
    /// The fork did not come to life: it is the template that is no good, and nothing is known of the scenarios.
    ForkFailed(String, Vec<ScenarioSpec>),
}

/// Runs scenarios in a guest that was launched, one after the other, to its goodbye or its loss.
pub(super) async fn run_guest(lab: &Lab, prepared: &Prepared, guest: Guest, queue: Vec<ScenarioSpec>) -> GuestRun {
    let (mut drive, mut inputs) = Drive::new(lab, prepared, guest, queue);
    let loss = drive.serve(&mut inputs).await;
    let (run, recorder) = drive.end(inputs, loss).await;
    recorder.finish(lab);
    run
}

/// What is waited for, and until when.
struct Wait {
    what: &'static str,
    limit: Duration,
    deadline: Instant,
}

impl Wait {
    fn new(what: &'static str, limit: Duration) -> Self {
        Self { what, limit, deadline: Instant::now() + limit }
    }
}

/// Leads a guest. One that is to be a template is done once it has said hello.
pub(super) struct Drive<'a> {
    pub(super) recorder: Recorder,
    pub(super) hello: Option<Box<Hello>>,
    lab: &'a Lab,
    prepared: &'a Prepared,
    number: u32,
    session: Session,
    ledger: Ledger<'a>,
    queue: VecDeque<ScenarioSpec>,
    booted: bool,
    /// A scenario did not end as it should, so that what it changed may still be there: the others get another guest.
    spoiled: bool,
    /// What QMP said and how QEMU ended, for whoever asks why the guest vanished.
    qemu_says: Vec<String>,
    wait: Wait,
}

/// What an input leads to.
enum Step {
    GoOn,
    /// The guest has said goodbye.
    Done,
    Lost(GuestLoss),
}

impl<'a> Drive<'a> {
    pub(super) fn new(lab: &'a Lab, prepared: &'a Prepared, guest: Guest, queue: Vec<ScenarioSpec>) -> (Self, Inputs) {
        let Guest { number, recorder, inputs, console, hello } = guest;
        let fork = recorder.kind() == Kind::Fork;
        let drive = Self {
            recorder,
            hello: hello.map(Box::new),
            lab,
            prepared,
            number,
            session: if fork { Session::of_fork() } else { Session::default() },
            ledger: Ledger::new(lab, prepared, number, console),
            queue: queue.into(),
            booted: false,
            spoiled: false,
            qemu_says: Vec::new(),
            wait: Wait::new("boot", prepared.limits.boot),
        };
        (drive, inputs)
    }

    /// Serves the guest until its goodbye (None) or its loss.
    pub(super) async fn serve(&mut self, inputs: &mut Inputs) -> Option<GuestLoss> {
        if self.recorder.kind() == Kind::Fork
            && let Err(loss) = self.prepare(inputs).await
        {
            return Some(loss);
        }
        loop {
            let step = match inputs.next(self.wait.deadline, &self.lab.cancel).await {
                Ok(input) => self.step(input, inputs).await,
                Err(error) => Step::Lost(GuestLoss::Vanished(format!("the host cannot read from QEMU: {error}"))),
            };
            match step {
                Step::GoOn => {}
                Step::Done => return None,
                Step::Lost(loss) => return Some(loss),
            }
        }
    }

    async fn step(&mut self, input: Input, inputs: &mut Inputs) -> Step {
        match input {
            Input::Control(bytes) => return self.hear(&bytes, inputs).await,
            Input::Console(bytes) => {
                let had_panicked = self.ledger.console.reader.has_panicked();
                self.ledger.console.push(&bytes);
                // A kernel that has panicked has said all that it will; where it does not end by itself, as under
                // `panic=0`, it need not be waited for.
                if !had_panicked && self.ledger.console.reader.has_panicked() {
                    self.shorten("farewell");
                }
            }
            Input::ControlClosed => {
                if let Err(cut) = self.session.closed() {
                    self.qemu_says.push(cut.to_string());
                }
                return self.closing(inputs);
            }
            Input::ConsoleClosed => return self.closing(inputs),
            Input::Exited(status) => {
                self.qemu_says.push(format!("QEMU {}", describe(status)));
                return self.closing(inputs);
            }
            Input::Qmp(told) => {
                self.recorder.told(&told);
                return self.qmp(told.event);
            }
            // The guest needs no QMP; only where all else has ended as well, nothing more is to be waited for.
            Input::QmpClosed if inputs.is_over() => return Step::Lost(GuestLoss::Vanished(String::new())),
            Input::QmpClosed => {}
            Input::Cancelled => {
                return Step::Lost(self.lab.stopped().map_or(GuestLoss::Interrupted, super::lab::Stop::loss));
            }
            Input::Deadline => {
                let state = inputs.state_by_qmp().await;
                let Wait { what, limit, .. } = self.wait;
                return Step::Lost(GuestLoss::Watchdog { which: what, limit_ms: milliseconds(limit), state });
            }
        }
        Step::GoOn
    }

    fn qmp(&mut self, event: QmpEvent) -> Step {
        match event {
            QmpEvent::Shutdown { reason } => self.qemu_says.push(format!("QEMU shut down ({reason})")),
            QmpEvent::GuestPanicked => self.qemu_says.push("the guest told QEMU of a panic".to_owned()),
            QmpEvent::Stopped => self.qemu_says.push("QEMU stopped the guest".to_owned()),
            QmpEvent::Reply { command, error: Some(error) } => {
                return Step::Lost(GuestLoss::Vanished(format!("QEMU refused {command}: {error}")));
            }
            QmpEvent::Greeting
            | QmpEvent::Resumed
            | QmpEvent::Reply { .. }
            | QmpEvent::Migration { .. }
            | QmpEvent::Other(_) => {}
        }
        Step::GoOn
    }

    /// One of QEMU's signs of life has ended; the others follow soon, or never.
    fn closing(&mut self, inputs: &Inputs) -> Step {
        if inputs.is_over() {
            return Step::Lost(GuestLoss::Vanished(String::new()));
        }
        self.shorten("farewell");
        Step::GoOn
    }

    /// Waits no longer than for a farewell from here on.
    fn shorten(&mut self, what: &'static str) {
        let left = self.wait.deadline.saturating_duration_since(Instant::now());
        self.wait = Wait::new(what, FAREWELL.min(left));
    }

    async fn hear(&mut self, bytes: &[u8], inputs: &mut Inputs) -> Step {
        self.session.push(bytes);
        loop {
            let heard = match self.session.next_heard() {
                Ok(Some(heard)) => heard,
                Ok(None) => return Step::GoOn,
                Err(violation) => return Step::Lost(GuestLoss::Violation(violation.0)),
            };
            // What the kernel printed before this was said belongs to what was before. What it printed right after it is
            // among these bytes as well, where the host was slow.
            let had_crashed = self.ledger.has_crashed();
            self.ledger.console.push(&inputs.console_now());
            match heard {
                // A kernel that broke is not to be trusted with anything, even if it goes on.
                Heard::Hello(_) if self.ledger.has_crashed() => {
                    return Step::Lost(GuestLoss::Vanished("the kernel broke while it booted".to_owned()));
                }
                Heard::Hello(hello) => {
                    if let Err(what) = inventory::check(&hello, &self.prepared.kernel, &self.prepared.machine) {
                        return Step::Lost(GuestLoss::WrongMachine(what));
                    }
                    self.recorder.moment(Moment::Hello);
                    self.booted = true;
                    self.hello = Some(hello);
                    self.report_boot();
                    if self.recorder.kind() == Kind::Template {
                        return Step::Done;
                    }
                    if let Err(loss) = self.prepare(inputs).await {
                        return Step::Lost(loss);
                    }
                    continue;
                }
                Heard::Prepared { boot_id } => {
                    self.recorder.moment(Moment::Prepared);
                    self.booted = true;
                    self.ready(boot_id);
                    continue;
                }
                Heard::Started => {
                    self.recorder.end_of("start");
                    if let Some(spec) = self.ledger.started(had_crashed) {
                        self.wait = Wait::new("scenario", self.prepared.limits.scenario(spec));
                    }
                    continue;
                }
                Heard::Finished(findings) => {
                    self.recorder.end_of_scenario(&findings.legs);
                    self.spoiled |= findings.spoil_the_guest() || self.ledger.has_crashed();
                    self.ledger.finished(findings);
                }
                Heard::Goodbye => {
                    self.recorder.end_of("goodbye");
                    return Step::Done;
                }
            }
            if let Err(loss) = self.ask_next(inputs).await {
                return Step::Lost(loss);
            }
        }
    }

    /// What the boot left to be said.
    fn report_boot(&mut self) {
        let problems = self.hello.as_ref().map(|hello| hello.problems.clone()).unwrap_or_default();
        problems.iter().for_each(|problem| self.notice(problem));
        for warning in self.ledger.console.reader.take_warnings() {
            self.notice(&format!("the kernel warned while it booted: {warning}"));
        }
        if self.recorder.kind() == Kind::Template {
            self.ready(String::new());
        }
    }

    fn ready(&self, boot_id: String) {
        if let Some(hello) = self.hello.clone() {
            let boot_ms = milliseconds(self.recorder.elapsed());
            self.lab.emitter.emit(LabEvent::GuestReady { guest: self.number, boot_ms, boot_id, hello });
        }
    }

    /// Has the guest become one of its own and start its first scenario: both orders go out together.
    async fn prepare(&mut self, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        self.recorder.moment(Moment::Ordered);
        let fresh = fresh::draw(self.recorder.kind() == Kind::Fork)
            .map_err(|error| GuestLoss::Vanished(format!("no entropy for the guest: {error}")))?;
        let order = self.session.prepare(&fresh).map_err(|violation| GuestLoss::Violation(violation.0))?;
        send(inputs, &order).await?;
        self.ask_next(inputs).await
    }

    /// Asks for the next scenario, or asks the guest to leave.
    async fn ask_next(&mut self, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        let limits = &self.prepared.limits;
        let next = if self.spoiled { None } else { self.queue.pop_front() };
        let order = match next {
            Some(spec) => {
                self.wait = Wait::new("scenario start", FAREWELL * limits.scale);
                let order = self.session.ask(&spec, milliseconds(limits.leg(&spec)));
                self.ledger.asked(spec);
                order
            }
            None => {
                self.wait = Wait::new("goodbye", FAREWELL * limits.scale);
                self.session.dismiss()
            }
        };
        let bytes = order.map_err(|violation| GuestLoss::Violation(violation.0))?;
        send(inputs, &bytes).await
    }

    fn notice(&self, text: &str) {
        self.lab.emitter.notice(format!("{}: {text}", self.prepared.kernel.label));
    }

    /// Ends QEMU, reads what is left of the console, and settles what the guest's scenarios came to.
    /// What the recorder gives is still to be told.
    pub(super) async fn end(mut self, inputs: Inputs, loss: Option<GuestLoss>) -> (GuestRun, Recorder) {
        if loss.is_some() {
            self.recorder.end_of("lost");
        }
        let Rest { console, told, qemu } = inputs.end().await;
        self.recorder.end_of("end");
        told.iter().for_each(|told| self.recorder.told(told));
        self.ledger.console.push(&console);
        self.ledger.console.reader.end();
        let console = &mut self.ledger.console;
        for text in console.take_failure().into_iter().chain(console.left_out()) {
            self.notice(&text);
        }
        let loss = loss.map(|loss| self.with_reasons(loss, qemu));
        match &loss {
            None => self.ledger.goodbye(),
            Some(loss) if self.booted => {
                let findings = self.session.findings_so_far().cloned().unwrap_or_default();
                self.ledger.lost(loss, findings);
            }
            Some(_) => {}
        }
        let how = loss.as_ref().map_or_else(|| "done".to_owned(), GuestLoss::to_string);
        let console_bytes = self.ledger.console.bytes();
        self.lab.emitter.emit(LabEvent::GuestEnded { guest: self.number, how, console_bytes });
        let rest = self.ledger.take_unannounced().into_iter().chain(self.queue).collect();
        let run = match loss {
            Some(loss) if !self.booted && self.recorder.kind() == Kind::Fork && self.lab.stopped().is_none() => {
                GuestRun::ForkFailed(loss.to_string(), rest)
            }
            Some(loss) if !self.booted => {
                let memory_mib = self.prepared.machine.memory_mib;
                GuestRun::NeverReady(judge::lost_at_boot(&loss, &self.ledger.console.reader, memory_mib), rest)
            }
            _ => GuestRun::Served(rest),
        };
        (run, self.recorder)
    }

    /// Where the guest vanished, everything that QEMU said of it is the reason.
    fn with_reasons(&mut self, loss: GuestLoss, qemu: std::io::Result<QemuEnd>) -> GuestLoss {
        let GuestLoss::Vanished(detail) = loss else { return loss };
        let mut words = vec![detail];
        words.append(&mut self.qemu_says);
        words.push(match qemu {
            Ok(end) => end.stderr,
            Err(error) => format!("cannot reap QEMU: {error}"),
        });
        words.retain(|text| !text.is_empty());
        GuestLoss::Vanished(words.join("; "))
    }
}

/// Sends to the guest. A peer that has gone is seen by the reads, together with the reason.
async fn send(inputs: &mut Inputs, bytes: &[u8]) -> Result<(), GuestLoss> {
    match inputs.send(bytes).await {
        Err(error) if !super::inputs::is_end(&error) => {
            Err(GuestLoss::Vanished(format!("the host cannot write to the guest: {error}")))
        }
        _ => Ok(()),
    }
}

/// In words.
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended as {status}"),
    }
}
