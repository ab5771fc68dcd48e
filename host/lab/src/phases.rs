//! Where the time went: phases that follow each other without a gap, in µs on a clock that never goes back.
//!
//! Every moment is the one at which the host knew of it. The lab's one thread looks after all guests, so what it does
//! for one of them is in the others' phases as well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::lab::Lab;
use vmlab_events::event::{LabEvent, LegReport, Phase};
use vmlab_qemu::qmp::{QmpEvent, TimedQmpEvent};

/// A stopwatch that gives each lap its name when it ends.
#[derive(Debug, Clone)]
pub struct Laps {
    began: Instant,
    last: Instant,
    phases: Vec<Phase>,
}

impl Laps {
    /// The first lap began then.
    #[must_use]
    pub const fn since(began: Instant) -> Self {
        Self { began, last: began, phases: Vec::new() }
    }

    /// A lap ends now, and the next begins.
    pub fn lap(&mut self, name: &str) {
        self.lap_at(name, Instant::now());
    }

    /// A lap ended then. It had no length where a lap before it ended later.
    fn lap_at(&mut self, name: &str, at: Instant) {
        self.push(name, at.saturating_duration_since(self.last));
        self.last = self.last.max(at);
    }

    fn push(&mut self, name: &str, length: Duration) {
        self.phases.push(Phase { name: name.to_owned(), us: microseconds(length) });
    }

