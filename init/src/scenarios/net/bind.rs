//! Which addresses and ports a process may bind to, without a network namespace.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::libc;

use super::super::security::probe_landlock;
use super::{Finding, Probe, Scenario, Trouble, judge, known, netns, require};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::scenarios::support::cgroup_of;
use crate::sys::bpf::Program;
use crate::sys::process::fork_with;
use crate::sys::{landlock, seccomp};

const GIVEN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

pub(super) const ADDRESS_HOOK: Scenario = Scenario::new(
    "net.bind-hook",
    "A BPF program gives a cgroup one IPv4 address to bind to, also in the place of INADDR_ANY",
    address_hook,
)
.shows(&["2c", "network-userspace", "network-port"], "Documentation/bpf/libbpf/program_types.rst, bpf(2)")
.steps(&[
    "The subject attaches a program of type BPF_CGROUP_INET4_BIND to its cgroup; the control's cgroup has none.",
    "Inside: bind(2) to 127.0.0.2 succeeds, and to 127.0.0.3 must fail with EPERM.",
    "Inside: a socket bound to 0.0.0.0 must have the address 127.0.0.2.",
    "Outside, in another cgroup: bind(2) to 127.0.0.3 succeeds meanwhile.",
])
.in_cgroup(&[])
.by_means_of("BPF_CGROUP_INET4_BIND")
.needs(&["CONFIG_CGROUPS", "CONFIG_CGROUP_BPF", "CONFIG_BPF_SYSCALL", "CONFIG_INET"], 4, 17, 0)
.probed_by(|| known("bpf(BPF_PROG_LOAD)", Program::only_address(GIVEN), &[Errno::ENOSYS, Errno::EINVAL], &[]));

fn address_hook(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let inside = sandbox.hold(|| {
        if sandbox.applies() {
            let program = Program::only_address(GIVEN).during("bpf(BPF_PROG_LOAD)")?;
            program.attach(own_cgroup()?).during("bpf(BPF_PROG_ATTACH)")?;
        }
        Ok((bound_to(GIVEN)?, bound_to(OTHER)?, bound_to(Ipv4Addr::UNSPECIFIED)?))
    })?;
    require("bind(127.0.0.3) in another cgroup", &bound_to(OTHER)?, &Ok(OTHER.to_string()))?;
    let text = |address: Ipv4Addr| Ok(address.to_string());
    judge(
        "bind(2) inside to 127.0.0.2, 127.0.0.3 and 0.0.0.0",
        inside.value(),
        &(text(GIVEN), refused(Errno::EPERM), text(GIVEN)),
        &(text(GIVEN), text(OTHER), text(Ipv4Addr::UNSPECIFIED)),
    )
}

/// The directory of the calling process's cgroup.
fn own_cgroup() -> Result<File, Trouble> {
    File::open(format!("/sys/fs/cgroup{}", cgroup_of("self")?)).during("opening the cgroup")
}

/// Binds to an address; returns the address that the socket then has.
fn bound_to(address: Ipv4Addr) -> Result<Answer<String>, Trouble> {
    let name = |socket: UdpSocket| Ok(socket.local_addr().during("getsockname(2)")?.ip().to_string());
    match answer("bind(2)", UdpSocket::bind((address, 0)))? {
        Ok(socket) => name(socket).map(Ok),
        Err(code) => Ok(Err(code)),
    }
}

/// A port to bind to, and another.
const PORTS: [u16; 2] = [8080, 8081];

pub(super) const LANDLOCK_PORT: Scenario = Scenario::new(
    "net.landlock-port",
    "A process under Landlock binds TCP sockets to the port that it is left with only",
    landlock_port,
)
.shows(&["network-port", "2c", "later-landlock"], "landlock(7), section Network flags")
.steps(&[
    "The subject restricts itself by a ruleset that handles binding of TCP sockets, and allows port 8080.",
    "Inside: bind(2) of a TCP socket to port 8080 succeeds, and to port 8081 must fail with EACCES.",
    "Inside: bind(2) of a UDP socket to port 8081 succeeds, because the ruleset handles TCP only.",
])
.by_means_of("LANDLOCK_ACCESS_NET_BIND_TCP")
.needs(&["CONFIG_SECURITY_LANDLOCK", "CONFIG_INET"], 6, 7, 0)
.probed_by(|| probe_landlock(4));

