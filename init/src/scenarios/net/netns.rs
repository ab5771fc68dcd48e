//! Network namespaces that the leg enters itself. Sockets belong to the network namespace in which they were created, so a
//! trial that has a socket of each namespace needs no process there.

use std::fs::File;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;

use super::link::{self, Device, device_name};
use crate::sandbox::undo;
use crate::sandbox::{During, Trouble};
use crate::scenarios::support::until;

/// A network namespace that exists as long as this value or a process in it.
#[derive(Debug)]
pub(crate) struct Netns(File);

impl Netns {
    /// The calling process's.
    pub(crate) fn current() -> Result<Self, Trouble> {
        Self::open("/proc/self/ns/net")
    }

    /// That of another process.
    pub(crate) fn of(process: Pid) -> Result<Self, Trouble> {
        Self::open(&format!("/proc/{process}/ns/net"))
    }

    /// A new one, whose loopback device is up.
    pub(crate) fn new() -> Result<Self, Trouble> {
        let _back = Back(Self::current()?);
        unshare(CloneFlags::CLONE_NEWNET).during("unshare(CLONE_NEWNET)")?;
        link::set_up("lo")?;
        Self::current()
    }

    fn open(file: &str) -> Result<Self, Trouble> {
        File::open(file).map(Self).during(format_args!("opening {file}"))
    }

    pub(crate) const fn file(&self) -> &File {
        &self.0
    }

    /// Runs `act` in this network namespace.
    pub(crate) fn run<T>(&self, act: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let _back = self.enter()?;
        act()
    }

    #[inline(never)]
    fn enter(&self) -> Result<Back, Trouble> {
        let back = Back(Self::current()?);
        setns(&self.0, CloneFlags::CLONE_NEWNET).during("setns(CLONE_NEWNET)")?;
        Ok(back)
    }
}

/// Returns to a network namespace when it goes out of scope.
struct Back(Netns);

impl Drop for Back {
    fn drop(&mut self) {
        if let Err(errno) = setns(self.0.file(), CloneFlags::CLONE_NEWNET) {
            undo::failed(format_args!("the network namespace: setns(2): {errno}"));
        }
    }
}

/// Moves the leg itself to a new network namespace, whose loopback device is up. What a trial changes there needs no undoing.
pub(crate) fn leave() -> Result<(), Trouble> {
    unshare(CloneFlags::CLONE_NEWNET).during("unshare(CLONE_NEWNET)")?;
    link::set_up("lo")
}

/// Waits until every network namespace that died before the call is gone with its devices. The kernel removes dead
/// namespaces in batches, one batch after another (net/core/net_namespace.c, `cleanup_net`). The first of two namespaces may
/// be in the same batch as the older ones; the second is in a later one.
///
/// # Errors
/// Among others if veth is missing.
pub(crate) fn await_teardown() -> Result<(), Trouble> {
    for letter in ['y', 'z'] {
        let (here, there) = (device_name(letter), device_name(letter.to_ascii_uppercase()));
        let netns = Netns::new()?;
        Device::pair("veth", &here, &there).add()?;
        link::move_to(&there, netns.file())?;
        drop(netns);
        until("the end of a network namespace", || Ok(!link::is_there(&here)?))?;
    }
    Ok(())
}
