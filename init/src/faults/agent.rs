//! Faults of the agent: protocol violations and unexpected ends. Only the agent can commit them, because only the agent
//! has the port.

use std::thread::sleep;
use std::time::Duration;

use vmlab_protocol::message::{GuestMessage, Leg, LegOutcome};

use super::Fault;
use crate::link::{Link, LinkError};

/// A fault that the agent itself commits after it has announced the run with this number. The agent continues to serve
/// if the function returns.
pub(crate) type AgentFault = fn(&mut Link, u32) -> Result<(), LinkError>;

/// Longer than any time limit of the host.
const FOR_EVER: Duration = Duration::from_secs(86_400);
/// The time limit of a leg that never answers, in ms, at the speed of real hardware.
const SHORT_MS: u64 = 500;

pub(super) const ALL: &[Fault] = &[
    Fault::of_agent("fault.agent-exits", "The agent exits with 0 before its goodbye", |_, _| std::process::exit(0)),
    Fault::of_agent("fault.bit-flip", "A bit of a message is flipped in transit", |link, run| {
        link.send_altered(found(run, Leg::Probe), |bytes| {
            let middle = bytes.len() / 2;
            bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
        })
    }),
    Fault::of_agent("fault.garbage", "The agent writes garbage to the port", |link, run| {
        link.send_altered(found(run, Leg::Probe), |bytes| {
            *bytes = (0..10_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        })?;
        pass(link, run)
    }),
    Fault::of_agent("fault.goodbye-twice", "The agent says goodbye twice, without being asked", |link, _| {
        link.send(GuestMessage::RunFinished { started: 1 })?;
        link.send(GuestMessage::RunFinished { started: 1 })
    }),
    Fault::of_agent("fault.leg-twice", "The agent sends two results for one leg", |link, run| {
        link.send(found(run, Leg::Probe))?;
        link.send(found(run, Leg::Probe))?;
        pass(link, run)
    }),
    Fault::of_agent("fault.message-lost", "A message is lost", |link, run| {
        link.send_altered(found(run, Leg::Probe), Vec::clear)?;
        pass(link, run)
    }),
    Fault::of_agent("fault.no-message", "A valid frame contains no message", |link, run| {
        link.send_altered(found(run, Leg::Probe), |bytes| {
            bytes.clear();
            // Far below the size limit of a frame.
            let _ = vmlab_protocol::frame::encode(vmlab_protocol::frame::Kind::Message, &[b"{\"type\":[]}"], bytes);
        })?;
        pass(link, run)
    }),
    Fault::of_agent("fault.no-subject", "The agent finishes a scenario without its subject leg", |link, run| {
        link.send(found(run, Leg::Probe))?;
        link.send(GuestMessage::JobFinished { run })
    }),
    Fault::of_agent("fault.result-twice", "The agent sends two results for one scenario", |link, run| {
        pass(link, run)?;
        link.send(GuestMessage::JobFinished { run })
    }),
    Fault::of_agent(
        "fault.result-unasked",
        "The agent sends a result for a scenario that was not started",
        |link, run| {
            pass(link, run + 1000)?;
            pass(link, run)
        },
    ),
    Fault::of_agent("fault.stalls", "The agent writes half a message and hangs", |link, run| {
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

/// The result of a leg that passes.
fn found(run: u32, leg: Leg) -> GuestMessage {
    let outcome = match leg {
        Leg::Probe => LegOutcome::Available,
        Leg::Subject | Leg::Control => LegOutcome::Isolated { detail: "a forged result".to_owned() },
    };
    GuestMessage::LegFinished { run, leg, outcome, duration_ns: 1, output_dropped: 0 }
}

/// Sends all messages of a scenario that passes.
fn pass(link: &mut Link, run: u32) -> Result<(), LinkError> {
    link.send(found(run, Leg::Probe))?;
    link.send(found(run, Leg::Subject))?;
    link.send(GuestMessage::JobFinished { run })
}

fn halve(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}
