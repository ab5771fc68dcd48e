//! The duration of a guest's phases. Pure: times are passed in.
//!
//! Each time is that at which the host noticed a moment. The lab has one thread for all guests, so its work for one
//! guest is also part of other guests' phases.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vmlab_events::event::{LabEvent, LegReport, Phase};
use vmlab_events::target::TargetId;

use crate::laps::Laps;
use vmlab_qemu::qmp::{QmpEvent, TimedQmpEvent};

/// How a guest starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Boot,
    /// A boot that is saved as a template.
    Template,
    /// A fork whose state is loaded into a new QEMU.
    Fork,
    /// A fork that is a copy of the template's QEMU process.
    Thaw,
}

impl Start {
    /// Whether the guest has booted before.
    pub(crate) const fn is_fork(self) -> bool {
        matches!(self, Self::Fork | Self::Thaw)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Template => "template",
            Self::Fork => "fork",
            Self::Thaw => "thaw",
        }
    }
}

/// A moment of a guest's start, in the order within the guest.
///
/// The host may notice them in another order: QMP and the control port are two sockets, and a job may be ready for a
/// fork before the fork is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// QEMU is executed: fork(2) and execve(2) are done.
    Spawned,
    /// QEMU's monitor sent its greeting.
    Greeted,
    /// QEMU answered the first command, which was sent ahead: its machine is created and its main loop runs.
    Answered,
    /// A fork's state is loaded.
    Loaded,
    /// PID 1 said hello.
    Hello,
    /// The guest has a job: it was ordered to prepare, and a fork was woken.
    Ordered,
    /// The guest is prepared.
    Prepared,
}

/// The moments of a guest, from which the phases are computed at its end.
#[derive(Debug)]
pub(crate) struct Timings {
    guest: u32,
    target: TargetId,
    how: Start,
    began: Instant,
    start: BTreeMap<Moment, Instant>,
    /// The ends of the phases after the start. Some have parts, whose durations the guest reported.
    later: Vec<(&'static str, Instant, Vec<Phase>)>,
}

impl Timings {
    /// Starts the timings at `began`.
    pub(crate) const fn new(guest: u32, target: TargetId, how: Start, began: Instant) -> Self {
        Self { guest, target, how, began, start: BTreeMap::new(), later: Vec::new() }
    }

    /// How the guest starts.
    pub(crate) const fn how(&self) -> Start {
        self.how
    }

    /// The time since the beginning of the guest's start.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Records a moment; only the first time counts.
    pub(crate) fn moment(&mut self, moment: Moment, at: Instant) {
        self.start.entry(moment).or_insert(at);
    }

    /// Records the moment of a QMP event, if it is one.
    pub(crate) fn qmp(&mut self, event: &TimedQmpEvent) {
        match event.event {
            QmpEvent::Greeting => self.moment(Moment::Greeted, event.at),
            // Only a fork gets commands ahead; a booted guest may get its first command much later.
            QmpEvent::Reply { .. } if self.how.is_fork() => self.moment(Moment::Answered, event.at),
            QmpEvent::Migration { ref status } if self.how.is_fork() && status == "completed" => {
                self.moment(Moment::Loaded, event.at);
            }
            _ => {}
        }
    }

    /// Records the end of a phase after the start.
    pub(crate) fn end_of(&mut self, phase: &'static str, now: Instant) {
        self.later.push((phase, now, Vec::new()));
    }

    /// Records the end of a scenario, with the durations of its legs as reported by the guest.
    pub(crate) fn end_of_scenario(&mut self, legs: &[LegReport], now: Instant) {
        let parts = legs.iter().map(|leg| Phase { name: leg.leg.name().to_owned(), us: leg.duration_ns / 1000 });
        self.later.push(("scenario", now, parts.collect()));
    }

    /// The event with the guest's phases; call it after the guest's end.
    pub(crate) fn into_event(self) -> LabEvent {
        let (guest, target, start) = (self.guest, self.target.clone(), self.how.name().to_owned());
        LabEvent::GuestTimings { guest, target, start, phases: self.phases() }
    }

    fn phases(self) -> Vec<Phase> {
        let mut laps = Laps::since(self.began);
        let loaded = self.start.contains_key(&Moment::Loaded);
        for (moment, at) in self.start {
            let phase = match moment {
                Moment::Spawned => "spawn",
                Moment::Greeted => "qemu",
                Moment::Answered => "machine",
                Moment::Loaded => "restore",
                Moment::Hello => "boot",
                // The fork waited for a job.
                Moment::Ordered if loaded && at > laps.last() => "standby",
                Moment::Ordered => continue,
                Moment::Prepared => "prepare",
            };
            laps.lap_at(phase, at);
        }
        for (phase, at, parts) in self.later {
            laps.lap_at(phase, at);
            parts.into_iter().for_each(|part| laps.part(part));
        }
        laps.finish()
    }
}

#[cfg(test)]
mod tests {
    use vmlab_protocol::message::{Leg, LegOutcome};

