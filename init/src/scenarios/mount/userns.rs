//! File systems that later kernels allow root of a user namespace to mount.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use vmlab_protocol::catalogue::Namespace;

use super::{bind, directory, probe_user_namespaces};
use crate::sandbox::{Answer, Code, During, OUTER_ID, Sandbox, answer, refused};
use crate::scenarios::file::mount_overlay;
use crate::scenarios::support::{Scratch, decide, exists, judge, known, mount_kind, mount_tmpfs, read, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble, Undo};

const INSIDE: &[Namespace] = &[Namespace::User, Namespace::Mount];

pub(super) const OVERLAY: Scenario = Scenario::new(
    "mount.user-overlay",
    "Root of a user namespace may mount overlayfs; its writes do not reach the lower tree",
    overlay,
)
.shows(&["later-userns-mounts", "version-2", "5d"], "Documentation/filesystems/overlayfs.rst, section User xattr")
.steps(&[
    "Outside: a lower directory gets a file of the user that is root inside.",
    "Inside: mount(overlay, userxattr) merges it with an empty upper directory, and the file is written.",
    "The control makes a bind mount of the lower directory, and writes the file.",
    "Outside: the file must have the old content.",
])
.inside(INSIDE)
.by_means_of("overlayfs")
.needs(&["CONFIG_USER_NS", "CONFIG_OVERLAY_FS"], 5, 11, 0)
.with_modules(&["overlay"])
.probed_by(probe_overlay);

fn overlay(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    overlay_directories(scratch.path())?;
    let file = scratch.join("lower/file");
    write(&file, "old")?;
    // A file of an unmapped user could not be copied: EOVERFLOW.
    chown(&file, Some(OUTER_ID), Some(OUTER_ID)).during("chown(2)")?;
    let merged = scratch.join("merged/file");
    let inside = sandbox.run(|| {
        if sandbox.applies() {
            mount_overlay(scratch.path(), ",userxattr")?;
        } else {
            bind(&scratch.join("lower"), &scratch.join("merged"), MsFlags::empty())?;
        }
        write(&merged, "new")?;
        read(&merged)
    })?;
    require("the content of the file inside", &inside, &"new".to_owned())?;
    judge("the content of the file outside", &read(&file)?, &"old".to_owned(), &"new".to_owned())
}

fn overlay_directories(dir: &Path) -> Result<(), Trouble> {
    for name in ["lower", "upper", "work", "merged"] {
        let path = directory(dir, name)?;
        fs::set_permissions(&path, Permissions::from_mode(0o777)).during("chmod(2)")?;
    }
    Ok(())
}

fn probe_overlay() -> Result<Probe, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    overlay_directories(scratch.path())?;
    let dir = scratch.path().display();
    let data = format!("lowerdir={dir}/lower,upperdir={dir}/upper,workdir={dir}/work,userxattr");
    // Before 5.11, the file system lacks FS_USERNS_MOUNT, and the answer is EPERM.
    probe_mount("overlay", &scratch.join("merged"), Some(&data))
}

pub(super) const BINFMT_MISC: Scenario = Scenario::new(
    "mount.user-binfmt-misc",
    "Root of a user namespace may mount binfmt_misc, whose formats are not registered outside",
    binfmt_misc,
)
.shows(&["later-userns-mounts", "version-3"], "Documentation/admin-guide/binfmt-misc.rst")
.steps(&[
    "Inside: mount(2) mounts binfmt_misc, and a format is registered.",
    "Outside: mount(2) mounts binfmt_misc. It must not have the format.",
])
.inside(INSIDE)
.needs(&["CONFIG_USER_NS", "CONFIG_BINFMT_MISC"], 6, 7, 0)
.with_modules(&["binfmt_misc"])
.probed_by(probe_binfmt_misc);

fn binfmt_misc(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let (inner, outer) = (directory(scratch.path(), "inner")?, directory(scratch.path(), "outer")?);
    mount_misc(&outer).during("mount(binfmt_misc) outside")?;
    let format = outer.join("vmlab");
    let _back = Undo::new("the binary format", || if exists(&format)? { write(&format, "-1") } else { Ok(()) });
    let inside = sandbox.run(|| {
        mount_misc(&inner).during("mount(binfmt_misc) inside")?;
        write(inner.join("register"), ":vmlab:M::VMLB::/vmlab-interpreter:")?;
        exists(&inner.join("vmlab"))
    })?;
    require("whether the format is registered inside", &inside, &true)?;
    judge("whether the format is registered outside", &exists(&format)?, &false, &true)
}

