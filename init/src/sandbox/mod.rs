//! Runs code in new namespaces.
//!
//! [`Sandbox::run`] runs code inside a sandbox and returns its value. Between the process outside (the leg) and the
//! process inside is the keeper, which enters the namespaces and forks: PID and time namespaces take effect in children
//! only. The keeper and the process inside die with the leg. The empty sandbox of a control has the same processes.

mod apply;
pub(crate) mod cgroup;
mod held;
pub(crate) mod placed;
mod plan;
mod probe;
mod report;
mod trouble;
pub(crate) mod undo;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vmlab_protocol::catalogue::Namespace;
use vmlab_protocol::message::Side;

pub(crate) use apply::{ClockOffset, die_with_parent};
pub(crate) use cgroup::Limit;
pub(crate) use held::Held;
pub(crate) use plan::clone_flag;
pub(crate) use probe::Probe;
pub(crate) use report::{End, readable};
pub(crate) use trouble::{Answer, Code, During, Trouble, answer, refused};

use held::{Act, Process};

/// The time limit of a single wait, for example for a report from a sandbox. The effective limit is usually the leg's,
/// which the host sets by the speed of the machine and the agent enforces.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// All kinds of namespaces, in the order in which a process enters them.
pub(crate) const EVERY_NAMESPACE: &[Namespace] = &[
    Namespace::User,
    Namespace::Cgroup,
    Namespace::Ipc,
    Namespace::Uts,
    Namespace::Mount,
    Namespace::Net,
    Namespace::Time,
    Namespace::Pid,
];

/// User and group id 0 of a new user namespace are this id outside; [`ID_COUNT`] ids from here on are mapped.
pub(crate) const OUTER_ID: u32 = 100_000;
pub(crate) const ID_COUNT: u32 = 65_536;

/// What isolates the process inside: namespaces, clock offsets, a cgroup, or a mechanism that the trial applies. Most
/// controls have none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sandbox {
    namespaces: &'static [Namespace],
    clock_offsets: &'static [ClockOffset],
    cgroup: Option<&'static [Limit]>,
    applies: bool,
    /// The namespaces whose creation is recorded (see [`placed`]).
    watched: &'static [Namespace],
    side: Option<Side>,
}

impl Sandbox {
    /// A sandbox that isolates nothing.
    #[must_use]
    pub(crate) const fn none() -> Self {
        Self { namespaces: &[], clock_offsets: &[], cgroup: None, applies: true, watched: &[], side: None }
    }

    #[must_use]
    pub(crate) const fn with_namespaces(mut self, namespaces: &'static [Namespace]) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// The offsets apply only together with a time namespace.
    #[must_use]
    pub(crate) const fn with_clock_offsets(mut self, offsets: &'static [ClockOffset]) -> Self {
        self.clock_offsets = offsets;
        self
    }

    #[must_use]
    pub(crate) const fn with_cgroup(mut self, limits: &'static [Limit]) -> Self {
        self.cgroup = Some(limits);
        self
    }

    /// The sandbox of the control leg: these namespaces, mostly none; no offsets, no mechanism, and a cgroup without limits if
    /// this sandbox has a cgroup.
    #[must_use]
    pub(crate) const fn control(&self, namespaces: &'static [Namespace]) -> Self {
        let cgroup: Option<&'static [Limit]> = if self.cgroup.is_some() { Some(&[]) } else { None };
        Self { namespaces, cgroup, applies: false, ..Self::none() }
    }

    /// Records which of these namespaces are new to the processes inside (see [`placed`]).
    #[must_use]
    pub(crate) const fn watching(mut self, namespaces: &'static [Namespace]) -> Self {
        self.watched = namespaces;
        self
    }

    /// Says which of two linked guests this is.
    #[must_use]
    pub(crate) const fn on_side(mut self, side: Option<Side>) -> Self {
        self.side = side;
        self
    }

    /// Which of two linked guests this is.
    ///
    /// # Errors
    /// The guest has no peer.
    pub(crate) fn side(&self) -> Result<Side, Trouble> {
        self.side.ok_or_else(|| Trouble::new("this guest is not one of two linked guests"))
    }

    /// Whether the trial applies the mechanism whose effect the scenario shows: a flag, a filter, a system call. False in the
    /// control.
    #[must_use]
    pub(crate) const fn applies(&self) -> bool {
        self.applies
    }

    /// Whether clock offsets or limits make the difference to the control.
    #[cfg(test)]
    pub(crate) fn has_limits(&self) -> bool {
        !self.clock_offsets.is_empty() || self.cgroup.is_some_and(|limits| !limits.is_empty())
    }

    /// The limits of the sandbox's cgroup, for trials that create cgroups themselves. Empty in the control.
    #[must_use]
    pub(crate) const fn limits(&self) -> &'static [Limit] {
        match self.cgroup {
            Some(limits) => limits,
            None => &[],
        }
    }

    #[must_use]
    pub(crate) const fn namespaces(&self) -> &'static [Namespace] {
        self.namespaces
    }

    /// Tests whether this kernel can create the sandbox. The calling process ends up in new namespaces and must do
    /// nothing else.
    ///
    /// # Errors
    /// [`Trouble`] if the creation failed for another reason than a missing feature: EPERM, ENOSPC and the like.
    pub(crate) fn probe(&self) -> Result<Probe, Trouble> {
        probe::probe(self)
    }

    /// Runs `act` inside and returns its value after the process inside has ended.
    ///
    /// # Errors
    /// A step of the plan or `act` failed, or the process inside did not exit with 0.
    pub(crate) fn run<T: Serialize + DeserializeOwned>(
        &self,
        act: impl FnOnce() -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.run_boxed(held::boxed(act))
    }

    /// Once for each type of value, of which there are fewer than functions.
    #[inline(never)]
    fn run_boxed<T: DeserializeOwned>(&self, act: Act<'_>) -> Result<T, Trouble> {
        held::unboxed(self.value_of(act)?)
    }

    fn value_of(&self, act: Act<'_>) -> Result<Value, Trouble> {
        let (process, value) = Process::spawn(self, held::Then::Exit, act)?.value()?;
        process.end_well()?;
        Ok(value)
    }

    /// Runs `act` inside and keeps the process inside alive until the guard is dropped.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn hold<T: Serialize + DeserializeOwned>(
        &self,
        act: impl FnOnce() -> Result<T, Trouble>,
    ) -> Result<Held<T>, Trouble> {
        self.hold_boxed(held::boxed(act))
    }

    /// As [`Self::run_boxed`].
    #[inline(never)]
    fn hold_boxed<T: DeserializeOwned>(&self, act: Act<'_>) -> Result<Held<T>, Trouble> {
        let (process, value) = Process::spawn(self, held::Then::Stay, act)?.value()?;
        Held::new(process, held::unboxed(value)?)
    }

    /// Runs `act` inside and returns how its process ended: for calls that end their caller.
    ///
    /// # Errors
    /// A step of the plan failed, or `act` returned.
    pub(crate) fn end_of(&self, act: impl FnOnce() -> Result<(), Trouble>) -> Result<End, Trouble> {
        Process::spawn(self, held::Then::Exit, held::boxed(act))?.end()
    }
}
