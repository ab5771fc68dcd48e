//! IPC namespaces: System V objects and POSIX message queues.

use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_close, mq_open, mq_unlink};
use nix::sys::stat::Mode;
use nix::unistd::getpid;
use vmlab_protocol::catalogue::Namespace;

use super::support::{judge, known};
use super::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sandbox::{Code, During, Sandbox, refused};
use crate::sys::ipc::Kind;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&POSIX_MQ, &SYSV_MSG, &SYSV_SEM, &SYSV_SHM];

const POSIX_MQ: Scenario =
    Scenario::new("ipc.posix-mq", "A POSIX message queue created outside cannot be opened by name inside", posix_mq)
        .shows(&["2a"], "ipc_namespaces(7), mq_overview(7)")
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
        .shows(&["2a"], "ipc_namespaces(7)")
        .inside(&[Namespace::Ipc])
        .needs(&["CONFIG_IPC_NS", "CONFIG_SYSVIPC"], 2, 6, 19)
        .probed_by(probe_sysv);

fn sysv_msg(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    sysv(sandbox, Kind::Msg)
}

const SYSV_SEM: Scenario =
    Scenario::new("ipc.sysv-sem", "A System V semaphore set created outside is not found by its key inside", sysv_sem)
        .shows(&["2a"], "ipc_namespaces(7)")
        .inside(&[Namespace::Ipc])
        .needs(&["CONFIG_IPC_NS", "CONFIG_SYSVIPC"], 2, 6, 19)
        .probed_by(probe_sysv);

fn sysv_sem(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    sysv(sandbox, Kind::Sem)
}

const SYSV_SHM: Scenario =
    Scenario::new("ipc.sysv-shm", "System V shared memory created outside is not found by its key inside", sysv_shm)
        .shows(&["2a"], "ipc_namespaces(7)")
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
