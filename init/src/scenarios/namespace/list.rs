//! listns(2): the namespaces of the machine.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use nix::errno::Errno;
use nix::sched::{setns, unshare};
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::{flag, open};
use crate::sandbox::{During, Sandbox, WAIT_LIMIT};
use crate::scenarios::support::{judge, known};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::nsfs;

fn uts_namespaces() -> Result<Vec<u64>, Trouble> {
    let mut all = Vec::new();
    loop {
        let after = all.last().copied().unwrap_or_default();
        match nsfs::list(flag(Namespace::Uts).bits(), 0, after) {
            Ok(more) if more.is_empty() => return Ok(all),
            // A list of the maximum length goes on.
            Ok(more) if more.len() == 64 => all.extend(more),
            Ok(more) => {
                all.extend(more);
                return Ok(all);
            }
            Err(Errno::ENOENT) if after != 0 => return Ok(all),
            Err(errno) => return Err(errno).during("listns(2)"),
        }
    }
}

fn probe_list() -> Result<Probe, Trouble> {
    known("listns(2)", nsfs::list(flag(Namespace::Uts).bits(), 0, 0), &[Errno::ENOSYS], &[])
}

pub(super) const LIST: Scenario =
    Scenario::new("namespace.list", "listns(2) lists a namespace as long as it is alive: no reference is lost", list)
        .shows(
            &["1a", "biederman-1", "biederman-3", "later-nsfs", "version-19"],
            "Documentation/filesystems; include/uapi/linux/nsfs.h",
        )
        .steps(&[
            "Outside: listns(CLONE_NEWUTS) returns the ids of all UTS namespaces.",
            "Inside: a process in a new UTS namespace waits. Its id must be a new one, and be in the list.",
            "The process ends. Within a limit of time the id must have left the list.",
            "In the control the process is in the namespace of outside, and the list stays as it is.",
        ])
        .inside(&[Namespace::Uts])
        .needs(&["CONFIG_UTS_NS"], 6, 19, 0)
        .probed_by(probe_list);

fn list(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = uts_namespaces()?;
    let inside = sandbox.hold(|| Ok(()))?;
    let id = nsfs::id(&open(inside.pid(), "uts")?).during("NS_GET_ID")?;
    let during = uts_namespaces()?;
    drop(inside);
    let (is_new, is_listed) = (!before.contains(&id), during.contains(&id));
    if is_new {
        wait_until_gone(id)?;
    }
    judge(
        "whether the id is new, is listed, and has gone afterwards",
        &(is_new, is_listed, !uts_namespaces()?.contains(&id)),
        &(true, true, true),
        &(false, true, false),
    )
}

/// The last references to a namespace may be dropped after its process has been reaped.
fn wait_until_gone(id: u64) -> Result<(), Trouble> {
    let started = Instant::now();
    while uts_namespaces()?.contains(&id) && started.elapsed() < WAIT_LIMIT {
        nix::sched::sched_yield().during("sched_yield(2)")?;
    }
    Ok(())
}

pub(super) const LIST_INACTIVE: Scenario = Scenario::new(
    "namespace.list-inactive",
    "listns(2) goes on behind a namespace that only a socket keeps, and does not list it",
    list_inactive,
)
.shows(&["later-nsfs", "version-20", "1a"], "kernel/nstree.c, do_listns_userns")
.steps(&[
    "A process creates a network namespace, opens a socket there, and goes back: only the socket keeps the namespace.",
    "listns(2) of the initial user namespace's namespaces is asked to go on before this one.",
    "It must return 0 ids, and must not fail. Before Linux 7.3 it fails with ENOENT.",
    "The control's process stays in the namespace: 1 id is returned.",
])
.by_means_of("leaving the namespace")
.needs(&["CONFIG_NET_NS"], 7, 3, 0)
.probed_by(probe_list_inactive);

fn list_inactive(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let listed = sandbox.run(|| list_from_new(sandbox.applies())?.during("listns(2)"))?;
    judge("number of ids from the new network namespace on", &listed, &0, &1)
}

/// How many ids listns(2) returns from a new network namespace on, after the calling process has left it or not.
fn list_from_new(leaves: bool) -> Result<nix::Result<usize>, Trouble> {
    let owner = nsfs::id(&open(getpid(), "user")?).during("NS_GET_ID")?;
    let old = open(getpid(), "net")?;
    unshare(flag(Namespace::Net)).during("unshare(CLONE_NEWNET)")?;
    let new = nsfs::id(&open(getpid(), "net")?).during("NS_GET_ID")?;
    // Any socket keeps the namespace.
    let _socket = UnixDatagram::unbound().during("socket(2)")?;
    if leaves {
        setns(&old, flag(Namespace::Net)).during("setns(2)")?;
    }
    let ids = nsfs::list(flag(Namespace::Net).bits(), owner, new.saturating_sub(1));
    Ok(ids.map(|ids| ids.len()))
}

fn probe_list_inactive() -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = probe_list()? {
        return Ok(missing);
    }
    if let missing @ Probe::Missing(_) = Sandbox::none().with_namespaces(&[Namespace::Net]).probe()? {
        return Ok(missing);
    }
    known(
        "listns(2) with user_ns_id, before a namespace that only a socket keeps",
        list_from_new(true)?,
        &[Errno::ENOENT],
        &[],
    )
}

pub(super) const LIST_USER: Scenario = Scenario::new(
    "namespace.list-user",
    "listns(2) in a user namespace does not list namespaces that belong to outside",
    list_user,
)
.shows(&["later-nsfs", "biederman-3"], "kernel/nstree.c, may_list_ns")
.steps(&[
    "Outside: a process waits in a new UTS namespace, which belongs to the initial user namespace.",
    "Inside a user namespace: listns(CLONE_NEWUTS) must not return its id.",
    "In the control root of the initial user namespace lists it.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_UTS_NS"], 6, 19, 0)
.probed_by(probe_list);

fn list_user(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let foreign = Sandbox::none().with_namespaces(&[Namespace::Uts]).hold(|| Ok(()))?;
    let id = nsfs::id(&open(foreign.pid(), "uts")?).during("NS_GET_ID")?;
    let listed: Vec<u64> = sandbox.run(uts_namespaces)?;
    judge(
        "whether the list has the caller's own UTS namespace, and the foreign one",
        &(!listed.is_empty(), listed.contains(&id)),
        &(true, false),
        &(true, true),
    )
}
