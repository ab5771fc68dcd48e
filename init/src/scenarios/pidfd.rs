//! Descriptors of processes (pidfd_open(2)).

use std::io::pipe;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::exit;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};
use vmlab_protocol::catalogue::Namespace;

use super::process::with_child;
use super::support::{decide, judge, known, note};
use super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::{Code, During, End, Sandbox, WAIT_LIMIT, readable, refused};
use crate::sys::create::{Clone3, add_idle_thread};
use crate::sys::descriptor::Handle;
use crate::sys::pidfd;
use crate::sys::process::default_action;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] =
    &[&EXIT_INFO, &FILE_HANDLE, &FILE_SYSTEM, &GETFD, &POLL_REAPED, &REUSED_PID, &SELF, &THREAD];

const EXIT_INFO: Scenario = Scenario::new(
    "pidfd.exit-info",
    "PIDFD_GET_INFO tells the exit code of a process that its parent has reaped",
    exit_info,
)
.shows(&["later-pidfd", "version-16"], "PIDFD_GET_INFO in include/uapi/linux/pidfd.h")
.steps(&[
    "Create a child with a pidfd. The child exits with 7, and waitpid(2) reaps it.",
    "Call ioctl(PIDFD_GET_INFO) with PIDFD_INFO_EXIT. It must tell the status 0x700.",
    "In the control the call is made without PIDFD_INFO_EXIT, and fails with ESRCH.",
])
.by_means_of("PIDFD_INFO_EXIT")
.needs(&[], 6, 15, 0)
.probed_by(probe_exit_info);

/// The pidfd of a process that has exited with 7, and has been reaped.
fn reaped() -> Result<OwnedFd, Trouble> {
    let (child, pidfd) = Clone3::default().fork_with(|| 7).during("clone3(2)")?;
    waitpid(child, None).during("waitpid(2)")?;
    Ok(pidfd)
}

fn exit_info(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let mask = if sandbox.applies() { pidfd::INFO_EXIT } else { pidfd::INFO_PID };
    let info = pidfd::info(reaped()?, mask).map_err(Code::from);
    let status = info.map(|(filled, status)| (filled & pidfd::INFO_EXIT != 0).then_some(status));
    judge("PIDFD_GET_INFO of a reaped process, status", &status, &Ok(Some(7 << 8)), &refused(Errno::ESRCH))
}

fn probe_exit_info() -> Result<Probe, Trouble> {
    // ENOTTY: no ioctls of pidfds. EINVAL: only ioctls without an argument. ESRCH: only of live processes.
    let info = pidfd::info(reaped()?, pidfd::INFO_EXIT);
    known("ioctl(PIDFD_GET_INFO) of a reaped process", info, &[Errno::ENOTTY, Errno::EINVAL, Errno::ESRCH], &[])
}

const FILE_HANDLE: Scenario = Scenario::new(
    "pidfd.file-handle",
    "The file handle of a pidfd opens only in a PID namespace that has the process: ESTALE",
    file_handle,
)
.shows(&["later-pidfd"], "open_by_handle_at(2)")
.steps(&[
    "Outside: get the file handle of a pidfd by name_to_handle_at(2).",
    "Inside: call open_by_handle_at(2) with this handle. The call must fail with ESTALE.",
])
.inside(&[Namespace::Pid])
.needs(&["CONFIG_PID_NS", "CONFIG_FHANDLE"], 6, 14, 0)
.probed_by(probe_file_handle);

fn file_handle(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let own = pidfd::open(getpid(), 0).during("pidfd_open(2)")?;
    let handle = Handle::of(&own).during("name_to_handle_at(2)")?;
    let opened = sandbox.run(|| Ok(handle.open(&own).map(drop).map_err(Code::from)))?;
    judge("open_by_handle_at(2) inside", &opened, &refused(Errno::ESTALE), &Ok(()))
}

fn probe_file_handle() -> Result<Probe, Trouble> {
    let own = pidfd::open(getpid(), 0).during("pidfd_open(2)")?;
    known("name_to_handle_at(2) of a pidfd", Handle::of(&own), &[Errno::EOPNOTSUPP], &[])
}

