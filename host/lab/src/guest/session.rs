//! The session: a state machine over what the guest says. No IO, no clock.
//!
//! It accepts exactly the order that the protocol lays down, and everything else is a [`Violation`]: a message that was
//! lost, doubled, out of turn or about something that was never asked for cannot become a result.

use std::collections::VecDeque;

use vmlab_protocol::catalogue::{Control, ScenarioSpec};
use vmlab_protocol::frame::{Decoder, Frame, Item, Kind, Truncated};
use vmlab_protocol::message::{
    self, Envelope, GuestMessage, Hello, HostMessage, Leg, LegOutcome, PROTOCOL, RawChunk, Stream,
};

use vmlab_events::event::LegReport;
use vmlab_events::loss::Phase;
use vmlab_events::verdict::{Order, SessionState, Violation};

/// Output that is kept of each stream of a scenario, in bytes: the end of it.
pub const OUTPUT_KEPT: usize = 16 * 1024;
/// Output that a guest may send for one scenario, in bytes.
pub const OUTPUT_LIMIT: u64 = 4 << 20;

/// What the guest said, once it made sense.
#[derive(Debug)]
pub enum SessionEvent {
    /// It is there, and waits to be prepared.
    Hello(Box<Hello>),
    /// It is a guest like no other, and ready for work.
    Prepared {
        /// Its boot id.
        boot_id: String,
    },
    /// The scenario that was asked for is about to start.
    Started,
    /// The scenario has ended.
    Finished(Box<Findings>),
    /// Nothing more will be said.
    Goodbye,
}

/// What makes a guest one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// The host's wall clock, ns since 1970 UTC.
    pub wall_clock_ns: u64,
    /// [`message::ENTROPY_BYTES`] of the host's, hexadecimal.
    pub entropy: String,
    /// Whether other guests have the same memory.
    pub fork: bool,
}

/// What a scenario's legs found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The legs that ended, in order.
    pub legs: Vec<LegReport>,
    /// The end of its standard output.
    pub stdout: Tail,
    /// The end of its standard error.
    pub stderr: Tail,
    /// Bytes that the guest read and did not send.
    pub dropped_by_guest: u64,
}

impl Findings {
    /// Whether a leg was cut short, so that it could not put back what it had changed.
    #[must_use]
    pub fn spoil_the_guest(&self) -> bool {
        self.legs.iter().any(|leg| {
            matches!(leg.outcome, LegOutcome::Failed { .. } | LegOutcome::Died { .. } | LegOutcome::TimedOut { .. })
        })
    }
}

/// The end of an output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    bytes: VecDeque<u8>,
    /// Bytes before it that were not kept.
    pub dropped: u64,
}

impl Tail {
    fn push(&mut self, data: &[u8]) {
        let keep = &data[data.len().saturating_sub(OUTPUT_KEPT)..];
        let excess = (self.bytes.len() + keep.len()).saturating_sub(OUTPUT_KEPT);
        self.bytes.drain(..excess);
        self.bytes.extend(keep);
        self.dropped += (excess + data.len() - keep.len()) as u64;
    }

    /// As text; what is not UTF-8 becomes replacement characters.
    #[must_use]
    pub fn text(&self) -> String {
        let (a, b) = self.bytes.as_slices();
        String::from_utf8_lossy(&[a, b].concat()).into_owned()
    }
}

#[derive(Debug)]
enum State {
    AwaitHello,
    /// It has said hello, or woke up as the fork of one that had.
    Greeted,
    /// It was told to prepare; a run may have been asked for already.
    Preparing {
        then: Option<(u32, Box<ScenarioSpec>)>,
    },
    Idle,
    /// A run was asked for and not announced yet.
    Asked {
        run: u32,
        spec: Box<ScenarioSpec>,
    },
    Running {
        run: u32,
        spec: Box<ScenarioSpec>,
        findings: Box<Findings>,
    },
    /// The guest was told to say goodbye.
    Leaving,
    Gone,
}

