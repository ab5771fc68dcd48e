//! Bind mounts, and flags that hold for one mount and not for the file system.

use std::fs::{self, File};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use vmlab_protocol::catalogue::Namespace;

use super::{bind, create, directory, probe_setattr, tmpfs};
use crate::sandbox::{Code, During, Sandbox, refused};
use crate::scenarios::support::{Scratch, judge, mount_tmpfs, require};
use crate::scenarios::{Finding, Scenario, Trouble};
use crate::sys::mount::{At, Attributes, set_attributes};

pub(super) const READONLY: Scenario = Scenario::new(
    "mount.bind-readonly",
    "A bind mount made read-only inside leaves the path writable outside",
    readonly,
)
.shows(&["0a"], "mount(2), section Remounting an existing mount")
.steps(&[
    "Inside: mount(MS_BIND) mounts a directory on itself, and mount(MS_REMOUNT | MS_BIND | MS_RDONLY) makes it read-only.",
    "Inside: open(O_CREAT) in the directory fails with EROFS.",
    "Outside: open(O_CREAT) in the directory must succeed.",
])
.inside(&[Namespace::Mount])
.needs(&[], 2, 6, 26);

fn readonly(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let inside = sandbox.run(|| {
        bind(scratch.path(), scratch.path(), MsFlags::empty())?;
        bind(scratch.path(), scratch.path(), MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)?;
        create(&scratch.join("inside"))
    })?;
    require("open(O_CREAT) inside", &inside, &refused(Errno::EROFS))?;
    judge("open(O_CREAT) outside", &create(&scratch.join("outside"))?, &Ok(()), &refused(Errno::EROFS))
}

pub(super) const REMOUNT: Scenario = Scenario::new(
    "mount.bind-remount",
    "A remount makes a bind mount read-only; mount(MS_BIND | MS_RDONLY) ignores the flag",
    remount,
)
.shows(&["0a"], "mount(2), section Creating a bind mount")
.steps(&[
    "mount(MS_BIND | MS_RDONLY) mounts a directory on another one.",
    "mount(MS_REMOUNT | MS_BIND | MS_RDONLY) makes this mount read-only. Not in the control.",
    "open(O_CREAT) by the path of the source succeeds.",
    "open(O_CREAT) by the path of the bind mount must fail with EROFS. In the control it succeeds.",
])
.by_means_of("MS_REMOUNT | MS_BIND | MS_RDONLY")
.needs(&[], 2, 6, 26);

fn remount(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let bound = Bound::new(MsFlags::MS_RDONLY)?;
    if sandbox.applies() {
        bind(&bound.source, &bound.target, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)?;
    }
    require("open(O_CREAT) by the source", &create(&bound.source.join("source"))?, &Ok(()))?;
    let seen = create(&bound.target.join("target"))?;
    judge("open(O_CREAT) by the bind mount", &seen, &refused(Errno::EROFS), &Ok(()))
}

pub(super) const BUSY: Scenario = Scenario::new(
    "mount.bind-busy",
    "A bind mount with a file open for writing cannot be made read-only",
    busy,
)
.shows(&["0a"], "mount(2), error EBUSY")
.steps(&[
    "mount(MS_BIND) mounts a directory on another one.",
    "A file is opened for writing by the path of the bind mount. The control opens it by the path of the source.",
    "mount(MS_REMOUNT | MS_BIND | MS_RDONLY) of the bind mount must fail with EBUSY.",
])
.by_means_of("a file open for writing")
.needs(&[], 2, 6, 26);

fn busy(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let bound = Bound::new(MsFlags::empty())?;
    let dir = if sandbox.applies() { &bound.target } else { &bound.source };
    let open = File::create_new(dir.join("file")).during("creating a file")?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    let answer = mount(None::<&str>, &bound.target, None::<&str>, flags, None::<&str>).map_err(Code::from);
    drop(open);
    judge("mount(MS_REMOUNT | MS_BIND | MS_RDONLY)", &answer, &refused(Errno::EBUSY), &Ok(()))
}

/// A directory that is mounted on another one.
struct Bound {
    source: PathBuf,
    target: PathBuf,
    _scratch: Scratch,
}

impl Bound {
    fn new(flags: MsFlags) -> Result<Self, Trouble> {
        let scratch = Scratch::new()?;
        mount_tmpfs(scratch.path())?;
        let (source, target) = (directory(scratch.path(), "source")?, directory(scratch.path(), "target")?);
        bind(&source, &target, flags)?;
        Ok(Self { source, target, _scratch: scratch })
    }
}

pub(super) const SETATTR: Scenario = Scenario::new(
    "mount.setattr",
    "mount_setattr(2) inside makes a tree of mounts read-only only inside",
    setattr,
)
.shows(&["0a"], "mount_setattr(2)")
.steps(&[
    "Outside: mount(2) mounts a tmpfs, and another one below it.",
    "Inside: mount_setattr(AT_RECURSIVE) makes both read-only, and open(O_CREAT) on the lower fails with EROFS.",
    "Outside: open(O_CREAT) on the lower must succeed.",
])
.inside(&[Namespace::Mount])
.needs(&[], 5, 12, 0)
.probed_by(probe_setattr);

fn setattr(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let below = tmpfs(scratch.path(), "below")?;
    let inside = sandbox.run(|| {
        set_attributes(At::Path(scratch.path()), true, Attributes::READ_ONLY).during("mount_setattr(2) inside")?;
        create(&below.join("inside"))
    })?;
    require("open(O_CREAT) on the submount inside", &inside, &refused(Errno::EROFS))?;
    judge("open(O_CREAT) on the submount outside", &create(&below.join("outside"))?, &Ok(()), &refused(Errno::EROFS))
}

pub(super) const SETATTR_RECURSIVE: Scenario = Scenario::new(
    "mount.setattr-recursive",
    "mount_setattr(AT_RECURSIVE) changes a whole tree of mounts; mount(MS_REC) only its top",
    setattr_recursive,
)
.shows(&["0a"], "mount_setattr(2), section Description; mount(2)")
.steps(&[
    "mount(MS_BIND | MS_REC) mounts a tmpfs with another tmpfs below it on a directory.",
    "mount_setattr(AT_RECURSIVE) makes the tree read-only. The control calls mount(MS_REMOUNT | MS_BIND | MS_REC | MS_RDONLY).",
    "open(O_CREAT) on the upper mount of the tree fails with EROFS.",
    "open(O_CREAT) on the lower mount must fail with EROFS. In the control it succeeds.",
])
.by_means_of("mount_setattr(2), AT_RECURSIVE")
.needs(&[], 5, 12, 0)
.probed_by(probe_setattr);

fn setattr_recursive(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    let (source, target) = (tmpfs(scratch.path(), "source")?, directory(scratch.path(), "target")?);
    fs::create_dir(source.join("below")).during("mkdir(2)")?;
    mount_tmpfs(&source.join("below"))?;
    bind(&source, &target, MsFlags::MS_REC)?;
    if sandbox.applies() {
        set_attributes(At::Path(&target), true, Attributes::READ_ONLY).during("mount_setattr(AT_RECURSIVE)")?;
    } else {
        bind(&source, &target, MsFlags::MS_REMOUNT | MsFlags::MS_REC | MsFlags::MS_RDONLY)?;
    }
    require("open(O_CREAT) on the upper mount", &create(&target.join("file"))?, &refused(Errno::EROFS))?;
    let seen = create(&target.join("below/file"))?;
    judge("open(O_CREAT) on the lower mount", &seen, &refused(Errno::EROFS), &Ok(()))
}