const FILE_SYSTEM: Scenario = Scenario::new(
    "pidfd.file-system",
    "Pidfds have a file system: those of two processes have different inode numbers",
    file_system,
)
.shows(&["later-pidfd", "version-14"], "pidfd_open(2)")
.steps(&[
    "Open pidfds of two processes; in the control, two of one process.",
    "fstatfs(2) must say that the file system is pidfs (0x50494446), and fstat(2) must tell two inode numbers.",
    "Before Linux 6.9 all pidfds had the same anonymous inode (file system 0x9041934).",
])
.by_means_of("a second process")
.isolates_since((6, 9, 0), &[])
.needs(&[], 5, 3, 0);

fn file_system(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const PIDFS: i64 = 0x5049_4446;
    let (one, other) = (Sandbox::none().hold(|| Ok(()))?, Sandbox::none().hold(|| Ok(()))?);
    let open = |process: Pid| pidfd::open(process, 0).during("pidfd_open(2)");
    let first = open(one.pid())?;
    let second = open(if sandbox.applies() { other.pid() } else { one.pid() })?;
    let kind = fstatfs(&first).during("fstatfs(2)")?.filesystem_type().0;
    let inode = |pidfd: &OwnedFd| Ok::<_, Trouble>(fstat(pidfd).during("fstat(2)")?.st_ino);
    let equal = inode(&first)? == inode(&second)?;
    decide(
        "the file system of a pidfd, and whether the inode numbers are equal",
        &format_args!("({kind:#x}, {equal})"),
        (kind == PIDFS && !equal, equal),
        "pidfs and different numbers, or equal numbers",
    )
}

const GETFD: Scenario = Scenario::new(
    "pidfd.getfd",
    "Root of a user namespace may not take descriptors of the outer root's processes: EPERM",
    getfd,
)
.shows(&["2f", "later-pidfd"], "pidfd_getfd(2)")
.steps(&[
    "Outside: root opens a pidfd of a process outside that has a pipe.",
    "Inside: root of the user namespace calls pidfd_getfd(2) for this pipe. The call must fail with EPERM.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS"], 5, 6, 0);

fn getfd(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let own = pidfd::open(getpid(), 0).during("pidfd_open(2)")?;
    let (reader, _writer) = pipe().during("pipe(2)")?;
    let taken = sandbox.run(|| Ok(pidfd::get_descriptor(&own, reader.as_raw_fd()).map(drop).map_err(Code::from)))?;
    judge("pidfd_getfd(2) inside", &taken, &refused(Errno::EPERM), &Ok(()))
}

const POLL_REAPED: Scenario = Scenario::new(
    "pidfd.poll-reaped",
    "poll(2) of a pidfd tells a reaped process from one that has only ended: POLLHUP",
    poll_reaped,
)
.shows(&["later-pidfd"], "pidfd_open(2)")
.steps(&[
    "Create a child with a pidfd. The child ends, and waitpid(2) reaps it; in the control it is not reaped yet.",
    "poll(2) must report POLLIN and POLLHUP (0x11). In the control it reports POLLIN (0x1).",
    "Before Linux 6.9 it reported POLLIN in both cases.",
])
.by_means_of("waitpid(2)")
.isolates_since((6, 9, 0), &[])
.needs(&[], 5, 3, 0);

fn poll_reaped(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let (child, pidfd) = Clone3::default().fork_with(|| 0).during("clone3(2)")?;
    let has_ended = readable(&pidfd, PollFlags::POLLIN, WAIT_LIMIT)?;
    let reap = || waitpid(child, None).map(drop).during("waitpid(2)");
    if sandbox.applies() {
        reap()?;
    }
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO).during("poll(2)");
    let [fd] = &fds;
    let events = fd.revents().map_or(0, |events| events.bits());
    if !sandbox.applies() {
        reap()?;
    }
    polled?;
    decide(
        "the events of the pidfd",
        &format_args!("{events:#x}"),
        (has_ended && events == 0x11, has_ended && events == 0x1),
        "0x11 or 0x1",
    )
}

