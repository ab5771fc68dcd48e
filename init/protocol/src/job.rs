//! What a guest can be asked to run.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::catalogue::{BadScenarioId, ScenarioId};

/// One piece of work for a guest. A job is identified by its kind and name within a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// A scenario that is built into the guest's PID 1.
    Scenario(ScenarioId),
    /// A KUnit suite that is built into the kernel.
    Kunit(SuiteId),
    /// A program of the host's.
    Command(CommandId),
}

impl Job {
    /// Its name in tables and reports: `uts.hostname`, `kunit.list-kunit-test`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Scenario(id) => id.as_str(),
            Self::Kunit(id) => id.as_str(),
            Self::Command(id) => id.as_str(),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is no name of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJob {
    /// Not the name of a scenario.
    #[error(transparent)]
    Scenario(#[from] BadScenarioId),
    /// Not the name of a suite.
    #[error(transparent)]
    Suite(#[from] BadSuite),
    /// Not the name of a command.
    #[error(transparent)]
    Command(#[from] BadCommand),
}

impl FromStr for Job {
    type Err = BadJob;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(SuiteId::PREFIX) {
            return Ok(Self::Kunit(text.to_owned().try_into()?));
        }
        if text.starts_with(CommandId::PREFIX) {
            return Ok(Self::Command(text.to_owned().try_into()?));
        }
        Ok(Self::Scenario(text.parse()?))
    }
}

/// The name of a KUnit suite, as a job: `kunit.` and the name that the kernel gives the suite.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SuiteId(String);

/// The text cannot be the name of a KUnit suite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a KUnit suite: expected 1 to 255 characters, without slashes and control characters")]
pub struct BadSuite(pub String);

impl SuiteId {
    /// What the names of these jobs begin with.
    pub const PREFIX: &str = "kunit.";

    /// From the kernel's name of the suite, which is also that of its directory in debugfs.
    ///
    /// # Errors
    /// [`BadSuite`] if debugfs could not have such a directory, or a report could not print it.
    pub fn new(suite: &str) -> Result<Self, BadSuite> {
        let is_name = !suite.is_empty() && suite.len() < 256 && suite != "." && suite != "..";
        if is_name && !suite.contains(|c: char| c == '/' || c.is_control()) {
            Ok(Self(format!("{}{suite}", Self::PREFIX)))
        } else {
            Err(BadSuite(suite.to_owned()))
        }
    }

    /// The whole name, `kunit.list-kunit-test`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kernel's name of the suite, `list-kunit-test`.
    #[must_use]
    pub fn suite(&self) -> &str {
        self.0.strip_prefix(Self::PREFIX).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for SuiteId {
    type Error = BadSuite;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text.strip_prefix(Self::PREFIX).ok_or_else(|| BadSuite(text.clone()))?)
    }
}

impl From<SuiteId> for String {
    fn from(id: SuiteId) -> Self {
        id.0
    }
}

/// The name of a command, as a job: `exec.` and the last part of its program's path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandId(String);

/// The text cannot be the name of a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a command: expected `exec.` and 1 to 255 characters, without slashes and control characters"
)]
pub struct BadCommand(pub String);

impl CommandId {
    /// What the names of these jobs begin with.
    pub const PREFIX: &str = "exec.";

    /// The name of a program, by its path or name. Characters that a name cannot have become `?`.
    #[must_use]
    pub fn of_program(program: &OsStr) -> Self {
        let last = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
        let is_allowed = |c: char| c != '/' && !c.is_control();
        let name: String = last.chars().take(63).map(|c| if is_allowed(c) { c } else { '?' }).collect();
        Self(format!("{}{}", Self::PREFIX, if name.is_empty() { "?" } else { &name }))
    }

    /// The whole name, `exec.mytest`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CommandId {
    type Error = BadCommand;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_name =
            |name: &str| !name.is_empty() && name.len() < 256 && !name.contains(|c: char| c == '/' || c.is_control());
        if text.strip_prefix(Self::PREFIX).is_some_and(is_name) { Ok(Self(text)) } else { Err(BadCommand(text)) }
    }
}

impl From<CommandId> for String {
    fn from(id: CommandId) -> Self {
        id.0
    }
}

/// A job as its name, for messages and records in which the name alone identifies it.
pub mod by_name {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::Job;

    /// Writes the name.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(job: &Job, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(job.name())
    }

    /// Reads a name.
    ///
    /// # Errors
    /// The text is no name of a job.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Job, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_kind_of_job_it_is() {
        for name in ["uts.hostname", "kunit.list-kunit-test", "kunit.Handshake API tests", "kunit.a.b"] {
            let job: Job = name.parse().unwrap();
            assert_eq!(job.name(), name);
            assert_eq!(matches!(job, Job::Kunit(_)), name.starts_with("kunit."), "{name}");
            assert_eq!(serde_json::from_str::<Job>(&serde_json::to_string(&job).unwrap()).unwrap(), job);
        }
        let program = |path: &str| CommandId::of_program(OsStr::new(path)).as_str().to_owned();
        assert_eq!(
            ["./a/mytest", "true", "/", "x\ny"].map(program),
            ["exec.mytest", "exec.true", "exec.?", "exec.x?y"]
        );
        assert!(matches!("exec.x".parse(), Ok(Job::Command(_))));
        let Job::Kunit(id) = "kunit.list-kunit-test".parse().unwrap() else { panic!("a suite") };
        assert_eq!(id.suite(), "list-kunit-test");
        let long = format!("kunit.{}", "x".repeat(256));
        for bad in ["", "uts", "kunit.", "kunit.a/b", "kunit...", "kunit.a\nb", &long] {
            assert!(bad.parse::<Job>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<SuiteId>("\"list\"").is_err());
    }
}
