//! Property test: with any order of inputs, each announced job gets exactly one report, and no job passes without a
//! finish and a clean console.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use proptest::prelude::*;
use vmlab_events::event::LabEvent;
use vmlab_events::loss::QemuEnd;
use vmlab_events::verdict::{HostFault, Verdict};
use vmlab_protocol::message::{GuestMessage, HERE, HostMessage, Leg, LegOutcome};
use vmlab_qemu::qmp::{QmpEvent, ShutdownReason};

use super::super::{Outcome, Start};
use super::guest::{Play, hello, jobs};
use crate::guest::input::Input;
use crate::stop::Stop;

/// The next step of the guest or the host.
#[derive(Debug, Clone)]
enum Step {
    /// The guest acts according to the protocol.
    Right,
    /// As [`Self::Right`], but the console is late: the marker appears later.
    Hasty,
    /// The late marker appears on the console.
    Marker,
    Console(&'static str),
    Qmp(u8),
    Closes(u8),
    Garbage,
    /// The guest sends an unexpected message.
    Wrong(u8),
    Output,
    Waits(u64),
    Stopped,
    HostFailed,
    Ends(u8),
}

const TRAPS: &[&str] = &[
    "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP",
    "WARNING: CPU: 0 PID: 1 at kernel/fork.c:2 f+0x1/0x2",
    "Kernel panic - not syncing: x",
];
const CALM: &[&str] = &["reboot: Power down", "random: crng init done", "Linux version 6.1.0"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => Just(Step::Right),
        6 => Just(Step::Hasty),
        8 => Just(Step::Marker),
        2 => prop::sample::select(TRAPS).prop_map(Step::Console),
        4 => prop::sample::select(CALM).prop_map(Step::Console),
        2 => (0_u8..8).prop_map(Step::Qmp),
        1 => (0_u8..4).prop_map(Step::Closes),
        1 => Just(Step::Garbage),
        1 => (0_u8..5).prop_map(Step::Wrong),
        2 => Just(Step::Output),
        2 => (0_u64..200_000).prop_map(Step::Waits),
        1 => Just(Step::Stopped),
        1 => Just(Step::HostFailed),
        1 => (0_u8..4).prop_map(Step::Ends),
    ]
}

/// A guest that records its own actions, which the test compares with the reports.
struct Witness {
    play: Play,
    /// The active run, and its legs so far.
    current: Option<(u32, usize)>,
    finished: u32,
    /// The number of announcements of each job.
    announced: BTreeMap<String, u32>,
    /// Whether the console has shown a kernel report since the last marker.
    dirty: bool,
    /// For each marker: whether a kernel report precedes it. The first marker closes the first job, and so on.
    divisions: Vec<bool>,
    last_marker: String,
    /// The late marker of an order that the guest has obeyed.
    late_marker: Option<String>,
    ended: bool,
}

impl Witness {
    fn new(start: Start) -> Self {
        let mut play = Play::new(start, jobs(3));
        play.give(Input::Start);
        Self {
            play,
            current: None,
            finished: 0,
            announced: BTreeMap::new(),
            dirty: false,
            divisions: Vec::new(),
            last_marker: String::new(),
            late_marker: None,
            ended: false,
        }
    }

    fn act(&mut self, step: &Step) {
        let reports = self.play.reports.len();
        match step {
            Step::Right => self.right(false),
            Step::Hasty => self.right(true),
            Step::Marker => self.marker(),
            Step::Console(line) => {
                self.dirty |= TRAPS.contains(line);
                self.play.prints(line);
            }
            Step::Qmp(which) => self.qmp(*which),
            Step::Closes(which) => {
                let input = match which {
                    0 => Input::ControlClosed,
                    1 => Input::ConsoleClosed,
                    2 => Input::QmpClosed,
                    _ => Input::Exited(ExitStatus::from_raw(9)),
                };
                self.play.give(input);
            }
            Step::Garbage => _ = self.play.give(Input::Control(b"not a frame at all".to_vec())),
            Step::Wrong(which) => self.wrong(*which),
            Step::Output => {
                let run = self.current.map_or(1, |(run, _)| run);
                self.play.give(Input::Control(Play::output(run, b"text")));
            }
            Step::Waits(ms) => _ = self.play.wait(Duration::from_millis(*ms)).give(Input::Deadline(None)),
            Step::Stopped => _ = self.play.give(Input::Stopped(Stop::Interrupted)),
            Step::HostFailed => _ = self.play.give(Input::HostFailed(HostFault::Write { error: "no".to_owned() })),
            Step::Ends(which) => {
                self.ended = true;
                self.play.ends(match which {
                    0 => QemuEnd::Lived { stopped: false },
                    1 => QemuEnd::Lived { stopped: true },
                    2 => QemuEnd::Exited(1),
                    _ => QemuEnd::Killed(9),
                });
            }
        }
        self.check_new(reports);
    }

