//! A guest as a state machine: inputs in, actions out. Pure: no clock, no IO, no randomness of its own.
//!
//! ```text
//! Standby -> Waking -> Alive -> Ending -> Ended          a fork
//!                      Alive -> Ending -> Ended          a boot
//!                      Alive -> Saving -> Ending -> Ended   a boot that becomes a template
//! ```
//! The driver ([`super::driver`]) passes in inputs and carries out the actions, in order. [`Input::Ended`] is the last
//! input; then [`GuestMachine::into_outcome`] returns the guest's outcome.

mod end;
mod messages;
mod qemu;
#[cfg(test)]
mod tests;

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use vmlab_events::event::{LabEvent, NotNeeded};
use vmlab_events::loss::Deadline;
use vmlab_events::target::TargetId;
use vmlab_protocol::command::Control;
use vmlab_protocol::message::{HERE, Hello, Side};
use vmlab_qemu::cpu_usage::CpuUsage;
use vmlab_qemu::template::BootReport;

pub(crate) use end::{DeadFork, NotSaved, Outcome};
use qemu::QemuView;

use super::console::GuestConsole;
use super::deadlines::Deadlines;
use super::input::{Action, Input, Now};
use super::jobs::{JobTracker, QueuedJob};
use super::secrets::Secrets;
use super::session::{Session, SessionEvent};
use super::timings::{Moment, Start, Timings};
use crate::command::CommandInput;
use crate::limits::{CONSOLE, EXIT};
use crate::target::Target;
use crate::verdict::evidence::GuestLoss;
use vmlab_events::verdict::Violation;

/// The time limit for saving a guest, which takes about 15 ms.
const SAVE_LIMIT: Duration = Duration::from_secs(30);

/// A guest.
#[derive(Debug)]
pub(crate) struct GuestMachine {
    number: u32,
    target: Rc<Target>,
    secrets: Secrets,
    stage: Stage,
    session: Session,
    console: GuestConsole,
    jobs: JobTracker,
    qemu: QemuView,
    deadlines: Deadlines,
    timings: Timings,
    /// The hello of the guest or of its template.
    hello: Option<Box<Hello>>,
    /// Whether the guest has said hello or, for a fork, is prepared.
    booted: bool,
    /// Problems of the boot, one sentence each, which a template stores for its forks.
    boot_notes: Vec<String>,
    /// A message that is held back until the console has reached its marker.
    held: Option<SessionEvent>,
    /// The time at which a held-back hello is given up, even if the console is still active.
    hello_until: Option<Instant>,
    actions: Vec<Action>,
    /// Which of two linked guests it is, if it is one of two.
    side: Option<Side>,
}

/// The stage of a guest's life. The session has its own state.
#[derive(Debug)]
enum Stage {
    /// A paused fork that waits for a job.
    Standby,
    /// A fork that was resumed and does not run yet.
    Waking,
    Alive,
    /// QEMU saves the guest, until this time at the latest.
    Saving(Instant),
    /// QEMU is being ended, for this reason.
    Ending(Ending),
    Ended(Outcome),
}

/// Why a guest ends.
#[derive(Debug)]
enum Ending {
    /// The guest has said goodbye.
    Done,
    Lost(GuestLoss),
    Saved,
    NotSaved(NotSaved),
    Unneeded(NotNeeded),
}

impl GuestMachine {
    /// A guest whose QEMU was started at `began`. A fork has what the boot of its template said.
    pub(crate) fn new(
        number: u32,
        target: Rc<Target>,
        start: Start,
        secrets: Secrets,
        boot: Option<BootReport>,
        began: Instant,
    ) -> Self {
        let fork = start.is_fork();
        let (hello, suite_warnings) = boot.map(|boot| (Box::new(boot.hello), boot.suite_warnings)).unzip();
        let mut console = GuestConsole::default();
        if target.kernel.suites.is_some() {
            console.reader.follow_suites();
        }
        if !fork {
            console.await_marker(HERE);
        }
        Self {
            number,
            secrets,
            stage: if fork { Stage::Standby } else { Stage::Alive },
            session: if fork { Session::of_fork() } else { Session::default() },
            console,
            jobs: JobTracker::new(Rc::clone(&target), number, suite_warnings.unwrap_or_default()),
            qemu: QemuView::default(),
            deadlines: Deadlines::new(Deadline::Boot, target.limits.boot(), began),
            timings: Timings::new(number, target.id.clone(), start, began),
            hello,
            booted: false,
            boot_notes: Vec::new(),
            held: None,
            hello_until: None,
            actions: Vec::new(),
            side: None,
            target,
        }
    }

