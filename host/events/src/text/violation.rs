//! How a guest broke the protocol.

use std::fmt;

use vmlab_protocol::message::Leg;

use crate::verdict::{Order, SessionState, Violation};

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkDamaged { bytes, why } => write!(f, "the link is damaged: {why}; {bytes} bytes are lost"),
            Self::NotAMessage { error } | Self::NotEncodable { error } => f.write_str(error),
            Self::WrongSequence { expected, got } => write!(f, "message {expected} was due and message {got} came"),
            Self::UnexpectedMessage { message, state } => write!(f, "{message:?} came while {state}"),
            Self::UnexpectedOutput { run, state } => write!(f, "output of run {run} came while {state}"),
            Self::WrongProtocol { guest, host } => {
                write!(f, "the guest speaks protocol {guest}, this vmlab speaks {host}")
            }
            Self::Refused { job, why } => write!(f, "the guest refused {job}: {why}"),
            Self::LegOutOfOrder { job, leg, due } => {
                let due = due.map_or("nothing", Leg::name);
                write!(f, "{job}: leg {} ended, {due} was due", leg.name())
            }
            Self::ImpossibleOutcome { job, leg, outcome } => {
                write!(f, "{job}: leg {} cannot end as {outcome:?}", leg.name())
            }
            Self::EndedEarly { job, due } => write!(f, "{job} ended before its leg {}", due.name()),
            Self::WrongCount { guest, host } => {
                write!(f, "the guest counts {guest} jobs, {host} were announced")
            }
            Self::ConsoleCut => {
                f.write_str("the console was cut: what the guest had its kernel print did not come out on it")
            }
            Self::Undecided { subject, control } => {
                write!(f, "no verdict follows from subject {subject:?} and control {control:?}")
            }
            Self::WrongOrder { order, state } => {
                write!(f, "a fault in vmlab itself: the guest was ordered to {order} while {state}")
            }
            Self::Recorded { text } => f.write_str(text),
        }
    }
}

impl std::error::Error for Violation {}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitsHello => f.write_str("the guest's hello was due"),
            Self::Greeted => f.write_str("the guest had no order to prepare"),
            Self::Preparing => f.write_str("the guest prepared"),
            Self::Idle => f.write_str("the guest had nothing to do"),
            Self::Asked(job) => write!(f, "the start of {job} was due"),
            Self::Running(job) => write!(f, "{job} ran"),
            Self::Leaving => f.write_str("the guest's goodbye was due"),
            Self::Over => f.write_str("the session was over"),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare => f.write_str("prepare"),
            Self::Run(job) => write!(f, "run {job}"),
            Self::Finish => f.write_str("say goodbye"),
        }
    }
}
