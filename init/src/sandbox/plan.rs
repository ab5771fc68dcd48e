//! Plans the steps into a sandbox and their order. Pure: this module makes no system calls.

use nix::sched::CloneFlags;
use vmlab_protocol::catalogue::Namespace;

use super::EVERY_NAMESPACE;

/// A step into a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    EnterCgroup,
    /// unshare(2) of a namespace.
    Unshare(Namespace),
    /// Wait until the process outside has written the user and group id maps.
    AwaitIdMaps,
    /// Become user and group 0 of the new user namespace.
    BecomeRoot,
    /// Write the clock offsets of the new time namespace.
    SetClockOffsets,
    /// Stop the propagation of mounts to and from the new mount namespace.
    MakeMountsPrivate,
    /// Mount a procfs that shows the new PID namespace.
    MountProc,
}

/// The steps into a sandbox: the keeper takes the first part, then forks the process inside, which takes the second.
///
/// PID and time namespaces need the fork, because they take effect in children only (`pid_namespaces(7)`,
/// `time_namespaces(7)`). Every sandbox forks, also the empty sandbox of a control, so that subject and control differ
/// only in the namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Steps of the keeper before it forks.
    pub(crate) keeper: Vec<Step>,
    /// Steps of the process inside before the trial's code.
    pub(crate) inside: Vec<Step>,
}

/// Plans a sandbox. The order of `namespaces` does not matter.
///
/// - The cgroup comes first: the root of a new cgroup namespace is the creating process's cgroup
///   (`cgroup_namespaces(7)`), and a mapped root may not move itself.
/// - The user namespace comes before the others, so that it owns them (`user_namespaces(7)`).
/// - Clock offsets must be set before a process enters the time namespace (`time_namespaces(7)`).
#[must_use]
pub(crate) fn plan(namespaces: &[Namespace], clock_offsets: bool, cgroup: bool) -> Plan {
    let has = |namespace| namespaces.contains(&namespace);

    let mut keeper = Vec::new();
    if cgroup {
        keeper.push(Step::EnterCgroup);
    }
    for namespace in EVERY_NAMESPACE.iter().copied().filter(|&namespace| has(namespace)) {
        keeper.push(Step::Unshare(namespace));
        match namespace {
            Namespace::User => keeper.extend([Step::AwaitIdMaps, Step::BecomeRoot]),
            Namespace::Time if clock_offsets => keeper.push(Step::SetClockOffsets),
            _ => {}
        }
    }
    let mut inside = Vec::new();
    if has(Namespace::Mount) {
        inside.push(Step::MakeMountsPrivate);
        if has(Namespace::Pid) {
            inside.push(Step::MountProc);
        }
    }
    Plan { keeper, inside }
}

/// The unshare(2) flag of a namespace, and the flag's name.
#[must_use]
pub(crate) const fn clone_flag(namespace: Namespace) -> (CloneFlags, &'static str) {
    match namespace {
        Namespace::User => (CloneFlags::CLONE_NEWUSER, "CLONE_NEWUSER"),
        Namespace::Cgroup => (CloneFlags::CLONE_NEWCGROUP, "CLONE_NEWCGROUP"),
        Namespace::Ipc => (CloneFlags::CLONE_NEWIPC, "CLONE_NEWIPC"),
        Namespace::Uts => (CloneFlags::CLONE_NEWUTS, "CLONE_NEWUTS"),
        Namespace::Mount => (CloneFlags::CLONE_NEWNS, "CLONE_NEWNS"),
        Namespace::Net => (CloneFlags::CLONE_NEWNET, "CLONE_NEWNET"),
        // nix lacks this flag; the value is from <linux/sched.h> of 5.6.
        Namespace::Time => (CloneFlags::from_bits_retain(0x80), "CLONE_NEWTIME"),
        Namespace::Pid => (CloneFlags::CLONE_NEWPID, "CLONE_NEWPID"),
    }
}

/// The name of a namespace's file in /proc/PID/ns (namespaces(7)).
pub(super) const fn file_name(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::User => "user",
        Namespace::Cgroup => "cgroup",
        Namespace::Ipc => "ipc",
        Namespace::Uts => "uts",
        Namespace::Mount => "mnt",
        Namespace::Net => "net",
        Namespace::Time => "time",
        Namespace::Pid => "pid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Namespace::{Cgroup, Ipc, Mount, Net, Pid, Time, User, Uts};

    const EVERY: [Namespace; 8] = [Pid, Time, Net, Mount, Uts, Ipc, Cgroup, User];

    #[test]
    fn an_empty_sandbox_takes_no_steps() {
        assert_eq!(plan(&[], true, false), Plan { keeper: vec![], inside: vec![] });
    }

    #[test]
    fn the_order_of_steps_does_not_depend_on_the_order_of_namespaces() {
        let all = plan(&EVERY, true, true);
        assert_eq!(
            all.keeper,
            [
                Step::EnterCgroup,
                Step::Unshare(User),
                Step::AwaitIdMaps,
                Step::BecomeRoot,
                Step::Unshare(Cgroup),
                Step::Unshare(Ipc),
                Step::Unshare(Uts),
                Step::Unshare(Mount),
                Step::Unshare(Net),
                Step::Unshare(Time),
                Step::SetClockOffsets,
                Step::Unshare(Pid),
            ]
        );
        assert_eq!(all.inside, [Step::MakeMountsPrivate, Step::MountProc]);
        let mut twice = EVERY.to_vec();
        twice.reverse();
        twice.extend(EVERY);
        assert_eq!(plan(&twice, true, true), all);
    }

    #[test]
    fn procfs_is_mounted_only_in_new_pid_and_mount_namespaces() {
        assert_eq!(plan(&[Mount], false, false).inside, [Step::MakeMountsPrivate]);
        assert_eq!(plan(&[Pid], false, false).inside, []);
        assert_eq!(plan(&[Pid, Mount], false, false).inside, [Step::MakeMountsPrivate, Step::MountProc]);
    }

    #[test]
    fn clock_offsets_need_a_time_namespace() {
        assert_eq!(plan(&[Time], false, false).keeper, [Step::Unshare(Time)]);
        assert_eq!(plan(&[Time], true, false).keeper, [Step::Unshare(Time), Step::SetClockOffsets]);
        assert_eq!(plan(&[Uts], true, false).keeper, [Step::Unshare(Uts)]);
    }

    #[test]
    fn flags_are_distinct_and_named_as_in_the_kernels_header() {
        let mut all = CloneFlags::empty();
        for namespace in EVERY {
            let (flag, name) = clone_flag(namespace);
            assert!(!all.intersects(flag), "{name} overlaps with another flag");
            all |= flag;
            assert!(name.starts_with("CLONE_NEW"));
        }
        // The sum of the eight values in <linux/sched.h>.
        assert_eq!(all.bits(), 0x7e02_0080);
    }
}
