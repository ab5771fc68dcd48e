//! A storm: runs side by side whose vmlabs and guests are killed, stopped and continued at random. Every verdict must
//! be right nevertheless, every run must end, and nothing may be left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vmlab_events::event::LabEvent;
use vmlab_events::verdict::Verdict;
use vmlab_selftest::env::Leftovers;

use crate::env::{Running, TestEnv, events_so_far};
use crate::random::Random;

/// A run that takes longer hangs.
const HANG_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest pause between two signals, and the longest stop of a guest and of a vmlab, in ms. None is near a time limit.
const PAUSE_MS: usize = 40;
const GUEST_STOP_MS: usize = 200;
const VMLAB_STOP_MS: usize = 400;

/// What to run.
#[derive(Debug)]
pub struct Storm<'a> {
    /// The options and filters of each run.
    pub arguments: &'a [&'a str],
    /// The number of runs at the same time.
    pub at_once: usize,
    /// The number of attempts of each run. Each has a guest of its own.
    pub attempts: u32,
    /// The number of attempts that have passed after which no more runs are started.
    pub total: u32,
    /// The seed of what is done when.
    pub seed: u64,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Counts {
    /// Attempts that passed.
    pub passed: u32,
    /// Guests that were lost, each because it was killed.
    pub lost: u32,
    /// Guests, by the way in which they were started.
    pub starts: BTreeMap<String, u32>,
    /// Runs that came to their end, and runs whose vmlab was killed.
    pub runs: [u32; 2],
    /// The signals that were sent to guests, and those that were sent to vmlabs.
    pub signals: [BTreeMap<Signal, u32>; 2],
}

/// A run that goes on.
struct Run {
    running: Running,
    events: PathBuf,
    killed: bool,
    /// The numbers of its guests that were killed.
    killed_guests: BTreeSet<u32>,
}

impl Storm<'_> {
    /// Runs until the number of attempts is reached.
    ///
    /// # Panics
    /// A verdict is wrong, a run hangs, or something is left.
    #[must_use]
    pub fn rage(&self, env: &TestEnv) -> Counts {
        let mut counts = Counts::default();
        let mut random = Random::new(self.seed);
        let mut runs: Vec<Run> = Vec::new();
        let mut stopped: Vec<(Instant, i32)> = Vec::new();
        let mut started = 0;
        let mut progress = Instant::now();
        loop {
            let before = runs.len();
            runs.retain_mut(|run| !run.has_ended(&mut counts));
            if runs.len() < before {
                progress = Instant::now();
            }
            let enough = counts.passed >= self.total;
            if enough && runs.is_empty() {
                break;
            }
            while !enough && runs.len() < self.at_once {
                started += 1;
                runs.push(self.start(env, started));
            }
            assert!(progress.elapsed() < HANG_TIMEOUT, "no run has come to its end for {HANG_TIMEOUT:?}");
            let now = Instant::now();
            stopped.retain(|&(until, pid)| until > now || !send(pid, Signal::SIGCONT));
            disturb(env, &mut runs, &mut stopped, &mut random, &mut counts);
            sleep(Duration::from_millis(random.below(PAUSE_MS) as u64));
        }
        assert_eq!(env.outliving(), [], "processes outlive the runs");
        let left = Leftovers::count(env);
        assert!(left.is_nothing(), "left: {left}");
        counts
    }

    fn start(&self, env: &TestEnv, number: u32) -> Run {
        let events = env.home().join(format!("storm-{number}.jsonl"));
        let (report, repeat) = (format!("json={}", events.display()), self.attempts.to_string());
        let first =
            ["run", "--no-record", "--jobs", "1", "--repeat", &repeat, "--report", "human", "--report", &report];
        let running = env.start(&[&first[..], self.arguments].concat());
        Run { running, events, killed: false, killed_guests: BTreeSet::new() }
    }
}

