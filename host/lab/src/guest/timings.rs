//! Where a guest's time went. Pure: times are passed in.
//!
//! Each time is the one at which the host knew of a moment. The lab has one thread for all guests, so that its work for one
//! guest is part of the other guests' phases as well.

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
    /// A boot that is saved.
    Template,
    Fork,
}

impl Start {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Template => "template",
            Self::Fork => "fork",
        }
    }
}

/// A moment of a guest's start, in the order in which they follow each other in a guest.
///
/// The host may hear of them in another order: QMP and the control port are two sockets, and there may be work for a fork
/// before it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// QEMU is executed: fork(2) and execve(2) are done.
    Spawned,
    /// QEMU's monitor sent its greeting.
    Greeted,
    /// QEMU answered the first of the commands that were sent ahead: its machine is made and its main loop runs.
    Answered,
    /// A fork's state is loaded.
    Loaded,
    /// PID 1 said hello.
    Hello,
    /// There is work for the guest: it was told to become one of its own, and a fork is woken for it.
    Ordered,
    /// It has become so.
    Prepared,
}

/// Keeps the moments of one guest, and makes phases of them when it has ended.
#[derive(Debug)]
pub(crate) struct Timings {
    guest: u32,
    target: TargetId,
    how: Start,
    began: Instant,
    start: BTreeMap<Moment, Instant>,
    /// The ends of the phases after the start; some with parts whose lengths the guest has told.
    later: Vec<(&'static str, Instant, Vec<Phase>)>,
}

impl Timings {
    /// The guest's start began then.
    pub(crate) const fn new(guest: u32, target: TargetId, how: Start, began: Instant) -> Self {
        Self { guest, target, how, began, start: BTreeMap::new(), later: Vec::new() }
    }

    /// How the guest starts.
    pub(crate) const fn how(&self) -> Start {
        self.how
    }

    /// Since the guest's start began.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// This moment has come. Of several the first counts.
    pub(crate) fn moment(&mut self, moment: Moment, at: Instant) {
        self.start.entry(moment).or_insert(at);
    }

    /// An event of QMP's may be such a moment.
    pub(crate) fn qmp(&mut self, told: &TimedQmpEvent) {
        match told.event {
            QmpEvent::Greeting => self.moment(Moment::Greeted, told.at),
            // What is booted may be asked for something at any time later; only forks are told ahead.
            QmpEvent::Reply { .. } if self.how == Start::Fork => self.moment(Moment::Answered, told.at),
            QmpEvent::Migration { ref status } if self.how == Start::Fork && status == "completed" => {
                self.moment(Moment::Loaded, told.at);
            }
            _ => {}
        }
    }

    /// A phase after the start ends.
    pub(crate) fn end_of(&mut self, phase: &'static str, now: Instant) {
        self.later.push((phase, now, Vec::new()));
    }

    /// A scenario ends. Its legs lasted as long as the guest says.
    pub(crate) fn end_of_scenario(&mut self, legs: &[LegReport], now: Instant) {
        let parts = legs.iter().map(|leg| Phase { name: leg.leg.name().to_owned(), us: leg.duration_ns / 1000 });
        self.later.push(("scenario", now, parts.collect()));
    }

    /// The event about the guest's phases, once it has ended.
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
                // A fork that waited for work.
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

    /// A guest whose start began at 0, and the moments from there.
    fn guest(how: Start) -> (Timings, impl Fn(u64) -> Instant) {
        let began = Instant::now();
        (Timings::new(1, TargetId::new("k"), how, began), move |us| began + Duration::from_micros(us))
    }

    fn text(timings: Timings) -> String {
        let phases = timings.phases();
        phases.iter().map(|phase| format!("{} {}", phase.name, phase.us)).collect::<Vec<_>>().join(", ")
    }

    fn told(at: Instant, event: QmpEvent) -> TimedQmpEvent {
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
        fork.qmp(&told(at(20_000), QmpEvent::Greeting));
        fork.qmp(&told(at(25_000), reply("qmp_capabilities")));
        fork.qmp(&told(at(26_000), reply("migrate-incoming")));
        fork.qmp(&told(at(27_000), migration("active")));
        fork.qmp(&told(at(31_000), migration("completed")));
        fork.qmp(&told(at(31_500), QmpEvent::Resumed));
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
        fork.qmp(&told(at(30), migration("completed")));
        fork.moment(Moment::Ordered, at(100));
        fork.moment(Moment::Prepared, at(110));
        assert_eq!(text(fork), "restore 30, standby 70, prepare 10, total 110");
    }

    #[test]
    fn a_boot_is_not_measured_by_what_only_forks_have() {
        let (mut boot, at) = guest(Start::Boot);
        boot.qmp(&told(at(20), QmpEvent::Greeting));
        boot.qmp(&told(at(21), QmpEvent::Resumed));
        boot.qmp(&told(at(22), migration("completed")));
        boot.qmp(&told(at(22), reply("getfd")));
        boot.moment(Moment::Hello, at(2000));
        boot.moment(Moment::Ordered, at(2001));
        boot.moment(Moment::Prepared, at(2010));
        assert_eq!(text(boot), "qemu 20, boot 1980, prepare 10, total 2010");
    }

    #[test]
    fn a_fork_that_was_never_loaded_was_lost_and_not_spare() {
        let (mut fork, at) = guest(Start::Fork);
        fork.qmp(&told(at(25), reply("qmp_capabilities")));
        fork.moment(Moment::Ordered, at(30));
        fork.later.push(("lost", at(90), Vec::new()));
        assert_eq!(text(fork), "machine 25, lost 65, total 90");
    }

    #[test]
    fn phases_that_the_host_learned_of_too_late_have_no_length_and_the_total_is_right() {
        let (mut fork, at) = guest(Start::Fork);
        fork.moment(Moment::Prepared, at(50));
        fork.qmp(&told(at(60), migration("completed")));
        fork.later.push(("start", at(55), Vec::new()));
        fork.later.push(("end", at(70), Vec::new()));
        assert_eq!(text(fork), "restore 60, prepare 0, start 0, end 10, total 70");
    }

    #[test]
    fn of_each_moment_the_first_counts() {
        let (mut boot, at) = guest(Start::Template);
        boot.moment(Moment::Hello, at(5));
        boot.moment(Moment::Hello, at(9));
        assert_eq!(text(boot), "boot 5, total 5");
    }
}
