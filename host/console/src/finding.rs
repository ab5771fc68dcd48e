//! Findings: the reports of a kernel on its console.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::kind::{Kind, Severity};

/// A task in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The task's name, at most 15 bytes (prctl(2), `PR_SET_NAME`).
    pub comm: String,
    /// The task's id in the initial PID namespace.
    pub pid: u32,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)
    }
}

/// A kernel report: a crash, a warning, or an OOM kill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Finding {
    /// The kind of report.
    pub kind: Kind,
    /// The effect on the kernel.
    pub severity: Severity,
    /// The report's title line, without its time stamp.
    pub title: String,
    /// The lines of the report as printed; at most 200.
    pub trace: Vec<String>,
    /// The task that was running, hung, or was killed.
    pub task: Option<Task>,
    /// The path of the memory cgroup that ran out of memory, below the cgroup root.
    pub cgroup: Option<String>,
    /// The significant functions of the call trace, innermost first, by names that are the same on all kernels.
    pub frames: Vec<String>,
    /// A name that is the same for the same crash on every run and kernel, for example
    /// `oops:sysrq_handle_crash-1a2b3c4d`.
    pub fingerprint: String,
    /// The number of later reports with the same title that were only counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_alike: u64,
    /// The KUnit suite that ran then, where suites are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature of serde's skip_serializing_if")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The first report after which the kernel cannot be trusted.
pub type Crash = Finding;

/// A report, and its place in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The number of the line with the title, from 1; `None` if lines are not counted, or nothing is kept
    /// of the report.
    pub line: Option<u64>,
    /// The report.
    pub finding: Finding,
}

impl Finding {
    /// A finding with a title and nothing else.
    #[must_use]
    pub fn of_title(kind: Kind, title: &str) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            title: title.to_owned(),
            trace: Vec::new(),
            task: None,
            cgroup: None,
            frames: Vec::new(),
            fingerprint: String::new(),
            more_alike: 0,
            suite: None,
        }
    }

    /// A finding that stands for `count` reports that were only counted.
    pub(super) fn of_count(kind: Kind, count: u64) -> Self {
        let title = "a report of which nothing is kept, because so many others had come before it";
        Self { more_alike: count.saturating_sub(1), ..Self::of_title(kind, title) }
    }

    /// Whether the kernel cannot be trusted after the report, or has stopped.
    #[must_use]
    pub fn is_crash(&self) -> bool {
        self.severity >= Severity::Broken
    }

    /// Kind and title, which a scenario's allowance is compared with: `warning: WARNING: CPU: 0 PID: 1 at kernel/x.c:1
    /// f+0x1/0x2`.
    #[must_use]
    pub fn headline(&self) -> String {
        format!("{}: {}", self.kind, self.title)
    }
}

impl fmt::Display for Finding {
    /// The title, the fingerprint, and the number of similar reports.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if !self.fingerprint.is_empty() {
            write!(f, " [{}]", self.fingerprint)?;
        }
        if self.more_alike == 0 { Ok(()) } else { write!(f, ", and {} more like it", self.more_alike) }
    }
}

/// A finding in a run record. Records of vmlab's first version contain only the title.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Title(String),
    Whole {
        kind: Kind,
        severity: Severity,
        title: String,
        #[serde(default)]
        trace: Vec<String>,
        #[serde(default)]
        task: Option<Task>,
        #[serde(default)]
        cgroup: Option<String>,
        #[serde(default)]
        frames: Vec<String>,
        #[serde(default)]
        fingerprint: String,
        #[serde(default)]
        more_alike: u64,
        #[serde(default)]
        suite: Option<String>,
    },
}

impl From<Stored> for Finding {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Title(title) => Self::of_title(Kind::Warning, &title),
            Stored::Whole { kind, severity, title, trace, task, cgroup, frames, fingerprint, more_alike, suite } => {
                Self { kind, severity, title, trace, task, cgroup, frames, fingerprint, more_alike, suite }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_first_version_with_only_titles_can_be_read() {
        let old: Vec<Finding> = serde_json::from_str(r#"["WARNING: CPU: 0 PID: 1 at a.c:1"]"#).unwrap();
        assert_eq!(old[0].headline(), "warning: WARNING: CPU: 0 PID: 1 at a.c:1");
        assert_eq!(old[0].to_string(), "WARNING: CPU: 0 PID: 1 at a.c:1");
        let json = serde_json::to_string(&old[0]).unwrap();
        assert_eq!(serde_json::from_str::<Finding>(&json).unwrap(), old[0]);
    }
}
