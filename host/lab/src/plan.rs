//! What a run is to do, as validated values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use vmlab_events::job::JobSpec;
use vmlab_events::schedule::{Isolation, Repetition};
use vmlab_kernel::{FetchPolicy, KernelSource};
use vmlab_qemu::accel::Wanted;
use vmlab_qemu::argv;

use crate::limits;

/// What a run is to do. Start from [`Plan::new`], and set the fields that differ.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The kernels, each once; the catalogue's default where there is none.
    pub kernels: Vec<KernelSource>,
    /// The jobs, sorted by name. Each runs on each target.
    pub jobs: Vec<JobSpec>,
    /// How jobs are kept apart.
    pub isolation: Isolation,
    /// How often each job runs.
    pub repetition: Repetition,
    /// What runs the guests' instructions.
    pub accelerator: Wanted,
    /// Memory of each guest, in MiB.
    pub memory_mib: u32,
    /// Processors of each guest.
    pub cpus: u32,
    /// More words for the kernels' command line.
    pub append: Append,
    /// Guests at the same time; the host's processors divided by [`Self::cpus`] where it is None.
    pub guests_at_once: Option<usize>,
    /// Time limits of each guest.
    pub limits: limits::Wanted,
    /// Limit of the whole run, from the first guest's start.
    pub run_limit: Option<Duration>,
    /// QEMU's program; found in PATH where it is None.
    pub qemu: Option<PathBuf>,
    /// Whether kernels may be fetched.
    pub fetch: FetchPolicy,
    /// Whether the memory of lost guests is kept, and where.
    pub dump: Dump,
    /// Kernel modules that did not come with the kernel, by name. Only the fault suite has such modules.
    pub extra_modules: BTreeMap<String, Vec<u8>>,
    /// The command line that asked for this run, for the record.
    pub argv: Vec<String>,
}

impl Plan {
    /// These jobs on the default kernel, each once, in a fork of its own with 1 processor and 256 MiB of memory.
    #[must_use]
    pub fn new(jobs: Vec<JobSpec>) -> Self {
        Self {
            kernels: Vec::new(),
            jobs,
            isolation: Isolation::Fork,
            repetition: Repetition::Once,
            accelerator: Wanted::Auto,
            memory_mib: 256,
            cpus: 1,
            append: Append::default(),
            guests_at_once: None,
            limits: limits::Wanted::default(),
            run_limit: None,
            qemu: None,
            fetch: FetchPolicy::CacheFirst,
            dump: Dump::No,
            extra_modules: BTreeMap::new(),
            argv: Vec::new(),
        }
    }
}

/// Whether the memory of lost guests is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dump {
    /// It is not.
    No,
    /// In the run's record.
    InRecord,
    /// In this directory, which is made where it is missing.
    In(PathBuf),
}

/// Words for the kernels' command line that leave a verdict possible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Append(Option<String>);

impl Append {
    /// The words; None where nothing was to be appended.
    #[must_use]
    pub fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_deref().unwrap_or_default())
    }
}

/// Words that no kernel's command line can have, or that would make a verdict impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAppend {
    /// It is too long.
    #[error(
        "the kernel's command line would have {length} bytes with --append, and x86 kernels take {limit}; leave some words \
         away"
    )]
    Length {
        /// In bytes, with vmlab's own words.
        length: usize,
        /// In bytes.
        limit: usize,
    },
    /// A byte that ends a command line.
    #[error("--append holds a line break or a NUL, which no kernel's command line can have")]
    Byte,
    /// A parameter that hides kernel warnings.
    #[error("--append has `{0}`, which can hide the kernel's warnings, and a verdict needs them; leave it out")]
    Hides(String),
}

impl FromStr for Append {
    type Err = BadAppend;

    fn from_str(words: &str) -> Result<Self, Self::Err> {
        let (length, limit) = (argv::command_line_bytes(words), argv::COMMAND_LINE_LIMIT);
        if length > limit {
            return Err(BadAppend::Length { length, limit });
        }
        if words.contains(['\0', '\n']) {
            return Err(BadAppend::Byte);
        }
        match argv::parameter_hiding_warnings(words) {
            Some(word) => Err(BadAppend::Hides(word.to_owned())),
            None => Ok(Self(Some(words.to_owned()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_hide_warnings_are_refused() {
        let error = |words: &str| words.parse::<Append>().unwrap_err();
        assert_eq!(error("a quiet"), BadAppend::Hides("quiet".to_owned()));
        assert_eq!(error("a\nb"), BadAppend::Byte);
        assert!(matches!(error(&"x".repeat(4096)), BadAppend::Length { length, limit } if length > limit));
        assert_eq!("mitigations=off".parse::<Append>().unwrap().as_deref(), Some("mitigations=off"));
    }
}
