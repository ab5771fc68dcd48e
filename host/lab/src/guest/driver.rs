//! Drives a guest: passes inputs to its [`GuestMachine`], and carries out the machine's actions.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::error::SendError;
use tracing::{Instrument as _, Span, debug, debug_span, trace};
use vmlab_events::error::chain;
use vmlab_events::event::NotNeeded;
use vmlab_events::loss::QemuEnd;
use vmlab_events::verdict::HostFault;
use vmlab_protocol::command::Control;
use vmlab_protocol::message::Side;
use vmlab_qemu::process::QemuEnded;
use vmlab_qemu::qmp::{QmpError, QmpEvent, TimedQmpEvent};
use vmlab_qemu::template::Draft;

use super::channels::{self, Channels, Next, Rest};
use super::console_file::{ConsoleFile, Missing};
use super::debugger::DebuggerSocket;
use super::input::{Action, End, Input, Now};
use super::jobs::QueuedJob;
use super::link::PairReports;
use super::machine::{GuestMachine, Outcome};
use super::postmortem::Postmortem;
use super::timings::Timings;
use crate::command::{CommandInput, CommandIo, CommandOutput};
use crate::context::RunContext;
use crate::stop::Stop;

/// A guest with a running QEMU.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Boxed, like [`Self::channels`], to keep futures small.
    pub(super) machine: Box<GuestMachine>,
    pub(super) channels: Box<Channels>,
    pub(super) console: ConsoleFile,
    pub(super) debugger: Option<DebuggerSocket>,
    pub(super) memory_mib: u32,
    pub(super) span: Span,
    /// What collects the reports of two linked guests; None if this guest is on its own.
    pub(super) reports: Option<(Side, Rc<PairReports>)>,
    pub(super) _link_held: Option<OwnedFd>,
}

impl Guest {
    /// Runs jobs in the guest, one after the other, until its goodbye or its loss.
    pub(crate) async fn run(mut self, run: &RunContext, jobs: Vec<QueuedJob>) -> Outcome {
        self.machine.add_jobs(jobs);
        let (outcome, timings) = self.lead(run, Input::Start, None).await;
        run.emitter.emit(timings.into_event());
        outcome
    }

    /// Saves the guest at its hello. QEMU has ended when this returns. The caller completes and emits the timings.
    pub(crate) async fn save(self, run: &RunContext, draft: &Draft) -> (Outcome, Timings) {
        self.lead(run, Input::Start, Some(draft)).await
    }

    /// Ends a standby that is not needed.
    pub(crate) async fn dismiss(self, run: &RunContext, why: NotNeeded) {
        let (_, timings) = self.lead(run, Input::Unneeded(why), None).await;
        run.emitter.emit(timings.into_event());
    }

    async fn lead(self, run: &RunContext, first: Input, draft: Option<&Draft>) -> (Outcome, Timings) {
        let Self { machine, channels, console, debugger, memory_mib, span, reports, _link_held } = self;
        let postmortem = Postmortem::new(machine.number(), memory_mib);
        let (phase, phase_span) = ("", Span::none());
        let mut driver = Driver {
            run,
            machine,
            channels,
            console: Some(console),
            debugger,
            postmortem,
            draft,
            command: None,
            reports,
            ended: false,
            phase,
            phase_span,
        };
        async {
            if !driver.machine.is_fork() {
                driver.open_to_debuggers().await;
            }
            driver.feed(first).await;
            while !driver.ended {
                driver.step().await;
            }
        }
        .instrument(span)
        .await;
        driver.machine.into_outcome()
    }
}

struct Driver<'a> {
    run: &'a RunContext,
    machine: Box<GuestMachine>,
    channels: Box<Channels>,
    /// None once the span was closed.
    console: Option<ConsoleFile>,
    /// If there is one, the debugger lets the guest run.
    debugger: Option<DebuggerSocket>,
    postmortem: Postmortem,
    /// The draft to which a guest is saved as a template.
    draft: Option<&'a Draft>,
    /// The user's side of the command that runs.
    command: Option<CommandIo>,
    reports: Option<(Side, Rc<PairReports>)>,
    ended: bool,
    phase: &'static str,
    phase_span: Span,
}