/// One guest's session.
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
    /// Takes in bytes of the control port. Call [`Self::next_event`] until it gives None before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// What was said next, or None until more bytes have come.
    ///
    /// # Errors
    /// [`Violation`]; the session is over then.
    pub fn next_event(&mut self) -> Result<Option<SessionEvent>, Violation> {
        while let Some(item) = self.decoder.next_item() {
            let heard = match item {
                Item::Damaged { bytes, why } => Err(Violation::LinkDamaged { bytes, why }),
                Item::Frame(frame) => self.frame(&frame),
            }?;
            if heard.is_some() {
                return Ok(heard);
            }
        }
        Ok(None)
    }

    /// Says that the port was closed.
    ///
    /// # Errors
    /// [`Truncated`] where that cut a frame.
    pub fn closed(&self) -> Result<(), Truncated> {
        self.decoder.finish()
    }

    /// The session of a fork: its template has said hello.
    #[must_use]
    pub fn of_fork() -> Self {
        Self { state: State::Greeted, next_seq: 1, ..Self::default() }
    }

    /// Has the guest prepare: the bytes to send. Only in answer to [`SessionEvent::Hello`], or first of all to a fork.
    ///
    /// # Errors
    /// [`Violation`] where it is not the time: a fault of the caller's, which must not be passed over.
    pub fn prepare(&mut self, fresh: &Freshness) -> Result<Vec<u8>, Violation> {
        if !matches!(self.state, State::Greeted) {
            return Err(self.wrong(Order::Prepare));
        }
        self.state = State::Preparing { then: None };
        let Freshness { wall_clock_ns, entropy, fork } = fresh.clone();
        encode(&HostMessage::Prepare { wall_clock_ns, entropy, fork })
    }

    /// Asks for a scenario: the bytes to send. After [`Self::prepare`], whose answer need not be waited for, or in answer
    /// to [`SessionEvent::Finished`]. The guest writes the marker, if there is one, to its kernel's log before it starts.
    ///
    /// # Errors
    /// [`Violation`] where the guest is busy: a fault of the caller's, which must not be passed over.
    pub fn ask(
        &mut self,
        spec: &ScenarioSpec,
        leg_timeout_ms: u64,
        marker: Option<String>,
    ) -> Result<Vec<u8>, Violation> {
        let run = self.next_run;
        let asked = (run, Box::new(spec.clone()));
        match &mut self.state {
            State::Idle => self.state = State::Asked { run: asked.0, spec: asked.1 },
            State::Preparing { then } if then.is_none() => *then = Some(asked),
            _ => return Err(self.wrong(Order::Run(spec.id.clone()))),
        }
        self.next_run += 1;
        let scenario = spec.id.clone();
        encode(&HostMessage::Run { run, scenario, leg_timeout_ms, output_limit: OUTPUT_LIMIT, marker })
    }

    /// Asks the guest to write the marker to its kernel's log and to say goodbye: the bytes to send.
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

    /// What the scenario in flight has found so far, if one is.
    #[must_use]
    pub fn findings_so_far(&self) -> Option<&Findings> {
        match &self.state {
            State::Running { findings, .. } => Some(findings),
            _ => None,
        }
    }

    fn frame(&mut self, frame: &Frame) -> Result<Option<SessionEvent>, Violation> {
        match frame.kind {
            Kind::Raw => self.output(&frame.payload).map(|()| None),
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

    fn output(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let chunk = RawChunk::decode(payload).map_err(|error| Violation::NotAMessage { error: error.to_string() })?;
        match &mut self.state {
            State::Running { run, findings, .. } if *run == chunk.run => {
                match chunk.stream {
                    Stream::Stdout => findings.stdout.push(chunk.data),
                    Stream::Stderr => findings.stderr.push(chunk.data),
                }
                Ok(())
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
            (State::Asked { run, spec }, GuestMessage::ScenarioStarted { run: said, scenario })
                if said == run && scenario == spec.id =>
            {
                self.started += 1;
                self.state = State::Running { run, spec, findings: Box::default() };
                Ok(Some(SessionEvent::Started))
            }
            (State::Asked { run, spec }, GuestMessage::Refused { run: said, why }) if said == run => {
                Err(Violation::Refused { scenario: spec.id, why })
            }
            (
                State::Running { run, spec, mut findings },
                GuestMessage::LegFinished { run: said, leg, outcome, duration_ns, output_dropped },
            ) if said == run => {
                let due = next_leg(&spec, &findings.legs);
                if due != Some(leg) {
                    return Err(Violation::LegOutOfOrder { scenario: spec.id, leg, due });
                }
                if !fits(leg, &outcome) {
                    return Err(Violation::ImpossibleOutcome { scenario: spec.id, leg, outcome });
                }
                findings.legs.push(LegReport { leg, outcome, duration_ns });
                findings.dropped_by_guest = findings.dropped_by_guest.saturating_add(output_dropped);
                self.state = State::Running { run, spec, findings };
                Ok(None)
            }
            (State::Running { run, spec, findings }, GuestMessage::ScenarioFinished { run: said }) if said == run => {
                if let Some(due) = next_leg(&spec, &findings.legs) {
                    return Err(Violation::EndedEarly { scenario: spec.id, due });
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

/// The leg that must end next; None where the scenario must.
fn next_leg(spec: &ScenarioSpec, done: &[LegReport]) -> Option<Leg> {
    let has_control = spec.control == Control::Runs;
    match done {
        [] => Some(Leg::Probe),
        [probe] if probe.outcome == LegOutcome::Available => Some(Leg::Subject),
        [_, _] if has_control => Some(Leg::Control),
        _ => None,
    }
}

/// Whether a leg can end so at all.
const fn fits(leg: Leg, outcome: &LegOutcome) -> bool {
    match outcome {
        LegOutcome::Available | LegOutcome::Missing { .. } => matches!(leg, Leg::Probe),
        LegOutcome::Isolated { .. } | LegOutcome::Leaked { .. } => !matches!(leg, Leg::Probe),
        LegOutcome::Failed { .. } | LegOutcome::Died { .. } | LegOutcome::TimedOut { .. } => true,
    }
}

fn doing(state: &State) -> SessionState {
    match state {
        State::AwaitHello => SessionState::AwaitsHello,
        State::Greeted => SessionState::Greeted,
        State::Preparing { .. } => SessionState::Preparing,
        State::Idle => SessionState::Idle,
        State::Asked { spec, .. } => SessionState::Asked(spec.id.clone()),
        State::Running { spec, .. } => SessionState::Running(spec.id.clone()),
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
