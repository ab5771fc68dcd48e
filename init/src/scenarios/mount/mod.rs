//! Mount namespaces, mount flags, and the calls that mount.

mod api;
mod attributes;
mod bind;
mod events;
mod forbidden;
mod idmapped;
mod locked;
mod namespace;
mod propagation;
mod root;
mod statmount;
mod userns;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::support::{exists, known, mount_tmpfs};
use super::{Probe, Scenario, Trouble};
use crate::sandbox::{Answer, During, answer};
use crate::sys::mount::{At, Attributes, set_attributes};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &api::BENEATH,
    &bind::BUSY,
    &bind::READONLY,
    &bind::REMOUNT,
    &root::CHROOT_ESCAPE,
    &root::CHROOT_USERNS,
    &api::CREATE_EXCLUSIVE,
    &namespace::EMPTY,
    &events::EVENTS,
    &root::FAILFS,
    &namespace::FSMOUNT,
    &idmapped::IDMAPPED,
    &idmapped::CLEAR,
    &idmapped::EXT4,
    &idmapped::UNSUPPORTED,
    &locked::REMOUNT,
    &locked::SETATTR,
    &locked::UMOUNT,
    &events::NAMESPACES,
    &attributes::NODEV,
    &attributes::NOEXEC,
    &attributes::NOSUID,
    &attributes::NOSYMFOLLOW,
    &api::OPEN_TREE,
    &namespace::OPEN_TREE,
    &root::PIVOT_ROOT,
    &root::PIVOT_ROOT_INITRAMFS,
    &propagation::PRIVATE,
    &propagation::PRIVATE_COPY,
    &propagation::PROPAGATION,
    &api::SET_GROUP,
    &bind::SETATTR,
    &bind::SETATTR_RECURSIVE,
    &propagation::SLAVE,
    &statmount::STATMOUNT,
    &statmount::BY_FD,
    &statmount::FOREIGN,
    &propagation::UMOUNT,
    &userns::BINFMT_MISC,
    &forbidden::CGROUP,
    &forbidden::FORBIDDEN,
    &userns::FUSE,
    &forbidden::MQUEUE,
    &userns::OVERLAY,
    &forbidden::PROC,
    &forbidden::SYSFS,
];

/// Makes a new directory below another one.
fn directory(parent: &Path, name: &str) -> Result<PathBuf, Trouble> {
    let path = parent.join(name);
    fs::create_dir(&path).during(format_args!("mkdir({})", path.display()))?;
    Ok(path)
}

/// Mounts a new tmpfs on a new directory.
fn tmpfs(parent: &Path, name: &str) -> Result<PathBuf, Trouble> {
    let path = directory(parent, name)?;
    mount_tmpfs(&path)?;
    Ok(path)
}

fn bind(source: &Path, target: &Path, more: MsFlags) -> Result<(), Trouble> {
    let flags = MsFlags::MS_BIND | more;
    mount(Some(source), target, None::<&str>, flags, None::<&str>).during(format_args!(
        "mount({}, {}, {flags:?})",
        source.display(),
        target.display()
    ))
}

/// Sets how mounts propagate.
fn propagate(path: &Path, flags: MsFlags) -> Result<(), Trouble> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .during(format_args!("mount({}, {flags:?})", path.display()))
}

/// Moves the calling process into a new mount namespace, without a change of the propagation.
fn unshare_mounts() -> Result<(), Trouble> {
    unshare(CloneFlags::CLONE_NEWNS).during("unshare(CLONE_NEWNS)")
}

fn create(path: &Path) -> Result<Answer, Trouble> {
    Ok(answer("open(O_CREAT)", File::create_new(path))?.map(drop))
}

/// Tests whether the kernel has user namespaces, for trials that use one beside the sandbox.
fn probe_user_namespaces() -> Result<Probe, Trouble> {
    let file = "/proc/self/ns/user";
    Ok(if exists(Path::new(file))? { Probe::Available } else { Probe::Missing(format!("there is no {file}")) })
}

fn probe_setattr() -> Result<Probe, Trouble> {
    let call = set_attributes(At::Nowhere, false, Attributes::READ_ONLY);
    known("mount_setattr(-1)", call, &[Errno::ENOSYS], &[Errno::EBADF])
}
