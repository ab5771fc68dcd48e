//! One guest's life: start, hello, scenarios one after the other, goodbye, end.

use std::collections::VecDeque;
use std::process::ExitStatus;

use tokio::time::Instant;
use vmlab_protocol::catalogue::ScenarioSpec;
use vmlab_protocol::message::{HERE, Hello};

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
use crate::guest::session::{Heard, Session};
use crate::verdict::evidence::{GuestLoss, Monitor, refused};
use vmlab_events::loss::{Deadline, ShutdownLine};
use vmlab_events::verdict::HostFault;
use vmlab_events::verdict::Verdict;
use vmlab_qemu::qmp::QmpEvent;

/// How a guest's run ended for those who wait for its scenarios.
#[derive(Debug)]
pub(super) enum GuestRun {
    /// Every scenario has its report but these, which were never announced; they need another guest.
    Served(Vec<ScenarioSpec>),
    /// The guest never said hello: this is the verdict on all that it was to run.
    NeverReady(Verdict, Vec<ScenarioSpec>),
    /// The fork, or the guest that was to be its template, did not come to life, and that says nothing of the scenarios.
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
    /// What its boot left to be said.
    pub(super) boot_notes: Vec<String>,
    /// It is a fork that has not run yet.
    asleep: bool,
    /// What it said on the link and what counts only once its console has come as far.
    pub(super) owed: Option<Heard>,
    /// It has ended, and QEMU has paused it for good: nothing more will be said.
    pub(super) is_over: bool,
    /// The control port's host end was closed.
    pub(super) port_closed: bool,
    /// A scenario did not end as it should, so that what it changed may still be there: the others get another guest.
    pub(super) spoiled: bool,
    pub(super) monitor: Monitor,
    pub(super) autopsy: Autopsy,
    pub(super) watch: Watch,
}

/// What an input leads to.
pub(super) enum Step {
    GoOn,
    /// The guest has said goodbye.
    Done,
    Lost(GuestLoss),
}

