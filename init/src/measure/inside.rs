//! Measures inside namespaces: in a process that has entered them.

use std::fs::File;

use super::kinds::{EVERYTHING, KINDS, Kind};
use super::meter::in_child;
use crate::sandbox::{Held, Sandbox};
use crate::scenarios::Trouble;
use crate::sys::shared::Shared;

/// Namespaces to measure in, and the process that keeps them.
pub(super) struct Inside {
    _member: Held<()>,
    namespaces: Vec<(&'static Kind, File)>,
}

impl Inside {
    /// New namespaces of all kinds.
    ///
    /// # Errors
    /// As [`Sandbox::hold`].
    pub(super) fn everything() -> Result<Self, Trouble> {
        Self::of(&EVERYTHING, |_| true, || Ok(()))
    }

    /// A new mount namespace, in which `act` has run.
    ///
    /// # Errors
    /// As [`Sandbox::hold`].
    pub(super) fn mounts(sandbox: &Sandbox, act: impl FnOnce() -> Result<(), Trouble>) -> Result<Self, Trouble> {
        Self::of(sandbox, |kind| kind.name == "mount", act)
    }

    fn of(
        sandbox: &Sandbox,
        wanted: impl Fn(&Kind) -> bool,
        act: impl FnOnce() -> Result<(), Trouble>,
    ) -> Result<Self, Trouble> {
        let member = sandbox.hold(act)?;
        let kinds = KINDS.iter().filter(|kind| wanted(kind));
        let mut namespaces =
            kinds.map(|kind| Ok((kind, kind.open(member.pid())?))).collect::<Result<Vec<_>, Trouble>>()?;
        // With the capabilities of the user namespace the process may enter the others.
        namespaces.sort_by_key(|(kind, _)| kind.name != "user");
        Ok(Self { _member: member, namespaces })
    }

    /// What `act` returns in a process inside.
    ///
    /// # Errors
    /// As setns(2); or `act` failed.
    pub(super) fn measure(&self, shared: &Shared, act: impl FnOnce() -> Result<u64, Trouble>) -> Result<u64, Trouble> {
        in_child(shared, || {
            self.namespaces.iter().try_for_each(|(kind, namespace)| kind.enter(namespace))?;
            // PID and time namespaces take effect in children.
            in_child(shared, act)
        })
    }
}

/// What `act` returns in a process that is as far away as one inside, in the namespaces of this process.
///
/// # Errors
/// `act` failed.
pub(super) fn outside(shared: &Shared, act: impl FnOnce() -> Result<u64, Trouble>) -> Result<u64, Trouble> {
    in_child(shared, || in_child(shared, act))
}
