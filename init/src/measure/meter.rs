//! Measures an operation together with its baseline, in the same boot.
//!
//! A block is: baseline, control, operation, operation, control, baseline. The control is the baseline once more. So a drift
//! of the machine affects all three alike, and baseline and control differ only as much as the machine is unsteady.

use std::fs;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use vmlab_protocol::figure::{Figure, Inconclusive, Unit};
use vmlab_protocol::message::LegOutcome;

use crate::sandbox::During;
use crate::scenarios::{Trouble, note};
use crate::sys::process::fork_with;
use crate::sys::shared::Shared;

/// The number of blocks: odd, so that the median is that of a block.
const BLOCKS: usize = 9;
/// The length of a sample, in ns of the guest's clock, that decides how often an operation is repeated in it. With samples of
/// 0.6 ms, baseline and control differed by up to 1.6 % (forks, 6.12). The cause is probably the kernel's tick, which comes every
/// 4 ms in Debian's kernels: a short sample has one tick or no tick.
const SAMPLE_NS: u64 = 4_000_000;
/// The most repetitions in a sample.
pub(super) const MOST: u64 = 16_384;
/// The time for what the kernel does in the background, in ms: the end of what it has begun, such as RCU's callbacks, and, before
/// a sample, some more. A guest that counts instructions skips the time in which it is idle.
const SETTLE_MS: u64 = 250;
const SETTLE_BEFORE_SAMPLE_MS: u64 = 1500;
/// The time after which the kernel has finished all that an operation has left to it. kfree_rcu(), with which most namespaces end
/// in 7.3, gathers what it frees for 5 s (`KFREE_DRAIN_JIFFIES`). What an idle kernel does each 1, 2, 5 or 10 s, it does equally
/// often in each such time.
const FINISH_MS: u64 = 10_000;
/// How many times shorter these times are on any other machine, whose figures are not as exact.
const SHORTER: u64 = 20;
/// Whether the shorter times count. Child processes have the value of their parent.
static SHORT: AtomicBool = AtomicBool::new(false);

/// The scheduler's statistics (Documentation/scheduler/sched-stats.rst).
pub(super) const SCHEDSTAT: &str = "/proc/schedstat";

/// Runs an operation so many times, and returns the time that this took, in ns.
pub(super) type Sample<'a> = dyn FnMut(u64) -> Result<u64, Trouble> + 'a;

/// An operation and how often it can be repeated in a sample.
pub(super) struct Operation<'a> {
    pub(super) name: String,
    pub(super) sample: &'a mut Sample<'a>,
    /// The least and the most repetitions in a sample.
    pub(super) limits: (u64, u64),
}

impl<'a> Operation<'a> {
    pub(super) fn new(name: impl Into<String>, sample: &'a mut Sample<'a>) -> Self {
        Self { name: name.into(), sample, limits: (1, MOST) }
    }

    /// Limits the repetitions in a sample: for operations with much work outside of the measured time.
    pub(super) fn at_most(self, most: u64) -> Self {
        Self { limits: (1, most), ..self }
    }

    /// Fixes the repetitions in a sample: for operations whose cost depends on them.
    pub(super) fn exactly(self, times: u64) -> Self {
        Self { limits: (times, times), ..self }
    }

    /// The cost, in thousandths of ns.
    fn cost(&mut self, times: u64) -> Result<u64, Trouble> {
        pause_ms(SETTLE_BEFORE_SAMPLE_MS);
        Ok((self.sample)(times)?.saturating_mul(1000) / times.max(1))
    }

    /// How often to repeat it in a sample. The first execution, with its cold caches, does not count.
    fn repetitions(&mut self) -> Result<u64, Trouble> {
        let (least, most) = self.limits;
        self.cost(least)?;
        let once = self.cost(least)?.max(1);
        Ok((SAMPLE_NS * 1000 / once).clamp(least, most))
    }
}

/// Takes the costs of a scenario.
#[derive(Debug)]
pub(crate) struct Meter {
    unit: Unit,
    shared: Rc<Shared>,
    figures: Vec<Figure>,
    inconclusive: Vec<Inconclusive>,
}

impl Meter {
    /// # Errors
    /// /proc/cmdline cannot be read, or there is no memory.
    pub(super) fn new() -> Result<Self, Trouble> {
        let command_line = fs::read_to_string("/proc/cmdline").during("reading /proc/cmdline")?;
        let counts = command_line.split_ascii_whitespace().any(|word| word == "vmlab.clock=instructions");
        let unit = if counts { Unit::Instructions } else { Unit::Nanoseconds };
        SHORT.store(!counts, Ordering::Relaxed);
        let shared = Rc::new(Shared::new().during("mmap(2)")?);
        Ok(Self { unit, shared, figures: Vec::new(), inconclusive: Vec::new() })
    }