    /// Adds jobs. Call this before [`Input::Start`].
    pub(crate) fn add_jobs(&mut self, jobs: Vec<QueuedJob>) {
        self.jobs.add(jobs);
    }

    /// Makes it one of two linked guests. Call this before [`Input::Start`].
    pub(crate) const fn be_one_of_two(&mut self, side: Side) {
        self.side = Some(side);
    }

    /// QEMU is executed.
    pub(crate) fn spawned(&mut self, now: Instant) {
        self.timings.moment(Moment::Spawned, now);
    }

    pub(crate) fn target(&self) -> &TargetId {
        &self.target.id
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// The time at which [`Input::Deadline`] is due.
    pub(crate) fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Saving(until) => until,
            _ => self.deadlines.due(),
        }
    }

    /// Whether to read the control port now. While a message is held back, later ones stay in the socket.
    pub(crate) const fn reads_control(&self) -> bool {
        self.held.is_none()
    }

    /// The phase of the guest, for logs.
    pub(crate) const fn phase(&self) -> &'static str {
        match self.stage {
            Stage::Standby => "standby",
            Stage::Waking => "resuming",
            Stage::Alive => self.session.phase().name(),
            Stage::Saving(_) => "saving",
            Stage::Ending(_) => "ending",
            Stage::Ended(_) => "ended",
        }
    }

    /// Handles an input; returns the actions.
    pub(crate) fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        match (&self.stage, input) {
            (Stage::Ended(_), _) => {}
            (_, Input::Ended(end)) => self.ended(now, *end),
            (Stage::Ending(_), Input::Console(bytes)) => self.console.push(&bytes),
            (Stage::Ending(_), Input::Qmp(event)) => self.note_qmp(&event),
            (Stage::Ending(_), _) => {}
            (_, input) => self.alive(now, input),
        }
        std::mem::take(&mut self.actions)
    }

    fn alive(&mut self, now: Now, input: Input) {
        match input {
            Input::Start => self.start(now),
            Input::Control(bytes) => {
                self.deadlines.activity(now.at);
                self.deadlines.answered(now.at);
                self.session.push(&bytes);
                self.process_messages(now);
            }
            Input::ControlClosed => {
                self.qemu.control_open = false;
                self.channel_closed(now);
            }
            Input::Console(bytes) => self.read_console(now, &bytes),
            Input::ConsoleClosed => {
                self.qemu.console_open = false;
                self.channel_closed(now);
            }
            Input::Qmp(event) => {
                self.deadlines.activity(now.at);
                self.handle_qmp(now, &event);
            }
            Input::QmpClosed => self.qmp_closed(now),
            Input::Exited(status) => {
                self.qemu.running = false;
                if self.is_saving() {
                    return self.not_saved(now, NotSaved::Failed(format!("QEMU {}", describe(status))));
                }
                self.channel_closed(now);
            }
            Input::Command(input) => {
                if let Some(order) = self.session.control(input) {
                    self.send(now, order);
                }
            }
            Input::Deadline(usage) => self.check_deadline(now, usage),
            Input::SaveFailed { refused: true, why } => self.not_saved(now, NotSaved::Refused(why)),
            Input::SaveFailed { refused: false, why } if self.is_saving() => {
                self.not_saved(now, NotSaved::Failed(why));
            }
            Input::HostFailed(fault) if self.is_saving() => self.not_saved(now, NotSaved::Failed(fault.to_string())),
            Input::HostFailed(fault) => self.lose(now, GuestLoss::Host(fault)),
            Input::Stopped(_) if self.is_saving() => {
                self.not_saved(now, NotSaved::Failed("the run was stopped".to_owned()));
            }
            Input::Stopped(stop) => self.lose(now, stop.loss()),
            Input::Unneeded(why) => {
                // Until now the fork waited for a job.
                self.timings.moment(Moment::Ordered, now.at);
                self.end(Ending::Unneeded(why), false, false);
            }
            // These inputs cannot occur here: nothing was requested that could fail, and the end is handled above.
            Input::SaveFailed { .. } | Input::Ended(_) => {}
        }
    }

    fn start(&mut self, now: Now) {
        if matches!(self.stage, Stage::Standby) {
            self.stage = Stage::Waking;
            self.timings.moment(Moment::Ordered, now.at);
            self.deadlines = Deadlines::new(Deadline::Handshake, self.target.limits.prepare(), now.at);
            self.actions.push(Action::Wake);
        }
    }

    fn read_console(&mut self, now: Now, bytes: &[u8]) {
        self.deadlines.activity(now.at);
        let had_spoken = self.console.reader.kernel_spoke();
        self.console.push(bytes);
        if !had_spoken && self.console.reader.kernel_spoke() && self.deadlines.which() == Deadline::Boot {
            self.deadlines = Deadlines::new(Deadline::Handshake, self.target.limits.handshake(), now.at);
        }
        if qemu::says_that_it_ends(&self.console.reader) {
            self.expect_end(now);
        }
        if self.held.is_some() && !self.console.awaits_marker() {
            self.process_messages(now);
        } else {
            self.await_console(now);
        }
    }

    /// A held-back hello waits for its marker as long as the console is active.
    fn await_console(&mut self, now: Now) {
        if let Some(until) = self.hello_until
            && now.at < until
            && matches!(self.held, Some(SessionEvent::Hello(_)))
            && self.deadlines.which() != Deadline::Exit
        {
            let limit = CONSOLE.min(until - now.at);
            self.deadlines = Deadlines::new(Deadline::Handshake, limit, now.at);
        }
    }

    fn check_deadline(&mut self, now: Now, usage: Option<CpuUsage>) {
        if let Stage::Saving(until) = self.stage {
            if now.at >= until {
                let why = format!("QEMU did not save the guest within {} s", SAVE_LIMIT.as_secs());
                self.not_saved(now, NotSaved::Failed(why));
            }
            return;
        }
        if self.deadlines.asks(now.at)
            && let Some(order) = self.session.control(CommandInput::Control(Control::Ping))
        {
            self.send(now, order);
        }
        let Some(passed) = self.deadlines.check(now.at, usage) else { return };
        if self.held.is_some() {
            return self.lose(now, GuestLoss::ConsoleCut);
        }
        let (limit_ms, stretched_ms) = (crate::milliseconds(passed.limit), crate::milliseconds(passed.stretched));
        self.lose(now, GuestLoss::Deadline { which: passed.which, limit_ms, stretched_ms });
    }

    /// From now on the guest only has the time to exit.
    fn expect_end(&mut self, now: Now) {
        if self.deadlines.which() != Deadline::Exit && !self.is_saving() {
            self.deadlines = Deadlines::new(Deadline::Exit, EXIT.min(self.deadlines.left(now.at)), now.at);
        }
    }

    const fn is_saving(&self) -> bool {
        matches!(self.stage, Stage::Saving(_))
    }

    fn lose(&mut self, now: Now, loss: GuestLoss) {
        if self.is_saving() {
            return self.not_saved(now, NotSaved::Failed("the guest ended while it was saved".to_owned()));
        }
        self.timings.end_of("lost", now.at);
        let ask_state = matches!(loss, GuestLoss::Deadline { .. });
        let examine = matches!(loss, GuestLoss::Ended | GuestLoss::Deadline { .. } | GuestLoss::Broken);
        let examine = examine && !self.qemu.is_gone();
        self.end(Ending::Lost(loss), ask_state, examine);
    }

    fn violate(&mut self, now: Now, violation: Violation) {
        self.lose(now, GuestLoss::Violation(violation));
    }

    fn not_saved(&mut self, now: Now, why: NotSaved) {
        if self.is_saving() {
            self.timings.end_of("save", now.at);
            self.end(Ending::NotSaved(why), false, false);
        }
    }

    fn end(&mut self, why: Ending, ask_state: bool, examine: bool) {
        let lost = matches!(why, Ending::Lost(_));
        self.stage = Stage::Ending(why);
        self.actions.push(Action::End { lost, ask_state, examine });
    }

    fn emit(&mut self, event: LabEvent) {
        self.actions.push(Action::Emit(event));
    }

    fn notice(&mut self, text: &str) {
        let text = format!("{}: {text}", self.target.id);
        self.emit(LabEvent::Notice { text });
    }
}

/// How a process ended, as a predicate: `exited with 1`.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended as {status}"),
    }
}
