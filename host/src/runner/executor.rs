//! One guest's life: start, hello, scenarios one after the other, goodbye, end.

use std::collections::VecDeque;
use std::process::ExitStatus;

use tokio::time::Instant;
use vmlab_protocol::catalogue::ScenarioSpec;
use vmlab_protocol::message::Hello;

use super::autopsy::Autopsy;
use super::fresh;
use super::inputs::{Input, Inputs};
use super::lab::{Lab, Prepared};
use super::launch::Guest;
use super::ledger::Ledger;
use super::limits::FAREWELL;
use super::milliseconds;
use super::phases::{Kind, Moment, Recorder};
use super::templates::DeadFork;
use super::watch::{Passed, Watch};
use crate::event::LabEvent;
use crate::guest::inventory;
use crate::guest::session::{Heard, Session};
use crate::verdict::Verdict;
use crate::verdict::evidence::{GuestLoss, LastWord, Monitor, Watchdog};
use crate::vm::qmp::QmpEvent;

/// How a guest's run ended for those who wait for its scenarios.
#[derive(Debug)]
pub(super) enum GuestRun {
    /// Every scenario has its report but these, which were never announced; they need another guest.
    Served(Vec<ScenarioSpec>),
    /// The guest never said hello: this is the verdict on all that it was to run.
    NeverReady(Verdict, Vec<ScenarioSpec>),
    /// The fork did not come to life: it is the template that is no good, and nothing is known of the scenarios.
    ForkFailed(DeadFork, Vec<ScenarioSpec>),
}

/// Runs scenarios in a guest that was launched, one after the other, to its goodbye or its loss.
pub(super) async fn run_guest(lab: &Lab, prepared: &Prepared, guest: Guest, queue: Vec<ScenarioSpec>) -> GuestRun {
    let (mut drive, mut inputs) = Drive::new(lab, prepared, guest, queue);
    let loss = drive.serve(&mut inputs).await;
    let (run, recorder) = drive.end(inputs, loss).await;
    recorder.finish(lab);
    run
}