    /// Measures an operation against its baseline.
    ///
    /// # Errors
    /// The operation or the baseline failed.
    pub(super) fn compare(&mut self, mut operation: Operation<'_>, mut baseline: Operation<'_>) -> Result<(), Trouble> {
        let (often, base_often) = (operation.repetitions()?, baseline.repetitions()?);
        let (mut costs, mut bases, mut controls) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..BLOCKS {
            let (first, second) = (baseline.cost(base_often)?, baseline.cost(base_often)?);
            costs.push(u64::midpoint(operation.cost(often)?, operation.cost(often)?));
            controls.push(u64::midpoint(second, baseline.cost(base_often)?));
            bases.push(u64::midpoint(first, baseline.cost(base_often)?));
        }
        let (median, base, control) = (quartile(&mut costs, 2), quartile(&mut bases, 2), quartile(&mut controls, 2));
        note(format_args!("{}: x{often} {costs:?}; {}: {bases:?}, again: {controls:?}", operation.name, baseline.name));
        let spread = quartile(&mut costs, 3).saturating_sub(quartile(&mut costs, 1));
        // `costs` is sorted now.
        let aside = values_aside(BLOCKS);
        let interval = costs[BLOCKS - 1 - aside].saturating_sub(costs[aside]);
        self.figures.push(Figure {
            operation: operation.name,
            baseline: baseline.name,
            unit: self.unit,
            median_milli: median,
            spread_permille: permille(spread, median),
            interval_permille: permille(interval, median),
            baseline_milli: base,
            ratio_permille: permille(median, base),
            control_permille: permille(base.abs_diff(control), base),
            blocks: u32::try_from(BLOCKS).unwrap_or(u32::MAX),
        });
        Ok(())
    }

    /// Records that this machine cannot show a cost.
    pub(super) fn cannot_show(&mut self, operation: impl Into<String>, why: impl Into<String>) {
        self.inconclusive.push(Inconclusive { operation: operation.into(), why: why.into() });
    }

    /// Whether costs are numbers of instructions.
    pub(super) fn counts_instructions(&self) -> bool {
        self.unit == Unit::Instructions
    }

    /// The memory that the samples share with their children.
    pub(super) fn shared(&self) -> Rc<Shared> {
        Rc::clone(&self.shared)
    }

    pub(super) fn into_outcome(self) -> LegOutcome {
        LegOutcome::Measured { figures: self.figures, inconclusive: self.inconclusive }
    }
}

/// The value below which so many quarters of the values are.
pub(super) fn quartile(values: &mut [u64], quarter: usize) -> u64 {
    values.sort_unstable();
    values.get((values.len().saturating_sub(1)) * quarter / 4).copied().unwrap_or_default()
}

/// How many of `count` sorted values may be left aside at each end, so that the rest covers the median of what they are drawn
/// from with a probability of 95 % or more. This holds for any distribution: the true median is below the (k+1)th value if at
/// most k of the values are less, each with a probability of one half.
const fn values_aside(count: usize) -> usize {
    // The ways in which exactly `k`, and at most `k` of the values are below the median, of 2^count.
    let (mut ways, mut at_most, mut k) = (1_u64, 1_u64, 0);
    while at_most.saturating_mul(40) <= 1 << count {
        ways = ways * (count - k) as u64 / (k as u64 + 1);
        at_most += ways;
        k += 1;
    }
    k.saturating_sub(1)
}

fn permille(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1000).saturating_add(whole / 2) / whole.max(1)
}

/// Waits until the kernel has done its work in the background.
pub(super) fn settle() {
    pause_ms(SETTLE_MS);
}

fn pause_ms(long: u64) {
    sleep(Duration::from_millis(if SHORT.load(Ordering::Relaxed) { long / SHORTER } else { long }));
}

/// The guest's clock, in ns.
///
/// # Errors
/// As clock_gettime(2).
pub(super) fn now() -> Result<u64, Trouble> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_RAW).during("clock_gettime(2)")?;
    let (seconds, ns) = (u64::try_from(now.tv_sec()), u64::try_from(now.tv_nsec()));
    Ok(seconds.unwrap_or_default() * 1_000_000_000 + ns.unwrap_or_default())
}

/// The time that `act` takes, in ns, without that of reading the clock, which differs from boot to boot (by 60 instructions in
/// three boots of 6.12).
///
/// # Errors
/// `act` failed.
pub(super) fn time(act: impl FnOnce() -> Result<(), Trouble>) -> Result<u64, Trouble> {
    // The code of the clock is in memory then.
    now()?;
    let (before, began) = (now()?, now()?);
    act()?;
    let ended = now()?;
    Ok(ended.saturating_sub(began).saturating_sub(began.saturating_sub(before)))
}

/// The time that `act` returns in a child process.
///
/// # Errors
/// `act` failed; the leg's output has its trouble.
pub(super) fn in_child(shared: &Shared, act: impl FnOnce() -> Result<u64, Trouble>) -> Result<u64, Trouble> {
    let [result, ..] = shared.counters();
    let child = fork_with(|| match act() {
        Ok(ns) => {
            result.store(ns, Ordering::Relaxed);
            0
        }
        Err(trouble) => {
            note(format_args!("in a child: {trouble}"));
            1
        }
    })
    .during("fork(2)")?;
    match waitpid(child, None).during("waitpid(2)")? {
        WaitStatus::Exited(_, 0) => Ok(result.load(Ordering::Relaxed)),
        end => Err(Trouble::new(format_args!("a child could not measure ({end:?}); its output says why"))),
    }
}

