//! Faults that the host injects into a run from outside.

use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use vmlab_events::event::{LabEvent, Stamped};
use vmlab_qemu::argv;

use super::clock::SetBack;
use super::env::{Process, Running, TestEnv};

/// The pause between two looks at something that is waited for.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What the host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// Sends SIGKILL to the guest's QEMU.
    KillQemu,
    /// Sends SIGABRT to the guest's QEMU, as abort(3) does.
    AbortQemu,
    /// Sends SIGSTOP to the guest's QEMU, and never SIGCONT.
    StopQemu,
    /// Shuts down QEMU's end of the QMP socket.
    CloseQmp,
    /// Sets the machine's wall clock one hour back until vmlab has ended.
    StepClock,
    /// Sends SIGKILL to vmlab.
    KillVmlab,
}

impl Injection {
    /// Waits until the guest has announced the fault, and injects it. `events` reads the run's events so far. The returned
    /// value undoes the injection when dropped. The error says why nothing was injected.
    pub(crate) async fn inject(
        self,
        env: &TestEnv,
        running: &mut Running,
        fault: &str,
        events: impl Fn() -> Vec<Stamped>,
    ) -> Result<Option<SetBack>, String> {
        let qemu = loop {
            if let Some(guest) = guest_of(&events(), fault)
                && let Some(qemu) = qemu_of(env, running, guest)
            {
                break qemu;
            }
            if running.has_ended().map_err(|error| error.to_string())? {
                return Err(format!("vmlab ended before {fault} was announced"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
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

/// The number of the guest that has announced a scenario, and the numbers of all guests that have started and not ended.
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

/// The guest's QEMU. Guests are numbered in the order in which their QEMUs start, so the number is known only while all
/// QEMUs of the living guests are there.
fn qemu_of(env: &TestEnv, running: &Running, (guest, alive): (u32, Vec<u32>)) -> Option<Process> {
    let processes = env.processes().into_iter();
    let mut qemus: Vec<_> = processes.filter(|process| process.is_guest() && process.parent == running.pid()).collect();
    let at = alive.iter().position(|number| *number == guest)?;
    (qemus.len() == alive.len()).then(|| qemus.swap_remove(at))
}

/// Shuts down QEMU's end of the QMP socket: a duplicate of QEMU's descriptor is the same socket (pidfd_getfd(2), Linux
/// 5.6).
fn close_qmp(pid: i32) -> Result<(), String> {
    let failed = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    let pid = rustix::process::Pid::from_raw(pid).ok_or("QEMU has no process id")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(failed("pidfd_open(2)"))?;
    let socket = pidfd_getfd(process, argv::DESCRIPTORS.qmp, PidfdGetfdFlags::empty())
        .map_err(failed("pidfd_getfd(2) of QEMU's QMP socket"))?;
    shutdown(socket.as_raw_fd(), Shutdown::Both).map_err(|error| format!("shutdown(2) of QEMU's QMP socket: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::event::GuestOutcome;
    use vmlab_events::job::Job;
    use vmlab_events::target::TargetId;

    fn starting(guest: u32) -> LabEvent {
        let (target, start, accelerator) = (TargetId::new("k"), "fork".to_owned(), "tcg".to_owned());
        let (argv, quirks, console) = (Vec::new(), Vec::new(), String::new());
        LabEvent::GuestStarting { guest, target, start, accelerator, argv, quirks, console }
    }

    fn stamped(events: Vec<LabEvent>) -> Vec<Stamped> {
        events.into_iter().map(|event| Stamped { elapsed_ms: 0, event }).collect()
    }

    #[test]
    fn the_faulty_guest_is_neither_the_template_nor_the_standby() {
        let started = |guest, scenario: &str| LabEvent::JobStarted {
            guest,
            target: TargetId::new("k"),
            job: Job::Scenario(scenario.parse().unwrap()),
            attempt: 1,
        };
        let ended = |guest| LabEvent::GuestEnded { guest, how: GuestOutcome::Done, console_bytes: 0 };
        let mut events = vec![starting(1), ended(1), starting(2), starting(3), started(2, "fault.qemu-killed")];
        assert_eq!(guest_of(&stamped(events.clone()), "fault.qemu-killed"), Some((2, vec![2, 3])));
        assert_eq!(guest_of(&stamped(events.clone()), "fault.qemu-stopped"), None);
        events.push(ended(2));
        assert_eq!(guest_of(&stamped(events), "fault.qemu-killed"), Some((2, vec![3])));
    }
}
