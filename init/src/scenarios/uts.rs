//! UTS namespaces: host name and domain name.

use nix::sys::utsname::{UtsName, uname};
use nix::unistd::sethostname;
use vmlab_protocol::catalogue::Namespace;

use super::support::{judge, require, write};
use super::{Finding, Scenario, Trouble, Undo};
use crate::sandbox::{During, Sandbox};
use crate::sys::uts::setdomainname;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&DOMAINNAME, &HOSTNAME, &SYSCTL];

const DOMAINNAME: Scenario =
    Scenario::new("uts.domainname", "setdomainname(2) in a UTS namespace does not change the name outside", domainname)
        .shows(&["3a"], "uts_namespaces(7)")
        .inside(&[Namespace::Uts])
        .needs(&["CONFIG_UTS_NS"], 2, 6, 19);

fn domainname(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    renamed(sandbox, "domain name", domain_name, |name| setdomainname(name).during("setdomainname(2)"))
}

const HOSTNAME: Scenario =
    Scenario::new("uts.hostname", "sethostname(2) in a UTS namespace does not change the name outside", hostname)
        .shows(&["3a"], "uts_namespaces(7)")
        .inside(&[Namespace::Uts])
        .needs(&["CONFIG_UTS_NS"], 2, 6, 19);

fn hostname(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    renamed(sandbox, "host name", host_name, |name| sethostname(name).during("sethostname(2)"))
}

const SYSCTL: Scenario =
    Scenario::new("uts.sysctl", "/proc/sys/kernel/hostname belongs to the writer's UTS namespace", sysctl)
        .shows(&["3a"], "proc_sys_kernel(5)")
        .inside(&[Namespace::Uts])
        .needs(&["CONFIG_UTS_NS", "CONFIG_PROC_FS"], 2, 6, 19);

fn sysctl(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    renamed(sandbox, "host name", host_name, |name| write("/proc/sys/kernel/hostname", name))
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
