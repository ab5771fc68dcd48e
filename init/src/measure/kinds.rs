//! The kinds of namespaces, for measuring.

use std::fs::File;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, getpid};

use super::member::Member;
use super::meter::time;
use crate::sandbox::{During, EVERY_NAMESPACE, Sandbox};
use crate::scenarios::{Probe, Trouble};

/// A kind of namespace: its name, its flag, and its file below /proc/PID/ns in a member.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) flag: CloneFlags,
    file: &'static str,
}

/// `CLONE_NEWTIME`, which nix does not have (Linux 5.6).
const NEW_TIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

const fn kind(name: &'static str, flag: CloneFlags, file: &'static str) -> Kind {
    Kind { name, flag, file }
}

/// All kinds, sorted by name.
pub(super) const KINDS: [Kind; 8] = [
    kind("cgroup", CloneFlags::CLONE_NEWCGROUP, "cgroup"),
    kind("ipc", CloneFlags::CLONE_NEWIPC, "ipc"),
    kind("mount", CloneFlags::CLONE_NEWNS, "mnt"),
    kind("net", CloneFlags::CLONE_NEWNET, "net"),
    kind("pid", CloneFlags::CLONE_NEWPID, "pid"),
    kind("time", NEW_TIME, "time"),
    kind("user", CloneFlags::CLONE_NEWUSER, "user"),
    kind("uts", CloneFlags::CLONE_NEWUTS, "uts"),
];

/// The config symbols of all kinds.
pub(super) const CONFIG: &[&str] = &[
    "CONFIG_CGROUPS",
    "CONFIG_IPC_NS",
    "CONFIG_NET_NS",
    "CONFIG_PID_NS",
    "CONFIG_TIME_NS",
    "CONFIG_USER_NS",
    "CONFIG_UTS_NS",
];

/// The first version that has all kinds and lets a process enter a time namespace by its file.
pub(super) const SINCE: (u32, u32, u32) = (5, 8, 0);

/// A sandbox with all kinds of namespaces.
pub(super) const EVERYTHING: Sandbox = Sandbox::none().with_namespaces(EVERY_NAMESPACE);

/// Whether the kernel has all kinds.
///
/// # Errors
/// As [`Sandbox::probe`].
pub(super) fn probe() -> Result<Probe, Trouble> {
    EVERYTHING.probe()
}

impl Kind {
    /// Starts a process in a new namespace of this kind.
    ///
    /// # Errors
    /// As clone3(2).
    pub(super) fn member(&self) -> Result<Member, Trouble> {
        Member::start(self.flag, || Ok(()))
    }

    /// Opens the namespace of a process.
    ///
    /// # Errors
    /// As open(2).
    pub(super) fn open(&self, pid: Pid) -> Result<File, Trouble> {
        open(pid, self.file)
    }

    /// Creates a namespace that the file keeps, and perhaps the calling process until it creates the next one.
    ///
    /// # Errors
    /// As unshare(2) and open(2).
    pub(super) fn one_more(&self) -> Result<File, Trouble> {
        if ["pid", "user"].contains(&self.name) {
            // The first has no file without a process, and there is no way back from the second.
            return self.open(self.member()?.pid());
        }
        self.create()?;
        let file = if self.name == "time" { "time_for_children" } else { self.file };
        open(getpid(), file)
    }

    /// The time of [`Self::create`] in a process that has just been forked.
    ///
    /// # Errors
    /// As unshare(2).
    pub(super) fn time_to_create(&self) -> Result<u64, Trouble> {
        // The code of the clock and of the call is in memory then.
        time(|| unshare(CloneFlags::empty()).during("unshare(0)"))?;
        time(|| self.create())
    }

    /// The time of [`Self::enter`] in a process that has just been forked.
    ///
    /// # Errors
    /// As setns(2).
    pub(super) fn time_to_enter(&self, namespace: &File) -> Result<u64, Trouble> {
        let other = File::open("/dev/null").during("opening /dev/null")?;
        // As above. Not a namespace: EINVAL.
        time(|| {
            let _refused = setns(&other, self.flag);
            Ok(())
        })?;
        time(|| self.enter(namespace))
    }

    /// Moves the calling process, or its future children, into a new namespace.
    ///
    /// # Errors
    /// As unshare(2).
    pub(super) fn create(&self) -> Result<(), Trouble> {
        unshare(self.flag).during(format_args!("unshare(2) for a {} namespace", self.name))
    }

    /// Moves the calling process, or its future children, into a namespace.
    ///
    /// # Errors
    /// As setns(2).
    pub(super) fn enter(&self, namespace: &File) -> Result<(), Trouble> {
        setns(namespace, self.flag).during(format_args!("setns(2) for a {} namespace", self.name))
    }
}

fn open(pid: Pid, file: &str) -> Result<File, Trouble> {
    let path = format!("/proc/{pid}/ns/{file}");
    File::open(&path).during(format_args!("opening {path}"))
}
