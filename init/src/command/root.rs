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
use nix::unistd::{chroot, fchdir};
use vmlab_protocol::command::Command;

use crate::files::HOST;
use crate::sandbox::{During as _, Trouble};

/// Where a root is made.
#[derive(Clone, Copy)]
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
    /// Relative to the root.
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
    entry("proc", "proc", NO_EXEC, "", true),
    entry("sysfs", "sys", NO_EXEC, "", true),
    entry("devtmpfs", "dev", NO_SUID, "mode=0755", true),
    entry("tmpfs", "dev/shm", NO_DEV, "mode=1777", false),
    entry("mqueue", "dev/mqueue", NO_EXEC, "", false),
    entry("tmpfs", "run", NO_DEV, "mode=0755", true),
    entry("cgroup2", "sys/fs/cgroup", NO_EXEC, "", false),
    entry("bpf", "sys/fs/bpf", NO_EXEC, "mode=0700", false),
    entry("debugfs", "sys/kernel/debug", NO_EXEC, "mode=0700", false),
    entry("tracefs", "sys/kernel/tracing", NO_EXEC, "mode=0700", false),
];

/// The directories of the root that the file systems of the kernel take, with those below them.
const TAKEN: [&str; 4] = ["proc", "sys", "dev", "run"];

/// The directory of [`Place::base`] that has what a command writes.
const UPPER: &str = "upper";

/// What programs expect in /dev besides devices.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
];

/// A root that is mounted beside what will be in it. The calling process has a mount namespace of its own.
///
/// This does as much as possible without a look at the host's files, because it may be done before a template is saved: the guest's
/// kernel must not know files then that a fork's host does not know.
#[derive(Debug)]
pub(crate) struct Root {
    /// Where the file systems of the kernel are mounted.
    base: PathBuf,
}

const ROOT: &str = "root";

impl Root {
    /// Mounts everything. With `host_files` the root is an overlay on the place's lower directory, and else an empty directory.
    pub(super) fn mount(place: Place<'_>, host_files: bool) -> Result<Self, Trouble> {
        unshare(CloneFlags::CLONE_NEWNS).during("unshare(CLONE_NEWNS)")?;
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).during("mount(/, MS_REC | MS_PRIVATE)")?;
        let terminals = directory(Path::new("/dev/pts"));
        let Place { base, lower } = place;
        make_dir(base)?;
        mount_at("tmpfs", base, NONE, "mode=0755").during("mount(tmpfs) for the command's files")?;
        let root = base.join(ROOT);
        make_dir(&root)?;
        if host_files { overlay(base, lower, &root) } else { bind(&root, &root) }?;
        for entry in MOUNTS {
            mount_one(entry, base)?;
        }
        if let Some(terminals) = terminals {
            bind(&path_of(&terminals), &base.join("dev/pts"))?;
        }
        for (target, link) in LINKS {
            match symlink(target, base.join(link)) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).during(format!("symlink({link})")),
            }
        }
        Ok(Self { base: base.to_owned() })
    }

    /// The place of a file in the file systems of the kernel, as long as the root is not entered.
    pub(super) fn staged(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// Moves the calling process to the root, and the file systems of the kernel to their places. The root is that of the namespace
    /// and no chroot(2), so that the command can create user namespaces and call pivot_root(2).
    ///
    /// Returns the layer of the overlay that has what the command writes, if the command has files to copy.
    pub(super) fn enter(self, command: &Command) -> Result<Option<File>, Trouble> {
        let needs_upper = command.host_files && !command.out.is_empty();
        let upper =
            needs_upper.then(|| File::open(self.base.join(UPPER))).transpose().during("open the upper layer")?;
        let outside = directory(Path::new("/")).ok_or_else(|| Trouble::new("open(/) failed"))?;
        // In the root its links lead to where they lead for the command; what is mounted outside has relative paths.
        env::set_current_dir(&self.base).during(format!("chdir({})", self.base.display()))?;
        chroot(ROOT).during("chroot(the command's root)")?;
        let cwd = Path::new(command.cwd.as_os_str());
        let hidden = directory(cwd);
        for name in TAKEN {
            let target = Path::new("/").join(name);
            // An attempt to make a directory that is there takes several times as long.
            if !target.exists() {
                make_dir(&target)?;
            }
            move_mount(Path::new(name), &target)?;
        }
        if let Some(hidden) = hidden
            && !cwd.exists()
        {
            bind(&path_of(&hidden), cwd)?;
        }
        let tmp = Path::new("/tmp");
        if !tmp.exists() {
            make_dir(tmp)?;
            fs::set_permissions(tmp, fs::Permissions::from_mode(0o1777)).during("chmod(/tmp)")?;
        }
        env::set_current_dir(ROOT).during("chdir(the command's root)")?;
        let inside = directory(Path::new(".")).ok_or_else(|| Trouble::new("open(the command's root) failed"))?;
        fchdir(&outside).and_then(|()| chroot(".")).during("chroot(the guest's root)")?;
        fchdir(&inside).during("fchdir(the command's root)")?;
        move_mount(Path::new("."), Path::new("/"))?;
        chroot(".").during("chroot")?;
        env::set_current_dir("/").during("chdir(/)")?;
        Ok(upper)
    }
}

/// Mounts the overlay.
///
/// Each command gets its own: what it writes does not show in another one.
fn overlay(base: &Path, lower: &Path, root: &Path) -> Result<(), Trouble> {
    let [upper, work] = [UPPER, "work"].map(|name| base.join(name));
    make_dir(&upper)?;
    make_dir(&work)?;
    let dirs = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    // With these, directories of the host's can be renamed, and files and directories have the same device number
    // (Documentation/filesystems/overlayfs.rst). A kernel may refuse them.
    let options = format!("{dirs},redirect_dir=on,xino=on");
    match mount_at("overlay", root, NONE, &options) {
        Err(Errno::EINVAL) => mount_at("overlay", root, NONE, &dirs),
        mounted => mounted,
    }
    .during("mount(overlay)")
}

fn mount_one(entry: &Mount, base: &Path) -> Result<(), Trouble> {
    let Mount { kind, target, flags, options, needed } = entry;
    let target = base.join(target);
    // In sysfs only the kernel creates directories: a missing mount point means that the kernel lacks the feature.
    let mounted = make_dir(&target).and_then(|()| {
        mount_at(kind, &target, *flags, options).during(format!("mount({kind}) on {}", target.display()))
    });
    if *needed { mounted } else { Ok(()) }
}

/// Opens a directory to refer to it later; None if there is no such directory.
fn directory(path: &Path) -> Option<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).ok()
}

fn path_of(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Shows a directory at `target`, too.
fn bind(directory: &Path, target: &Path) -> Result<(), Trouble> {
    make_dir(target)?;
    mount(Some(directory), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .during(format!("mount(MS_BIND) on {}", target.display()))
}

fn move_mount(from: &Path, to: &Path) -> Result<(), Trouble> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).during(format!(
        "mount(MS_MOVE) from {} to {}",
        from.display(),
        to.display()
    ))
}

fn mount_at(kind: &str, target: &Path, flags: MsFlags, options: &str) -> Result<(), Errno> {
    mount(Some(kind), target, Some(kind), flags, Some(options))
}

fn make_dir(path: &Path) -> Result<(), Trouble> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).during(format!("mkdir({})", path.display()))
}
