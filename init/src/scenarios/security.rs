//! What a process may take from itself, or an ordinary user may do: Landlock, seccomp filters, fanotify.

use std::fs::File;
use std::io::{PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::process::and_end;
use super::support::{Scratch, await_input, become_user, field, judge, known, note, until, write};
use super::{Finding, Probe, Scenario, Trouble};
use crate::sandbox::{Code, During, Sandbox, answer, refused};
use crate::sys::create::Clone3;
use crate::sys::landlock::{self, Handled, READ_FILE, Ruleset, SCOPE_ABSTRACT_UNIX, SCOPE_SIGNAL};
use crate::sys::process::handle_without_effect;
use crate::sys::system::{FAN_REPORT_FID, notification_group};
use crate::sys::{pidfd, seccomp};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] =
    &[&FANOTIFY, &LANDLOCK_ABSTRACT, &LANDLOCK_FILE, &LANDLOCK_SIGNAL, &SECCOMP_KILLABLE];

const FANOTIFY: Scenario = Scenario::new(
    "security.fanotify-user",
    "An ordinary user may create a fanotify group that names files by handles only",
    fanotify_user,
)
.shows(&["later-limits"], "fanotify_init(2)")
.steps(&[
    "User 1000 calls fanotify_init(2) with FAN_REPORT_FID. The call must succeed.",
    "In the control, without the flag, events would have open files, and the call fails with EPERM.",
])
.by_means_of("FAN_REPORT_FID")
.needs(&["CONFIG_FANOTIFY"], 5, 13, 0)
.backported(&[(5, 10, 220)])
.probed_by(probe_fanotify);

fn fanotify_user(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let flags = if sandbox.applies() { FAN_REPORT_FID } else { 0 };
    let made = sandbox.run(|| {
        become_user(1000)?;
        Ok(notification_group(flags).map(drop).map_err(Code::from))
    })?;
    judge("fanotify_init(2) of user 1000", &made, &Ok(()), &refused(Errno::EPERM))
}

fn probe_fanotify() -> Result<Probe, Trouble> {
    become_user(1000)?;
    // Before Linux 5.13 the call needed CAP_SYS_ADMIN, whatever its flags (fanotify_init(2)).
    let made = notification_group(FAN_REPORT_FID);
    known("fanotify_init(FAN_REPORT_FID) of user 1000", made, &[Errno::ENOSYS, Errno::EPERM], &[])
}

const LANDLOCK_ABSTRACT: Scenario = Scenario::new(
    "security.landlock-abstract",
    "Landlock confines a process to abstract UNIX sockets of its own domain: EPERM",
    landlock_abstract,
)
.shows(&["later-landlock"], "landlock(7), section Scope flags")
.steps(&[
    "Listen on an abstract UNIX socket.",
    "Another process restricts itself by a ruleset with LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET; in the control it does not.",
    "It calls connect(2) to the socket. The call must fail with EPERM.",
])
.by_means_of("LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET")
.needs(&["CONFIG_SECURITY_LANDLOCK", "CONFIG_UNIX"], 6, 12, 0)
.probed_by(|| probe_landlock(SCOPES));

fn landlock_abstract(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let name = format!("vmlab-{}", getpid());
    let address = SocketAddr::from_abstract_name(&name).during("the name of an abstract socket")?;
    let _listener = UnixListener::bind_addr(&address).during("bind(2)")?;
    let connected = sandbox.run(|| {
        if sandbox.applies() {
            restrict(Handled { scoped: SCOPE_ABSTRACT_UNIX, ..Handled::default() })?;
        }
        answer("connect(2)", UnixStream::connect_addr(&address).map(drop))
    })?;
    judge("connect(2) to an abstract socket outside of the domain", &connected, &refused(Errno::EPERM), &Ok(()))
}

/// Takes these rights away from the calling process, without an exception.
fn restrict(handled: Handled) -> Result<(), Trouble> {
    let ruleset = Ruleset::new(handled).during("landlock_create_ruleset(2)")?;
    ruleset.restrict_self().during("landlock_restrict_self(2)")
}

/// The version of the Landlock interface that has scopes.
const SCOPES: i64 = 6;

/// Whether the kernel has Landlock, in this version of its interface or a later one.
pub(super) fn probe_landlock(least: i64) -> Result<Probe, Trouble> {
    match landlock::version() {
        Ok(version) if version < least => Ok(Probe::Missing(format!("version of the Landlock interface: {version}"))),
        version => known("landlock_create_ruleset(2)", version, &[Errno::ENOSYS, Errno::EOPNOTSUPP], &[]),
    }
}

const LANDLOCK_FILE: Scenario = Scenario::new(
    "security.landlock-file",
    "A Landlock ruleset without rules denies reading any file: EACCES",
    file,
)
.shows(&["later-landlock", "version-13"], "landlock(7)")
.steps(&[
    "Read the version of the interface by landlock_create_ruleset(2).",
    "A process restricts itself by a ruleset that handles LANDLOCK_ACCESS_FS_READ_FILE; in the control it does not.",
    "It opens a file for reading. open(2) must fail with EACCES.",
])
.by_means_of("LANDLOCK_ACCESS_FS_READ_FILE")
.needs(&["CONFIG_SECURITY_LANDLOCK"], 5, 13, 0)
.probed_by(|| probe_landlock(1));

