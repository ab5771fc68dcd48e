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
            Self::Refused { scenario, why } => write!(f, "the guest refused {scenario}: {why}"),
            Self::LegOutOfOrder { scenario, leg, due } => {
                let due = due.map_or("nothing", Leg::name);
                write!(f, "{scenario}: leg {} ended, {due} was due", leg.name())
            }
            Self::ImpossibleOutcome { scenario, leg, outcome } => {
                write!(f, "{scenario}: leg {} cannot end as {outcome:?}", leg.name())
            }
            Self::EndedEarly { scenario, due } => write!(f, "{scenario} ended before its leg {}", due.name()),
            Self::WrongCount { guest, host } => {
                write!(f, "the guest counts {guest} scenarios, {host} were announced")
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
            Self::Asked(scenario) => write!(f, "the start of {scenario} was due"),
            Self::Running(scenario) => write!(f, "{scenario} ran"),
            Self::Leaving => f.write_str("the guest's goodbye was due"),
            Self::Over => f.write_str("the session was over"),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare => f.write_str("prepare"),
            Self::Run(scenario) => write!(f, "run {scenario}"),
            Self::Finish => f.write_str("say goodbye"),
        }
    }
}