impl<'a> Drive<'a> {
    pub(super) fn new(lab: &'a Lab, prepared: &'a Prepared, guest: Guest, queue: Vec<ScenarioSpec>) -> (Self, Inputs) {
        let Guest { number, recorder, inputs, console, hello } = guest;
        let fork = recorder.kind() == Kind::Fork;
        let mut drive = Self {
            recorder,
            hello: hello.map(Box::new),
            lab,
            prepared,
            number,
            session: if fork { Session::of_fork() } else { Session::default() },
            ledger: Ledger::new(lab, prepared, number, console),
            queue: queue.into(),
            booted: false,
            boot_notes: Vec::new(),
            asleep: fork,
            owed: None,
            is_over: false,
            port_closed: false,
            spoiled: false,
            monitor: Monitor::default(),
            autopsy: Autopsy::default(),
            watch: Watch::new(Deadline::Boot, prepared.limits.boot()),
        };
        if !fork {
            drive.ledger.console.await_word(HERE);
        }
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
                Ok(input) => match self.step(input, inputs).await {
                    Step::GoOn if self.has_caught_up() => self.hear(&[], inputs).await,
                    step => step,
                },
                Err(error) => Step::Lost(GuestLoss::Host(HostFault::Read { error: error.to_string() })),
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
            Input::Console(bytes) => self.read_console(&bytes),
            Input::ControlClosed => {
                self.port_closed = true;
                return self.closing(inputs);
            }
            Input::ConsoleClosed | Input::Exited(_) => return self.closing(inputs),
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
                // What is owed may have come while vmlab was stopped.
                if self.owed.is_some() {
                    self.ledger.console.push(&inputs.console_now());
                }
                if !self.has_caught_up()
                    && let Some(Passed { which, limit, stretched }) = self.watch.look(Instant::now(), inputs.vitals())
                {
                    if self.owed.is_some() {
                        return Step::Lost(GuestLoss::ConsoleCut);
                    }
                    self.monitor.state = Some(inputs.state_by_qmp().await);
                    let (limit_ms, stretched_ms) = (milliseconds(limit), milliseconds(stretched));
                    return Step::Lost(GuestLoss::Deadline { which, limit_ms, stretched_ms });
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
        if !had_spoken && reader.kernel_spoke() && self.watch.which() == Deadline::Boot {
            self.watch = Watch::new(Deadline::Handshake, self.prepared.limits.handshake());
        }
        // A kernel that has panicked or halted has said all that it will; where it does not end by itself, as under
        // `panic=0`, it need not be waited for. One that has oopsed is to panic (`oops=panic`), and may oops on its way there
        // without end.
        let ends = reader.has_panicked()
            || reader.has_oopsed()
            || reader.last_lines().rev().take(LINES).any(|l| ShutdownLine::of_line(l).is_some());
        if ends && self.watch.which() != Deadline::Exit {
            self.shorten();
        }
    }

    async fn qmp(&mut self, event: QmpEvent, inputs: &mut Inputs) -> Step {
        self.monitor.observe(&event);
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
                self.is_over = true;
                let said = inputs.control_now();
                return self.hear(&said, inputs).await;
            }
            QmpEvent::Reply { command, error: Some(error) } => {
                return Step::Lost(GuestLoss::Host(HostFault::Refused(refused(&command, &error))));
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
        if self.owed.is_some() && !inputs.has_console() {
            return Step::Lost(GuestLoss::ConsoleCut);
        }
        if inputs.is_over() {
            return Step::Lost(GuestLoss::Ended);
        }
        self.shorten();
        Step::GoOn
    }

    /// Waits no longer than for a farewell from here on.
    pub(super) fn shorten(&mut self) {
        self.watch = Watch::new(Deadline::Exit, FAREWELL.min(self.watch.left()));
    }

    /// Lets a fork run.
    fn wake(&mut self, inputs: &Inputs) -> Result<(), GuestLoss> {
        self.recorder.moment(Moment::Ordered);
        self.watch = Watch::new(Deadline::Handshake, self.prepared.limits.prepare());
        arrived(inputs.wake())
    }

    /// Has the guest become one of its own and start its first scenario: both orders go out together.
    pub(super) async fn prepare(&mut self, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        self.recorder.moment(Moment::Ordered);
        let fresh = fresh::draw(self.recorder.kind() == Kind::Fork)
            .map_err(|error| GuestLoss::Host(HostFault::Entropy { error: error.to_string() }))?;
        let order = self.session.prepare(&fresh).map_err(GuestLoss::Violation)?;
        send(inputs, &order).await?;
        self.ask_next(inputs).await?;
        self.watch = Watch::new(Deadline::Handshake, self.prepared.limits.prepare());
        Ok(())
    }

    /// Asks for the next scenario, or asks the guest to leave.
    pub(super) async fn ask_next(&mut self, inputs: &mut Inputs) -> Result<(), GuestLoss> {
        let limits = &self.prepared.limits;
        let next = if self.spoiled { None } else { self.queue.pop_front() };
        let order = match next {
            Some(spec) => {
                self.watch = Watch::new(Deadline::Start, limits.answer());
                // Before its first scenario none had ended that could be charged.
                let word = if self.ledger.has_open_report() { Some(self.divide()?) } else { None };
                let order = self.session.ask(&spec, milliseconds(limits.leg(&spec)), word);
                self.ledger.asked(spec);
                order
            }
            None => {
                self.watch = Watch::new(Deadline::Goodbye, limits.answer());
                let word = self.divide()?;
                self.session.dismiss(word)
            }
        };
        let bytes = order.map_err(GuestLoss::Violation)?;
        send(inputs, &bytes).await
    }

    /// A word for the guest's kernel to print, at which its console is divided.
    fn divide(&mut self) -> Result<String, GuestLoss> {
        let word = fresh::word().map_err(|error| GuestLoss::Host(HostFault::Entropy { error: error.to_string() }))?;
        self.ledger.console.await_word(&word);
        Ok(word)
    }

    pub(super) fn notice(&self, text: &str) {
        self.lab.emitter.notice(format!("{}: {text}", self.prepared.target));
    }
}

async fn send(inputs: &mut Inputs, bytes: &[u8]) -> Result<(), GuestLoss> {
    arrived(inputs.send(bytes).await)
}

/// Whether what was sent is on its way. A peer that has gone is seen by the reads, together with the reason.
fn arrived(sent: std::io::Result<()>) -> Result<(), GuestLoss> {
    match sent {
        Err(error) if !super::inputs::is_end(&error) => {
            Err(GuestLoss::Host(HostFault::Write { error: error.to_string() }))
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