fn mount_misc(target: &Path) -> nix::Result<()> {
    mount_kind("binfmt_misc", target, None)
}

fn probe_binfmt_misc() -> Result<Probe, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let target = directory(scratch.path(), "mount")?;
    match mount_misc(&target) {
        Ok(()) => {}
        Err(Errno::ENODEV) => return Ok(Probe::Missing("mount(binfmt_misc): ENODEV".to_owned())),
        Err(errno) => return Err(errno).during("mount(binfmt_misc) as root"),
    }
    // Before 6.7, the file system lacks FS_USERNS_MOUNT, and the answer is EPERM.
    probe_mount("binfmt_misc", &target, None)
}

/// Mounts in a user namespace. EPERM is what a kernel answers that does not allow it for this file system.
fn probe_mount(kind: &'static str, target: &Path, data: Option<&str>) -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = probe_user_namespaces()? {
        return Ok(missing);
    }
    let answer: Answer = Sandbox::none()
        .with_namespaces(INSIDE)
        .run(|| Ok(mount(Some("vmlab"), target, Some(kind), MsFlags::empty(), data).map_err(Code::from)))?;
    let call = format!("mount({kind}) in a user namespace");
    known(&call, answer.map_err(Code::errno), &[Errno::EPERM, Errno::ENODEV], &[])
}

pub(super) const FUSE: Scenario = Scenario::new(
    "mount.user-fuse",
    "Processes outside a user namespace cannot enter a FUSE file system that is mounted inside",
    fuse,
)
.shows(&["later-userns-mounts"], "Documentation/filesystems/fuse.rst; fuse(4)")
.steps(&[
    "Outside: /dev/fuse gets mode 0666, as udev sets it.",
    "Inside: /dev/fuse is opened, mount(fuse, allow_other) mounts a file system, and /dev/fuse is closed.",
    "Outside: stat(2) of its root by /proc/PID/root must fail with EACCES.",
    "In the control, which has a mount namespace only, it fails with ENOTCONN, because nobody serves the file system.",
])
.inside(INSIDE)
.control_inside(&[Namespace::Mount])
.needs(&["CONFIG_USER_NS", "CONFIG_FUSE_FS"], 4, 18, 0)
.with_modules(&["fuse"])
.probed_by(probe_fuse);

const DEVICE: &str = "/dev/fuse";

fn fuse(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let before = fs::metadata(DEVICE).during("stat(/dev/fuse)")?.permissions();
    let _back =
        Undo::new("the mode of /dev/fuse", || fs::set_permissions(DEVICE, before.clone()).during("chmod(/dev/fuse)"));
    fs::set_permissions(DEVICE, Permissions::from_mode(0o666)).during("chmod(/dev/fuse)")?;
    let inside = sandbox.hold(|| {
        let device = File::options().read(true).write(true).open(DEVICE).during("open(/dev/fuse) inside")?;
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        mount(Some("vmlab"), scratch.path(), Some("fuse"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(data.as_str()))
            .during("mount(fuse) inside")
    })?;
    let root = format!("/proc/{}/root{}", inside.pid(), scratch.path().display());
    let seen = answer("stat(2)", fs::metadata(root))?.map(drop);
    // 7.3 answers ECONNREFUSED, because it looks at the failed INIT first (fs/fuse/req.c, fuse_req_prep).
    let dead = [Errno::ENOTCONN, Errno::ECONNREFUSED].map(refused).contains(&seen);
    decide("stat(2) outside", &seen, (seen == refused(Errno::EACCES), dead), "EACCES, or ENOTCONN or ECONNREFUSED")
}

fn probe_fuse() -> Result<Probe, Trouble> {
    let missing = || Probe::Missing(format!("there is no {DEVICE}"));
    Ok(if exists(Path::new(DEVICE))? { Probe::Available } else { missing() })
}
