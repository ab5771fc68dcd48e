//! The PIDs that one process has in several PID namespaces.

use std::io::{IoSliceMut, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::ucred;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::unistd::{Pid, getpid};
use vmlab_protocol::catalogue::Namespace;

use super::set_tid::fork_as;
use super::support::{decide, field, judge, known, open_namespace, read, require, write};
use super::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sandbox::{Answer, Code, During, Sandbox};
use crate::sys::system::{pid_from, pid_in};

pub(super) const NSPID: Scenario =
    Scenario::new("pid.nspid", "NSpid of /proc/PID/status shows a process's PID in each of its namespaces", nspid)
        .shows(&["1c"], "proc_pid_status(5)")
        .steps(&[
            "Outside: read the line NSpid: of /proc/PID/status of the first process inside.",
            "The line must have its PID outside, and 1. In the control it has one PID.",
        ])
        .inside(&[Namespace::Pid])
        .needs(&["CONFIG_PID_NS", "CONFIG_PROC_FS"], 4, 1, 0);

fn nspid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let pid = inside.pid().as_raw();
    let pids = field(&format!("/proc/{pid}/status"), "NSpid:")?;
    let seen: Vec<&str> = pids.split_whitespace().collect();
    let pid = pid.to_string();
    judge(&format!("NSpid of /proc/{pid}/status"), &seen, &vec![&pid, "1"], &vec![&pid])
}

pub(super) const SCM_CREDENTIALS: Scenario = Scenario::new(
    "pid.scm-credentials",
    "SCM_CREDENTIALS has the PID that the sender has in the receiver's PID namespace, or 0",
    scm_credentials,
)
.shows(&["3i"], "unix(7), section Ancillary messages, and pid_namespaces(7)")
.steps(&[
    "Outside: create two connected UNIX sockets with SO_PASSCRED, and send a byte inside.",
    "Inside: receive it; the sender's PID must be 0, because the sender has none there. Send a byte outside.",
    "Outside: receive it; the sender's PID must be the one that the process inside has outside.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_UNIX"], 2, 6, 36);

fn scm_credentials(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (outer, inner) = UnixStream::pair().during("socketpair(2)")?;
    for socket in [&outer, &inner] {
        setsockopt(socket, sockopt::PassCred, &true).during("setsockopt(SO_PASSCRED)")?;
    }
    (&outer).write_all(&[0]).during("write(2) outside")?;
    let inside = sandbox.hold(|| {
        let sender = sender_of(&inner)?;
        (&inner).write_all(&[0]).during("write(2) inside")?;
        Ok(sender)
    })?;
    require("the sender outside, of a message from inside", &sender_of(&outer)?, &inside.pid().as_raw())?;
    judge("the sender inside, of a message from outside", inside.value(), &0, &getpid().as_raw())
}

/// Receives a byte and the PID of its sender.
fn sender_of(socket: &UnixStream) -> Result<i32, Trouble> {
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!(ucred);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut bytes, Some(&mut space), MsgFlags::empty());
    for control in message.during("recvmsg(2)")?.cmsgs().during("reading ancillary data")? {
        if let ControlMessageOwned::ScmCredentials(credentials) = control {
            return Ok(credentials.pid());
        }
    }
    Err(Trouble::new("a message without SCM_CREDENTIALS"))
}

const LAST_PID_FILE: &str = "/proc/sys/kernel/ns_last_pid";

pub(super) const LAST_PID: Scenario = Scenario::new(
    "pid.last-pid",
    "ns_last_pid sets the next PID of the writer's PID namespace, and of no other",
    last_pid,
)
.shows(&["3i", "7a"], "pid_namespaces(7), section /proc files")
.steps(&[
    "Inside: write 20000 to /proc/sys/kernel/ns_last_pid, and fork. The child's PID must be 20001.",
    "Outside: read ns_last_pid. It must be less than 20000.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_CHECKPOINT_RESTORE"], 3, 3, 0)
.probed_by(probe_last_pid);

fn last_pid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let last = || read(LAST_PID_FILE)?.parse::<i32>().during("reading ns_last_pid");
    let before = last()?;
    let _back =
        Undo::new("ns_last_pid", || if last()? < 20_000 { Ok(()) } else { write(LAST_PID_FILE, &before.to_string()) });
    let child = sandbox.run(|| {
        write(LAST_PID_FILE, "20000")?;
        fork_as(&[])
    })?;
    require("the PID of the next child inside", &child, &Ok(20_001))?;
    let after = last()?;
    decide("ns_last_pid outside", &after, (after < 20_000, after >= 20_000), "less than 20000, or at least 20000")
}

fn probe_last_pid() -> Result<Probe, Trouble> {
    Ok(match std::fs::exists(LAST_PID_FILE).during(format_args!("stat({LAST_PID_FILE})"))? {
        true => Probe::Available,
        false => Probe::Missing(format!("{LAST_PID_FILE} does not exist")),
    })
}

pub(super) const TRANSLATE: Scenario = Scenario::new(
    "pid.translate",
    "An ioctl of a PID namespace's file translates PIDs between that namespace and the caller's",
    translate,
)
.shows(&["3i", "later-nsfs"], "ioctl_nsfs(2), NS_GET_PID_FROM_PIDNS")
.steps(&[
    "Outside: open /proc/PID/ns/pid of the first process inside.",
    "ioctl(NS_GET_PID_FROM_PIDNS, 1) must return the PID that this process has outside.",
    "ioctl(NS_GET_PID_IN_PIDNS) with this PID must return 1.",
    "In the control both namespaces are one, and PID 1 is PID 1.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS"], 6, 11, 0)
.probed_by(probe_translate);

fn translate(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let namespace = open_namespace(inside.pid(), "pid")?;
    let first = Pid::from_raw(1);
    let outer = pid_from(&namespace, first).map_err(Code::from);
    let inner: Answer<i32> = pid_in(&namespace, inside.pid()).map_err(Code::from);
    let pid = inside.pid().as_raw();
    judge(
        &format!("the PID outside of PID 1 inside, and the PID inside of PID {pid} outside"),
        &(outer, inner),
        &(Ok(pid), Ok(1)),
        &(Ok(1), Ok(pid)),
    )
}

fn probe_translate() -> Result<Probe, Trouble> {
    let own = pid_from(&open_namespace(getpid(), "pid")?, getpid());
    known("ioctl(NS_GET_PID_FROM_PIDNS)", own, &[Errno::ENOTTY], &[])
}
