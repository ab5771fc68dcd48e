//! IPC namespaces: System V objects and POSIX message queues.

use std::fs;

use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_close, mq_open, mq_unlink};
use nix::sys::stat::Mode;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{judge, known, read, require, write};
use super::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::sys::ipc::{Kind, attach};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&ATTACH, &OWNER_SYSCTL, &POSIX_MQ, &SYSCTL, &SYSV_MSG, &SYSV_SEM, &SYSV_SHM];

const ATTACH: Scenario = Scenario::new(
    "ipc.attach-by-id",
    "Shared memory of another IPC namespace cannot be attached by its id: EINVAL",
    attach_by_id,
)
.shows(&["2a", "biederman-4"], "ipc_namespaces(7), shmop(2)")
.steps(&[
    "Outside: shmget(2) creates a segment and returns its id.",
    "Inside: shmat(2) with this id must fail with EINVAL: ids are those of the namespace, not of the machine.",
    "In the control the segment is attached.",
])
.inside(&[Namespace::Ipc])
.needs(&["CONFIG_IPC_NS", "CONFIG_SYSVIPC"], 2, 6, 19)
.probed_by(probe_sysv);

fn attach_by_id(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let id = Kind::Shm.create(key()).during("shmget(2)")?;
    let _gone = Undo::new("the System V object", || Kind::Shm.remove(id).during("IPC_RMID"));
    let attached = sandbox.run(|| Ok(attach(id).map_err(Code::from)))?;
    judge(&format!("shmat({id}) inside"), &attached, &refused(Errno::EINVAL), &Ok(()))
}

const MSGMNI: &str = "/proc/sys/kernel/msgmni";
/// Differs from the default, which is 32000 (msgget(2)).
const MSGMNI_INSIDE: &str = "31999";

const OWNER_SYSCTL: Scenario = Scenario::new(
    "ipc.owner-sysctl",
    "Root of a user namespace may set the sysctls of an IPC namespace created there",
    owner_sysctl,
)
.shows(&["2a", "version-8"], "ipc_namespaces(7); ipc/ipc_sysctl.c, ipc_permissions")
.steps(&[
    "Inside a user namespace with an IPC namespace of its own: root writes 31999 to /proc/sys/kernel/msgmni.",
    "The write must succeed, and the value outside must stay.",
    "The control is in the user namespace only, whose IPC namespace belongs to outside: EACCES.",
])
.inside(&[Namespace::User, Namespace::Ipc])
.control_inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_IPC_NS", "CONFIG_SYSVIPC", "CONFIG_SYSVIPC_SYSCTL"], 6, 9, 0)
// The stable series 6.1 has it as well. Debian's release names do not tell since which patch.
.backported(&[(6, 1, 0)])
.probed_by(probe_owner_sysctl);

fn write_msgmni() -> Result<Answer, Trouble> {
    answer("writing msgmni", fs::write(MSGMNI, MSGMNI_INSIDE))
}

fn owner_sysctl(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = read(MSGMNI)?;
    let _back = Undo::new("msgmni", || write(MSGMNI, &before));
    let written = sandbox.run(write_msgmni)?;
    require("msgmni outside", &read(MSGMNI)?, &before)?;
    judge("a write to /proc/sys/kernel/msgmni inside", &written, &Ok(()), &refused(Errno::EACCES))
}

/// Older kernels let only root of the initial user namespace write.
fn probe_owner_sysctl() -> Result<Probe, Trouble> {
    let written = Sandbox::none().with_namespaces(&[Namespace::User, Namespace::Ipc]).run(write_msgmni)?;
    known(
        "writing /proc/sys/kernel/msgmni in a user namespace with an IPC namespace",
        written.map_err(Code::errno),
        &[Errno::EACCES, Errno::ENOENT],
        &[],
    )
}

const SYSCTL: Scenario =
    Scenario::new("ipc.sysctl", "The sysctl kernel.msgmni belongs to the writer's IPC namespace", sysctl)
        .shows(&["2a"], "ipc_namespaces(7)")
        .steps(&["Inside: root writes 31999 to /proc/sys/kernel/msgmni.", "Outside: the file must show the old value."])
        .inside(&[Namespace::Ipc])
        .needs(&["CONFIG_IPC_NS", "CONFIG_SYSVIPC", "CONFIG_SYSVIPC_SYSCTL"], 2, 6, 19)
        .probed_by(probe_sysv);

fn sysctl(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = read(MSGMNI)?;
    let _back = Undo::new("msgmni", || write(MSGMNI, &before));
    let inside = sandbox.run(|| {
        write(MSGMNI, MSGMNI_INSIDE)?;
        read(MSGMNI)
    })?;
    require("msgmni inside", &inside.as_str(), &MSGMNI_INSIDE)?;
    judge("msgmni outside", &read(MSGMNI)?, &before, &inside)
}

