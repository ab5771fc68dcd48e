//! What a network namespace cannot do: it has no device that is up, no address of the host, and no say in global limits.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use nix::errno::Errno;
use vmlab_protocol::catalogue::Namespace;

use super::{Finding, Probe, Scenario, Trouble, judge, known, link, netns, read, require, write};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};

const NET: Sandbox = Sandbox::none().with_namespaces(&[Namespace::Net]);
const USER_NET: Sandbox = Sandbox::none().with_namespaces(&[Namespace::User, Namespace::Net]);

pub(super) const ADDRESS: Scenario =
    Scenario::new("net.address", "An address of a device outside cannot be bound to inside: EADDRNOTAVAIL", address)
        .shows(&["network-limits"], "network_namespaces(7), ip(7)")
        .steps(&[
            "Outside: gives the loopback device the address 192.0.2.1.",
            "Inside: bind(2) of a TCP socket to this address succeeds: without any route, no address is refused.",
            "Inside: brings the loopback device up. Now bind(2) must fail with EADDRNOTAVAIL.",
        ])
        .inside(&[Namespace::Net])
        .needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_IP_MULTIPLE_TABLES"], 2, 6, 29)
        .probed_by(probe_missing_table);

/// Whether a network namespace begins without a local routing table. A kernel with a fixed set of tables makes them with the
/// namespace (net/ipv4/fib_frontend.c, `fib4_rules_init`).
fn probe_missing_table() -> Result<Probe, Trouble> {
    let bound = NET.run(|| Ok(answer("bind(2)", TcpListener::bind((Ipv4Addr::new(192, 0, 2, 1), 0)))?.map(drop)))?;
    known("bind(192.0.2.1) without a device that is up", bound.map_err(Code::errno), &[Errno::EADDRNOTAVAIL], &[])
}

fn address(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    netns::leave()?;
    link::add_address("lo", ADDRESS, 32)?;
    let try_bind = || Ok(answer("bind(2)", TcpListener::bind((ADDRESS, 0)))?.map(drop));
    // Without a local routing table, each address counts as a broadcast address (net/ipv4/fib_frontend.c,
    // `__inet_dev_addr_type`), which bind(2) accepts. The first device that comes up makes the table.
    let bound = sandbox.run(|| {
        let before = try_bind()?;
        link::set_up("lo")?;
        Ok((before, try_bind()?))
    })?;
    let what = format!("bind({ADDRESS}) inside before and after a device is up");
    judge(&what, &bound, &(Ok(()), refused(Errno::EADDRNOTAVAIL)), &(Ok(()), Ok(())))
}

const RMEM_MAX: &str = "/proc/sys/net/core/rmem_max";

pub(super) const BUFFER_LIMIT: Scenario = Scenario::new(
    "net.buffer-limit",
    "net.core.rmem_max, a global limit, can be read in a network namespace but not written",
    buffer_limit,
)
.shows(&["network-limits", "version-10"], "Documentation/admin-guide/sysctl/net.rst, section rmem_max")
.steps(&[
    "Inside: /proc/sys/net/core/rmem_max has the same value as outside.",
    "Inside: writing this value, as root without a user namespace, must fail with EACCES.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_PROC_FS", "CONFIG_SYSCTL"], 6, 11, 0)
.probed_by(|| probe_file(&NET, RMEM_MAX));

fn buffer_limit(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    rewritten(sandbox, RMEM_MAX)
}

const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

pub(super) const CONNTRACK_LIMIT: Scenario = Scenario::new(
    "net.conntrack-limit",
    "The limit of tracked connections cannot be changed in a network namespace: EACCES",
    |sandbox| rewritten(sandbox, CONNTRACK_MAX),
)
.shows(&["network-limits"], "Documentation/networking/nf_conntrack-sysctl.rst")
.steps(&[
    "Inside: /proc/sys/net/netfilter/nf_conntrack_max has the same value as outside.",
    "Inside: writing this value, as root without a user namespace, must fail with EACCES.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_NF_CONNTRACK", "CONFIG_SYSCTL"], 3, 10, 0)
.with_modules(&["nf_conntrack"])
.probed_by(|| probe_file(&NET, CONNTRACK_MAX));

