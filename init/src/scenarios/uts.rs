//! UTS namespaces: host name and domain name.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::utsname::{UtsName, uname};
use nix::unistd::sethostname;
use vmlab_protocol::catalogue::Namespace;

use super::support::{judge, read, require, write};
use super::{Finding, Probe, Scenario, Trouble, Undo};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::sys::privilege::appear_as_32_bit;
use crate::sys::uts::setdomainname;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] =
    &[&ARCH, &DOMAINNAME, &DOMAINNAME_DENIED, &HOSTNAME, &OWNER, &SYSCTL, &SYSCTL_DENIED];

const ARCH_FILE: &str = "/proc/sys/kernel/arch";

const ARCH: Scenario = Scenario::new(
    "uts.arch",
    "The sysctl kernel.arch names the kernel's machine, whatever uname(2) tells a process",
    arch,
)
.shows(&["3a"], "Documentation/admin-guide/sysctl/kernel.rst, section arch")
.steps(&[
    "The subject's process calls personality(PER_LINUX32), after which uname(2) tells it the machine i686.",
    "/proc/sys/kernel/arch must name another machine: that of the kernel.",
    "In the control both name the same machine.",
])
.by_means_of("personality(PER_LINUX32)")
.needs(&["CONFIG_PROC_SYSCTL"], 6, 1, 0)
.probed_by(probe_arch);

fn arch(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let machine = || Ok(names()?.machine().to_string_lossy().into_owned());
    let real = machine()?;
    let inside: (String, String) = sandbox.run(|| {
        if sandbox.applies() {
            appear_as_32_bit().during("personality(PER_LINUX32)")?;
        }
        Ok((read(ARCH_FILE)?, machine()?))
    })?;
    judge("kernel.arch, and uname(2)'s machine", &inside, &(real.clone(), "i686".to_owned()), &(real.clone(), real))
}

fn probe_arch() -> Result<Probe, Trouble> {
    Ok(if super::support::exists(Path::new(ARCH_FILE))? {
        Probe::Available
    } else {
        Probe::Missing(format!("{ARCH_FILE} does not exist"))
    })
}

const DOMAINNAME: Scenario =
    Scenario::new("uts.domainname", "setdomainname(2) in a UTS namespace does not change the name outside", domainname)
        .shows(&["3a"], "uts_namespaces(7)")
        .steps(&[
            "Inside: setdomainname(2) sets the NIS domain name, and uname(2) returns the new name.",
            "Outside: uname(2) must still return the old name.",
        ])
        .inside(&[Namespace::Uts])
        .needs(&["CONFIG_UTS_NS"], 2, 6, 19);

fn domainname(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    renamed(sandbox, "domain name", domain_name, |name| setdomainname(name).during("setdomainname(2)"))
}

