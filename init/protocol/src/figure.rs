//! What measuring scenarios report.

use serde::{Deserialize, Serialize};

/// The unit of a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Instructions of the guest, on a machine that counts them.
    Instructions,
    /// Nanoseconds on any other machine.
    Nanoseconds,
}

impl Unit {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Nanoseconds => "ns",
        }
    }
}

/// The cost of an operation, compared with that of its baseline in the same boot. Both are measured in blocks: baseline,
/// control, operation, operation, control, baseline. The control is the baseline again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// The operation, for example `create a UTS namespace`.
    pub operation: String,
    /// The operation that the costs are compared with, for example `fork a process`.
    pub baseline: String,
    /// The unit of the costs.
    pub unit: Unit,
    /// The operation's cost: the median over the blocks, in thousandths of the unit.
    pub median_milli: u64,
    /// The range of the middle half of the blocks, in thousandths of the median.
    pub spread_permille: u64,
    /// The baseline's cost, in thousandths of the unit.
    pub baseline_milli: u64,
    /// The width of an interval that covers the cost's true median with a probability of 95 % or more, in thousandths of the
    /// median: between two of the blocks' costs, which are as far from the least as from the greatest. 0 in old records.
    #[serde(default)]
    pub interval_permille: u64,
    /// The operation's cost divided by the baseline's, in thousandths.
    pub ratio_permille: u64,
    /// By how much the medians of baseline and control differ, in thousandths of the baseline.
    pub control_permille: u64,
    /// The number of blocks.
    pub blocks: u32,
}

/// The largest difference of a valid figure's baseline from itself, in thousandths.
pub const CONTROL_LIMIT_PERMILLE: u64 = 10;
/// The widest interval of a valid figure's median, in thousandths. Medians of several boots agree within as much.
pub const INTERVAL_LIMIT_PERMILLE: u64 = 20;
/// The least number of a valid figure's blocks: fewer have no such interval.
pub const MIN_BLOCKS: u32 = 6;

impl Figure {
    /// Whether the conditions were steady while it was measured.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.control_permille <= CONTROL_LIMIT_PERMILLE
            && self.interval_permille <= INTERVAL_LIMIT_PERMILLE
            && self.blocks >= MIN_BLOCKS
    }
}

/// An operation whose cost this machine cannot show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inconclusive {
    /// The operation.
    pub operation: String,
    /// Why not.
    pub why: String,
}
