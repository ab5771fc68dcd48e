//! Namespaces of all types: creation, sharing, names, lifetime, nesting, limits, and what can be seen and done from outside.

mod create;
mod enter;
mod event;
mod identity;
mod lifetime;
mod limit;
mod list;
mod nest;
mod nsfs;
mod outside;
mod trace;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sched::CloneFlags;
use vmlab_protocol::catalogue::Namespace;

use super::support::{open_namespace as open, write};
use super::{Scenario, Trouble};
use crate::sandbox::{During, clone_flag};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &lifetime::BIND_MOUNT,
    &outside::CGROUP,
    &create::CLONE_PARENT,
    &event::CORE_SOCKET,
    &lifetime::DESCRIPTOR,
    &create::FLAGS,
    &create::WAYS,
    &nsfs::HANDLE,
    &nsfs::ID,
    &identity::INODES,
    &list::LIST,
    &list::LIST_INACTIVE,
    &list::LIST_USER,
    &limit::MAX,
    &limit::INTERPRETERS,
    &nsfs::MOUNT_ID,
    &nest::NEST_PID,
    &nest::NEST_USER,
    &limit::NESTED,
    &identity::ONE_TYPE,
    &enter::OPEN_FOREIGN,
    &nsfs::OWNER,
    &nsfs::OWNER_UID,
    &nsfs::PARENT,
    &enter::PID_FOR_CHILDREN,
    &enter::PIDFD_IOCTL,
    &outside::PRLIMIT,
    &outside::ROOT_LINK,
    &outside::SET_HOSTNAME,
    &enter::SETNS_OUTER,
    &enter::SETNS_OWN_USER,
    &enter::SETNS_PIDFD,
    &enter::SETNS_USER,
    &identity::SHARED,
    &create::THREADS,
    &trace::TASK_NEWTASK,
    &trace::UNSHARE,
    &event::UEVENT,
];

/// The namespaces in the order in which a process can create them one by one, with the name of the link that changes.
const TYPES: [(Namespace, &str); 8] = [
    (Namespace::Cgroup, "cgroup"),
    (Namespace::Ipc, "ipc"),
    (Namespace::Uts, "uts"),
    (Namespace::Mount, "mnt"),
    (Namespace::Net, "net"),
    (Namespace::Time, "time_for_children"),
    (Namespace::Pid, "pid_for_children"),
    (Namespace::User, "user"),
];

/// The config symbols of [`TYPES`].
const TYPES_CONFIG: &[&str] = &[
    "CONFIG_CGROUPS",
    "CONFIG_IPC_NS",
    "CONFIG_UTS_NS",
    "CONFIG_NET_NS",
    "CONFIG_TIME_NS",
    "CONFIG_PID_NS",
    "CONFIG_USER_NS",
];

fn flag(namespace: Namespace) -> CloneFlags {
    clone_flag(namespace).0
}

/// The flag's bits, as clone(2) takes them.
fn bits(namespace: Namespace) -> u64 {
    u64::from(flag(namespace).bits().cast_unsigned())
}

/// Maps root of a new user namespace, and nobody else, to root of the caller's.
fn map_root() -> Result<(), Trouble> {
    write("/proc/self/uid_map", "0 0 1\n")?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/gid_map", "0 0 1\n")
}

/// The inode number, which tells whether two files stand for the same namespace.
pub(super) fn inode(namespace: &File) -> Result<u64, Trouble> {
    Ok(namespace.metadata().during("fstat(2) of a namespace")?.ino())
}

/// The inode numbers of the calling process's namespaces, by the names of the links in /proc/self/ns.
fn own_inodes() -> Result<Vec<(String, u64)>, Trouble> {
    let links = Path::new("/proc/self/ns");
    let entries = fs::read_dir(links).during("opening /proc/self/ns")?;
    let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
    let mut names = names.during("reading /proc/self/ns")?;
    names.sort_unstable();
    // Before 7.x there is nothing to follow where a PID namespace has no init yet.
    let number = |name: &OsStr| fs::metadata(links.join(name)).map_or(0, |data| data.ino());
    Ok(names.iter().map(|name| (name.to_string_lossy().into_owned(), number(name))).collect())
}