/// Leads a guest. One that is to be a template is done once it has said hello.
pub(super) struct Drive<'a> {
    pub(super) recorder: Recorder,
    pub(super) hello: Option<Box<Hello>>,
    pub(super) lab: &'a Lab,
    pub(super) prepared: &'a Prepared,
    pub(super) number: u32,
    pub(super) session: Session,
    pub(super) ledger: Ledger<'a>,
    pub(super) queue: VecDeque<ScenarioSpec>,
    pub(super) booted: bool,
    /// It is a fork that has not run yet.
    asleep: bool,
    /// What it is to have its kernel print at its end.
    last_word: String,
    /// A scenario did not end as it should, so that what it changed may still be there: the others get another guest.
    spoiled: bool,
    pub(super) monitor: Monitor,
    pub(super) autopsy: Autopsy,
    watch: Watch,
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
            asleep: fork,
            last_word: String::new(),
            spoiled: false,
            monitor: Monitor::default(),
            autopsy: Autopsy::default(),
            watch: Watch::new(Watchdog::Boot, prepared.limits.boot()),
        };
        (drive, inputs)
    }

    /// Serves the guest until its goodbye (None) or its loss.
    pub(super) async fn serve(&mut self, inputs: &mut Inputs) -> Option<GuestLoss> {
        if self.asleep
            && let Err(loss) = self.wake(inputs)
        {
            return Some(loss);
        }
        loop {
            let step = match inputs.next(self.watch.due(), &self.lab.cancel).await {
                Ok(input) => self.step(input, inputs).await,
                Err(error) => Step::Lost(GuestLoss::Host(format!("the host cannot read from QEMU: {error}"))),
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
            Input::Control(bytes) => {
                self.watch.heard();
                return self.hear(&bytes, inputs).await;
            }
            Input::Console(bytes) => {
                self.read_console(&bytes);
                if self.ledger.is_between() && inputs.control_is_quiet() {
                    self.ledger.console.reader.mark();
                }
            }
            Input::ControlClosed | Input::ConsoleClosed | Input::Exited(_) => return self.closing(inputs),
            Input::Qmp(told) => {
                self.watch.heard();
                self.recorder.told(&told);
                return self.qmp(told.event, inputs).await;
            }
            // The guest needs no QMP; only where all else has ended as well, nothing more is to be waited for.
            Input::QmpClosed if inputs.is_over() => return Step::Lost(GuestLoss::Ended),
            Input::QmpClosed => self.monitor.closed = true,
            Input::Cancelled => {
                return Step::Lost(self.lab.stopped().map_or(GuestLoss::Interrupted, super::lab::Stop::loss));
            }
            Input::Deadline => {
                if let Some(Passed { which, limit, stretched }) = self.watch.look(Instant::now(), inputs.vitals()) {
                    self.monitor.state = Some(inputs.state_by_qmp().await);
                    let (limit_ms, stretched_ms) = (milliseconds(limit), milliseconds(stretched));
                    return Step::Lost(GuestLoss::Watchdog { which, limit_ms, stretched_ms });
                }
            }
        }
        Step::GoOn
    }

    fn read_console(&mut self, bytes: &[u8]) {
        /// More lines than a kernel prints after the last word of an orderly end.
        const LINES: usize = 4;
        self.watch.heard();
        let reader = &self.ledger.console.reader;
        let had_spoken = reader.kernel_spoke();
        self.ledger.console.push(bytes);
        let reader = &self.ledger.console.reader;
        if !had_spoken && reader.kernel_spoke() && self.watch.which() == Watchdog::Boot {
            self.watch = Watch::new(Watchdog::Handshake, self.prepared.limits.handshake());
        }
        // A kernel that has panicked or halted has said all that it will; where it does not end by itself, as under
        // `panic=0`, it need not be waited for.
        let ends =
            reader.has_panicked() || reader.last_lines().rev().take(LINES).any(|l| LastWord::of_line(l).is_some());
        if ends && self.watch.which() != Watchdog::Farewell {
            self.shorten();
        }
    }

    async fn qmp(&mut self, event: QmpEvent, inputs: &mut Inputs) -> Step {
        self.monitor.told(&event);
        match event {
            QmpEvent::GuestPanicked => {
                self.ledger.console.push(&inputs.console_now());
                self.examine(inputs).await;
                // QEMU has paused it. Let go on it prints what it still holds back, and resets itself. Where QEMU has
                // gone meanwhile, that is told elsewhere.
                if let Ok(monitor) = inputs.monitor().await {
                    drop(monitor.resume().await);
                }
                self.shorten();
            }
            // Its orders come now and not before, for they tell the time.
            QmpEvent::Resumed if std::mem::take(&mut self.asleep) => {
                if let Err(loss) = self.prepare(inputs).await {
                    return Step::Lost(loss);
                }
            }
            QmpEvent::Shutdown(_) => self.shorten(),
            // All that the guest has said is in the sockets now, and nothing will follow.
            QmpEvent::Stopped if self.monitor.shutdown.is_some() => {
                let said = inputs.control_now();
                return match self.hear(&said, inputs).await {
                    Step::GoOn => Step::Lost(GuestLoss::Ended),
                    other => other,
                };
            }
            QmpEvent::Reply { command, error: Some(error) } => {
                return Step::Lost(GuestLoss::Host(format!("QEMU refused {command}: {error}")));
            }
            _ => {}
        }
        Step::GoOn
    }

    /// Takes from the guest what only a living QEMU has.
    pub(super) async fn examine(&mut self, inputs: &mut Inputs) {
        self.autopsy.perform(self.lab, self.number, self.prepared.machine.memory_mib, inputs).await;
    }

    /// One of QEMU's signs of life has ended; the others follow soon, or never.
    fn closing(&mut self, inputs: &Inputs) -> Step {
        if inputs.is_over() {
            return Step::Lost(GuestLoss::Ended);
        }
        self.shorten();
        Step::GoOn
    }

    /// Waits no longer than for a farewell from here on.
    fn shorten(&mut self) {
        self.watch = Watch::new(Watchdog::Farewell, FAREWELL.min(self.watch.left()));
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
                    return Step::Lost(GuestLoss::Broken);
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
                    self.watch = Watch::new(Watchdog::Start, self.prepared.limits.answer());
                    self.ready(Some(boot_id));
                    continue;
                }
                Heard::Started => {
                    self.recorder.end_of("start");
                    let limits = &self.prepared.limits;
                    if let Some(spec) = self.ledger.started(had_crashed) {
                        self.watch = Watch::scenario(limits.scenario(spec), limits.silence(spec));
                    }
                    continue;
                }
                Heard::Finished(findings) => {
                    self.recorder.end_of_scenario(&findings.legs);
                    self.spoiled |= findings.spoil_the_guest() || self.ledger.has_crashed();
                    self.ledger.finished(findings);
                }
                Heard::Goodbye => {
                    let heard_out = self.hear_out(inputs).await;
                    self.recorder.end_of("goodbye");
                    return heard_out.map_or_else(Step::Lost, |()| Step::Done);
                }
            }
            if let Err(loss) = self.ask_next(inputs).await {
                return Step::Lost(loss);
            }
        }
    }

    /// Reads the console up to the guest's last word: without it something may be missing that the kernel said.
    async fn hear_out(&mut self, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        let limit = Instant::now() + self.prepared.limits.answer();
        while !self.ledger.console.reader.has_said(&self.last_word) {
            let more = inputs.more_console(limit, &self.lab.cancel).await;
            if more.is_empty() {
                let cut =
                    "the console was cut: what the guest wrote to the kernel's log at its end did not come out on it";
                return Err(self.lab.stopped().map_or(GuestLoss::Violation(cut.to_owned()), super::lab::Stop::loss));
            }
            self.ledger.console.push(&more);
        }
        Ok(())
    }

    /// What the boot left to be said.
    fn report_boot(&mut self) {
        let problems = self.hello.as_ref().map(|hello| hello.problems.clone()).unwrap_or_default();
        problems.iter().for_each(|problem| self.notice(problem));
        for warning in self.ledger.console.reader.take_warnings() {
            self.notice(&format!("the kernel warned while it booted: {warning}"));
        }
        if self.recorder.kind() == Kind::Template {
            self.ready(None);
        }
    }

    fn ready(&self, boot_id: Option<String>) {
        if let Some(hello) = self.hello.clone() {
            let boot_ms = milliseconds(self.recorder.elapsed());
            self.lab.emitter.emit(LabEvent::GuestReady { guest: self.number, boot_ms, boot_id, hello });
        }
    }

    /// Lets a fork run.
    fn wake(&mut self, inputs: &Inputs) -> Result<(), GuestLoss> {
        self.recorder.moment(Moment::Ordered);
        self.watch = Watch::new(Watchdog::Handshake, self.prepared.limits.prepare());
        arrived(inputs.wake())
    }

    /// Has the guest become one of its own and start its first scenario: both orders go out together.
    async fn prepare(&mut self, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        self.recorder.moment(Moment::Ordered);
        let fresh = fresh::draw(self.recorder.kind() == Kind::Fork)
            .map_err(|error| GuestLoss::Host(format!("no entropy for the guest: {error}")))?;
        let order = self.session.prepare(&fresh).map_err(|violation| GuestLoss::Violation(violation.0))?;
        send(inputs, &order).await?;
        self.ask_next(inputs).await?;
        self.watch = Watch::new(Watchdog::Handshake, self.prepared.limits.prepare());
        Ok(())
    }

    /// Asks for the next scenario, or asks the guest to leave.
    async fn ask_next(&mut self, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        let limits = &self.prepared.limits;
        let next = if self.spoiled { None } else { self.queue.pop_front() };
        let order = match next {
            Some(spec) => {
                self.watch = Watch::new(Watchdog::Start, limits.answer());
                let order = self.session.ask(&spec, milliseconds(limits.leg(&spec)));
                self.ledger.asked(spec);
                order
            }
            None => {
                self.watch = Watch::new(Watchdog::Goodbye, limits.answer());
                self.last_word =
                    fresh::word().map_err(|error| GuestLoss::Host(format!("no word for the guest: {error}")))?;
                self.session.dismiss(&self.last_word)
            }
        };
        let bytes = order.map_err(|violation| GuestLoss::Violation(violation.0))?;
        send(inputs, &bytes).await
    }

    pub(super) fn notice(&self, text: &str) {
        self.lab.emitter.notice(format!("{}: {text}", self.prepared.kernel.label));
    }
}

async fn send(inputs: &mut Inputs, bytes: &[u8]) -> Result<(), GuestLoss> {
    arrived(inputs.send(bytes).await)
}

/// Whether what was sent is on its way. A peer that has gone is seen by the reads, together with the reason.
fn arrived(sent: std::io::Result<()>) -> Result<(), GuestLoss> {
    match sent {
        Err(error) if !super::inputs::is_end(&error) => {
            Err(GuestLoss::Host(format!("the host cannot write to the guest: {error}")))
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