impl Run {
    /// Whether the run has ended. Its verdicts are counted and checked then.
    fn has_ended(&mut self, counts: &mut Counts) -> bool {
        let Some(ended) = self.running.try_ended() else { return false };
        assert!(!ended.stderr.contains("panicked"), "{ended}");
        let (mut code, mut is_whole) = (None, false);
        for stamped in events_so_far(&self.events) {
            match stamped.event {
                // An attempt whose guest the host loses is made again, a few times in a run.
                LabEvent::JobAttempted(report) => {
                    assert_eq!(report.verdict, Verdict::Passed, "{ended}");
                    counts.passed += 1;
                }
                LabEvent::JobFinished(report) => {
                    is_whole = report.verdict == Verdict::Passed;
                    assert!(is_whole || report.verdict.is_loss_by_host(), "{report:?}\n{ended}");
                }
                LabEvent::GuestLost(loss) => {
                    assert!(self.killed_guests.contains(&loss.guest), "{loss:?} was not killed\n{ended}");
                    counts.lost += 1;
                }
                LabEvent::GuestStarting { start, .. } => *counts.starts.entry(start).or_default() += 1,
                LabEvent::RunFinished { exit_code, .. } => code = Some(i32::from(exit_code)),
                _ => {}
            }
        }
        // A signal to a vmlab that has just ended has no effect.
        let was_killed = self.killed && ended.status.code().is_none();
        if !was_killed {
            assert_eq!(ended.status.code(), code, "{ended}");
            assert_eq!(ended.status.success(), is_whole, "{ended}");
        }
        counts.runs[usize::from(was_killed)] += 1;
        true
    }
}

/// Sends a signal to a guest or a vmlab, or does nothing this time.
fn disturb(
    env: &TestEnv,
    runs: &mut [Run],
    stopped: &mut Vec<(Instant, i32)>,
    random: &mut Random,
    counts: &mut Counts,
) {
    let Some(run) = runs.get_mut(random.below(runs.len())) else { return };
    let vmlab = run.running.pid();
    let guests: Vec<_> = env.processes().into_iter().filter(|process| process.parent == vmlab).collect();
    let guest = guests.get(random.below(guests.len())).and_then(|process| Some((process.pid, process.guest_number()?)));
    let mut stop = |pid: i32, most_ms: usize, random: &mut Random| {
        let until = Instant::now() + Duration::from_millis(random.below(most_ms) as u64);
        let sent = send(pid, Signal::SIGSTOP);
        if sent {
            stopped.push((until, pid));
        }
        sent
    };
    let (whom, signal, sent) = match (random.below(1000), guest) {
        (0..60, Some((pid, number))) => {
            // Before the signal: its effect can be in the events at once.
            run.killed_guests.insert(number);
            (0, Signal::SIGKILL, send(pid, Signal::SIGKILL))
        }
        (60..500, Some((pid, _))) => (0, Signal::SIGSTOP, stop(pid, GUEST_STOP_MS, random)),
        (500..505, _) if !run.killed => {
            run.killed = true;
            (1, Signal::SIGKILL, send(vmlab, Signal::SIGKILL))
        }
        (505..750, _) => (1, Signal::SIGSTOP, stop(vmlab, VMLAB_STOP_MS, random)),
        _ => return,
    };
    *counts.signals[whom].entry(signal).or_default() += u32::from(sent);
}

/// Whether the process was still there.
fn send(pid: i32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid), signal).is_ok()
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, lost, starts, runs, signals } = self;
        let [ended, killed] = runs;
        writeln!(
            f,
            "{passed} attempts passed, {lost} guests were lost because they were killed; no verdict was wrong"
        )?;
        writeln!(f, "{ended} runs came to their end, {killed} were killed; nothing was left")?;
        writeln!(f, "guests started: {starts:?}")?;
        write!(f, "signals to guests: {:?}, to vmlabs: {:?}", signals[0], signals[1])
    }
}