    fn right(&mut self, hasty: bool) {
        if let Some((run, legs)) = self.current {
            let detail = || "seen".to_owned();
            match legs {
                0 => _ = self.play.leg(run, Leg::Probe, LegOutcome::Available),
                1 => _ = self.play.leg(run, Leg::Subject, LegOutcome::Isolated { detail: detail() }),
                2 => _ = self.play.leg(run, Leg::Control, LegOutcome::Leaked { detail: detail() }),
                _ => {
                    self.finished += 1;
                    self.current = None;
                    self.play.says(GuestMessage::JobFinished { run });
                    return;
                }
            }
            self.current = Some((run, legs + 1));
            return;
        }
        if self.play.orders.is_empty() {
            if self.play.done.contains(&"wake") {
                self.play.qmp(QmpEvent::Resumed);
            } else if self.play.events.is_empty() {
                self.dirty = false;
                self.play.prints("Linux version 6.1.0").prints(HERE).says(GuestMessage::Hello(Box::new(hello())));
            }
            return;
        }
        match self.play.orders.remove(0) {
            HostMessage::Prepare { .. } => _ = self.play.says(GuestMessage::Prepared { boot_id: "a".to_owned() }),
            HostMessage::Run { run, job, marker, .. } => {
                if let Some(marker) = marker {
                    self.obey(marker, hasty);
                }
                self.current = Some((run, 0));
                self.play.says(GuestMessage::JobStarted { run, job });
            }
            HostMessage::Control { .. } => {}
            HostMessage::Finish { marker } => {
                let started = self.announced.values().sum();
                self.obey(marker, hasty);
                self.play.says(GuestMessage::RunFinished { started });
            }
        }
    }

    /// Prints the marker now, or later if the console is late.
    fn obey(&mut self, marker: String, hasty: bool) {
        if hasty {
            self.late_marker = Some(marker);
        } else {
            self.divide(&marker);
        }
    }

    fn marker(&mut self) {
        let late = self.late_marker.take();
        let marker = late.or_else(|| self.due_marker());
        if let Some(marker) = marker {
            self.divide(&marker);
        }
    }

    fn due_marker(&self) -> Option<String> {
        self.play.orders.iter().find_map(|order| match order {
            HostMessage::Run { marker: Some(marker), .. } | HostMessage::Finish { marker } => Some(marker.clone()),
            _ => None,
        })
    }

    fn divide(&mut self, marker: &str) {
        if self.last_marker != marker {
            marker.clone_into(&mut self.last_marker);
            self.divisions.push(std::mem::take(&mut self.dirty));
        }
        self.play.prints(marker);
    }

    fn qmp(&mut self, which: u8) {
        let event = match which {
            0 => QmpEvent::GuestPanicked,
            1 => QmpEvent::Shutdown(ShutdownReason::GuestReset),
            2 => QmpEvent::Stopped,
            3 => QmpEvent::Resumed,
            4 => QmpEvent::Reset(ShutdownReason::GuestReset),
            5 => QmpEvent::Reply { command: "x".to_owned(), error: Some("no".to_owned()) },
            6 => QmpEvent::Greeting,
            _ => QmpEvent::Shutdown(ShutdownReason::HostSignal),
        };
        self.play.qmp(event);
    }

    fn wrong(&mut self, which: u8) {
        let run = self.current.map_or(1, |(run, _)| run);
        let message = match which {
            0 => GuestMessage::JobFinished { run: run + 1 },
            1 => GuestMessage::RunFinished { started: 99 },
            2 => GuestMessage::Hello(Box::new(hello())),
            3 => GuestMessage::Prepared { boot_id: String::new() },
            _ => GuestMessage::Refused { run, why: "no".to_owned() },
        };
        self.play.says(message);
    }

    /// Checks the reports after the first `reports`.
    fn check_new(&mut self, reports: usize) {
        for (at, (report, _)) in self.play.reports.iter().enumerate().skip(reports) {
            if report.verdict == Verdict::Passed {
                assert!(self.finished > 0, "{} passed, and no job was finished", report.job);
                assert_eq!(report.legs.len(), 3, "{} passed without its legs", report.job);
                let dirty = self.divisions.get(at);
                assert!(dirty.is_some(), "{} passed before its marker", report.job);
                assert_eq!(dirty, Some(&false), "{} passed on a console with a report", report.job);
                self.finished -= 1;
            }
        }
        self.announced.clear();
        for event in &self.play.events {
            if let LabEvent::JobStarted { job, .. } = event {
                *self.announced.entry(job.to_string()).or_default() += 1;
            }
        }
    }

    fn end(mut self) {
        if !self.ended {
            let reports = self.play.reports.len();
            self.play.killed();
            self.check_new(reports);
        }
        let mut reported = BTreeMap::<String, u32>::new();
        for (report, _) in &self.play.reports {
            *reported.entry(report.job.to_string()).or_default() += 1;
        }
        assert!(self.announced.values().chain(reported.values()).all(|&count| count == 1), "{reported:?}");
        assert!(self.announced.keys().all(|job| reported.contains_key(job)), "{:?} {reported:?}", self.announced);
        let ended = self.play.events.iter().filter(|event| matches!(event, LabEvent::GuestEnded { .. })).count();
        assert_eq!(ended, 1);
        let left = match self.play.outcome() {
            Outcome::Served(rest) | Outcome::NeverReady(_, rest) | Outcome::ForkFailed(_, rest) => rest,
            other => panic!("{other:?}"),
        };
        let left: Vec<_> = left.iter().map(|job| job.spec.name().to_owned()).collect();
        assert_eq!(
            left.len() + reported.len(),
            3,
            "each job has a report or needs another guest: {left:?} {reported:?}"
        );
        assert!(left.iter().all(|job| !reported.contains_key(job)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn each_announced_job_gets_one_report_and_no_pass_is_false(
        fork in any::<bool>(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut witness = Witness::new(if fork { Start::Fork } else { Start::Boot });
        steps.iter().for_each(|step| witness.act(step));
        witness.end();
    }
}
