//! Types that describe a scenario: its name, what it shows, and what it needs of the kernel. The scenarios themselves
//! are in the init crate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// The name of a scenario: `area.name`, both parts made of lower-case letters, digits and hyphens. At most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScenarioId(String);

/// The text is no scenario name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scenario name: expected area.name in lower-case letters, digits and hyphens")]
pub struct BadScenarioId(pub String);

impl ScenarioId {
    /// The whole name, `area.name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the dot.
    #[must_use]
    pub fn area(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(area, _)| area)
    }
}

impl FromStr for ScenarioId {
    type Err = BadScenarioId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.split_once('.') {
            Some((area, name)) if is_part(area) && is_part(name) && text.len() <= 64 => Ok(Self(text.to_owned())),
            _ => Err(BadScenarioId(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ScenarioId {
    type Error = BadScenarioId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ScenarioId> for String {
    fn from(id: ScenarioId) -> Self {
        id.0
    }
}

impl fmt::Display for ScenarioId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A kind of namespace, see namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// `CLONE_NEWUSER`, Linux 3.8.
    User,
    /// `CLONE_NEWCGROUP`, Linux 4.6.
    Cgroup,
    /// `CLONE_NEWIPC`, Linux 2.6.19.
    Ipc,
    /// `CLONE_NEWUTS`, Linux 2.6.19.
    Uts,
    /// `CLONE_NEWNS`, Linux 2.4.19.
    Mount,
    /// `CLONE_NEWNET`, Linux 2.6.24.
    Net,
    /// `CLONE_NEWTIME`, Linux 5.6; takes effect in children.
    Time,
    /// `CLONE_NEWPID`, Linux 2.6.24; takes effect in children.
    Pid,
}

/// What Linux is documented to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// The subject leg must be isolated.
    Isolation,
    /// Linux does not isolate this by design: the subject leg must leak. A subject leg that is isolated gives the
    /// verdict CHANGED.
    Leak,
    /// Nothing is expected: the scenario measures costs.
    Figures,
}

impl Expectation {
    /// What a kernel of this version is documented to do, if kernels before `isolates_since` leak.
    #[must_use]
    pub fn of_version(self, isolates_since: Option<&Since>, version: KernelVersion) -> Self {
        match isolates_since {
            Some(since) if !since.includes(version) => Self::Leak,
            _ => self,
        }
    }
}

/// The control leg, which proves that the scenario can fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Control {
    /// The same calls without the namespace: the leak must show.
    Runs,
    /// The scenario measures costs, and compares each with a baseline in the subject leg.
    Baseline,
    /// No control is possible.
    Impossible {
        /// The reason, for the report.
        why: String,
    },
}

/// A kernel version: the leading numbers of `uname -r`, which can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelVersion {
    /// The 6 in 6.12.3.
    pub major: u32,
    /// The 12 in 6.12.3.
    pub minor: u32,
    /// The 3 in 6.12.3; 0 if the text has no third number.
    pub patch: u32,
}

impl KernelVersion {
    /// The version `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

/// The text is no kernel version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kernel version: expected numbers such as 6.12 or 6.12.3")]
pub struct BadKernelVersion(pub String);

impl FromStr for KernelVersion {
    type Err = BadKernelVersion;

    /// Reads the leading numbers: `6.1.0-38-cloud-amd64` is 6.1.0, `7.0-rc3` is 7.0.0.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadKernelVersion(text.to_owned());
        let numeric = text.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let mut parts = numeric.trim_end_matches('.').split('.').map(str::parse::<u32>);
        let mut next = || parts.next().transpose().map_err(|_| bad());
        let (major, minor) = (next()?.ok_or_else(bad)?, next()?.ok_or_else(bad)?);
        Ok(Self { major, minor, patch: next()?.unwrap_or(0) })
    }
}

impl TryFrom<String> for KernelVersion {
    type Error = BadKernelVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KernelVersion> for String {
    fn from(version: KernelVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch != 0 {
            write!(f, ".{}", self.patch)?;
        }
        Ok(())
    }
}

/// What a scenario needs of the kernel. A requirement explains why a probe found nothing; it never replaces the probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Config symbols with their prefix, for example `CONFIG_UTS_NS`; each must be `y` or `m`.
    pub config: Vec<String>,
    /// The first mainline version that has the feature.
    pub since: KernelVersion,
    /// The first versions of older stable series that have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backports: Vec<KernelVersion>,
}

impl Requirement {
    /// Whether the feature is newer than this version.
    #[must_use]
    pub fn is_newer_than(&self, version: KernelVersion) -> bool {
        !is_in(version, self.since, &self.backports)
    }
}

/// When a behaviour came into Linux.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// The first mainline version.
    pub mainline: KernelVersion,
    /// The first versions of older stable series, for example 6.1.120.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backports: Vec<KernelVersion>,
}

impl Since {
    /// Whether this version has the behaviour.
    #[must_use]
    pub fn includes(&self, version: KernelVersion) -> bool {
        is_in(version, self.mainline, &self.backports)
    }
}

/// A stable release is included from its series' first release on.
fn is_in(version: KernelVersion, mainline: KernelVersion, backports: &[KernelVersion]) -> bool {
    let of_series = |first: &KernelVersion| (first.major, first.minor) == (version.major, version.minor);
    version >= mainline || backports.iter().any(|first| of_series(first) && version >= *first)
}

