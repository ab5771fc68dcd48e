//! How a guest broke the protocol.

use serde::{Deserialize, Serialize};
use vmlab_protocol::frame::Damage;
use vmlab_protocol::job::{Job, by_name};
use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome};

/// The guest sent what the protocol does not allow, or the link was damaged. Nothing that the guest sends after this
/// counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Violation {
    /// Bytes on the link belong to no valid frame.
    LinkDamaged {
        /// How many bytes were lost.
        bytes: u64,
        /// Why the first of them could not be used.
        why: Damage,
    },
    /// A frame is valid, and its payload is no message of this protocol.
    NotAMessage {
        /// The decoder's error.
        error: String,
    },
    /// A message was lost, repeated or reordered.
    WrongSequence {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// A message that is not allowed in this state.
    UnexpectedMessage {
        /// The message.
        message: Box<GuestMessage>,
        /// The state.
        state: SessionState,
    },
    /// Output of a run that does not run.
    UnexpectedOutput {
        /// The run's number.
        run: u32,
        /// The state.
        state: SessionState,
    },
    /// The guest's protocol has another major version.
    WrongProtocol {
        /// The guest's major version.
        guest: u16,
        /// The host's.
        host: u16,
    },
    /// The guest refused a job.
    Refused {
        /// The job.
        #[serde(rename = "scenario", with = "by_name")]
        job: Job,
        /// The guest's reason.
        why: String,
    },
    /// A leg ended out of order.
    LegOutOfOrder {
        /// The job.
        #[serde(rename = "scenario", with = "by_name")]
        job: Job,
        /// The leg that ended.
        leg: Leg,
        /// The leg that was due; none where none was.
        due: Option<Leg>,
    },
    /// A leg ended as this leg cannot end.
    ImpossibleOutcome {
        /// The job.
        #[serde(rename = "scenario", with = "by_name")]
        job: Job,
        /// The leg.
        leg: Leg,
        /// How it ended.
        outcome: LegOutcome,
    },
    /// A job ended before one of its legs.
    EndedEarly {
        /// The job.
        #[serde(rename = "scenario", with = "by_name")]
        job: Job,
        /// The leg that was due.
        due: Leg,
    },
    /// The guest's goodbye counts other jobs than it announced.
    WrongCount {
        /// By the guest.
        guest: u32,
        /// By the host.
        host: u32,
    },
    /// The guest had its kernel print a marker, and the marker did not come out on the console.
    ConsoleCut,
    /// No verdict follows from the legs.
    Undecided {
        /// How the subject leg ended.
        subject: Option<LegOutcome>,
        /// How the control leg ended.
        control: Option<LegOutcome>,
    },
    /// A fault of the host's own: an order that the guest cannot take in this state.
    WrongOrder {
        /// The order.
        order: Order,
        /// The state.
        state: SessionState,
    },
    /// A fault of the host's own: an order that does not fit into a frame.
    NotEncodable {
        /// The encoder's error.
        error: String,
    },
    /// The sentence of a record that is older than this type.
    Recorded {
        /// As recorded.
        text: String,
    },
}

/// How far a session is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Its hello is due.
    AwaitsHello,
    /// It has said hello, and has not been ordered to prepare.
    Greeted,
    /// It prepares.
    Preparing,
    /// It has nothing to do.
    Idle,
    /// The announcement of this job is due.
    Asked(#[serde(with = "by_name")] Job),
    /// This job runs.
    Running(#[serde(with = "by_name")] Job),
    /// Its goodbye is due.
    Leaving,
    /// It has said goodbye, or has broken the protocol.
    Over,
}

/// What the host orders a guest to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// To become a guest of its own.
    Prepare,
    /// To run this job.
    Run(#[serde(with = "by_name")] Job),
    /// To say goodbye.
    Finish,
}
