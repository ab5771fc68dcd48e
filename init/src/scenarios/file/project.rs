//! Project ids and their quotas: a directory tree is counted, limited and separated from others.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use vmlab_protocol::catalogue::Namespace;

use super::disk::{self, LoopDisk};
use super::ext4::Feature;
use super::memory::fill;
use crate::sandbox::{Code, During, Sandbox, answer, refused};
use crate::scenarios::support::{become_user, exists, judge, known, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::attributes::set_project;
use crate::sys::quota::{Disk, limit_project, project_usage, quotactl_fd_nowhere};

const CONFIG: &[&str] = &["CONFIG_BLK_DEV_LOOP", "CONFIG_EXT4_FS", "CONFIG_QUOTA", "CONFIG_QFMT_V2"];
const MODULES: &[&str] = &["loop", "ext4", "quota_v2"];
const PROJECT: u32 = 42;

pub(super) const BOUNDARY: Scenario = Scenario::new(
    "file.project-boundary",
    "A file cannot be linked or moved into the directory of another project",
    boundary,
)
.shows(&["4c"], "Documentation/filesystems/ext4; fs/ext4/namei.c, ext4_link and ext4_rename")
.steps(&[
    "mount(2) mounts a new ext4 file system with project quotas from a loop device.",
    "FS_IOC_FSSETXATTR gives two directories different project ids, which new files inherit. Not in the control.",
    "link(2) and rename(2) of a file from one directory to the other must fail with EXDEV.",
])
.by_means_of("FS_IOC_FSSETXATTR")
.needs(CONFIG, 5, 8, 0)
.with_modules(MODULES)
.probed_by(probe);

fn boundary(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = LoopDisk::ext4(Feature::Project)?;
    let (first, second) = (directory(&disk, "first")?, directory(&disk, "second")?);
    if sandbox.applies() {
        mark(&first, PROJECT)?;
        mark(&second, PROJECT + 1)?;
    }
    let file = first.join("file");
    write(&file, "")?;
    let seen = (
        answer("link(2)", fs::hard_link(&file, second.join("link")))?,
        answer("rename(2)", fs::rename(&file, second.join("file")))?,
    );
    let refusal = refused(Errno::EXDEV);
    judge("link(2) and rename(2) into the other directory", &seen, &(refusal, refusal), &(Ok(()), Ok(())))
}

pub(super) const LIMIT: Scenario = Scenario::new(
    "file.project-limit",
    "An ordinary user cannot write more to a project's directory than its hard limit allows",
    limit,
)
.shows(&["6c"], "quotactl(2), Q_SETQUOTA")
.steps(&[
    "mount(2) mounts a new ext4 file system with project quotas from a loop device.",
    "FS_IOC_FSSETXATTR gives a directory a project id. Not in the control.",
    "quotactl(Q_SETQUOTA) limits the project to 64 KiB, of which the directory takes 4 KiB.",
    "User 1000 writes 128 KiB to a file in the directory: write(2) must fail with EDQUOT after 60 KiB.",
    "Root writes 128 KiB more, because CAP_SYS_RESOURCE lifts the limit.",
])
.by_means_of("FS_IOC_FSSETXATTR")
.needs(CONFIG, 5, 8, 0)
.with_modules(MODULES)
.probed_by(probe);

fn limit(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = LoopDisk::ext4(Feature::Project)?;
    let dir = directory(&disk, "project")?;
    if sandbox.applies() {
        mark(&dir, PROJECT)?;
    }
    limit_project(Disk::Device(disk.device()), PROJECT, 65_536).during("quotactl(Q_SETQUOTA)")?;
    let written = sandbox.run(|| {
        become_user(1000)?;
        fill(&dir.join("user"))
    })?;
    require("bytes that root could write, and the error", &fill(&dir.join("root"))?, &(131_072, Ok(())))?;
    let limited = (61_440, refused(Errno::EDQUOT));
    judge("bytes that user 1000 could write, and the error", &written, &limited, &(131_072, Ok(())))
}

pub(super) const USAGE: Scenario = Scenario::new(
    "file.project-usage",
    "Files in a project's directory count towards the project, and other files do not",
    usage,
)
.shows(&["4b", "4c"], "quotactl(2), Q_GETQUOTA")
.steps(&[
    "mount(2) mounts a new ext4 file system with project quotas from a loop device.",
    "FS_IOC_FSSETXATTR gives a directory a project id.",
    "64 KiB are written to a file in the directory. The control writes to a file beside the directory.",
    "quotactl(Q_GETQUOTA) must show that the project uses 65536 bytes more.",
])
.by_means_of("the project's directory")
.needs(CONFIG, 5, 8, 0)
.with_modules(MODULES)
.probed_by(probe);

fn usage(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = LoopDisk::ext4(Feature::Project)?;
    let dir = directory(&disk, "project")?;
    mark(&dir, PROJECT)?;
    let used = || project_usage(Disk::Device(disk.device()), PROJECT).during("quotactl(Q_GETQUOTA)");
    let before = used()?;
    let path = if sandbox.applies() { dir.join("file") } else { disk.join("file") };
    fs::write(path, [1; 65_536]).during("writing a file")?;
    judge("bytes that the project uses in addition", &(used()? - before), &65_536, &0)
}

pub(super) const USER_NAMESPACE: Scenario = Scenario::new(
    "file.project-userns",
    "Root of a user namespace cannot change the project id of its own directory",
    user_namespace,
)
.shows(&["3h"], "Documentation/filesystems/ext4; fs/ioctl.c, fileattr_set_prepare")
.steps(&[
    "Outside: mount(2) mounts a new ext4 file system with project quotas from a loop device.",
    "Inside: mkdir(2) makes a directory there, and FS_IOC_FSSETXATTR must fail with EINVAL.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_BLK_DEV_LOOP", "CONFIG_EXT4_FS", "CONFIG_QUOTA", "CONFIG_QFMT_V2"], 5, 8, 0)
.with_modules(MODULES)
.probed_by(probe);

fn user_namespace(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = LoopDisk::ext4(Feature::Project)?;
    let set = sandbox.run(|| {
        let dir = File::open(directory(&disk, "project")?).during("open(2) of the directory")?;
        Ok(set_project(&dir, PROJECT).map_err(Code::from))
    })?;
    judge("ioctl(FS_IOC_FSSETXATTR) inside", &set, &refused(Errno::EINVAL), &Ok(()))
}

pub(super) const QUOTACTL_FD: Scenario = Scenario::new(
    "file.quotactl-fd",
    "quotactl_fd(2) takes an open directory, where quotactl(2) needs the block device",
    quotactl_fd,
)
.shows(&["3h", "version-32"], "quotactl(2), section quotactl_fd")
.steps(&[
    "mount(2) mounts a new ext4 file system with project quotas from a loop device.",
    "FS_IOC_FSSETXATTR gives a directory a project id, and the project so uses one block.",
    "quotactl_fd(Q_GETQUOTA) of the open directory must return 4096 bytes.",
    "The control passes the path of the directory to quotactl(2), which fails with ENOTBLK.",
])
.by_means_of("quotactl_fd(2)")
.needs(CONFIG, 5, 14, 0)
.with_modules(MODULES)
.probed_by(probe_quotactl_fd);

fn quotactl_fd(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = LoopDisk::ext4(Feature::Project)?;
    let dir = directory(&disk, "project")?;
    mark(&dir, PROJECT)?;
    let open = File::open(&dir).during("open(2) of the directory")?;
    let place = if sandbox.applies() { Disk::File(&open) } else { Disk::Device(&dir) };
    let seen = project_usage(place, PROJECT).map_err(Code::from);
    judge("Q_GETQUOTA by the directory", &seen, &Ok(4096), &refused(Errno::ENOTBLK))
}

fn probe_quotactl_fd() -> Result<Probe, Trouble> {
    known("quotactl_fd(-1)", quotactl_fd_nowhere(), &[Errno::ENOSYS], &[Errno::EBADF])?.and(probe)
}

fn probe() -> Result<Probe, Trouble> {
    // Only with CONFIG_QUOTA (fs/quota/dquot.c).
    let sysctl = "/proc/sys/fs/quota";
    if exists(Path::new(sysctl))? { disk::probe() } else { Ok(Probe::Missing(format!("there is no {sysctl}"))) }
}

/// A directory in which every user may write.
fn directory(disk: &LoopDisk, name: &str) -> Result<PathBuf, Trouble> {
    let path = disk.join(name);
    fs::create_dir(&path).during("mkdir(2)")?;
    fs::set_permissions(&path, Permissions::from_mode(0o777)).during("chmod(2)")?;
    Ok(path)
}

fn mark(dir: &Path, project: u32) -> Result<(), Trouble> {
    let open = File::open(dir).during("open(2) of a directory")?;
    set_project(&open, project).during("ioctl(FS_IOC_FSSETXATTR)")
}
