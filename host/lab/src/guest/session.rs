//! The session: a state machine over the guest's messages. No IO, no clock.
//!
//! The session accepts exactly the protocol's order of messages; everything else is a [`Violation`]. A lost, repeated,
//! unexpected or unrequested message cannot become a result.

use vmlab_protocol::command::Command;
use vmlab_protocol::frame::{Decoder, Frame, Item, Kind, Truncated};
use vmlab_protocol::message::{
    self, Envelope, GuestMessage, Hello, HostMessage, Leg, LegOutcome, PROTOCOL, RawChunk, Side, Stream,
};

use crate::command::CommandInput;
use vmlab_events::event::LegReport;
use vmlab_events::job::JobSpec;
use vmlab_events::loss::Phase;
use vmlab_events::verdict::{Order, SessionState, Violation};

mod findings;

pub use findings::{Findings, OUTPUT_KEPT, OUTPUT_LIMIT, Tail};

/// A valid message of the guest.
#[derive(Debug)]
pub enum SessionEvent {
    /// The guest has booted and waits for the order to prepare.
    Hello(Box<Hello>),
    /// The guest has renewed its entropy, clock and boot id, and is ready for work.
    Prepared {
        /// The guest's new boot id.
        boot_id: String,
    },
    /// The requested job is about to start.
    Started,
    /// The running command has written this.
    Output {
        /// The stream.
        stream: Stream,
        /// The bytes that it wrote.
        data: Vec<u8>,
    },
    /// The running command has read so many bytes of its input.
    InputTaken(u64),
    /// The job has ended.
    Finished(Box<Findings>),
    /// The guest sends no more messages.
    Goodbye,
}

/// The data with which a guest renews its state after a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// The host's wall clock, in ns since 1970 UTC.
    pub wall_clock_ns: u64,
    /// [`message::ENTROPY_BYTES`] random bytes of the host, in hexadecimal.
    pub entropy: String,
    /// Whether other guests have the same memory.
    pub fork: bool,
    /// Which of two linked guests it is, if it is one of two.
    pub side: Option<Side>,
}

#[derive(Debug)]
enum State {
    AwaitHello,
    /// The guest has said hello, or is a fork of a guest that has.
    Greeted,
    /// The guest was ordered to prepare; a run may have been asked for already.
    Preparing {
        then: Option<(u32, Box<JobSpec>)>,
    },
    Idle,
    /// A run was requested and not announced yet.
    Asked {
        run: u32,
        spec: Box<JobSpec>,
    },
    Running {
        run: u32,
        spec: Box<JobSpec>,
        findings: Box<Findings>,
    },
    /// The guest was ordered to say goodbye.
    Leaving,
    Gone,
}

/// The session of a guest.
#[derive(Debug)]
pub struct Session {
    decoder: Decoder,
    state: State,
    next_seq: u64,
    next_run: u32,
    started: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self { decoder: Decoder::default(), state: State::AwaitHello, next_seq: 0, next_run: 1, started: 0 }
    }
}