impl Driver<'_> {
    /// Waits for the next input and passes it on. Before a message on the control port it passes on what the guest's
    /// kernel printed earlier: QEMU writes both in order.
    async fn step(&mut self) {
        let (deadline, reads_control) = (self.machine.deadline(), self.machine.reads_control());
        let next = tokio::select! {
            next = self.channels.next(deadline, reads_control, &self.run.cancel) => next,
            Some(input) = next_input(&mut self.command) => Ok(Next::Input(Input::Command(input))),
        };
        match next {
            Ok(Next::Input(input)) => {
                match &input {
                    Input::Control(_) | Input::Qmp(TimedQmpEvent { event: QmpEvent::GuestPanicked, .. }) => {
                        self.feed_console().await;
                    }
                    // All data of the guest is in the sockets now.
                    Input::Qmp(TimedQmpEvent { event: QmpEvent::Stopped, .. }) => {
                        let control = self.channels.control_now();
                        self.feed_console().await;
                        if !control.is_empty() {
                            self.feed(Input::Control(control)).await;
                        }
                    }
                    Input::Qmp(TimedQmpEvent { event: QmpEvent::Migration { status }, .. })
                        if status == "completed" =>
                    {
                        self.open_to_debuggers().await;
                        self.freeze().await;
                    }
                    _ => {}
                }
                self.feed(input).await;
            }
            Ok(Next::Written(written)) => {
                if let Some(failure) = write_failure(written) {
                    self.feed(failure).await;
                }
            }
            Ok(Next::Deadline) => {
                self.feed_console().await;
                let usage = self.channels.cpu_usage();
                self.feed(Input::Deadline(usage)).await;
            }
            Ok(Next::Cancelled) => {
                let stop = self.run.stopped().unwrap_or(Stop::Interrupted);
                self.feed(Input::Stopped(stop)).await;
            }
            Err(error) => self.feed(Input::HostFailed(HostFault::Read { error: error.to_string() })).await,
        }
    }

    /// Lets debuggers connect to a guest that waits for one.
    async fn open_to_debuggers(&mut self) {
        let Some(socket) = &self.debugger else { return };
        match (socket.open(), &self.run.attach) {
            (Ok(path), Some(attach)) => attach.debugger(self.machine.target(), &path),
            // Nobody would learn of the socket.
            (Ok(_), None) => {}
            (Err(error), _) => self.feed(Input::HostFailed(HostFault::Read { error: error.to_string() })).await,
        }
    }

    async fn feed_console(&mut self) {
        let console = self.channels.console_now();
        if !console.is_empty() {
            self.feed(Input::Console(console)).await;
        }
    }

    async fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            if let (Input::Console(bytes), Some(file)) = (&input, &mut self.console) {
                file.write(bytes);
            }
            self.phase_span.in_scope(|| trace!(input = input.name()));
            self.ended |= matches!(input, Input::Ended(_));
            for action in self.machine.handle(now(), input) {
                inputs.extend(self.carry_out(action).await);
            }
            self.note_phase();
        }
    }

    fn note_phase(&mut self) {
        let phase = self.machine.phase();
        if phase != self.phase {
            self.phase = phase;
            self.phase_span = debug_span!("phase", name = phase);
            self.phase_span.in_scope(|| debug!("begins"));
        }
    }

    /// Carries out an action; returns its result if the machine needs it.
    async fn carry_out(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Send(bytes) => write_failure(self.channels.send(&bytes)),
            Action::Wake if self.debugger.is_some() => None,
            Action::Wake => write_failure(self.channels.wake()),
            Action::ExamineAndResume => {
                self.postmortem.take(self.run, &mut self.channels).await;
                // If QEMU has ended, another input reports it.
                if let Ok(monitor) = self.channels.monitor().await {
                    drop(monitor.resume().await);
                }
                None
            }
            Action::Save => self.save().await.err(),
            Action::Attach { attempt } => {
                self.command = self.run.attach.as_ref().map(|attach| attach.attach(self.machine.target(), attempt));
                None
            }
            Action::ToUser(output) => {
                // The user's side may have gone away. The command goes on, and its output is dropped.
                let rest = self.command.as_ref().and_then(|io| io.output.send(output).err());
                rest.and_then(|SendError(output)| taken(&output)).map(Input::Command)
            }
            Action::Detach => {
                self.command = None;
                None
            }
            Action::Emit(event) => {
                self.run.emitter.emit(event);
                None
            }
            Action::Report(report, end) => {
                match &self.reports {
                    Some((side, pair)) => pair.add(*side, *report, end),
                    None => self.run.attempt_ended(*report, end),
                }
                None
            }
            Action::End { lost, ask_state, examine } => {
                Some(Input::Ended(Box::new(self.end(lost, ask_state, examine).await)))
            }
        }
    }

    async fn save(&mut self) -> Result<(), Input> {
        let failed = |why: String| Input::SaveFailed { refused: false, why };
        let Some(draft) = self.draft else { return Err(failed("it has no draft".to_owned())) };
        let state = draft.create_state().map_err(|error| failed(error.to_string()))?;
        let qmp = self.channels.monitor().await.map_err(|error| failed(chain(&error)))?;
        qmp.save(&state).await.map_err(|error| {
            let refused = matches!(error, QmpError::Refused { .. });
            Input::SaveFailed { refused, why: chain(&error) }
        })
    }

    /// Freezes the QEMU of a guest that was just saved. If that fails, forks of the template are restored.
    async fn freeze(&mut self) {
        let Some(draft) = self.draft.filter(|_| self.channels.has_freezer()) else { return };
        let frozen = self.channels.freeze().await;
        self.machine.frozen(now().at);
        match frozen {
            Ok(image) => {
                debug!(figures = image.figures, "QEMU is frozen");
                draft.set_frozen(image);
            }
            Err(why) => draft.set_not_frozen(why),
        }
    }

    async fn end(&mut self, lost: bool, ask_state: bool, examine: bool) -> End {
        let state = if ask_state { Some(self.channels.state_by_qmp().await) } else { None };
        let stopped = lost && self.channels.cpu_usage().is_some_and(|usage| usage.stopped);
        if examine && !stopped {
            self.postmortem.take(self.run, &mut self.channels).await;
        }
        let Rest { console, qmp, qemu } = self.channels.end().await;
        let mut notices = Vec::new();
        if let Some(mut file) = self.console.take() {
            file.write(&console);
            let Missing { failure, cut } = file.close();
            notices.extend(failure.filter(|_| self.run.reports_console()));
            notices.extend(cut);
        }
        if qemu.as_ref().is_ok_and(|ended| ended.left_a_process) {
            notices.push(left_a_process(&self.run.qemu.path));
        }
        let (qemu, stderr) = qemu_end(qemu, stopped);
        let Postmortem { registers, vmcore, notices: more, .. } = std::mem::take(&mut self.postmortem);
        notices.extend(more);
        match &qemu {
            QemuEnd::Lived { .. } => debug!("vmlab ended QEMU"),
            qemu => debug!(?qemu, "QEMU ended by itself"),
        }
        End { state, console, qmp, qemu, stderr, registers, vmcore, notices }
    }
}

