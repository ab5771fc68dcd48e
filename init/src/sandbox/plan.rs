//! Which steps lead into a sandbox, and in what order. Nothing here makes a system call.

use nix::sched::CloneFlags;
use vmlab_protocol::catalogue::Namespace;

/// A step on the way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Move into the sandbox's cgroup.
    EnterCgroup,
    /// unshare(2) of one namespace.
    Unshare(Namespace),
    /// Wait until the process outside has written the user and group id maps.
    AwaitIdMaps,
    /// Take on user and group 0 of the new user namespace.
    BecomeRoot,
    /// Write the clock offsets of the new time namespace.
    SetClockOffsets,
    /// Cut the new mount namespace off from the propagation of mounts.
    MakeMountsPrivate,
    /// Mount a procfs that shows the new PID namespace.
    MountProc,
}

/// The way in: the keeper enters, then forks the process inside, which settles.
///
/// The fork is there in every sandbox, the empty one of a control as well, so that the two legs differ by the
/// namespaces alone; PID and time namespaces take effect in children only (`pid_namespaces(7)`, `time_namespaces(7)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Steps of the keeper, before it forks.
    pub entering: Vec<Step>,
    /// Steps of the process inside, before the trial's code.
    pub settling: Vec<Step>,
}

/// Plans a sandbox of these namespaces, in whatever order they are given, with or without clock offsets and a cgroup.
///
/// - The cgroup comes before all: the root of a new cgroup namespace is the cgroup in which the process is then
///   (`cgroup_namespaces(7)`), and a mapped root may not move itself.
/// - The user namespace comes before the others, so that it owns them (`user_namespaces(7)`).
/// - Clock offsets can be set only as long as no process has entered the time namespace (`time_namespaces(7)`).
#[must_use]
pub fn plan(namespaces: &[Namespace], clock_offsets: bool, cgroup: bool) -> Plan {
    let mut wanted = namespaces.to_vec();
    // The order of the type's variants is the order of entering: user first, those that wait for a child last.
    wanted.sort_unstable();
    wanted.dedup();
    let has = |namespace| wanted.contains(&namespace);

    let mut entering = Vec::new();
    if cgroup {
        entering.push(Step::EnterCgroup);
    }
    for &namespace in &wanted {
        entering.push(Step::Unshare(namespace));
        match namespace {
            Namespace::User => entering.extend([Step::AwaitIdMaps, Step::BecomeRoot]),
            Namespace::Time if clock_offsets => entering.push(Step::SetClockOffsets),
            _ => {}
        }
    }
    let mut settling = Vec::new();
    if has(Namespace::Mount) {
        settling.push(Step::MakeMountsPrivate);
        if has(Namespace::Pid) {
            settling.push(Step::MountProc);
        }
    }
    Plan { entering, settling }
}

/// The flag of unshare(2) for a namespace, and its name.
#[must_use]
pub const fn clone_flag(namespace: Namespace) -> (CloneFlags, &'static str) {
    match namespace {
        Namespace::User => (CloneFlags::CLONE_NEWUSER, "CLONE_NEWUSER"),
        Namespace::Cgroup => (CloneFlags::CLONE_NEWCGROUP, "CLONE_NEWCGROUP"),
        Namespace::Ipc => (CloneFlags::CLONE_NEWIPC, "CLONE_NEWIPC"),
        Namespace::Uts => (CloneFlags::CLONE_NEWUTS, "CLONE_NEWUTS"),
        Namespace::Mount => (CloneFlags::CLONE_NEWNS, "CLONE_NEWNS"),
        Namespace::Net => (CloneFlags::CLONE_NEWNET, "CLONE_NEWNET"),
        // nix has no name for it; <linux/sched.h> of 5.6 has.
        Namespace::Time => (CloneFlags::from_bits_retain(0x80), "CLONE_NEWTIME"),
        Namespace::Pid => (CloneFlags::CLONE_NEWPID, "CLONE_NEWPID"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Namespace::{Cgroup, Ipc, Mount, Net, Pid, Time, User, Uts};

    const EVERY: [Namespace; 8] = [Pid, Time, Net, Mount, Uts, Ipc, Cgroup, User];

    #[test]
    fn an_empty_sandbox_takes_no_steps() {
        assert_eq!(plan(&[], true, false), Plan { entering: vec![], settling: vec![] });
    }

    #[test]
    fn all_at_once_in_the_one_right_order_however_they_are_given() {
        let all = plan(&EVERY, true, true);
        assert_eq!(
            all.entering,
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
        assert_eq!(all.settling, [Step::MakeMountsPrivate, Step::MountProc]);
        let mut twice = EVERY.to_vec();
        twice.reverse();
        twice.extend(EVERY);
        assert_eq!(plan(&twice, true, true), all);
    }

    #[test]
    fn procfs_is_mounted_only_where_both_it_and_the_mount_are_new() {
        assert_eq!(plan(&[Mount], false, false).settling, [Step::MakeMountsPrivate]);
        assert_eq!(plan(&[Pid], false, false).settling, []);
        assert_eq!(plan(&[Pid, Mount], false, false).settling, [Step::MakeMountsPrivate, Step::MountProc]);
    }

    #[test]
    fn clock_offsets_need_a_time_namespace() {
        assert_eq!(plan(&[Time], false, false).entering, [Step::Unshare(Time)]);
        assert_eq!(plan(&[Time], true, false).entering, [Step::Unshare(Time), Step::SetClockOffsets]);
        assert_eq!(plan(&[Uts], true, false).entering, [Step::Unshare(Uts)]);
    }

    #[test]
    fn flags_are_distinct_and_named_as_in_the_kernel_s_header() {
        let mut all = CloneFlags::empty();
        for namespace in EVERY {
            let (flag, name) = clone_flag(namespace);
            assert!(!all.intersects(flag), "{name} twice");
            all |= flag;
            assert!(name.starts_with("CLONE_NEW"));
        }
        // Sum of the eight values in <linux/sched.h>.
        assert_eq!(all.bits(), 0x7e02_0080);
    }
}