    use super::*;

    /// The timings of a guest whose start began at 0, with these moments.
    fn guest(how: Start) -> (Timings, impl Fn(u64) -> Instant) {
        let began = Instant::now();
        (Timings::new(1, TargetId::new("k"), how, began), move |us| began + Duration::from_micros(us))
    }

    fn text(timings: Timings) -> String {
        let phases = timings.phases();
        phases.iter().map(|phase| format!("{} {}", phase.name, phase.us)).collect::<Vec<_>>().join(", ")
    }

    fn event(at: Instant, event: QmpEvent) -> TimedQmpEvent {
        TimedQmpEvent { at, event }
    }

    fn migration(status: &str) -> QmpEvent {
        QmpEvent::Migration { status: status.to_owned() }
    }

    fn reply(command: &str) -> QmpEvent {
        QmpEvent::Reply { command: command.to_owned(), error: None }
    }

    #[test]
    fn a_fork_from_its_start_to_its_end() {
        let (mut fork, at) = guest(Start::Fork);
        fork.moment(Moment::Spawned, at(1000));
        fork.moment(Moment::Ordered, at(1100));
        fork.qmp(&event(at(20_000), QmpEvent::Greeting));
        fork.qmp(&event(at(25_000), reply("qmp_capabilities")));
        fork.qmp(&event(at(26_000), reply("migrate-incoming")));
        fork.qmp(&event(at(27_000), migration("active")));
        fork.qmp(&event(at(31_000), migration("completed")));
        fork.qmp(&event(at(31_500), QmpEvent::Resumed));
        fork.moment(Moment::Prepared, at(39_000));
        fork.later.push(("start", at(40_000), Vec::new()));
        fork.end_of_scenario(
            &[LegReport { leg: Leg::Probe, outcome: LegOutcome::Available, duration_ns: 1_999_999 }],
            at(43_000),
        );
        fork.later.push(("goodbye", at(43_500), Vec::new()));
        fork.later.push(("end", at(49_000), Vec::new()));
        assert_eq!(
            text(fork),
            "spawn 1000, qemu 19000, machine 5000, restore 6000, prepare 8000, start 1000, scenario 3000, probe 1999, \
             goodbye 500, end 5500, total 49000"
        );
    }

    #[test]
    fn a_standby_waits_for_work() {
        let (mut fork, at) = guest(Start::Fork);
        fork.qmp(&event(at(30), migration("completed")));
        fork.moment(Moment::Ordered, at(100));
        fork.moment(Moment::Prepared, at(110));
        assert_eq!(text(fork), "restore 30, standby 70, prepare 10, total 110");
    }

    #[test]
    fn a_boot_has_no_phases_of_forks() {
        let (mut boot, at) = guest(Start::Boot);
        boot.qmp(&event(at(20), QmpEvent::Greeting));
        boot.qmp(&event(at(21), QmpEvent::Resumed));
        boot.qmp(&event(at(22), migration("completed")));
        boot.qmp(&event(at(22), reply("getfd")));
        boot.moment(Moment::Hello, at(2000));
        boot.moment(Moment::Ordered, at(2001));
        boot.moment(Moment::Prepared, at(2010));
        assert_eq!(text(boot), "qemu 20, boot 1980, prepare 10, total 2010");
    }

    #[test]
    fn a_fork_that_was_never_loaded_is_lost_and_not_standby() {
        let (mut fork, at) = guest(Start::Fork);
        fork.qmp(&event(at(25), reply("qmp_capabilities")));
        fork.moment(Moment::Ordered, at(30));
        fork.later.push(("lost", at(90), Vec::new()));
        assert_eq!(text(fork), "machine 25, lost 65, total 90");
    }

    #[test]
    fn phases_that_the_host_noticed_too_late_have_no_length_and_the_total_is_right() {
        let (mut fork, at) = guest(Start::Fork);
        fork.moment(Moment::Prepared, at(50));
        fork.qmp(&event(at(60), migration("completed")));
        fork.later.push(("start", at(55), Vec::new()));
        fork.later.push(("end", at(70), Vec::new()));
        assert_eq!(text(fork), "restore 60, prepare 0, start 0, end 10, total 70");
    }

    #[test]
    fn only_the_first_time_of_each_moment_counts() {
        let (mut boot, at) = guest(Start::Template);
        boot.moment(Moment::Hello, at(5));
        boot.moment(Moment::Hello, at(9));
        assert_eq!(text(boot), "boot 5, total 5");
    }
}
