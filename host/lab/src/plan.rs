//! The plan of a run, as validated values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use vmlab_events::event::GuestOptions;
use vmlab_events::job::{JobSpec, SuiteId};
use vmlab_events::schedule::{ForkMethod, Isolation, Repetition};
use vmlab_kernel::{FetchPolicy, How, KernelSource};
use vmlab_qemu::accel::Wanted;
use vmlab_qemu::{argv, parameters};

use crate::command::{CommandPlan, FilesPlan};
use crate::limits;
use crate::machine_plan::MachinePlan;
use crate::select::{NoMatch, Suites};

/// The plan of a run. Start from [`Plan::new`], and set the fields that differ.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The kernels without duplicates; empty for the catalogue's default.
    pub kernels: Vec<KernelSource>,
    /// The jobs, sorted by name. Each runs on each target.
    pub jobs: Vec<JobSpec>,
    /// The KUnit suites of the kernels that run as further jobs; None for none.
    pub suites: Option<Suites>,
    /// What guests need to run the jobs that are commands.
    pub command: Option<CommandPlan>,
    /// The isolation of jobs from each other.
    pub isolation: Isolation,
    /// How forks start.
    pub fork_method: ForkMethod,
    /// The repetition of each job.
    pub repetition: Repetition,
    /// The accelerator of the guests.
    pub accelerator: Wanted,
    /// The memory of each guest, in MiB.
    pub memory_mib: u32,
    /// The number of processors of each guest.
    pub cpus: u32,
    /// What else the guests' machine has.
    pub machine: MachinePlan,
    /// Whether each guest that runs jobs waits for a debugger. There are no time limits then.
    pub debugger: bool,
    /// Further parameters for the kernel's command line.
    pub append: Append,
    /// The maximum number of guests at the same time; None for as many as there are
    /// processors for (the host's divided by [`Self::cpus`]) and memory.
    pub guests_at_once: Option<usize>,
    /// The time limits of each guest.
    pub limits: limits::Wanted,
    /// The time limit of the whole run, from the first guest's start.
    pub run_limit: Option<Duration>,
    /// The path of QEMU; None to search PATH.
    pub qemu: Option<PathBuf>,
    /// How kernels are obtained.
    pub obtain: How,
    /// Whether and where the memory of lost guests is saved.
    pub dump: Dump,
    /// Kernel modules that do not belong to the kernel, by name. Only the fault suite has such modules.
    pub extra_modules: BTreeMap<String, Vec<u8>>,
    /// vmlab's command line, for the record.
    pub argv: Vec<String>,
}

impl Plan {
    /// Each job once on the default kernel, in its own fork with 1 processor and 256 MiB of memory.
    #[must_use]
    pub fn new(jobs: Vec<JobSpec>) -> Self {
        let GuestOptions { cpus, memory_mib, .. } = GuestOptions::default();
        Self {
            kernels: Vec::new(),
            jobs,
            suites: None,
            command: None,
            isolation: Isolation::Fork,
            fork_method: ForkMethod::Auto,
            repetition: Repetition::Once,
            accelerator: Wanted::Auto,
            memory_mib,
            cpus,
            machine: MachinePlan::default(),
            debugger: false,
            append: Append::default(),
            guests_at_once: None,
            limits: limits::Wanted::default(),
            run_limit: None,
            qemu: None,
            obtain: FetchPolicy::CacheFirst.into(),
            dump: Dump::No,
            extra_modules: BTreeMap::new(),
            argv: Vec::new(),
        }
    }
}

impl Plan {
    /// What guests see of the host's files, if anything.
    pub(crate) fn files(&self) -> Option<&FilesPlan> {
        self.command.as_ref().and_then(|command| command.files.as_ref())
    }

    /// All jobs, sorted by name: those of the plan, and the KUnit suites of its kernels, which are known when these are there.
    ///
    /// # Errors
    /// [`NoMatch`] if suites are to run and none can.
    pub fn jobs_with(&self, suites: &BTreeSet<&SuiteId>) -> Result<Vec<JobSpec>, NoMatch> {
        let mut jobs = self.jobs.clone();
        if let Some(wanted) = &self.suites {
            jobs.extend(wanted.select(suites)?);
        }
        jobs.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(jobs)
    }
}

/// Whether and where the memory of lost guests is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dump {
    /// Not at all.
    No,
    /// In the run's record.
    InRecord,
    /// In this directory, which is created if it is missing.
    In(PathBuf),
}

/// Parameters for the kernel's command line that do not hide kernel warnings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Append(Option<String>);

impl Append {
    /// The parameters, if there are any.
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

/// The text cannot be part of a kernel's command line, or would hide kernel warnings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAppend {
    /// The command line would be too long.
    #[error(
        "the kernel's command line would have {length} bytes with --append, and x86 kernels accept {limit}; shorten --append"
    )]
    Length {
        /// The length with vmlab's own parameters, in bytes.
        length: usize,
        /// The kernel's limit, in bytes.
        limit: usize,
    },
    /// The text contains a byte that would end the command line.
    #[error("--append contains a line break or a NUL, which a kernel's command line cannot contain; remove it")]
    Byte,
    /// A parameter that hides kernel warnings.
    #[error("--append has `{0}`, which can hide the kernel's warnings, and a verdict needs them; leave it out")]
    Hides(String),
}

impl FromStr for Append {
    type Err = BadAppend;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (length, limit) = (argv::command_line_bytes(text), argv::COMMAND_LINE_LIMIT);
        if length > limit {
            return Err(BadAppend::Length { length, limit });
        }
        if text.contains(['\0', '\n']) {
            return Err(BadAppend::Byte);
        }
        match parameters::hiding_warnings(text) {
            Some(parameter) => Err(BadAppend::Hides(parameter.to_owned())),
            None => Ok(Self(Some(text.to_owned()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_hide_warnings_are_refused() {
        let error = |text: &str| text.parse::<Append>().unwrap_err();
        assert_eq!(error("a quiet"), BadAppend::Hides("quiet".to_owned()));
        let hides = error("nokaslr sysctl.kernel.printk=0");
        assert_eq!(hides, BadAppend::Hides("sysctl.kernel.printk=0".to_owned()));
        assert_eq!(error("a\nb"), BadAppend::Byte);
        assert!(matches!(error(&"x".repeat(4096)), BadAppend::Length { length, limit } if length > limit));
        assert_eq!("mitigations=off".parse::<Append>().unwrap().as_deref(), Some("mitigations=off"));
    }
}