const POSIX_MQ: Scenario =
    Scenario::new("ipc.posix-mq", "A POSIX message queue created outside cannot be opened by name inside", posix_mq)
        .shows(&["2a"], "ipc_namespaces(7), mq_overview(7)")
        .steps(&["Outside: mq_open(3) creates a queue.", "Inside: mq_open(3) of the same name must fail with ENOENT."])
        .inside(&[Namespace::Ipc])
        .needs(&["CONFIG_IPC_NS", "CONFIG_POSIX_MQUEUE"], 2, 6, 30)
        .probed_by(probe_mq);

fn posix_mq(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let name = queue_name();
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR;
    // One message of 64 bytes. Without attributes nix calls mq_open(3) without its last argument.
    let queue = mq_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&MqAttr::new(0, 1, 64, 0)))
        .during("mq_open(O_CREAT)")?;
    let _gone = Undo::new("the message queue", || mq_unlink(name.as_str()).during("mq_unlink(3)"));
    mq_close(queue).during("mq_close(3)")?;
    let opened = sandbox.run(|| {
        Ok(match mq_open(name.as_str(), MQ_OFlag::O_RDWR, Mode::empty(), None) {
            Ok(queue) => Ok(mq_close(queue).during("mq_close(3) inside")?),
            Err(errno) => Err(Code::from(errno)),
        })
    })?;
    judge(&format!("mq_open({name:?}) inside"), &opened, &refused(Errno::ENOENT), &Ok(()))
}

fn probe_mq() -> Result<Probe, Trouble> {
    known(
        "mq_open(2)",
        mq_open(queue_name().as_str(), MQ_OFlag::O_RDONLY, Mode::empty(), None).and_then(mq_close),
        &[Errno::ENOSYS],
        &[Errno::ENOENT],
    )
}

fn queue_name() -> String {
    format!("/vmlab-{}", getpid())
}

const SYSV_MSG: Scenario =
    Scenario::new("ipc.sysv-msg", "A System V message queue created outside is not found by its key inside", sysv_msg)
        .shows(&["2a", "biederman-4"], "ipc_namespaces(7)")
        .steps(&[
            "Outside: msgget(2) creates a message queue with a key.",
            "Inside: msgget(2) of the same key must fail with ENOENT.",
        ])
        .inside(&[Namespace::Ipc])
        .needs(&["CONFIG_IPC_NS", "CONFIG_SYSVIPC"], 2, 6, 19)
        .probed_by(probe_sysv);

fn sysv_msg(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    sysv(sandbox, Kind::Msg)
}

const SYSV_SEM: Scenario =
    Scenario::new("ipc.sysv-sem", "A System V semaphore set created outside is not found by its key inside", sysv_sem)
        .shows(&["2a", "biederman-4"], "ipc_namespaces(7)")
        .steps(&[
            "Outside: semget(2) creates a semaphore set with a key.",
            "Inside: semget(2) of the same key must fail with ENOENT.",
        ])
        .inside(&[Namespace::Ipc])
        .needs(&["CONFIG_IPC_NS", "CONFIG_SYSVIPC"], 2, 6, 19)
        .probed_by(probe_sysv);

fn sysv_sem(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    sysv(sandbox, Kind::Sem)
}

const SYSV_SHM: Scenario =
    Scenario::new("ipc.sysv-shm", "System V shared memory created outside is not found by its key inside", sysv_shm)
        .shows(&["2a", "biederman-4"], "ipc_namespaces(7)")
        .steps(&[
            "Outside: shmget(2) creates a segment of shared memory with a key.",
            "Inside: shmget(2) of the same key must fail with ENOENT.",
        ])
        .inside(&[Namespace::Ipc])
        .needs(&["CONFIG_IPC_NS", "CONFIG_SYSVIPC"], 2, 6, 19)
        .probed_by(probe_sysv);

fn sysv_shm(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    sysv(sandbox, Kind::Shm)
}

/// Creates an object outside and looks it up inside.
fn sysv(sandbox: &Sandbox, kind: Kind) -> Result<Finding, Trouble> {
    let key = key();
    let id = kind.create(key).during(format_args!("creating an object ({kind:?}) with key {key:#x}"))?;
    let _gone = Undo::new("the System V object", || kind.remove(id).during("IPC_RMID"));
    let found = sandbox.run(|| Ok(kind.find(key).map_err(Code::from)))?;
    judge(&format!("id of the object ({kind:?}) with key {key:#x} inside"), &found, &refused(Errno::ENOENT), &Ok(id))
}

fn probe_sysv() -> Result<Probe, Trouble> {
    known("msgget(2)", Kind::Msg.find(key()), &[Errno::ENOSYS], &[Errno::ENOENT])
}

/// A key that no other leg uses.
fn key() -> i32 {
    0x766d_0000 ^ getpid().as_raw()
}