    /// The laps, and `total`: from the beginning of the first to the end of the last.
    #[must_use]
    pub fn finish(mut self) -> Vec<Phase> {
        self.push("total", self.last.saturating_duration_since(self.began));
        self.phases
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How a guest comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boot,
    /// A boot that is saved.
    Template,
    Fork,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
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
pub(super) enum Moment {
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
pub(super) struct Recorder {
    guest: u32,
    kernel: String,
    kind: Kind,
    began: Instant,
    start: BTreeMap<Moment, Instant>,
    /// The ends of the phases after the start; some with parts whose lengths the guest has told.
    later: Vec<(&'static str, Instant, Vec<Phase>)>,
}

impl Recorder {
    /// The guest's start began then.
    pub(super) const fn new(guest: u32, kernel: String, kind: Kind, began: Instant) -> Self {
        Self { guest, kernel, kind, began, start: BTreeMap::new(), later: Vec::new() }
    }

    /// How the guest comes to be.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Since the guest's start began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// It is now. Of each moment the first counts.
    pub(super) fn moment(&mut self, moment: Moment) {
        self.moment_at(moment, Instant::now());
    }

    fn moment_at(&mut self, moment: Moment, at: Instant) {
        self.start.entry(moment).or_insert(at);
    }

    /// What QMP told of may be such a moment.
    pub(super) fn told(&mut self, told: &TimedQmpEvent) {
        match told.event {
            QmpEvent::Greeting => self.moment_at(Moment::Greeted, told.at),
            // What is booted may be asked for something at any time later; only forks are told ahead.
            QmpEvent::Reply { .. } if self.kind == Kind::Fork => self.moment_at(Moment::Answered, told.at),
            QmpEvent::Migration { ref status } if self.kind == Kind::Fork && status == "completed" => {
                self.moment_at(Moment::Loaded, told.at);
            }
            _ => {}
        }
    }

    /// A phase after the start ends now.
    pub(super) fn end_of(&mut self, phase: &'static str) {
        self.later.push((phase, Instant::now(), Vec::new()));
    }

    /// A scenario ends now. Its legs lasted as long as the guest says.
    pub(super) fn end_of_scenario(&mut self, legs: &[LegReport]) {
        let parts = legs.iter().map(|leg| Phase { name: leg.leg.name().to_owned(), us: leg.duration_ns / 1000 });
        self.later.push(("scenario", Instant::now(), parts.collect()));
    }

    /// Tells of the guest's phases. It has ended.
    pub(super) fn finish(self, lab: &Lab) {
        let (guest, start) = (self.guest, self.kind.name().to_owned());
        let kernel = self.kernel.clone();
        lab.emitter.emit(LabEvent::GuestTimings { guest, kernel, start, phases: self.phases() });
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
                Moment::Ordered if loaded && at > laps.last => "spare",
                Moment::Ordered => continue,
                Moment::Prepared => "prepare",
            };
            laps.lap_at(phase, at);
        }
        for (phase, at, parts) in self.later {
            laps.lap_at(phase, at);
            laps.phases.extend(parts);
        }
        laps.finish()
    }
}

#[cfg(test)]
mod tests {
    use vmlab_protocol::message::{Leg, LegOutcome};

    use super::*;

    /// A guest whose start began at 0, and the moments from there.
    fn guest(kind: Kind) -> (Recorder, impl Fn(u64) -> Instant) {
        let began = Instant::now();
        (Recorder::new(1, "k".to_owned(), kind, began), move |us| began + Duration::from_micros(us))
    }

    fn text(recorder: Recorder) -> String {
        let phases = recorder.phases();
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
        let (mut fork, at) = guest(Kind::Fork);
        fork.moment_at(Moment::Spawned, at(1000));
        fork.moment_at(Moment::Ordered, at(1100));
        fork.told(&told(at(20_000), QmpEvent::Greeting));
        fork.told(&told(at(25_000), reply("qmp_capabilities")));
        fork.told(&told(at(26_000), reply("migrate-incoming")));
        fork.told(&told(at(27_000), migration("active")));
        fork.told(&told(at(31_000), migration("completed")));
        fork.told(&told(at(31_500), QmpEvent::Resumed));
        fork.moment_at(Moment::Prepared, at(39_000));
        fork.later.push(("start", at(40_000), Vec::new()));
        fork.end_of_scenario(&[LegReport { leg: Leg::Probe, outcome: LegOutcome::Available, duration_ns: 1_999_999 }]);
        fork.later[1].1 = at(43_000);
        fork.later.push(("goodbye", at(43_500), Vec::new()));
        fork.later.push(("end", at(49_000), Vec::new()));
        assert_eq!(
            text(fork),
            "spawn 1000, qemu 19000, machine 5000, restore 6000, prepare 8000, start 1000, scenario 3000, probe 1999, \
             goodbye 500, end 5500, total 49000"
        );
    }

    #[test]
    fn a_spare_waits_for_work() {
        let (mut fork, at) = guest(Kind::Fork);
        fork.told(&told(at(30), migration("completed")));
        fork.moment_at(Moment::Ordered, at(100));
        fork.moment_at(Moment::Prepared, at(110));
        assert_eq!(text(fork), "restore 30, spare 70, prepare 10, total 110");
    }

    #[test]
    fn a_boot_is_not_measured_by_what_only_forks_have() {
        let (mut boot, at) = guest(Kind::Boot);
        boot.told(&told(at(20), QmpEvent::Greeting));
        boot.told(&told(at(21), QmpEvent::Resumed));
        boot.told(&told(at(22), migration("completed")));
        boot.told(&told(at(22), reply("getfd")));
        boot.moment_at(Moment::Hello, at(2000));
        boot.moment_at(Moment::Ordered, at(2001));
        boot.moment_at(Moment::Prepared, at(2010));
        assert_eq!(text(boot), "qemu 20, boot 1980, prepare 10, total 2010");
    }

    #[test]
    fn a_fork_that_was_never_loaded_was_lost_and_not_spare() {
        let (mut fork, at) = guest(Kind::Fork);
        fork.told(&told(at(25), reply("qmp_capabilities")));
        fork.moment_at(Moment::Ordered, at(30));
        fork.later.push(("lost", at(90), Vec::new()));
        assert_eq!(text(fork), "machine 25, lost 65, total 90");
    }

    #[test]
    fn phases_that_the_host_heard_of_too_late_have_no_length_and_the_total_is_right() {
        let (mut fork, at) = guest(Kind::Fork);
        fork.moment_at(Moment::Prepared, at(50));
        fork.told(&told(at(60), migration("completed")));
        fork.later.push(("start", at(55), Vec::new()));
        fork.later.push(("end", at(70), Vec::new()));
        assert_eq!(text(fork), "restore 60, prepare 0, start 0, end 10, total 70");
    }

    #[test]
    fn of_each_moment_the_first_counts() {
        let (mut boot, at) = guest(Kind::Template);
        boot.moment_at(Moment::Hello, at(5));
        boot.moment_at(Moment::Hello, at(9));
        assert_eq!(text(boot), "boot 5, total 5");
    }
}
