//! Why a job failed or was skipped.

use serde::{Deserialize, Serialize};
use vmlab_console::Kind;
use vmlab_protocol::catalogue::KernelVersion;
use vmlab_protocol::command::CommandEnd;
use vmlab_protocol::message::Leg;

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// The subject leaked, and Linux is to isolate this.
    NotIsolated {
        /// What the subject leg saw, in the scenario's words.
        finding: String,
    },
    /// A leg could not do what it was to do.
    LegFailed {
        /// Which.
        leg: Leg,
        /// The step and its error, in the scenario's words.
        detail: String,
    },
    /// A leg's process ended without a finding.
    LegDied {
        /// Which.
        leg: Leg,
        /// How the process ended, as `killed by SIGSEGV`.
        how: String,
    },
    /// The kernel printed a warning while the job ran, and the job does not allow it.
    KernelWarned {
        /// The first warning's title line.
        title: String,
        /// What kind of report it is.
        warning: Kind,
        /// The same for the same warning on every run and kernel; none where the report does not allow one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
    },
    /// The kernel's version and config promise a feature that the probe did not find.
    FeatureMissing {
        /// The config symbols that are set; empty where the version alone promises it.
        symbols: Vec<String>,
        /// What the probe saw.
        evidence: String,
    },
    /// Tests of a KUnit suite failed.
    TestsFailed {
        /// The names of those that failed.
        failed: Vec<String>,
        /// The number of all tests of the suite.
        of: usize,
    },
    /// The results of a KUnit suite do not say how each test ended.
    BadResults {
        /// What is wrong with them.
        problem: String,
    },
    /// A cost was measured in conditions that were not steady, so that no cost of the job counts.
    Invalid {
        /// The operation.
        operation: String,
        /// By how much the baseline differs from itself, in thousandths.
        control_permille: u64,
        /// The width of the interval of the operation's cost, in thousandths; `None` in old records.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval_permille: Option<u64>,
        /// The number of blocks.
        blocks: u32,
    },
    /// A command ended with another exit code than 0, or by a signal, or cannot be executed.
    Command(CommandEnd),
    /// The sentence of a record that is older than this type.
    Recorded {
        /// As recorded.
        text: String,
    },
}

/// Why a job was skipped: the probe did not find the feature, and the kernel's version, config or command line explains
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SkipReason {
    /// The kernel is built without it.
    ConfigNotSet {
        /// The symbols that it needs and that are not set.
        symbols: Vec<String>,
        /// What the probe saw.
        evidence: String,
    },
    /// The kernel is older than the feature.
    KernelTooOld {
        /// The first version that has it.
        since: KernelVersion,
        /// The kernel's version.
        version: KernelVersion,
        /// What the probe saw.
        evidence: String,
    },
    /// A parameter that the user added to the kernel's command line switches the feature off.
    Disabled {
        /// The parameter, as `cgroup_disable=memory`.
        parameter: String,
        /// The config symbol of the feature, or the flag of a call for a namespace.
        symbol: String,
        /// What the leg saw.
        evidence: String,
    },
    /// The kernel's config is not known, so that only the probe speaks.
    ConfigUnknown {
        /// The first version that has the feature, where the kernel is older than that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newer: Option<KernelVersion>,
        /// What the probe saw.
        evidence: String,
    },
    /// The kernel does not have this KUnit suite.
    NoSuite {
        /// What the probe saw.
        evidence: String,
    },
    /// The machine cannot show any of the costs that the scenario measures.
    Inconclusive {
        /// Why not.
        why: String,
    },
    /// The KUnit suite has no tests in this kernel.
    NoTests,
    /// Each test of the KUnit suite skipped itself.
    TestsSkipped {
        /// The reason of the first test, in the kernel's words; empty if it gives none.
        why: String,
    },
    /// The sentence of a record that is older than this type.
    Recorded {
        /// As recorded.
        text: String,
    },
}
