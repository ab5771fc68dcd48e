//! The root of a command: an overlay of a tmpfs on the host's files, with file systems of the guest's kernel at their usual places.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::chroot;
use vmlab_protocol::command::Command;

use super::autoload;
use crate::files::HOST;
use crate::sandbox::{During as _, Trouble};

/// Where a root is made.
pub(crate) struct Place<'a> {
    /// The directory for mounts that the command does not see.
    pub(crate) base: &'a Path,
    /// The directory that the root shows.
    pub(crate) lower: &'a Path,
}

impl Place<'static> {
    /// The place in a guest.
    pub(crate) fn in_guest() -> Self {
        Self { base: Path::new("/command"), lower: Path::new(HOST) }
    }
}

struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: MsFlags,
    options: &'static str,
    /// Whether the command cannot do without it. Small and old kernels lack the other ones.
    needed: bool,
}

const fn entry(kind: &'static str, target: &'static str, flags: MsFlags, options: &'static str, needed: bool) -> Mount {
    Mount { kind, target, flags, options, needed }
}

const NONE: MsFlags = MsFlags::empty();
const NO_SUID: MsFlags = MsFlags::MS_NOSUID;
const NO_DEV: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const NO_EXEC: MsFlags = NO_DEV.union(MsFlags::MS_NOEXEC);

/// In mount order: parents before children. /tmp is not here, because programs are tested with files that lie there; /dev/pts is
/// that of the agent, which opens the terminal.
const MOUNTS: &[Mount] = &[
    entry("proc", "/proc", NO_EXEC, "", true),
    entry("sysfs", "/sys", NO_EXEC, "", true),
    entry("devtmpfs", "/dev", NO_SUID, "mode=0755", true),
    entry("tmpfs", "/dev/shm", NO_DEV, "mode=1777", false),
    entry("mqueue", "/dev/mqueue", NO_EXEC, "", false),
    entry("tmpfs", "/run", NO_DEV, "mode=0755", true),
    entry("cgroup2", "/sys/fs/cgroup", NO_EXEC, "", false),
    entry("bpf", "/sys/fs/bpf", NO_EXEC, "mode=0700", false),
];

/// What programs expect in /dev besides devices.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Makes the root and a mount namespace for it, and moves the calling process there. The root is that of the namespace and no
/// chroot(2), so that the command can create user namespaces and call pivot_root(2).
///
/// An overlay on FUSE turns stale with its guest's template, so each command gets its own.
pub(crate) fn enter(place: &Place<'_>, command: &Command) -> Result<(), Trouble> {
    unshare(CloneFlags::CLONE_NEWNS).during("unshare(CLONE_NEWNS)")?;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).during("mount(/, MS_REC | MS_PRIVATE)")?;
    let terminals = directory(Path::new("/dev/pts"));
    let root = if command.host_files { overlay(place)? } else { empty(place)? };
    env::set_current_dir(&root).during(format!("chdir({})", root.display()))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).during("mount(/, MS_MOVE)")?;
    chroot(".").during("chroot")?;
    env::set_current_dir("/").during("chdir(/)")?;
    furnish(command, terminals)
}

/// Mounts the overlay; returns its mount point.
fn overlay(place: &Place<'_>) -> Result<PathBuf, Trouble> {
    make_dir(place.base)?;
    mount_at("tmpfs", place.base, NONE, "mode=0755").during("mount(tmpfs) for the command's files")?;
    let [root, upper, work] = ["root", "upper", "work"].map(|name| place.base.join(name));
    for dir in [&root, &upper, &work] {
        make_dir(dir)?;
    }
    let dirs = format!("lowerdir={},upperdir={},workdir={}", place.lower.display(), upper.display(), work.display());
    // With these, directories of the host's can be renamed, and files and directories have the same device number
    // (Documentation/filesystems/overlayfs.rst). A kernel may refuse them.
    let options = format!("{dirs},redirect_dir=on,xino=on");
    match mount_at("overlay", &root, NONE, &options) {
        Err(Errno::EINVAL) => mount_at("overlay", &root, NONE, &dirs),
        mounted => mounted,
    }
    .during("mount(overlay)")?;
    Ok(root)
}

/// Mounts an empty file system; returns its mount point.
fn empty(place: &Place<'_>) -> Result<PathBuf, Trouble> {
    make_dir(place.base)?;
    mount_at("tmpfs", place.base, NONE, "mode=0755").during("mount(tmpfs) for the command's root")?;
    Ok(place.base.to_owned())
}

/// Mounts the kernel's file systems in the root, and what they must not hide.
fn furnish(command: &Command, terminals: Option<File>) -> Result<(), Trouble> {
    let cwd = Path::new(command.cwd.as_os_str());
    let hidden = directory(cwd);
    for mount in MOUNTS {
        mount_one(mount)?;
    }
    if let Some(terminals) = terminals {
        bind(&terminals, Path::new("/dev/pts"))?;
    }
    autoload::make_nodes();
    for (target, link) in LINKS {
        match symlink(target, link) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).during(format!("symlink({link})")),
        }
    }
    if let Some(hidden) = hidden
        && !cwd.exists()
    {
        bind(&hidden, cwd)?;
    }
    let tmp = Path::new("/tmp");
    if !tmp.exists() {
        make_dir(tmp)?;
        fs::set_permissions(tmp, fs::Permissions::from_mode(0o1777)).during("chmod(/tmp)")?;
    }
    Ok(())
}

fn mount_one(entry: &Mount) -> Result<(), Trouble> {
    let Mount { kind, target, flags, options, needed } = entry;
    let target = Path::new(target);
    // In sysfs only the kernel creates directories: a missing mount point means that the kernel lacks the feature.
    let mounted = make_dir(target).and_then(|()| {
        mount_at(kind, target, *flags, options).during(format!("mount({kind}) on {}", target.display()))
    });
    if *needed { mounted } else { Ok(()) }
}

/// Opens a directory for [`bind`]; None if there is no such directory.
fn directory(path: &Path) -> Option<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).ok()
}

/// Shows a directory at `target`.
fn bind(directory: &File, target: &Path) -> Result<(), Trouble> {
    make_dir(target)?;
    let source = format!("/proc/self/fd/{}", directory.as_raw_fd());
    mount(Some(source.as_str()), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .during(format!("mount(MS_BIND) on {}", target.display()))
}

fn mount_at(kind: &str, target: &Path, flags: MsFlags, options: &str) -> Result<(), Errno> {
    mount(Some(kind), target, Some(kind), flags, Some(options))
}

fn make_dir(path: &Path) -> Result<(), Trouble> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).during(format!("mkdir({})", path.display()))
}