const DOMAINNAME_DENIED: Scenario = Scenario::new(
    "uts.domainname-denied",
    "Root of a user namespace may not set the domain name of an outer UTS namespace",
    domainname_denied,
)
.shows(&["3a"], "setdomainname(2)")
.steps(&[
    "Inside: root of a user namespace, in the UTS namespace of outside, calls setdomainname(2).",
    "The call must fail with EPERM.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn domainname_denied(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let set = |name: &str| setdomainname(name);
    denied(sandbox, "setdomainname(2) inside", domain_name, |name| Ok(set(name).map_err(Code::from)), Errno::EPERM)
}

const HOSTNAME: Scenario =
    Scenario::new("uts.hostname", "sethostname(2) in a UTS namespace does not change the name outside", hostname)
        .shows(&["3a", "biederman-4"], "uts_namespaces(7)")
        .steps(&[
            "Inside: sethostname(2) sets the host name, and uname(2) returns the new name.",
            "Outside: uname(2) must still return the old name.",
        ])
        .inside(&[Namespace::Uts])
        .needs(&["CONFIG_UTS_NS"], 2, 6, 19);

fn hostname(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    renamed(sandbox, "host name", host_name, |name| sethostname(name).during("sethostname(2)"))
}

const OWNER: Scenario = Scenario::new(
    "uts.owner",
    "Root of a user namespace may set the host name of a UTS namespace created there",
    owner,
)
.shows(
    &["3a", "capabilities"],
    "user_namespaces(7), section Interaction of user namespaces and other types of namespaces",
)
.steps(&[
    "Inside a user namespace: unshare(CLONE_NEWUTS) makes a UTS namespace that the user namespace owns.",
    "sethostname(2) must succeed there, and the name outside must stay.",
    "The control is in the user namespace only: EPERM.",
])
.inside(&[Namespace::User, Namespace::Uts])
.control_inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_UTS_NS"], 3, 8, 0);

fn owner(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = host_name()?;
    let _back = Undo::new("the host name", || sethostname(&before).during("sethostname(2)"));
    let set: Answer = sandbox.run(|| Ok(sethostname("vmlab-inside").map_err(Code::from)))?;
    require("the host name outside", &host_name()?, &before)?;
    judge("sethostname(2) inside", &set, &Ok(()), &refused(Errno::EPERM))
}

const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

const SYSCTL: Scenario =
    Scenario::new("uts.sysctl", "/proc/sys/kernel/hostname belongs to the writer's UTS namespace", sysctl)
        .shows(&["3a"], "proc_sys_kernel(5)")
        .steps(&[
            "Inside: writes a name to /proc/sys/kernel/hostname, and uname(2) returns it.",
            "Outside: uname(2) must still return the old name.",
        ])
        .inside(&[Namespace::Uts])
        .needs(&["CONFIG_UTS_NS", "CONFIG_PROC_FS"], 2, 6, 19);

fn sysctl(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    renamed(sandbox, "host name", host_name, |name| write(HOSTNAME_FILE, name))
}

const SYSCTL_DENIED: Scenario = Scenario::new(
    "uts.sysctl-denied",
    "/proc/sys/kernel/hostname cannot be written by root of a user namespace",
    sysctl_denied,
)
.shows(&["3a"], "proc_sys_kernel(5); kernel/utsname_sysctl.c")
.steps(&[
    "Inside: root of a user namespace opens /proc/sys/kernel/hostname for writing.",
    "The call must fail with EACCES: only root of the initial user namespace may write to this file.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_PROC_SYSCTL"], 3, 8, 0);

fn sysctl_denied(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let set = |name: &str| answer("writing hostname", fs::write(HOSTNAME_FILE, name));
    denied(sandbox, "a write to /proc/sys/kernel/hostname inside", host_name, set, Errno::EACCES)
}

/// Sets a name inside, which must be refused.
fn denied(
    sandbox: &Sandbox,
    what: &str,
    get: fn() -> Result<String, Trouble>,
    set: impl Fn(&str) -> Result<Answer, Trouble>,
    errno: Errno,
) -> Result<Finding, Trouble> {
    let before = get()?;
    let _back = Undo::new("the name", || set(&before)?.map_err(Code::errno).during("restoring the name"));
    let answer = sandbox.run(|| set("vmlab-inside"))?;
    judge(what, &answer, &refused(errno), &Ok(()))
}

/// Sets a name inside and reads it outside.
fn renamed(
    sandbox: &Sandbox,
    what: &'static str,
    get: fn() -> Result<String, Trouble>,
    set: fn(&str) -> Result<(), Trouble>,
) -> Result<Finding, Trouble> {
    let new = "vmlab-inside".to_owned();
    let before = get()?;
    let _back = Undo::new(what, || set(&before));
    let inside = sandbox.run(|| {
        set(&new)?;
        get()
    })?;
    require(&format!("the {what} inside"), &inside, &new)?;
    judge(&format!("the {what} outside"), &get()?, &before, &new)
}

fn host_name() -> Result<String, Trouble> {
    Ok(names()?.nodename().to_string_lossy().into_owned())
}

fn domain_name() -> Result<String, Trouble> {
    Ok(names()?.domainname().to_string_lossy().into_owned())
}

fn names() -> Result<UtsName, Trouble> {
    uname().during("uname(2)")
}
