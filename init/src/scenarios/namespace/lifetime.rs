//! What keeps a namespace alive without a process in it.

use std::fs::File;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::setns;
use nix::unistd::{gethostname, sethostname};
use vmlab_protocol::catalogue::Namespace;

use super::{flag, inode, open};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::scenarios::support::{Scratch, judge, require};
use crate::scenarios::{Finding, Scenario, Trouble};

const NAME: &str = "vmlab-kept";

fn host_name() -> Result<String, Trouble> {
    Ok(gethostname().during("gethostname(2)")?.to_string_lossy().into_owned())
}

pub(super) const BIND_MOUNT: Scenario = Scenario::new(
    "namespace.bind-mount",
    "A bind mount keeps a namespace without processes, and names it for setns(2)",
    bind_mount,
)
.shows(&["1a", "biederman-1", "biederman-3"], "namespaces(7), section The /proc/pid/ns/ directory")
.steps(&[
    "Inside a UTS namespace: sets the host name; the subject binds /proc/self/ns/uts to a file. The process ends.",
    "Outside: another process opens the file, calls setns(2), and must see the name that was set inside.",
    "The host name outside must stay.",
    "The control binds nothing: the file is an ordinary one, and setns(2) fails with EINVAL.",
])
.by_means_of("a bind mount of /proc/PID/ns/uts")
.needs(&["CONFIG_UTS_NS", "CONFIG_PROC_FS"], 3, 0, 0);

fn bind_mount(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let file = scratch.join("uts");
    File::create_new(&file).during("creating a file")?;
    // Removing the scratch directory unmounts the file as well.
    let _unmounted = crate::scenarios::Undo::new("the bind mount", || {
        if sandbox.applies() { nix::mount::umount(&file).during("umount(2)") } else { Ok(()) }
    });
    let before = host_name()?;
    Sandbox::none().with_namespaces(&[Namespace::Uts]).run(|| {
        sethostname(NAME).during("sethostname(2)")?;
        if sandbox.applies() {
            mount(Some("/proc/self/ns/uts"), &file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .during("mount(MS_BIND) of a namespace")?;
        }
        Ok(())
    })?;
    let seen: Answer<String> = Sandbox::none().run(|| {
        let namespace = File::open(&file).during("opening the file")?;
        match setns(&namespace, flag(Namespace::Uts)) {
            Ok(()) => Ok(Ok(host_name()?)),
            Err(errno) => Ok(Err(Code::from(errno))),
        }
    })?;
    require("the host name outside", &host_name()?, &before)?;
    judge("the host name after setns(2) to the file", &seen, &Ok(NAME.to_owned()), &refused(Errno::EINVAL))
}

pub(super) const DESCRIPTOR: Scenario = Scenario::new(
    "namespace.descriptor",
    "An open file keeps a namespace after its last process has ended",
    descriptor,
)
.shows(&["1a", "biederman-1", "biederman-3"], "namespaces(7), section Namespace lifetime")
.steps(&[
    "Inside a UTS namespace: a process sets the host name and waits.",
    "Outside: the subject opens /proc/PID/ns/uts of this process, which is then killed.",
    "setns(2) with the descriptor must reach the namespace with the name that was set inside.",
    "The control opens the file only after the process has ended: ENOENT.",
])
.by_means_of("a descriptor that was opened in time")
.needs(&["CONFIG_UTS_NS", "CONFIG_PROC_FS"], 3, 0, 0);

fn descriptor(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside =
        Sandbox::none().with_namespaces(&[Namespace::Uts]).hold(|| sethostname(NAME).during("sethostname(2)"))?;
    let pid = inside.pid();
    let opened = if sandbox.applies() { Some(open(pid, "uts")?) } else { None };
    let outside = inode(&open(nix::unistd::getpid(), "uts")?)?;
    // Kills and reaps the process.
    drop(inside);
    let seen: Answer<String> = sandbox.run(|| {
        let namespace = match opened {
            Some(file) => Ok(file),
            None => answer("opening the namespace", File::open(format!("/proc/{pid}/ns/uts")))?,
        };
        match namespace {
            Ok(file) => {
                require("whether the namespace is that of outside", &(inode(&file)? == outside), &false)?;
                setns(&file, flag(Namespace::Uts)).during("setns(2)")?;
                Ok(Ok(host_name()?))
            }
            Err(code) => Ok(Err(code)),
        }
    })?;
    judge("the host name in the namespace", &seen, &Ok(NAME.to_owned()), &refused(Errno::ENOENT))
}
