//! New mount namespaces that do not begin as a copy of the creator's.

use std::fs;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::{propagate, root, tmpfs, unshare_mounts};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::support::{Scratch, decide, judge, known, mount_tmpfs};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::mount::{
    At, FSCONFIG_CMD_CREATE, FSMOUNT_NAMESPACE, OPEN_TREE_NAMESPACE, fsconfig, fsmount, fsmount_nothing, fsopen,
    open_tree,
};

/// A flag of unshare(2) in Linux 7.1.
const UNSHARE_EMPTY_MNTNS: CloneFlags = CloneFlags::from_bits_retain(0x10_0000);

pub(super) const EMPTY: Scenario = Scenario::new(
    "mount.empty-namespace",
    "UNSHARE_EMPTY_MNTNS creates a mount namespace whose root directory is empty",
    empty,
)
.shows(&["later-mount-api"], "include/uapi/linux/sched.h, UNSHARE_EMPTY_MNTNS (Linux 7.1)")
.steps(&[
    "A process calls unshare(UNSHARE_EMPTY_MNTNS). The control calls unshare(CLONE_NEWNS).",
    "The root directory of the process must be empty. In the control it is not empty.",
])
.by_means_of("UNSHARE_EMPTY_MNTNS")
.needs(&[], 7, 1, 0)
.probed_by(probe_empty);

fn empty(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let entries = sandbox.run(|| {
        let flag = if sandbox.applies() { UNSHARE_EMPTY_MNTNS } else { CloneFlags::CLONE_NEWNS };
        unshare(flag).during(format_args!("unshare({flag:?})"))?;
        Ok(fs::read_dir("/").during("opening /")?.count())
    })?;
    decide("entries of the root directory", &entries, (entries == 0, entries > 0), "0, or more")
}

/// The calling process ends up in a new mount namespace.
fn probe_empty() -> Result<Probe, Trouble> {
    known("unshare(UNSHARE_EMPTY_MNTNS)", unshare(UNSHARE_EMPTY_MNTNS), &[Errno::EINVAL], &[])
}

pub(super) const OPEN_TREE: Scenario = Scenario::new(
    "mount.open-tree-namespace",
    "OPEN_TREE_NAMESPACE makes a directory tree the root of a new mount namespace: no way out",
    of_open_tree,
)
.shows(&["2d", "later-mount-api"], "open_tree(2), OPEN_TREE_NAMESPACE (Linux 7.0)")
.steps(&[
    "mount(2) mounts a tmpfs.",
    "open_tree(OPEN_TREE_NAMESPACE) makes a mount namespace of it, and a process enters it with setns(2).",
    "The control calls unshare(CLONE_NEWNS), and chroot(2) to the tmpfs.",
    "chroot(2) into a subdirectory and 20 times chdir(\"..\") must not reach a file outside the tmpfs.",
])
.by_means_of("OPEN_TREE_NAMESPACE")
.needs(&[], 7, 0, 0)
.probed_by(probe_open_tree);

fn of_open_tree(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    enclosed(sandbox, |tree| open_tree(At::Path(tree), OPEN_TREE_NAMESPACE).during("open_tree(OPEN_TREE_NAMESPACE)"))
}

fn probe_open_tree() -> Result<Probe, Trouble> {
    let call = open_tree(At::Nowhere, OPEN_TREE_NAMESPACE);
    known("open_tree(-1, OPEN_TREE_NAMESPACE)", call, &[Errno::ENOSYS, Errno::EINVAL], &[Errno::EBADF])
}

pub(super) const FSMOUNT: Scenario = Scenario::new(
    "mount.fsmount-namespace",
    "FSMOUNT_NAMESPACE makes a new file system the root of a new mount namespace: no way out",
    of_fsmount,
)
.shows(&["2d", "later-mount-api"], "fsmount(2), FSMOUNT_NAMESPACE (Linux 7.1)")
.steps(&[
    "fsopen(2) and fsconfig(2) create a tmpfs.",
    "fsmount(FSMOUNT_NAMESPACE) makes a mount namespace of it, and a process enters it with setns(2).",
    "The control calls unshare(CLONE_NEWNS), and chroot(2) to a tmpfs.",
    "chroot(2) into a subdirectory and 20 times chdir(\"..\") must not reach a file outside the tmpfs.",
])
.by_means_of("FSMOUNT_NAMESPACE")
.needs(&[], 7, 1, 0)
.probed_by(probe_fsmount);

fn of_fsmount(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    enclosed(sandbox, |_| {
        let context = fsopen(c"tmpfs").during("fsopen(tmpfs)")?;
        fsconfig(&context, FSCONFIG_CMD_CREATE).during("fsconfig(FSCONFIG_CMD_CREATE)")?;
        fsmount(&context, FSMOUNT_NAMESPACE).during("fsmount(FSMOUNT_NAMESPACE)")
    })
}

fn probe_fsmount() -> Result<Probe, Trouble> {
    let call = fsmount_nothing(FSMOUNT_NAMESPACE);
    known("fsmount(-1, FSMOUNT_NAMESPACE)", call, &[Errno::ENOSYS, Errno::EINVAL], &[Errno::EBADF])
}

/// Enters the namespace that `make` makes, or a chroot, and tries to leave it.
fn enclosed(
    sandbox: &Sandbox,
    make: impl FnOnce(&std::path::Path) -> Result<OwnedFd, Trouble>,
) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let mark = root::mark(&scratch)?;
    let tree = tmpfs(scratch.path(), "tree")?;
    let seen = sandbox.run(|| {
        if sandbox.applies() {
            setns(make(&tree)?, CloneFlags::CLONE_NEWNS).during("setns(2) of the new mount namespace")?;
        } else {
            unshare_mounts()?;
            propagate(std::path::Path::new("/"), nix::mount::MsFlags::MS_PRIVATE | nix::mount::MsFlags::MS_REC)?;
            root::enter_chroot(&tree)?;
        }
        root::escape(&mark)
    })?;
    judge("whether a file outside the tree is visible", &seen, &false, &true)
}