/// The next input of the user's side. None after the last one.
async fn next_input(command: &mut Option<CommandIo>) -> Option<CommandInput> {
    match command {
        Some(io) => io.input.recv().await,
        None => std::future::pending().await,
    }
}

/// The answer to output that nobody takes.
fn taken(output: &CommandOutput) -> Option<CommandInput> {
    match output {
        CommandOutput::Data { stream, data } => {
            Some(CommandInput::Control(Control::Taken { stream: *stream, bytes: data.len() as u64 }))
        }
        CommandOutput::InputTaken(_) => None,
    }
}

fn now() -> Now {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { at: Instant::now(), unix_ns: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX) }
}

/// The input for a failed write, if any. If the peer has closed the channel, reading reports it with the reason.
fn write_failure(sent: std::io::Result<()>) -> Option<Input> {
    let error = sent.err().filter(|error| !channels::is_end(error))?;
    Some(Input::HostFailed(HostFault::Write { error: error.to_string() }))
}

/// The notice on a process that vmlab cannot find: it has left the process group and has cleared its environment.
fn left_a_process(qemu: &Path) -> String {
    format!(
        "a process that {} started outlives its guest, and vmlab cannot end it: it is in a session and an environment of \
         its own; look for it with `ps`, and have the script start QEMU with `exec`",
        qemu.display()
    )
}

fn qemu_end(ended: std::io::Result<QemuEnded>, stopped: bool) -> (QemuEnd, String) {
    use std::os::unix::process::ExitStatusExt as _;
    match ended {
        Ok(QemuEnded { by_itself: None, stderr, .. }) => (QemuEnd::Lived { stopped }, stderr),
        Ok(QemuEnded { by_itself: Some(status), stderr, .. }) => {
            let end = match (status.code(), status.signal()) {
                (Some(code), _) => QemuEnd::Exited(code),
                (None, Some(signal)) => QemuEnd::Killed(signal),
                (None, None) => QemuEnd::Unknown(format!("it ended as {status}")),
            };
            (end, stderr)
        }
        Err(error) => (QemuEnd::Unknown(format!("it cannot be reaped: {error}")), String::new()),
    }
}
