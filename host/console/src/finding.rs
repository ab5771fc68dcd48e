//! What was found on a console.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::kind::{Kind, Severity};

/// A task of the guest's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its name, at most 15 bytes, see `PR_SET_NAME` in prctl(2).
    pub comm: String,
    /// Its number in the initial pid namespace.
    pub pid: u32,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)
    }
}

/// One report of the kernel's about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// The line that says so, without its time stamp.
    pub title: String,
    /// The lines of the report, as they were printed; at most 200.
    pub trace: Vec<String>,
    /// The task that ran then, hung, or was killed.
    pub task: Option<Task>,
    /// The memory cgroup that ran out of memory, below the root of its file system.
    pub cgroup: Option<String>,
    /// The functions of the call trace that say something, innermost first, by the names they have on all kernels.
    pub frames: Vec<String>,
    /// The same for the same crash on every run and kernel: `oops:sysrq_handle_crash-1a2b3c4d`.
    pub fingerprint: String,
    /// So many more reports with the same title came after this one, of which nothing else is kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_alike: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The first report on which a kernel cannot be trusted any more.
pub type Crash = Finding;

impl Finding {
    /// A finding of which nothing but its title is known.
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
        }
    }

    /// So many reports of which nothing is kept, for want of room.
    pub(super) fn of_count(kind: Kind, count: u64) -> Self {
        let title = "a report of which nothing is kept, because so many others had come before it";
        Self { more_alike: count.saturating_sub(1), ..Self::of_title(kind, title) }
    }

    /// The words that a scenario's allowance is compared with: `warning: WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2`.
    #[must_use]
    pub fn headline(&self) -> String {
        format!("{}: {}", self.kind, self.title)
    }
}

impl fmt::Display for Finding {
    /// The title, the fingerprint, and how many more there were.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if !self.fingerprint.is_empty() {
            write!(f, " [{}]", self.fingerprint)?;
        }
        if self.more_alike == 0 { Ok(()) } else { write!(f, ", and {} more like it", self.more_alike) }
    }
}

/// A finding in a run record. The records of vmlab's first version hold the title alone.
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
    },
}

impl From<Stored> for Finding {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Title(title) => Self::of_title(Kind::Warning, &title),
            Stored::Whole { kind, severity, title, trace, task, cgroup, frames, fingerprint, more_alike } => {
                Self { kind, severity, title, trace, task, cgroup, frames, fingerprint, more_alike }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_first_version_has_titles_alone() {
        let old: Vec<Finding> = serde_json::from_str(r#"["WARNING: CPU: 0 PID: 1 at a.c:1"]"#).unwrap();
        assert_eq!(old[0].headline(), "warning: WARNING: CPU: 0 PID: 1 at a.c:1");
        assert_eq!(old[0].to_string(), "WARNING: CPU: 0 PID: 1 at a.c:1");
        let json = serde_json::to_string(&old[0]).unwrap();
        assert_eq!(serde_json::from_str::<Finding>(&json).unwrap(), old[0]);
    }
}