fn file(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let path = scratch.join("file");
    write(&path, "")?;
    let version = landlock::version().during("landlock_create_ruleset(2)")?;
    let opened = sandbox.run(|| {
        if sandbox.applies() {
            restrict(Handled { files: READ_FILE, ..Handled::default() })?;
        }
        Ok(answer("open(2)", File::open(&path))?.map(drop))
    })?;
    judge(&format!("version {version} of Landlock, open(2)"), &opened, &refused(Errno::EACCES), &Ok(()))
}

const LANDLOCK_SIGNAL: Scenario = Scenario::new(
    "security.landlock-signal",
    "Landlock confines a process to signals to processes of its own domain: EPERM",
    landlock_signal,
)
.shows(&["later-landlock"], "landlock(7), section Scope flags")
.steps(&[
    "A process restricts itself by a ruleset with LANDLOCK_SCOPE_SIGNAL; in the control it does not.",
    "It calls kill(2) with signal 0 and the PID of a process outside of the domain. The call must fail with EPERM.",
])
.by_means_of("LANDLOCK_SCOPE_SIGNAL")
.needs(&["CONFIG_SECURITY_LANDLOCK"], 6, 12, 0)
.probed_by(|| probe_landlock(SCOPES));

fn landlock_signal(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid();
    let sent = sandbox.run(|| {
        if sandbox.applies() {
            restrict(Handled { scoped: SCOPE_SIGNAL, ..Handled::default() })?;
        }
        Ok(kill(outside, None).map_err(Code::from))
    })?;
    judge("kill(2) of a process outside of the domain", &sent, &refused(Errno::EPERM), &Ok(()))
}

const SECCOMP_KILLABLE: Scenario = Scenario::new(
    "security.seccomp-killable",
    "A system call that its supervisor has taken is interrupted by fatal signals only",
    seccomp_killable,
)
.shows(&["network-userspace", "later-landlock"], "seccomp_unotify(2), SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
.steps(&[
    "A process handles SIGUSR1, and installs a filter that sends its getppid(2) to a supervisor.",
    "The filter has SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV; in the control it has not.",
    "The supervisor takes the call and sends SIGUSR1. The signal must stay pending, and the call must wait on.",
    "In the control the signal interrupts the call, and SECCOMP_IOCTL_NOTIF_ID_VALID fails with ENOENT.",
])
.by_means_of("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
.needs(&["CONFIG_SECCOMP_FILTER"], 5, 19, 0)
.probed_by(probe_killable);

fn seccomp_killable(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let flags = if sandbox.applies() { seccomp::WAIT_KILLABLE_RECV } else { 0 };
    let (mut reader, mut writer) = pipe().during("pipe(2)")?;
    let supervised = Clone3::default().fork_with(|| u8::from(be_supervised(flags, &mut writer).is_err()));
    let (child, pidfd) = supervised.during("clone3(2)")?;
    drop(writer);
    let mut number = [0; 4];
    let waits = reader.read_exact(&mut number).during("read(2) of the listener's number").and_then(|()| {
        let listener = pidfd::get_descriptor(&pidfd, i32::from_ne_bytes(number)).during("pidfd_getfd(2)")?;
        await_input("the supervised call", &listener)?;
        let call = seccomp::receive(&listener).during("ioctl(SECCOMP_IOCTL_NOTIF_RECV)")?;
        kill(child, Signal::SIGUSR1).during("kill(2)")?;
        let mut waits = true;
        until("the signal, which interrupts the call or stays pending", || {
            waits = seccomp::still_waits(&listener, &call).during("ioctl(SECCOMP_IOCTL_NOTIF_ID_VALID)")?;
            Ok(!waits || is_unkillable(child)?)
        })?;
        Ok(waits)
    });
    let waits = and_end(child, waits)?;
    judge("whether the call waits on after SIGUSR1", &waits, &true, &false)
}

/// The supervised process: tells the number of its listener, and makes the call.
fn be_supervised(flags: libc::c_ulong, writer: &mut PipeWriter) -> Result<(), Trouble> {
    set_pdeathsig(Signal::SIGKILL).during("prctl(PR_SET_PDEATHSIG)")?;
    handle_without_effect(Signal::SIGUSR1).during("sigaction(2)")?;
    let listener = seccomp::listen(libc::SYS_getppid, flags).during("seccomp(2)")?;
    writer.write_all(&listener.as_raw_fd().to_ne_bytes()).during("write(2)")?;
    note(format_args!("getppid(2): {}", nix::unistd::getppid()));
    Ok(())
}

/// Whether a process sleeps although SIGUSR1 is pending: its state is D (`TASK_KILLABLE`), from which only a fatal signal wakes it.
fn is_unkillable(process: Pid) -> Result<bool, Trouble> {
    const SIGUSR1: u64 = 1 << (libc::SIGUSR1 - 1);
    let status = format!("/proc/{process}/status");
    let pending = u64::from_str_radix(&field(&status, "ShdPnd:")?, 16).during("reading ShdPnd")?;
    Ok(pending & SIGUSR1 != 0 && field(&status, "State:")?.starts_with('D'))
}

fn probe_killable() -> Result<Probe, Trouble> {
    let errno = seccomp::errno_without_filter(seccomp::WAIT_KILLABLE_RECV);
    let answer = Err::<(), _>(errno);
    known("seccomp(WAIT_KILLABLE_RECV)", answer, &[Errno::ENOSYS, Errno::EINVAL], &[Errno::EFAULT])
}