/// Writes a limit's value inside, and thus changes nothing.
fn rewritten(sandbox: &Sandbox, file: &str) -> Result<Finding, Trouble> {
    let value = read(file)?;
    let (inside, written) = sandbox.run(|| Ok((read(file)?, try_write(file, &value)?)))?;
    require(&format!("{file} inside"), &inside, &value)?;
    judge(&format!("write({file}) inside"), &written, &refused(Errno::EACCES), &Ok(()))
}

fn try_write(file: &str, value: &str) -> Result<Answer, Trouble> {
    let opened = OpenOptions::new().write(true).open(file);
    answer(file, opened.and_then(|mut file| file.write_all(value.as_bytes())))
}

pub(super) const LOOPBACK_DOWN: Scenario = Scenario::new(
    "net.loopback-down",
    "The loopback device of a new network namespace is down: connect(2) fails with ENETUNREACH",
    loopback_down,
)
.shows(&["network-limits"], "network_namespaces(7)")
.steps(&[
    "Outside: the loopback device is up.",
    "Inside: bind(2) and listen(2) on 127.0.0.1 succeed, and connect(2) to this socket must fail with ENETUNREACH.",
])
.inside(&[Namespace::Net])
.needs(&["CONFIG_NET_NS", "CONFIG_INET", "CONFIG_IP_MULTIPLE_TABLES"], 2, 6, 29)
.probed_by(probe_missing_table);

fn loopback_down(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    netns::leave()?;
    let connected = sandbox.run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).during("bind(2) to 127.0.0.1 inside")?;
        let address = listener.local_addr().during("getsockname(2)")?;
        Ok(answer("connect(2)", TcpStream::connect(address))?.map(drop))
    })?;
    judge("connect(2) to a listener on 127.0.0.1, inside", &connected, &refused(Errno::ENETUNREACH), &Ok(()))
}

const SOMAXCONN_FILE: &str = "/proc/sys/net/core/somaxconn";

pub(super) const SOMAXCONN: Scenario = Scenario::new(
    "net.somaxconn",
    "Root of a user namespace may set somaxconn of its network namespace, and only there",
    somaxconn,
)
.shows(&["network-limits", "version-9"], "Documentation/admin-guide/sysctl/net.rst, listen(2)")
.steps(&[
    "Inside: writes 77 to /proc/sys/net/core/somaxconn, and reads it back.",
    "Outside: the file must have the same value as before.",
])
.inside(&[Namespace::User, Namespace::Net])
.needs(&["CONFIG_USER_NS", "CONFIG_NET_NS", "CONFIG_PROC_FS", "CONFIG_SYSCTL"], 6, 3, 0)
.probed_by(|| probe_file(&USER_NET, SOMAXCONN_FILE));

fn somaxconn(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const VALUE: &str = "77";
    netns::leave()?;
    let before = read(SOMAXCONN_FILE)?;
    let inside = sandbox.run(|| {
        write(SOMAXCONN_FILE, VALUE)?;
        read(SOMAXCONN_FILE)
    })?;
    require("somaxconn inside", &inside.as_str(), &VALUE)?;
    judge("somaxconn outside", &read(SOMAXCONN_FILE)?.as_str(), &before.as_str(), &VALUE)
}

/// Whether a sandbox has this file of /proc/sys.
fn probe_file(sandbox: &Sandbox, file: &str) -> Result<Probe, Trouble> {
    if let missing @ Probe::Missing(_) = unshared(sandbox)? {
        return Ok(missing);
    }
    let found = sandbox.run(|| answer("stat(2)", fs::metadata(Path::new(file)).map(drop)))?;
    known(
        &format!("stat({file}) in a new network namespace"),
        found.map_err(crate::sandbox::Code::errno),
        &[Errno::ENOENT],
        &[],
    )
}

/// Whether the kernel has the sandbox's namespaces. The probe leaves its process in them, so a child makes it.
fn unshared(sandbox: &Sandbox) -> Result<Probe, Trouble> {
    let evidence = Sandbox::none().run(|| {
        Ok(match sandbox.probe()? {
            Probe::Available => None,
            Probe::Missing(evidence) => Some(evidence),
        })
    })?;
    Ok(evidence.map_or(Probe::Available, Probe::Missing))
}
