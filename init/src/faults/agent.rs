//! Faults of the agent: what it says that it may not say, and how it goes. A scenario's process cannot do these: the port
//! is the agent's alone.

use std::thread::sleep;
use std::time::Duration;

use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome};

use super::Fault;
use crate::agent::link::{Link, LinkError};

/// What the agent does once it has announced the fault of the run with this number. The agent serves on where it returns.
pub(crate) type Misdeed = fn(&mut Link, u32) -> Result<(), LinkError>;

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(86_400);
/// How long the leg's limit is where nothing ever comes, in ms, at the speed of real hardware.
const SHORT_MS: u64 = 500;

pub(super) const ALL: &[Fault] = &[
    Fault::of_agent("fault.agent-exits", "The agent exits with 0 and without a goodbye", |_, _| std::process::exit(0)),
    Fault::of_agent("fault.bit-flip", "One bit of a message is flipped on its way", |link, run| {
        link.send_altered(found(run, Leg::Probe), |bytes| {
            let middle = bytes.len() / 2;
            bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
        })
    }),
    Fault::of_agent("fault.garbage", "The port carries garbage", |link, run| {
        link.send_altered(found(run, Leg::Probe), |bytes| {
            *bytes = (0..10_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        })?;
        pass(link, run)
    }),
    Fault::of_agent("fault.goodbye-twice", "The agent says goodbye twice, and nobody asked", |link, _| {
        link.send(GuestMessage::RunFinished { started: 1 })?;
        link.send(GuestMessage::RunFinished { started: 1 })
    }),
    Fault::of_agent("fault.leg-twice", "The agent gives two results for one leg", |link, run| {
        link.send(found(run, Leg::Probe))?;
        link.send(found(run, Leg::Probe))?;
        pass(link, run)
    }),
    Fault::of_agent("fault.message-lost", "A message never arrives", |link, run| {
        link.send_altered(found(run, Leg::Probe), Vec::clear)?;
        pass(link, run)
    }),
    Fault::of_agent("fault.no-message", "A whole frame that holds no message", |link, run| {
        link.send_altered(found(run, Leg::Probe), |bytes| {
            bytes.clear();
            // Far below what a frame can hold.
            let _ = vmlab_protocol::frame::encode(vmlab_protocol::frame::Kind::Message, &[b"{\"type\":[]}"], bytes);
        })?;
        pass(link, run)
    }),
    Fault::of_agent("fault.no-subject", "The agent ends a scenario whose subject never ran", |link, run| {
        link.send(found(run, Leg::Probe))?;
        link.send(GuestMessage::ScenarioFinished { run })
    }),
    Fault::of_agent("fault.result-twice", "The agent gives two results for one scenario", |link, run| {
        pass(link, run)?;
        link.send(GuestMessage::ScenarioFinished { run })
    }),
    Fault::of_agent(
        "fault.result-unasked",
        "The agent gives a result for a scenario that was never started",
        |link, run| {
            pass(link, run + 1000)?;
            pass(link, run)
        },
    ),
    Fault::of_agent("fault.stalls", "The agent writes half a message and stops", |link, run| {
        link.send_altered(found(run, Leg::Probe), halve)?;
        sleep(FOR_EVER);
        Ok(())
    })
    .within(SHORT_MS),
    Fault::of_agent("fault.truncates", "The agent writes half a message and exits with 0", |link, run| {
        link.send_altered(found(run, Leg::Probe), halve)?;
        std::process::exit(0)
    }),
];

/// A leg's good result.
fn found(run: u32, leg: Leg) -> GuestMessage {
    let outcome = match leg {
        Leg::Probe => LegOutcome::Available,
        Leg::Subject | Leg::Control => LegOutcome::Isolated { detail: "a lie".to_owned() },
    };
    GuestMessage::LegFinished { run, leg, outcome, duration_ns: 1, output_dropped: 0 }
}

/// All that a scenario says that passes.
fn pass(link: &mut Link, run: u32) -> Result<(), LinkError> {
    link.send(found(run, Leg::Probe))?;
    link.send(found(run, Leg::Subject))?;
    link.send(GuestMessage::ScenarioFinished { run })
}

fn halve(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}