fn landlock_port(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let bound = sandbox.run(|| {
        if sandbox.applies() {
            let handled = landlock::Handled { network: landlock::BIND_TCP, ..Default::default() };
            let ruleset = landlock::Ruleset::new(handled).during("landlock_create_ruleset(2)")?;
            ruleset.allow_port(landlock::BIND_TCP, PORTS[0]).during("landlock_add_rule(2)")?;
            ruleset.restrict_self().during("landlock_restrict_self(2)")?;
        }
        let tcp = |port| Ok(answer("bind(2)", TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?.map(drop));
        Ok((tcp(PORTS[0])?, tcp(PORTS[1])?, udp(PORTS[1])?))
    })?;
    let (isolated, leaked) = ((Ok(()), refused(Errno::EACCES), Ok(())), (Ok(()), Ok(()), Ok(())));
    judge("bind(2) to TCP ports 8080 and 8081, and UDP port 8081", &bound, &isolated, &leaked)
}

fn udp(port: u16) -> Result<Answer, Trouble> {
    Ok(answer("bind(2)", UdpSocket::bind((Ipv4Addr::LOCALHOST, port)))?.map(drop))
}

pub(super) const BROKER: Scenario = Scenario::new(
    "net.broker",
    "A broker in user space decides which port another process may bind to",
    |sandbox| brokered(sandbox, serve, refused(Errno::EACCES), Ok(())),
)
.shows(&["network-userspace"], "seccomp_unotify(2)")
.steps(&[
    "The subject has a seccomp filter that sends each bind(2) to a broker; a second process then inherits the filter.",
    "The second process calls bind(2) for the ports 8081 and 8080.",
    "The broker reads the port from the caller's memory, refuses 8081 with EACCES, and lets the other call continue.",
    "The first call must fail with EACCES, and the second succeed.",
])
.by_means_of("SECCOMP_RET_USER_NOTIF")
.needs(&["CONFIG_SECCOMP_FILTER", "CONFIG_INET"], 5, 5, 0)
.probed_by(probe_notify);

pub(super) const BROKER_DIES: Scenario = Scenario::new(
    "net.broker-dies",
    "Calls that wait for a broker fail with ENOSYS when the broker dies, and so do later ones",
    |sandbox| brokered(sandbox, |listener| seccomp::receive(listener).during(RECEIVE).map(drop), no(), no()),
)
.shows(&["network-userspace"], "seccomp_unotify(2), section BUGS; seccomp(2), SECCOMP_RET_USER_NOTIF")
.steps(&[
    "The subject has a seccomp filter that sends each bind(2) to a broker; a second process then inherits the filter.",
    "The second process calls bind(2) twice. The broker receives the first call, and ends without an answer.",
    "Both calls must fail with ENOSYS. Nobody waits for ever.",
])
.by_means_of("SECCOMP_RET_USER_NOTIF")
.needs(&["CONFIG_SECCOMP_FILTER", "CONFIG_INET"], 5, 5, 0)
.probed_by(probe_notify);

const RECEIVE: &str = "ioctl(SECCOMP_IOCTL_NOTIF_RECV)";

fn no() -> Answer {
    refused(Errno::ENOSYS)
}

fn probe_notify() -> Result<Probe, Trouble> {
    known(
        "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)",
        seccomp::listen(libc::SYS_bind, 0),
        &[Errno::EINVAL, Errno::ENOSYS],
        &[],
    )
}

/// Binds to the second port and then to the first one, in a process below the broker.
fn brokered(
    sandbox: &Sandbox,
    broker: fn(&std::os::fd::OwnedFd) -> Result<(), Trouble>,
    first: Answer,
    second: Answer,
) -> Result<Finding, Trouble> {
    netns::leave()?;
    let bound: (Answer, Answer) = sandbox.run(|| {
        let (mut answers, mut answerer) = pipe().during("pipe(2)")?;
        let applies = sandbox.applies();
        let mut listener = applies.then(|| seccomp::listen(libc::SYS_bind, 0)).transpose().during("seccomp(2)")?;
        fork_with(|| {
            // The broker alone has the listener, so that it dies with the broker.
            listener = None;
            u8::from(bind_both(&mut answerer).is_err())
        })
        .during("fork(2) of the process below the broker")?;
        drop(answerer);
        if let Some(listener) = listener.take() {
            broker(&listener)?;
        }
        Ok((answered(&mut answers)?, answered(&mut answers)?))
    })?;
    judge("bind(2) to the ports 8081 and 8080", &bound, &(first, second), &(Ok(()), Ok(())))
}

fn bind_both(answerer: &mut PipeWriter) -> Result<(), Trouble> {
    for port in [PORTS[1], PORTS[0]] {
        let code = udp(port)?.err().map_or(0, |code: Code| code.errno() as i32);
        answerer.write_all(&code.to_ne_bytes()).during("write(2) to the broker")?;
    }
    Ok(())
}

fn answered(answers: &mut PipeReader) -> Result<Answer, Trouble> {
    let mut code = [0; 4];
    answers.read_exact(&mut code).during("read(2) from the process below the broker")?;
    match i32::from_ne_bytes(code) {
        0 => Ok(Ok(())),
        code => Ok(Err(Errno::from_raw(code).into())),
    }
}

/// Decides on two calls of bind(2).
fn serve(listener: &std::os::fd::OwnedFd) -> Result<(), Trouble> {
    for _ in 0..2 {
        let call = seccomp::receive(listener).during(RECEIVE)?;
        let refusal = (port_of(&call)? == PORTS[1]).then_some(Errno::EACCES);
        seccomp::answer(listener, &call, refusal).during("ioctl(SECCOMP_IOCTL_NOTIF_SEND)")?;
    }
    Ok(())
}

/// The port in the `struct sockaddr_in` that bind(2) was given.
fn port_of(call: &seccomp::Call) -> Result<u16, Trouble> {
    let file = format!("/proc/{}/mem", call.pid);
    let mut bytes = [0; 2];
    let memory = File::open(&file).during(format_args!("opening {file}"))?;
    memory.read_exact_at(&mut bytes, call.arguments[1] + 2).during(format_args!("reading {file}"))?;
    Ok(u16::from_be_bytes(bytes))
}
