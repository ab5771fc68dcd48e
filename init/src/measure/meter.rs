//! Measures an operation together with its baseline, in the same boot.
//!
//! A block is: baseline, control, operation, operation, control, baseline. The control is the baseline once more. So a drift
//! of the machine affects all three alike, and baseline and control differ only as much as the machine is unsteady.

use std::fs;
use std::rc::Rc;
use std::sync::atomic::Ordering;
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
/// The time for what the kernel does in the background: a guest without work skips it.
const SETTLE: Duration = Duration::from_millis(250);

/// Runs an operation so many times, and returns the time that this took, in ns.
pub(super) type Sample<'a> = dyn FnMut(u64) -> Result<u64, Trouble> + 'a;

/// An operation and how often it can be repeated in a sample.
pub(super) struct Operation<'a> {
    pub(super) name: String,
    pub(super) sample: &'a mut Sample<'a>,
    /// The most repetitions in a sample.
    pub(super) most: u64,
}

impl<'a> Operation<'a> {
    pub(super) fn new(name: impl Into<String>, sample: &'a mut Sample<'a>) -> Self {
        Self { name: name.into(), sample, most: MOST }
    }

    /// Limits the repetitions in a sample: for operations with much work outside of the measured time.
    pub(super) fn at_most(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// The cost, in thousandths of ns.
    fn cost(&mut self, times: u64) -> Result<u64, Trouble> {
        settle();
        Ok((self.sample)(times)?.saturating_mul(1000) / times.max(1))
    }

    /// How often to repeat it in a sample. The first execution, with its cold caches, does not count.
    fn repetitions(&mut self) -> Result<u64, Trouble> {
        self.cost(1)?;
        let once = self.cost(1)?.max(1);
        Ok((SAMPLE_NS * 1000 / once).clamp(1, self.most))
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
        note(format_args!("{}: {costs:?}; {}: {bases:?}, again: {controls:?}", operation.name, baseline.name));
        let spread = quartile(&mut costs, 3).saturating_sub(quartile(&mut costs, 1));
        self.figures.push(Figure {
            operation: operation.name,
            baseline: baseline.name,
            unit: self.unit,
            median_milli: median,
            spread_permille: permille(spread, median),
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

    /// The memory that the samples share with their children.
    pub(super) fn shared(&self) -> Rc<Shared> {
        Rc::clone(&self.shared)
    }

    pub(super) fn into_outcome(self) -> LegOutcome {
        LegOutcome::Measured { figures: self.figures, inconclusive: self.inconclusive }
    }
}

/// The value below which so many quarters of the values are.
fn quartile(values: &mut [u64], quarter: usize) -> u64 {
    values.sort_unstable();
    values.get((values.len().saturating_sub(1)) * quarter / 4).copied().unwrap_or_default()
}

fn permille(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1000).saturating_add(whole / 2) / whole.max(1)
}

/// Waits until the kernel has done its work in the background.
pub(super) fn settle() {
    sleep(SETTLE);
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

/// The sum of `times` measurements.
///
/// # Errors
/// One of them failed.
pub(super) fn sum(times: u64, mut act: impl FnMut() -> Result<u64, Trouble>) -> Result<u64, Trouble> {
    (0..times).try_fold(0_u64, |sum, _| Ok(sum.saturating_add(act()?)))
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
    }
}
