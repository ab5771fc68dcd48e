//! The agent exercises itself before the hello, in each guest: it prepares, and runs a job without effects. An emulator is slow
//! where code runs for the first time; a guest that thaws has the code that its template has run.
//!
//! No namespace, cgroup, mount or device is made, no entropy is credited, and the boot id stays unread.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::time::{ClockId, clock_gettime};
use vmlab_protocol::job::Job;
use vmlab_protocol::message::{self, ENTROPY_BYTES, HostMessage, LegOutcome};

use super::fresh::Fresh;
use super::kernel_console::KernelConsole;
use super::standby::Launcher;
use super::work::{Code, Work};
use super::{Order, run_job};
use crate::children::Children;
use crate::command::Place;
use crate::link::{FromHost, Link, LinkError, nanoseconds};
use crate::sandbox::Sandbox;
use crate::scenarios::{Experiment, Finding, Setting, Trouble};

/// Far more than it takes, also in an emulator on a busy host.
const LIMIT_MS: u64 = 60_000;

/// The job without effects.
const NOTHING: Experiment = Experiment::new("agent.exercise", nothing);

fn nothing(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    sandbox.run(|| Ok(String::new())).map(Finding::Isolated)
}

/// Takes the orders of a host that is this process, and answers them.
pub(super) fn exercise(console: &KernelConsole, children: &Children) -> Result<(), LinkError> {
    let failed = |what: &'static str| move |error| LinkError::Port { what, error };
    let (mut host, guest) = UnixStream::pair().map_err(failed("make a pair of sockets"))?;
    let mut link = Link::new(File::from(OwnedFd::from(guest)));
    for order in orders()? {
        host.write_all(&order).map_err(failed("write to a socket"))?;
        match link.receive()? {
            FromHost::Message(HostMessage::Prepare { wall_clock_ns, entropy, fork, .. }) => {
                let fresh = Fresh::for_exercise().map_err(LinkError::Prepare)?;
                fresh.prepare(wall_clock_ns, &entropy, fork).map_err(LinkError::Prepare)?;
            }
            FromHost::Message(HostMessage::Run { run, job, leg_timeout_ms, output_limit, .. }) => {
                let setting = Setting::default();
                let order = Order { run, leg_timeout_ms, output_limit, setting, console, children };
                run_nothing(&mut link, &order, job)?;
            }
            other => return Err(LinkError::Damaged(format!("{other:?} in the exercise"))),
        }
    }
    Ok(())
}

/// Runs the job, and makes sure of its three legs. The messages go to a socket that nobody reads.
fn run_nothing(link: &mut Link, order: &Order<'_>, job: Job) -> Result<(), LinkError> {
    let mut launcher = Launcher::new(Place::in_guest());
    match run_job(link, order, &mut launcher, job, &Work::Code(Code::Experiment(&NOTHING)))?.as_slice() {
        [LegOutcome::Available, LegOutcome::Isolated { .. }, LegOutcome::Isolated { .. }] => Ok(()),
        other => Err(LinkError::Exercise(format!("{other:?}"))),
    }
}

/// The frames of an order to prepare, at the time that it is, and of an order to run the job.
fn orders() -> Result<[Vec<u8>; 2], LinkError> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)
        .map_err(|error| LinkError::System { what: "read CLOCK_REALTIME", error })?;
    let entropy = "00".repeat(ENTROPY_BYTES);
    let prepare = HostMessage::Prepare { wall_clock_ns: nanoseconds(now), entropy, fork: false, side: None };
    let job = NOTHING.id.parse().map_err(|error| LinkError::Damaged(format!("{error}")))?;
    let run = HostMessage::Run {
        run: 0,
        job: Job::Scenario(job),
        leg_timeout_ms: LIMIT_MS,
        output_limit: 0,
        marker: None,
        command: None,
    };
    let frame = |message: &HostMessage| -> Result<Vec<u8>, LinkError> {
        let mut bytes = Vec::new();
        message::encode(message, &mut bytes)?;
        Ok(bytes)
    };
    Ok([frame(&prepare)?, frame(&run)?])
}
