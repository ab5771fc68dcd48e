//! What the host does to a run from outside.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::bench::{Bench, Running};
use super::clock::SetBack;
use super::processes::{self, Process};
use vmlab_events::event::{LabEvent, Stamped};
use vmlab_qemu::argv;

/// Between two looks at something that is waited for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// SIGKILL to the guest's QEMU.
    KillQemu,
    /// SIGABRT, which is what abort(3) sends itself.
    AbortQemu,
    /// SIGSTOP, and never a SIGCONT.
    StopQemu,
    /// Its end of the monitor's socket is shut down.
    CloseQmp,
    /// The machine's wall clock is set an hour back until vmlab has ended.
    StepClock,
    /// SIGKILL to vmlab.
    KillVmlab,
}

impl Sabotage {
    /// Waits until the guest has announced the fault, and does it; what is undone at the end is what it gives. The error
    /// says why it was not done.
    pub async fn commit(self, bench: &Bench, running: &mut Running, fault: &str) -> Result<Option<SetBack>, String> {
        let qemu = loop {
            if let Some(guest) = guest_of(&running.events(), fault)
                && let Some(qemu) = qemu_of(bench, running, guest)
            {
                break qemu;
            }
            if running.has_ended().map_err(|error| error.to_string())? {
                return Err(format!("vmlab ended before {fault} was announced"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let send =
            |pid, signal| kill(Pid::from_raw(pid), signal).map_err(|error| format!("cannot send {signal}: {error}"));
        match self {
            Self::KillQemu => send(qemu.pid, Signal::SIGKILL),
            Self::AbortQemu => send(qemu.pid, Signal::SIGABRT),
            Self::StopQemu => send(qemu.pid, Signal::SIGSTOP),
            Self::KillVmlab => send(running.pid(), Signal::SIGKILL),
            Self::CloseQmp => close_qmp(qemu.pid),
            Self::StepClock => return SetBack::now().map(Some),
        }?;
        Ok(None)
    }
}

/// The number of the guest that has announced a scenario, and of those that were started and have not ended.
fn guest_of(events: &[Stamped], scenario: &str) -> Option<(u32, Vec<u32>)> {
    let (mut found, mut alive) = (None, Vec::new());
    for stamped in events {
        match &stamped.event {
            LabEvent::GuestStarting { guest, .. } => alive.push(*guest),
            LabEvent::GuestEnded { guest, .. } => alive.retain(|other| other != guest),
            LabEvent::JobStarted { guest, job, .. } if job.name() == scenario => found = Some(*guest),
            _ => {}
        }
    }
    found.map(|guest| (guest, alive))
}

/// Guests are numbered in the order in which their QEMUs are started. Nothing is known while not all of them are there.
fn qemu_of(bench: &Bench, running: &Running, (guest, alive): (u32, Vec<u32>)) -> Option<Process> {
    let qemus = processes::with_mark(bench.mark()).into_iter();
    let mut qemus: Vec<_> = qemus.filter(|process| process.is_guest && process.parent == running.pid()).collect();
    let at = alive.iter().position(|number| *number == guest)?;
    (qemus.len() == alive.len()).then(|| qemus.swap_remove(at))
}

/// Shuts down what QEMU has as its monitor: a duplicate of its descriptor is the same socket (pidfd_getfd(2), Linux 5.6).
fn close_qmp(pid: i32) -> Result<(), String> {
    let failed = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    let pid = rustix::process::Pid::from_raw(pid).ok_or("QEMU has no process number")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(failed("pidfd_open(2)"))?;
    let socket = pidfd_getfd(process, argv::DESCRIPTORS.qmp, PidfdGetfdFlags::empty())
        .map_err(failed("pidfd_getfd(2) of QEMU's monitor"))?;
    shutdown(socket.as_raw_fd(), Shutdown::Both).map_err(|error| format!("shutdown(2) of QEMU's monitor: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::event::GuestOutcome;
    use vmlab_events::job::Job;
    use vmlab_events::target::TargetId;

    fn starting(guest: u32) -> LabEvent {
        let (target, start, accelerator) = (TargetId::new("k"), "fork".to_owned(), "tcg".to_owned());
        LabEvent::GuestStarting { guest, target, start, accelerator, argv: Vec::new(), console: String::new() }
    }

    fn told(events: Vec<LabEvent>) -> Vec<Stamped> {
        events.into_iter().map(|event| Stamped { elapsed_ms: 0, event }).collect()
    }

    #[test]
    fn the_guest_is_told_from_its_template_and_from_the_one_that_is_made_ready() {
        let started = |guest, scenario: &str| LabEvent::JobStarted {
            guest,
            target: TargetId::new("k"),
            job: Job::Scenario(scenario.parse().unwrap()),
            attempt: 1,
        };
        let ended = |guest| LabEvent::GuestEnded { guest, how: GuestOutcome::Done, console_bytes: 0 };
        let mut events = vec![starting(1), ended(1), starting(2), starting(3), started(2, "fault.qemu-killed")];
        assert_eq!(guest_of(&told(events.clone()), "fault.qemu-killed"), Some((2, vec![2, 3])));
        assert_eq!(guest_of(&told(events.clone()), "fault.qemu-stopped"), None);
        events.push(ended(2));
        assert_eq!(guest_of(&told(events), "fault.qemu-killed"), Some((2, vec![3])));
    }
}