impl Session {
    /// Adds bytes of the control port. Call [`Self::next_event`] until it returns None before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// The next message; None if more bytes are needed.
    ///
    /// # Errors
    /// [`Violation`]; the session then ends.
    pub fn next_event(&mut self) -> Result<Option<SessionEvent>, Violation> {
        while let Some(item) = self.decoder.next_item() {
            let event = match item {
                Item::Damaged { bytes, why } => Err(Violation::LinkDamaged { bytes, why }),
                Item::Frame(frame) => self.frame(&frame),
            }?;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Checks the end of the link after the port was closed.
    ///
    /// # Errors
    /// [`Truncated`] where that cut a frame.
    pub fn closed(&self) -> Result<(), Truncated> {
        self.decoder.finish()
    }

    /// The session of a fork, whose template has said hello.
    #[must_use]
    pub fn of_fork() -> Self {
        Self { state: State::Greeted, next_seq: 1, ..Self::default() }
    }

    /// Orders the guest to prepare; returns the bytes to send. Valid after [`SessionEvent::Hello`], or first for a
    /// fork.
    ///
    /// # Errors
    /// [`Violation`] at another time: an error of the caller.
    pub fn prepare(&mut self, fresh: &Freshness) -> Result<Vec<u8>, Violation> {
        if !matches!(self.state, State::Greeted) {
            return Err(self.wrong(Order::Prepare));
        }
        self.state = State::Preparing { then: None };
        let Freshness { wall_clock_ns, entropy, fork, side } = fresh.clone();
        encode(&HostMessage::Prepare { wall_clock_ns, entropy, fork, side })
    }

    /// Requests a job; returns the bytes to send. Valid after [`Self::prepare`], without waiting for its answer,
    /// and after [`SessionEvent::Finished`]. The guest writes the marker, if any, to its kernel's log before the start.
    ///
    /// # Errors
    /// [`Violation`] if the guest is busy: an error of the caller.
    pub fn ask(
        &mut self,
        spec: &JobSpec,
        leg_timeout_ms: u64,
        marker: Option<String>,
        command: Option<&Command>,
    ) -> Result<Vec<u8>, Violation> {
        let run = self.next_run;
        let asked = (run, Box::new(spec.clone()));
        match &mut self.state {
            State::Idle => self.state = State::Asked { run: asked.0, spec: asked.1 },
            State::Preparing { then } if then.is_none() => *then = Some(asked),
            _ => return Err(self.wrong(Order::Run(spec.job()))),
        }
        self.next_run += 1;
        let job = spec.job();
        // What a command writes is passed on at once, and the end of it is kept.
        let output_limit = if matches!(spec, JobSpec::Command(_)) { u64::MAX } else { OUTPUT_LIMIT };
        let command = command.cloned().map(Box::new);
        encode(&HostMessage::Run { run, job, leg_timeout_ms, output_limit, marker, command })
    }

    /// Tells the guest something about the command that runs; returns the bytes to send. None if none runs any more.
    pub fn control(&self, input: CommandInput) -> Option<Result<Vec<u8>, Violation>> {
        let State::Running { run, spec, .. } = &self.state else { return None };
        let JobSpec::Command(_) = **spec else { return None };
        Some(match input {
            CommandInput::Control(control) => encode(&HostMessage::Control { run: *run, control }),
            CommandInput::Stdin(data) => {
                let mut out = Vec::new();
                let chunk = RawChunk { run: *run, leg: Leg::Subject, stream: Stream::Stdin, data: &data };
                let encoded = chunk.encode(&mut out);
                encoded.map(|()| out).map_err(|error| Violation::NotEncodable { error: error.to_string() })
            }
        })
    }

    /// Orders the guest to write the marker to its kernel's log and to say goodbye; returns the bytes to send.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn dismiss(&mut self, marker: String) -> Result<Vec<u8>, Violation> {
        if !matches!(self.state, State::Idle) {
            return Err(self.wrong(Order::Finish));
        }
        self.state = State::Leaving;
        encode(&HostMessage::Finish { marker })
    }

    fn wrong(&self, order: Order) -> Violation {
        Violation::WrongOrder { order, state: doing(&self.state) }
    }

    /// How far it has come.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self.state {
            State::AwaitHello => Phase::Boot,
            State::Greeted | State::Preparing { .. } => Phase::Prepare,
            State::Idle => Phase::Idle,
            State::Asked { .. } => Phase::Asked,
            State::Running { .. } => Phase::Running,
            State::Leaving => Phase::Leaving,
            State::Gone => Phase::Over,
        }
    }

    /// The results of the running job so far, if one runs.
    #[must_use]
    pub fn findings_so_far(&self) -> Option<&Findings> {
        match &self.state {
            State::Running { findings, .. } => Some(findings),
            _ => None,
        }
    }

    fn frame(&mut self, frame: &Frame) -> Result<Option<SessionEvent>, Violation> {
        match frame.kind {
            Kind::Raw => self.output(&frame.payload),
            Kind::Message => {
                let envelope: Envelope =
                    message::decode(frame).map_err(|error| Violation::NotAMessage { error: error.to_string() })?;
                if envelope.seq != self.next_seq {
                    let (expected, got) = (self.next_seq, envelope.seq);
                    return Err(Violation::WrongSequence { expected, got });
                }
                self.next_seq += 1;
                self.message(envelope.message)
            }
        }
    }

    fn output(&mut self, payload: &[u8]) -> Result<Option<SessionEvent>, Violation> {
        let chunk = RawChunk::decode(payload).map_err(|error| Violation::NotAMessage { error: error.to_string() })?;
        match &mut self.state {
            State::Running { run, spec, findings } if *run == chunk.run && can_send(spec, chunk.stream) => {
                findings.output(spec, &chunk);
                let is_of_command = matches!(**spec, JobSpec::Command(_));
                Ok(is_of_command.then(|| SessionEvent::Output { stream: chunk.stream, data: chunk.data.to_vec() }))
            }
            state => Err(Violation::UnexpectedOutput { run: chunk.run, state: doing(state) }),
        }
    }

    fn message(&mut self, message: GuestMessage) -> Result<Option<SessionEvent>, Violation> {
        let state = std::mem::replace(&mut self.state, State::Gone);
        match (state, message) {
            (State::AwaitHello, GuestMessage::Hello(hello)) => {
                let theirs = hello.protocol;
                if theirs.major != PROTOCOL.major {
                    return Err(Violation::WrongProtocol { guest: theirs.major, host: PROTOCOL.major });
                }
                self.state = State::Greeted;
                Ok(Some(SessionEvent::Hello(hello)))
            }
            (State::Preparing { then }, GuestMessage::Prepared { boot_id }) => {
                self.state = match then {
                    Some((run, spec)) => State::Asked { run, spec },
                    None => State::Idle,
                };
                Ok(Some(SessionEvent::Prepared { boot_id }))
            }
            (State::Asked { run, spec }, GuestMessage::JobStarted { run: said, job })
                if said == run && spec.is(&job) =>
            {
                self.started += 1;
                self.state = State::Running { run, spec, findings: Box::default() };
                Ok(Some(SessionEvent::Started))
            }
            (State::Asked { run, spec }, GuestMessage::Refused { run: said, why }) if said == run => {
                Err(Violation::Refused { job: spec.job(), why })
            }
            (
                State::Running { run, spec, mut findings },
                GuestMessage::LegFinished { run: said, leg, outcome, duration_ns, output_dropped },
            ) if said == run => {
                let due = next_leg(&spec, &findings.legs);
                if due != Some(leg) {
                    return Err(Violation::LegOutOfOrder { job: spec.job(), leg, due });
                }
                if !fits(&spec, leg, &outcome) {
                    return Err(Violation::ImpossibleOutcome { job: spec.job(), leg, outcome });
                }
                findings.legs.push(LegReport { leg, outcome, duration_ns });
                findings.dropped = findings.dropped.saturating_add(output_dropped);
                self.state = State::Running { run, spec, findings };
                Ok(None)
            }
            (State::Running { run, spec, findings }, GuestMessage::InputTaken { run: said, bytes })
                if said == run && matches!(*spec, JobSpec::Command(_)) =>
            {
                self.state = State::Running { run, spec, findings };
                Ok(Some(SessionEvent::InputTaken(bytes)))
            }
            (State::Running { run, spec, findings }, GuestMessage::Alive { run: said })
                if said == run && matches!(*spec, JobSpec::Command(_)) =>
            {
                self.state = State::Running { run, spec, findings };
                Ok(None)
            }
            (State::Running { run, spec, findings }, GuestMessage::JobFinished { run: said }) if said == run => {
                if let Some(due) = next_leg(&spec, &findings.legs) {
                    return Err(Violation::EndedEarly { job: spec.job(), due });
                }
                self.state = State::Idle;
                Ok(Some(SessionEvent::Finished(findings)))
            }
            (State::Leaving, GuestMessage::RunFinished { started }) => {
                if started != self.started {
                    return Err(Violation::WrongCount { guest: started, host: self.started });
                }
                Ok(Some(SessionEvent::Goodbye))
            }
            (state, message) => Err(Violation::UnexpectedMessage { message: Box::new(message), state: doing(&state) }),
        }
    }
}

