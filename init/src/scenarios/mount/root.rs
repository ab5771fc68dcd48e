//! The root directory of a process: chroot(2) is no barrier, `pivot_root(2)` is one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, pivot_root};
use vmlab_protocol::catalogue::Namespace;

use super::{directory, propagate, tmpfs, unshare_mounts};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::scenarios::support::{Scratch, exists, judge, known, mount_tmpfs, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::mount::{FD_FAILFS_ROOT, fchroot};

pub(super) const CHROOT_ESCAPE: Scenario = Scenario::new(
    "mount.chroot-escape",
    "Root leaves a chroot by a second chroot(2) and \"..\", also in a mount namespace of its own",
    chroot_escape,
)
.shows(&["2d"], "chroot(2), section Notes")
.steps(&[
    "Inside: chroot(2) makes a directory the root directory. A file outside the directory is not visible by its path.",
    "Inside: chroot(2) into a subdirectory, while the working directory stays above, and chdir(\"..\") 20 times.",
    "Inside: the file is visible by its path from the new working directory.",
])
.inside(&[Namespace::Mount])
.leaks_by_design();

fn chroot_escape(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let (mark, jail) = (mark(&scratch)?, directory(scratch.path(), "jail")?);
    let seen = sandbox.run(|| {
        enter_chroot(&jail)?;
        escape(&mark)
    })?;
    judge("whether the file outside the chroot is visible", &seen, &false, &true)
}

pub(super) const CHROOT_USERNS: Scenario = Scenario::new(
    "mount.chroot-userns",
    "A process in a chroot cannot create a user namespace, and so not get a new CAP_SYS_CHROOT",
    chroot_userns,
)
.shows(&["2d"], "unshare(2), error EPERM; user_namespaces(7)")
.steps(&[
    "A process calls chroot(2). Not in the control.",
    "The process calls unshare(CLONE_NEWUSER), which must fail with EPERM.",
])
.by_means_of("chroot(2)")
.needs(&["CONFIG_USER_NS"], 3, 9, 0)
.probed_by(probe_user_namespace);

fn chroot_userns(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let answer: Answer = sandbox.run(|| {
        if sandbox.applies() {
            enter_chroot(scratch.path())?;
        }
        Ok(unshare(CloneFlags::CLONE_NEWUSER).map_err(Code::from))
    })?;
    judge("unshare(CLONE_NEWUSER)", &answer, &refused(Errno::EPERM), &Ok(()))
}

/// The calling process ends up in a new user namespace.
fn probe_user_namespace() -> Result<Probe, Trouble> {
    known("unshare(CLONE_NEWUSER)", unshare(CloneFlags::CLONE_NEWUSER), &[Errno::EINVAL], &[])
}

pub(super) const PIVOT_ROOT: Scenario = Scenario::new(
    "mount.pivot-root",
    "pivot_root(2) and umount2(2) leave nothing to escape to; a chroot does",
    pivot,
)
.shows(&["2d"], "pivot_root(2)")
.steps(&[
    "A process calls unshare(CLONE_NEWNS), makes its mounts private, and mounts a tmpfs on a directory.",
    "mount(MS_MOVE) puts the tmpfs on top of /, because before Linux 7.0 the initramfs itself cannot be pivoted.",
    "pivot_root(2) makes a second tmpfs the root, and umount2(MNT_DETACH) detaches the first.",
    "The control calls chroot(2) instead of pivot_root(2).",
    "chroot(2) into a subdirectory and 20 times chdir(\"..\") must not reach a file of the first root.",
])
.by_means_of("pivot_root(2)")
.needs(&[], 2, 4, 19);

fn pivot(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let mark = mark(&scratch)?;
    let seen = sandbox.run(|| {
        unshare_mounts()?;
        propagate(Path::new("/"), MsFlags::MS_PRIVATE | MsFlags::MS_REC)?;
        let dir = tmpfs(scratch.path(), "root")?;
        if sandbox.applies() {
            switch_root(&dir)?;
            mount_tmpfs(&directory(Path::new("/"), "new")?)?;
            pivot_into(Path::new("/new")).during("pivot_root(2)")?;
        } else {
            enter_chroot(&dir)?;
        }
        escape(&mark)
    })?;
    judge("whether the file outside the root directory is visible", &seen, &false, &true)
}

/// Puts a mount on top of `/`, and makes it the root directory, as `switch_root(8)` does.
fn switch_root(dir: &Path) -> Result<(), Trouble> {
    chdir(dir).during("chdir(2)")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).during("mount(MS_MOVE)")?;
    chroot(".").during("chroot(\".\")")?;
    chdir("/").during("chdir(/)")
}