const REUSED_PID: Scenario = Scenario::new(
    "pidfd.reused-pid",
    "A signal to a pidfd does not hit a process that has got the PID since: ESRCH",
    reused_pid,
)
.shows(&["later-pidfd"], "pidfd_send_signal(2)")
.steps(&[
    "Inside: create a child with a pidfd. The child ends and is reaped.",
    "Create another child with the same PID, by clone3(2) with set_tid.",
    "Call pidfd_send_signal(2) with signal 0 and the pidfd. The call must fail with ESRCH.",
    "In the control, kill(2) with signal 0 and the PID is called, and finds the other child.",
])
.inside(&[Namespace::Pid])
.control_inside(&[Namespace::Pid])
.by_means_of("pidfd_send_signal(2)")
.needs(&["CONFIG_PID_NS"], 5, 5, 0)
.probed_by(super::pid::probe_set_tid);

fn reused_pid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let by_pidfd = sandbox.applies();
    let answer = sandbox.run(|| {
        let (first, pidfd) = Clone3::default().fork_with(|| 0).during("clone3(2)")?;
        waitpid(first, None).during("waitpid(2)")?;
        let same = [first.as_raw()];
        with_child(&Clone3 { set_tid: &same, ..Clone3::default() }, |_| {
            let sent = if by_pidfd { pidfd::send_signal(pidfd.as_raw_fd(), 0) } else { kill(first, None) };
            Ok(sent.map_err(Code::from))
        })
    })?;
    judge("the signal to the first child, with the PID of the second", &answer, &refused(Errno::ESRCH), &Ok(()))
}

/// The exit code that stands for EBADF.
const NO_DESCRIPTOR: i32 = 3;

const SELF: Scenario =
    Scenario::new("pidfd.self", "PIDFD_SELF stands for the calling process, without a descriptor", own_process)
        .shows(&["later-pidfd"], "PIDFD_SELF in include/uapi/linux/pidfd.h")
        .steps(&[
            "A process calls pidfd_send_signal(2) with PIDFD_SELF (-10000) and SIGUSR1. SIGUSR1 must kill it.",
            "In the control it passes -1, and the call fails with EBADF.",
        ])
        .by_means_of("PIDFD_SELF")
        .needs(&[], 6, 15, 0)
        .probed_by(probe_self);

fn own_process(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let pidfd = if sandbox.applies() { pidfd::SELF } else { -1 };
    let end = sandbox.end_of(|| {
        default_action(Signal::SIGUSR1).during("sigaction(2)")?;
        let answer = pidfd::send_signal(pidfd, Signal::SIGUSR1 as i32);
        note(format_args!("pidfd_send_signal({pidfd}): {answer:?}"));
        exit(if answer == Err(Errno::EBADF) { NO_DESCRIPTOR } else { 1 })
    })?;
    judge("the end of the process", &end, &End::killed(Signal::SIGUSR1), &End::Exited(NO_DESCRIPTOR))
}

fn probe_self() -> Result<Probe, Trouble> {
    known("pidfd_send_signal(PIDFD_SELF)", pidfd::send_signal(pidfd::SELF, 0), &[Errno::EBADF], &[])
}

const THREAD: Scenario =
    Scenario::new("pidfd.thread", "With PIDFD_THREAD, pidfd_open(2) opens a thread that leads no group", thread_pidfd)
        .shows(&["later-pidfd"], "pidfd_open(2)")
        .steps(&[
            "A process starts a thread, and calls pidfd_open(2) with the thread's id and PIDFD_THREAD.",
            "The call must succeed. In the control, without the flag, it fails with EINVAL (ENOENT on newer kernels).",
        ])
        .by_means_of("PIDFD_THREAD")
        .needs(&[], 6, 9, 0)
        .probed_by(probe_thread);

fn thread_pidfd(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let flags = if sandbox.applies() { pidfd::THREAD } else { 0 };
    // The process inside forks no more: see sys::process::fork_with.
    let answer = sandbox.run(|| {
        let thread = add_idle_thread().during("clone(CLONE_THREAD)")?;
        Ok(pidfd::open(thread, flags).map(drop).map_err(Code::from))
    })?;
    let leaked = answer == refused(Errno::EINVAL) || answer == refused(Errno::ENOENT);
    decide("pidfd_open(2) of a thread", &answer, (answer == Ok(()), leaked), "success, or EINVAL or ENOENT")
}

fn probe_thread() -> Result<Probe, Trouble> {
    known("pidfd_open(PIDFD_THREAD)", pidfd::open(getpid(), pidfd::THREAD), &[Errno::EINVAL], &[])
}