/// The leg that must end next; None if the job must end.
fn next_leg(spec: &JobSpec, done: &[LegReport]) -> Option<Leg> {
    match done {
        [] => Some(Leg::Probe),
        [probe] if probe.outcome == LegOutcome::Available => Some(Leg::Subject),
        [_, _] if spec.has_control() => Some(Leg::Control),
        _ => None,
    }
}

/// Whether a guest may send this stream for a job.
const fn can_send(spec: &JobSpec, stream: Stream) -> bool {
    match stream {
        Stream::Stdin => false,
        Stream::Stdout | Stream::Stderr => true,
        Stream::Archive => matches!(spec, JobSpec::Command(_)),
    }
}

/// Whether an outcome is possible for a leg of this job.
const fn fits(spec: &JobSpec, leg: Leg, outcome: &LegOutcome) -> bool {
    match outcome {
        LegOutcome::Available | LegOutcome::Missing { .. } => matches!(leg, Leg::Probe),
        LegOutcome::Isolated { .. } | LegOutcome::Leaked { .. } => match spec {
            JobSpec::Scenario(spec) => !spec.machine.measuring && matches!(leg, Leg::Subject | Leg::Control),
            JobSpec::Kunit(_) | JobSpec::Command(_) => false,
        },
        LegOutcome::Measured { .. } => match spec {
            JobSpec::Scenario(spec) => spec.machine.measuring && matches!(leg, Leg::Subject),
            JobSpec::Kunit(_) | JobSpec::Command(_) => false,
        },
        LegOutcome::Reported => matches!((spec, leg), (JobSpec::Kunit(_), Leg::Subject)),
        LegOutcome::Ended(_) => matches!((spec, leg), (JobSpec::Command(_), Leg::Subject)),
        LegOutcome::Failed { .. } | LegOutcome::Died { .. } | LegOutcome::TimedOut { .. } => true,
    }
}

fn doing(state: &State) -> SessionState {
    match state {
        State::AwaitHello => SessionState::AwaitsHello,
        State::Greeted => SessionState::Greeted,
        State::Preparing { .. } => SessionState::Preparing,
        State::Idle => SessionState::Idle,
        State::Asked { spec, .. } => SessionState::Asked(spec.job()),
        State::Running { spec, .. } => SessionState::Running(spec.job()),
        State::Leaving => SessionState::Leaving,
        State::Gone => SessionState::Over,
    }
}

fn encode(message: &HostMessage) -> Result<Vec<u8>, Violation> {
    let mut out = Vec::new();
    message::encode(message, &mut out).map_err(|error| Violation::NotEncodable { error: error.to_string() })?;
    Ok(out)
}

#[cfg(test)]
mod tests;