/// `times` times the median of `times` measurements: the kernel's tick, which may come in any of them, does not count. What one
/// of them leaves to the kernel's workers and to RCU is done before the next one.
///
/// # Errors
/// One of them failed.
pub(super) fn median_of(times: u64, mut act: impl FnMut() -> Result<u64, Trouble>) -> Result<u64, Trouble> {
    let measure = |_| {
        settle();
        act()
    };
    let mut measured = (0..times).map(measure).collect::<Result<Vec<_>, Trouble>>()?;
    Ok(quartile(&mut measured, 2).saturating_mul(times))
}

/// The time that tasks run because of `act`, in ns: the caller and the kernel's own threads, to which it leaves work. Time in
/// which the CPU is idle does not count, nor `idle`, which is what the system does without `act`.
///
/// # Errors
/// `act` failed, or as [`busy`].
pub(super) fn work(idle: u64, act: impl FnOnce() -> Result<(), Trouble>) -> Result<u64, Trouble> {
    // Each value is that of the switch to the caller after a pause.
    pause_ms(FINISH_MS);
    let began = busy()?;
    act()?;
    pause_ms(FINISH_MS);
    Ok(busy()?.saturating_sub(began).saturating_sub(idle))
}

/// What the system does in as much time when nothing is left to do: the median of some times.
///
/// # Errors
/// As [`busy`].
pub(super) fn idle_work() -> Result<u64, Trouble> {
    let mut idle = (0..BLOCKS).map(|_| work(0, || Ok(()))).collect::<Result<Vec<_>, Trouble>>()?;
    Ok(quartile(&mut idle, 2))
}

/// The time that tasks have run on all CPUs until the last switch between tasks, in ns.
///
/// # Errors
/// The kernel has no statistics of its scheduler.
fn busy() -> Result<u64, Trouble> {
    fs::read_to_string(SCHEDSTAT).during(SCHEDSTAT).map(|statistics| run_ns(&statistics))
}

/// The sum over all CPUs of the seventh number of their lines.
fn run_ns(statistics: &str) -> u64 {
    let of_cpu = |line: &str| line.strip_prefix("cpu")?.split_ascii_whitespace().nth(7)?.parse::<u64>().ok();
    statistics.lines().filter_map(of_cpu).sum()
}

/// The time for forking, ending and reaping so many processes.
///
/// # Errors
/// As fork(2) and waitpid(2).
pub(super) fn forks(times: u64) -> Result<u64, Trouble> {
    time(|| {
        for _ in 0..times {
            let child = fork_with(|| 0).during("fork(2)")?;
            waitpid(child, None).during("waitpid(2)")?;
        }
        Ok(())
    })
}

/// What [`forks`] does.
pub(super) const FORK: &str = "fork, exit and wait";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_values_of_the_middle_half() {
        let mut values = [9, 1, 5, 3, 7];
        assert_eq!([1, 2, 3].map(|quarter| quartile(&mut values, quarter)), [3, 5, 7]);
        assert_eq!(quartile(&mut [], 2), 0);
    }

    #[test]
    fn the_interval_of_a_median_has_95_percent() {
        // Tables of the sign test: 9 values from the second to the eighth have 96.1 %, 15 from the fourth to the twelfth 96.5 %.
        assert_eq!([1, 5, 6, 8, 9, 11, 12, 15, 17].map(values_aside), [0, 0, 0, 0, 1, 1, 2, 3, 4]);
    }

    #[test]
    fn the_time_of_tasks_is_that_of_all_cpus() {
        let statistics = "version 15\ntimestamp 4294937296\ncpu0 0 0 5214 1022 3101 3101 81234567 1200345 4190\n\
                          domain0 3 11 12 0 0 0 0 0 0\ncpu1 0 0 9 9 9 9 1000 9 9\n";
        assert_eq!(run_ns(statistics), 81_235_567);
    }

    #[test]
    fn thousandths_are_rounded() {
        assert_eq!([permille(1, 3), permille(2, 3), permille(7, 7), permille(1, 0)], [333, 667, 1000, 1000]);
    }

    #[test]
    fn a_sample_of_an_operation_repeats_it_until_it_is_long_enough() {
        let mut asked = Vec::new();
        let mut sample = |times| {
            asked.push(times);
            Ok(times * 1000)
        };
        assert_eq!(Operation::new("one microsecond", &mut sample).repetitions(), Ok(4000));
        assert_eq!(asked, [1, 1]);
        let mut sample = |times| Ok(times * 1000);
        assert_eq!(Operation::new("one microsecond", &mut sample).at_most(7).repetitions(), Ok(7));
        let mut sample = |times| Ok(times * 1_000_000);
        assert_eq!(Operation::new("one millisecond", &mut sample).exactly(100).repetitions(), Ok(100));
    }
}