/// What a scenario needs of the machine. A run's guests have at least what its options say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineNeed {
    /// The least number of CPUs.
    pub cpus: u32,
    /// Whether the machine is one on which costs can be measured: an emulated one counts instructions.
    #[serde(default)]
    pub measuring: bool,
    /// Whether the scenario runs in two guests at the same time, whose network cards are linked to each other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peer: bool,
}

impl Default for MachineNeed {
    fn default() -> Self {
        Self { cpus: 1, measuring: false, peer: false }
    }
}

impl MachineNeed {
    /// Whether every machine will do.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A kernel report (warning, OOM kill and the like) that a scenario causes on purpose. The report does not fail the
/// scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Text that the report's headline contains. The headline is the report's kind and title: `memcg-oom: Memory cgroup
    /// out of memory`.
    pub pattern: String,
    /// Why the report is expected; printed with the verdict.
    pub reason: String,
}

/// The description of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioSpec {
    /// The scenario's name.
    pub id: ScenarioId,
    /// What the scenario shows, in one line.
    pub title: String,
    /// The items of the feature list that the scenario covers, for example `2a` or `biederman-4`.
    #[serde(default, alias = "seed", deserialize_with = "items")]
    pub items: Vec<String>,
    /// What the subject does and observes, in order, in a sentence each.
    #[serde(default)]
    pub steps: Vec<String>,
    /// The man page or kernel document that describes the behaviour.
    pub source: String,
    /// The namespaces in which the subject leg runs.
    pub namespaces: Vec<Namespace>,
    /// What Linux is documented to do.
    pub expects: Expectation,
    /// The first version that isolates, where older kernels are known to leak; None if [`Self::expects`] holds for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolates_since: Option<Since>,
    /// The namespaces in which the control leg runs; mostly none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_namespaces: Vec<Namespace>,
    /// What the subject applies and the control does not, besides namespaces, clock offsets and limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// The control leg, which proves that the scenario can fail.
    pub control: Control,
    /// What the scenario needs of the kernel.
    pub requires: Requirement,
    /// What the scenario needs of the machine.
    #[serde(default, skip_serializing_if = "MachineNeed::is_none")]
    pub machine: MachineNeed,
    /// Names of modules to load before the first leg, if the kernel has them as modules.
    pub modules: Vec<String>,
    /// The time limit of each leg, in ms, at the speed of real hardware.
    pub leg_timeout_ms: u64,
    /// Kernel reports that do not fail the scenario.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allows: Vec<Allowance>,
}

impl ScenarioSpec {
    /// What a kernel of this version is documented to do.
    #[must_use]
    pub fn expects_of(&self, version: KernelVersion) -> Expectation {
        self.expects.of_version(self.isolates_since.as_ref(), version)
    }
}

/// Reads a list of items, or the one item that records of November 2026 have.
fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Items {
        Several(Vec<String>),
        Single(String),
    }
    Ok(match Items::deserialize(deserializer)? {
        Items::Several(items) => items,
        Items::Single(item) if item.is_empty() => Vec::new(),
        Items::Single(item) => vec![item],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backport_counts_in_its_series_only() {
        let version = |text: &str| text.parse::<KernelVersion>().unwrap();
        let since = Since { mainline: version("6.9"), backports: vec![version("6.1.100"), version("5.15.9")] };
        for (text, has) in
            [("6.9", true), ("7.3", true), ("6.1.100", true), ("6.1.99", false), ("6.2.200", false), ("5.10.9", false)]
        {
            assert_eq!(since.includes(version(text)), has, "{text}");
        }
    }

    #[test]
    fn a_record_with_one_item_can_be_read() {
        #[derive(Deserialize)]
        struct Only {
            #[serde(default, alias = "seed", deserialize_with = "items")]
            items: Vec<String>,
        }
        let read = |text: &str| serde_json::from_str::<Only>(text).unwrap().items;
        assert_eq!(read(r#"{"seed": "3a"}"#), ["3a"]);
        assert_eq!(read(r#"{"items": ["3a", "4b"]}"#), ["3a", "4b"]);
        assert_eq!(read(r#"{"seed": ""}"#), [""; 0]);
        assert_eq!(read("{}"), [""; 0]);
    }

    #[test]
    fn scenario_ids_are_area_and_name() {
        assert_eq!("uts.hostname".parse::<ScenarioId>().unwrap().area(), "uts");
        for bad in ["", "uts", "uts.", ".x", "Uts.x", "uts.x y", "uts.x.y", "uts.\u{1b}[0m"] {
            assert!(bad.parse::<ScenarioId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn kernel_versions_read_release_strings() {
        for (text, version) in [
            ("6.1.0-38-cloud-amd64", KernelVersion::new(6, 1, 0)),
            ("5.10.262", KernelVersion::new(5, 10, 262)),
            ("7.0-rc3", KernelVersion::new(7, 0, 0)),
            ("6.12.117+deb13-cloud-amd64", KernelVersion::new(6, 12, 117)),
        ] {
            assert_eq!(text.parse(), Ok(version), "{text}");
        }
        for bad in ["", "six", "6", "6.x", "99999999999.1"] {
            assert!(bad.parse::<KernelVersion>().is_err(), "{bad:?}");
        }
        assert!(KernelVersion::new(5, 10, 262) < KernelVersion::new(6, 1, 0));
    }
}