/// Makes a mount the root directory, and detaches the old root.
fn pivot_into(dir: &Path) -> nix::Result<()> {
    chdir(dir)?;
    // The old root is then mounted on top of the new one (pivot_root(2), section Notes).
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

pub(super) const PIVOT_ROOT_INITRAMFS: Scenario = Scenario::new(
    "mount.pivot-root-initramfs",
    "pivot_root(2) replaces the initramfs, and nothing of it can be reached",
    pivot_initramfs,
)
.shows(&["2d", "version-21"], "pivot_root(2); fs/namespace.c, nullfs (Linux 7.0)")
.steps(&[
    "A process calls unshare(CLONE_NEWNS), makes its mounts private, and mounts a tmpfs on a directory.",
    "pivot_root(2) makes the tmpfs the root instead of the initramfs, and umount2(MNT_DETACH) detaches the initramfs.",
    "The control calls chroot(2) instead.",
    "chroot(2) into a subdirectory and 20 times chdir(\"..\") must not reach a file of the initramfs.",
])
.by_means_of("pivot_root(2)")
.needs(&[], 7, 0, 0)
.probed_by(probe_pivot_initramfs);

fn pivot_initramfs(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let mark = mark(&scratch)?;
    let seen = sandbox.run(|| {
        let dir = own_root(&scratch)?;
        if sandbox.applies() {
            pivot_into(&dir).during("pivot_root(2)")?;
        } else {
            enter_chroot(&dir)?;
        }
        escape(&mark)
    })?;
    judge("whether the file outside the root directory is visible", &seen, &false, &true)
}

/// The probe's process ends up in a new mount namespace with another root.
fn probe_pivot_initramfs() -> Result<Probe, Trouble> {
    let scratch = Scratch::new()?;
    let answer: Answer = Sandbox::none().run(|| Ok(pivot_into(&own_root(&scratch)?).map_err(Code::from)))?;
    known("pivot_root(2) from the initramfs", answer.map_err(Code::errno), &[Errno::EINVAL], &[])
}

/// Moves the process into a new mount namespace; returns a directory with a tmpfs.
fn own_root(scratch: &Scratch) -> Result<PathBuf, Trouble> {
    unshare_mounts()?;
    propagate(Path::new("/"), MsFlags::MS_PRIVATE | MsFlags::MS_REC)?;
    tmpfs(scratch.path(), "root")
}

pub(super) const FAILFS: Scenario =
    Scenario::new("mount.failfs", "A process whose root directory is failfs finds nothing by an absolute path", failfs)
        .shows(&["2d", "version-26"], "Documentation/filesystems/failfs.rst")
        .steps(&[
            "fchroot(-1) fails with EBADF: the kernel knows the call.",
            "A process opens a directory, and calls fchroot(FD_FAILFS_ROOT). Not in the control.",
            "open(2) of a file by its absolute path must fail with EOPNOTSUPP.",
            "open(2) of the same file by the open directory succeeds.",
        ])
        .by_means_of("fchroot(FD_FAILFS_ROOT)")
        .needs(&[], 7, 3, 0)
        .probed_by(probe_fchroot);

fn failfs(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    require("fchroot(-1)", &fchroot(-1).map_err(Code::from), &refused(Errno::EBADF))?;
    let scratch = Scratch::new()?;
    let path = scratch.join("file");
    write(&path, "")?;
    let (absolute, relative): (Answer, Answer) = sandbox.run(|| {
        let dir = File::open(scratch.path()).during("open(2) of a directory")?;
        if sandbox.applies() {
            fchroot(FD_FAILFS_ROOT).during("fchroot(FD_FAILFS_ROOT)")?;
        }
        let relative = openat(&dir, "file", OFlag::O_RDONLY, Mode::empty());
        let absolute = answer("open(2)", File::open(&path))?.map(drop);
        Ok((absolute, relative.map(drop).map_err(Code::from)))
    })?;
    require("openat(2) by the open directory", &relative, &Ok(()))?;
    judge("open(2) by the absolute path", &absolute, &refused(Errno::EOPNOTSUPP), &Ok(()))
}

fn probe_fchroot() -> Result<Probe, Trouble> {
    known("fchroot(-1)", fchroot(-1), &[Errno::ENOSYS], &[Errno::EBADF])
}

/// Writes a file; returns its path without the first slash.
pub(super) fn mark(scratch: &Scratch) -> Result<PathBuf, Trouble> {
    let mark = scratch.join("mark");
    write(&mark, "")?;
    let relative = mark.strip_prefix("/").during("a path below /")?;
    Ok(relative.to_owned())
}

pub(super) fn enter_chroot(dir: &Path) -> Result<(), Trouble> {
    chroot(dir).during("chroot(2)")?;
    chdir("/").during("chdir(/)")
}

/// Tries to leave the root directory of the calling process: with the working directory outside of the root directory, ".."
/// leads up to the root of the mount namespace. Returns whether the file is then visible.
pub(super) fn escape(mark: &Path) -> Result<bool, Trouble> {
    require("whether the file is visible from the root directory", &exists(&Path::new("/").join(mark))?, &false)?;
    let below = Path::new("/below");
    fs::create_dir(below).during("mkdir(/below)")?;
    chroot(below).during("chroot(/below)")?;
    for _ in 0..20 {
        chdir("..").during("chdir(\"..\")")?;
    }
    exists(mark)
}
