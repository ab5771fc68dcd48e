//! Processes in namespaces of their own.
//!
//! [`Sandbox::run`] runs code inside and brings its value back. Between the process outside (the leg) and the one inside
//! stands the keeper, which enters the namespaces and forks: PID and time namespaces take effect in children only. All
//! three die with the leg. The empty sandbox of a control has the same three processes.

mod apply;
pub mod cgroup;
mod held;
mod plan;
mod probe;
mod report;
mod trouble;
pub mod undo;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vmlab_protocol::catalogue::Namespace;

pub use apply::ClockOffset;
pub use cgroup::Limit;
pub use held::Held;
pub use probe::Probe;
pub use report::{End, readable};
pub use trouble::{Answer, Code, During, Trouble, answer, refused};

use held::Process;

/// How long one word from a sandbox is waited for. It is there so that nothing waits for ever; the limit that counts is
/// the leg's, which the agent keeps and the host sets by the speed of the machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// User and group id 0 of a new user namespace are this id outside; [`ID_COUNT`] ids from here on are mapped.
pub const OUTER_ID: u32 = 100_000;
/// How many ids are mapped into a new user namespace.
pub const ID_COUNT: u32 = 65_536;

/// What separates a leg's inner process from the rest: namespaces, clock offsets, a cgroup; nothing for most controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sandbox {
    namespaces: &'static [Namespace],
    clock_offsets: &'static [ClockOffset],
    cgroup: Option<&'static [Limit]>,
}

impl Sandbox {
    /// Without anything.
    #[must_use]
    pub const fn none() -> Self {
        Self { namespaces: &[], clock_offsets: &[], cgroup: None }
    }

    /// In new namespaces of these kinds.
    #[must_use]
    pub const fn with_namespaces(mut self, namespaces: &'static [Namespace]) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// With its clocks shifted, as far as it has a time namespace.
    #[must_use]
    pub const fn with_clock_offsets(mut self, offsets: &'static [ClockOffset]) -> Self {
        self.clock_offsets = offsets;
        self
    }

    /// In a new cgroup with these limits.
    #[must_use]
    pub const fn with_cgroup(mut self, limits: &'static [Limit]) -> Self {
        self.cgroup = Some(limits);
        self
    }

    /// The control's: no namespaces, no offsets, and where there is a cgroup, one without limits.
    #[must_use]
    pub const fn control(&self) -> Self {
        Self { namespaces: &[], clock_offsets: &[], cgroup: if self.cgroup.is_some() { Some(&[]) } else { None } }
    }

    /// The namespaces' kinds.
    #[must_use]
    pub const fn namespaces(&self) -> &'static [Namespace] {
        self.namespaces
    }

    /// Whether this kernel can make it. Leaves the calling process in new namespaces: it is good for nothing else then.
    ///
    /// # Errors
    /// [`Trouble`] where it can neither be made nor is positively missing: EPERM, ENOSPC and the like.
    pub fn probe(&self) -> Result<Probe, Trouble> {
        probe::probe(self)
    }

    /// Runs `act` inside and brings its value back, after the process inside has ended.
    ///
    /// # Errors
    /// A step on the way in failed; `act` failed; or the process inside ended otherwise than by itself.
    pub fn run<T: Serialize + DeserializeOwned>(&self, act: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let (process, value) = Process::spawn(self, held::Then::Exit, held::boxed(act))?.value()?;
        match process.end()? {
            End::Exited(0) => Ok(value),
            end => Err(Trouble(format!("the process inside the sandbox ended badly ({end}) after its answer"))),
        }
    }

    /// Runs `act` inside, and keeps the process inside alive until the guard is dropped.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn hold<T: Serialize + DeserializeOwned>(
        &self,
        act: impl FnOnce() -> Result<T, Trouble>,
    ) -> Result<Held<T>, Trouble> {
        let (process, value) = Process::spawn(self, held::Then::Stay, held::boxed(act))?.value()?;
        Held::new(process, value)
    }

    /// Runs `act` inside, which does not return, and says how it ended: for calls that end their caller.
    ///
    /// # Errors
    /// A step on the way in failed, or `act` returned.
    pub fn end_of(&self, act: impl FnOnce() -> Result<(), Trouble>) -> Result<End, Trouble> {
        Process::spawn(self, held::Then::Exit, held::boxed(act))?.end()
    }
}
