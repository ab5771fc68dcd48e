//! The limits in /proc/sys/user, which hold in each user namespace and in those below it.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use vmlab_protocol::catalogue::Namespace;

use super::identity::probe_types;
use super::{TYPES, TYPES_CONFIG, flag, map_root};
use crate::sandbox::{Answer, Code, During, Sandbox, answer, refused};
use crate::scenarios::file::probe_file_system;
use crate::scenarios::support::{Scratch, exists, judge, mount_kind, read, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble, Undo};

const MAX_USER: &str = "/proc/sys/user/max_user_namespaces";
const MAX_INTERPRETERS: &str = "/proc/sys/user/max_binfmt_misc_interpreters";

/// The limit for a type of namespace.
fn limit_of(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::User => MAX_USER,
        Namespace::Cgroup => "/proc/sys/user/max_cgroup_namespaces",
        Namespace::Ipc => "/proc/sys/user/max_ipc_namespaces",
        Namespace::Uts => "/proc/sys/user/max_uts_namespaces",
        Namespace::Mount => "/proc/sys/user/max_mnt_namespaces",
        Namespace::Net => "/proc/sys/user/max_net_namespaces",
        Namespace::Time => "/proc/sys/user/max_time_namespaces",
        Namespace::Pid => "/proc/sys/user/max_pid_namespaces",
    }
}

pub(super) const MAX: Scenario = Scenario::new(
    "namespace.max",
    "A limit of 0 in /proc/sys/user makes unshare(2) fail with ENOSPC, for each of eight types",
    max,
)
.shows(&["4d", "later-limits"], "namespaces(7), section The /proc/sys/user directory")
.steps(&[
    "A process calls unshare(CLONE_NEWUSER), so that the limits that it sets are those of its user namespace.",
    "The subject writes 0 to the eight files /proc/sys/user/max_*_namespaces.",
    "unshare(2) of each type must fail with ENOSPC. In the control each succeeds.",
])
.by_means_of("0 in /proc/sys/user/max_*_namespaces")
.needs(TYPES_CONFIG, 5, 6, 0)
.probed_by(probe_types);

fn max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let answers: Vec<Answer> = sandbox.run(|| {
        unshare(CloneFlags::CLONE_NEWUSER).during("unshare(CLONE_NEWUSER)")?;
        // A user namespace can be created only by a user that has a map.
        map_root()?;
        for (namespace, _) in TYPES {
            if sandbox.applies() {
                write(limit_of(namespace), "0")?;
            }
        }
        Ok(TYPES.iter().map(|(namespace, _)| unshare(flag(*namespace)).map_err(Code::from)).collect())
    })?;
    let all = |answer| vec![answer; TYPES.len()];
    judge("unshare(2) of each type", &answers, &all(refused(Errno::ENOSPC)), &all(Ok(())))
}

pub(super) const NESTED: Scenario = Scenario::new(
    "namespace.nested-limit",
    "A limit set inside a user namespace holds there and below, not outside",
    nested,
)
.shows(&["4d", "biederman-7", "later-limits"], "namespaces(7), section The /proc/sys/user directory")
.steps(&[
    "Inside: writes 0 to /proc/sys/user/max_user_namespaces; unshare(CLONE_NEWUSER) then fails with ENOSPC.",
    "Outside: the file must show the old limit, and unshare(CLONE_NEWUSER) must succeed.",
    "In the control the write changes the limit of outside, where unshare(2) fails as well.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS"], 4, 9, 0);

fn nested(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let create = || Ok::<Answer, Trouble>(unshare(CloneFlags::CLONE_NEWUSER).map_err(Code::from));
    let before = read(MAX_USER)?;
    let _back = Undo::new("max_user_namespaces", || write(MAX_USER, &before));
    let inside = sandbox.run(|| {
        write(MAX_USER, "0")?;
        create()
    })?;
    require("unshare(CLONE_NEWUSER) inside", &inside, &refused(Errno::ENOSPC))?;
    let outside = Sandbox::none().run(create)?;
    judge(
        "whether the limit outside is the old one, and unshare(CLONE_NEWUSER) outside",
        &(read(MAX_USER)? == before, outside),
        &(true, Ok(())),
        &(false, refused(Errno::ENOSPC)),
    )
}

pub(super) const INTERPRETERS: Scenario = Scenario::new(
    "namespace.max-interpreters",
    "user.max_binfmt_misc_interpreters limits the interpreters that a user namespace keeps open",
    interpreters,
)
.shows(&["later-limits", "version-35"], "Documentation/admin-guide/sysctl/user.rst; fs/binfmt_misc.c")
.steps(&[
    "Inside: root of a user namespace mounts binfmt_misc; the subject writes 0 to user.max_binfmt_misc_interpreters.",
    "Registering a format with the flag F, which keeps the interpreter open, must fail with ENOSPC.",
    "The control sets no limit, and the format is registered.",
])
.by_means_of("0 in /proc/sys/user/max_binfmt_misc_interpreters")
.with_modules(&["binfmt_misc"])
.needs(&["CONFIG_USER_NS", "CONFIG_BINFMT_MISC"], 7, 3, 0)
.probed_by(probe_interpreters);

fn interpreters(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let registered: Answer = Sandbox::none().with_namespaces(&[Namespace::User, Namespace::Mount]).run(|| {
        if sandbox.applies() {
            write(MAX_INTERPRETERS, "0")?;
        }
        let scratch = Scratch::new()?;
        mount_kind("binfmt_misc", scratch.path(), None).during("mount(binfmt_misc) inside")?;
        answer("registering a format", fs::write(scratch.join("register"), ":vmlab:E::vmlab::/proc/self/exe:F"))
    })?;
    judge("registering a format with the flag F", &registered, &refused(Errno::ENOSPC), &Ok(()))
}

fn probe_interpreters() -> Result<Probe, Trouble> {
    if !exists(Path::new(MAX_INTERPRETERS))? {
        return Ok(Probe::Missing(format!("{MAX_INTERPRETERS} does not exist")));
    }
    probe_file_system("binfmt_misc")
}
