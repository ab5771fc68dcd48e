//! Which namespaces a process shares with others.

use nix::sched::unshare;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::{TYPES, TYPES_CONFIG, flag, inode, open, own_inodes};
use crate::sandbox::{During, EVERY_NAMESPACE, Sandbox};
use crate::scenarios::support::{decide, judge, note};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};

pub(super) const INODES: Scenario = Scenario::new(
    "namespace.inodes",
    "Inode numbers tell whether namespaces are shared; those of the first ones differ by kernel",
    inodes,
)
.shows(&["1c", "nsproxy", "version-22"], "namespaces(7), section The /proc/pid/ns/ directory")
.steps(&[
    "Outside: stat(2) of mnt and net in /proc/self/ns returns the inode numbers of the first namespaces.",
    "Inside: both numbers must be others. In the control they are the same.",
    "The finding shows all numbers. A program must not know those of the first namespaces by heart.",
])
.inside(&[Namespace::Mount, Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_PROC_FS"], 3, 8, 0);

fn inodes(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let both = || Ok((inode(&open(getpid(), "mnt")?)?, inode(&open(getpid(), "net")?)?));
    let outside = both()?;
    let inside = sandbox.run(both)?;
    note(format_args!("all inode numbers outside: {:?}", own_inodes()?));
    decide(
        "inode numbers of mnt and net outside, and inside",
        &(outside, inside),
        (inside.0 != outside.0 && inside.1 != outside.1, inside == outside),
        "different or equal numbers",
    )
}

pub(super) const ONE_TYPE: Scenario = Scenario::new(
    "namespace.one-type",
    "unshare(2) of a type changes exactly one of the ten links in /proc/self/ns",
    one_type,
)
.shows(&["nsproxy", "1c", "biederman-1"], "namespaces(7), unshare(2)")
.steps(&[
    "For each of the eight types, a process reads the links in /proc/self/ns.",
    "It calls unshare(2) with the flag of the type.",
    "Exactly one link must differ: that of the type, or pid_for_children and time_for_children.",
    "The control's processes do not call unshare(2), and no link changes.",
])
.by_means_of("unshare(2)")
.needs(TYPES_CONFIG, 5, 6, 0)
.probed_by(probe_types);

fn one_type(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let mut changed = Vec::new();
    for (namespace, _) in TYPES {
        changed.push(sandbox.run(|| {
            let before = own_inodes()?;
            if sandbox.applies() {
                unshare(flag(namespace)).during(format_args!("unshare({namespace:?})"))?;
            }
            let after = own_inodes()?;
            let names = after.into_iter().filter(|link| !before.contains(link)).map(|(name, _)| name);
            Ok(names.collect::<Vec<_>>())
        })?);
    }
    let one: Vec<_> = TYPES.iter().map(|(_, link)| vec![(*link).to_owned()]).collect();
    judge("links that changed, for each type", &changed, &one, &vec![Vec::new(); TYPES.len()])
}

/// For scenarios whose own sandbox is empty.
pub(super) fn probe_types() -> Result<Probe, Trouble> {
    Sandbox::none().with_namespaces(EVERY_NAMESPACE).probe()
}

pub(super) const SHARED: Scenario = Scenario::new(
    "namespace.shared",
    "A child shares all namespaces of its parent, until it is given new ones",
    shared,
)
.shows(&["nsproxy", "1c"], "namespaces(7), fork(2)")
.steps(&[
    "Outside: reads the links of uts and ipc in /proc/self/ns.",
    "Inside: forks and compares. In the UTS and IPC namespaces of the sandbox, exactly these two links differ.",
    "In the control all ten links are those of the parent: the namespaces are shared, not copied.",
])
.inside(&[Namespace::Ipc, Namespace::Uts])
.needs(&["CONFIG_IPC_NS", "CONFIG_UTS_NS"], 3, 0, 0);

fn shared(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = own_inodes()?;
    let inside = sandbox.run(own_inodes)?;
    let new: Vec<_> = inside.into_iter().filter(|link| !outside.contains(link)).map(|(name, _)| name).collect();
    judge("links that differ from those of the parent", &new, &vec!["ipc".to_owned(), "uts".to_owned()], &Vec::new())
}
