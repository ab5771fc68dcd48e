//! The rules for the id maps of a user namespace.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::setgroups;
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Answer, Code, During, ID_COUNT, OUTER_ID, Sandbox, answer, refused};
use crate::scenarios::support::{become_user, judge, read, write};
use crate::scenarios::{Finding, Scenario, Trouble};
use crate::sys::privilege::{CAP_SETFCAP, drop_capability};

const UID_MAP: &str = "/proc/self/uid_map";
const GID_MAP: &str = "/proc/self/gid_map";
const SETGROUPS_FILE: &str = "/proc/self/setgroups";

/// Writes to a file of /proc; the errno is an observation.
fn put(path: &str, text: &str) -> Result<Answer, Trouble> {
    answer(path, fs::write(path, text))
}

/// Makes the calling process an ordinary user with a user namespace of its own that has no maps.
fn unshare_as_user() -> Result<(), Trouble> {
    become_user(OUTER_ID)?;
    // Only a dumpable process owns its files in /proc.
    nix::sys::prctl::set_dumpable(true).during("prctl(PR_SET_DUMPABLE)")?;
    unshare(CloneFlags::CLONE_NEWUSER).during("unshare(CLONE_NEWUSER) as an ordinary user")
}

pub(super) const MAP_ONCE: Scenario =
    Scenario::new("user.map-once", "The id map of a user namespace can be written once only", map_once)
        .shows(&["later-userns"], "user_namespaces(7), section Defining user and group ID mappings")
        .steps(&[
            "An ordinary user calls unshare(CLONE_NEWUSER).",
            "The subject's process writes its uid_map.",
            "A write to uid_map must fail with EPERM, because there is a map; in the control it is the first write.",
        ])
        .by_means_of("an earlier write to uid_map")
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn map_once(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let written = sandbox.run(|| {
        unshare_as_user()?;
        let map = format!("0 {OUTER_ID} 1\n");
        if sandbox.applies() {
            write(UID_MAP, &map)?;
        }
        put(UID_MAP, &map)
    })?;
    judge("a write to uid_map", &written, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const MAP_ROOT: Scenario = Scenario::new(
    "user.map-root",
    "User 0 of the parent cannot be mapped by a process that had no CAP_SETFCAP",
    map_root,
)
.shows(&["later-userns", "capabilities"], "user_namespaces(7), section Defining user and group ID mappings")
.steps(&[
    "The subject's process is root and gives up CAP_SETFCAP.",
    "It calls unshare(CLONE_NEWUSER).",
    "Writing 0 0 1 to its uid_map must fail with EPERM: it could give files capabilities that count outside.",
    "The control keeps CAP_SETFCAP.",
])
.by_means_of("giving up CAP_SETFCAP")
.needs(&["CONFIG_USER_NS"], 3, 8, 0)
// The stable series 5.10 has the check of 5.12 as well. Debian's release names do not tell since which patch.
.isolates_since((5, 12, 0), &[(5, 10, 0)]);

fn map_root(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let written = sandbox.run(|| {
        if sandbox.applies() {
            drop_capability(CAP_SETFCAP).during("capset(2)")?;
        }
        unshare(CloneFlags::CLONE_NEWUSER).during("unshare(CLONE_NEWUSER)")?;
        put(UID_MAP, "0 0 1\n")
    })?;
    judge("writing 0 0 1 to uid_map", &written, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const MAP_TWO_IDS: Scenario =
    Scenario::new("user.map-two-ids", "An ordinary user may map one id only: the own one", map_two_ids)
        .shows(&["later-userns", "biederman-4"], "user_namespaces(7), section Defining user and group ID mappings")
        .steps(&[
            "An ordinary user calls unshare(CLONE_NEWUSER).",
            "The subject's process writes a map of two ids to uid_map: EPERM.",
            "The control's process writes a map of its own id, which succeeds.",
        ])
        .by_means_of("a map of two ids")
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn map_two_ids(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let count = if sandbox.applies() { 2 } else { 1 };
    let written = sandbox.run(|| {
        unshare_as_user()?;
        put(UID_MAP, &format!("0 {OUTER_ID} {count}\n"))
    })?;
    judge(&format!("writing a map of {count} ids"), &written, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const SETGROUPS: Scenario =
    Scenario::new("user.setgroups", "setgroups(2) fails in a user namespace that denies it", set_groups)
        .shows(
            &["later-userns"],
            "user_namespaces(7), section Interaction with system calls that change user and group IDs",
        )
        .steps(&[
            "Root calls unshare(CLONE_NEWUSER); the subject's process writes deny to /proc/self/setgroups.",
            "It maps its user and group.",
            "setgroups(2) must fail with EPERM, although the process has CAP_SETGID in its user namespace.",
        ])
        .by_means_of("deny in /proc/PID/setgroups")
        .needs(&["CONFIG_USER_NS"], 3, 19, 0);

fn set_groups(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let set = if sandbox.applies() {
        sandbox.run(|| {
            unshare(CloneFlags::CLONE_NEWUSER).during("unshare(CLONE_NEWUSER)")?;
            write(SETGROUPS_FILE, "deny")?;
            write(UID_MAP, "0 0 1\n")?;
            write(GID_MAP, "0 0 1\n")?;
            Ok(setgroups(&[]).map_err(Code::from))
        })?
    } else {
        // The keeper's maps are written by root outside, which needs no deny.
        let namespaces = Sandbox::none().with_namespaces(&[Namespace::User]);
        namespaces.run(|| Ok(setgroups(&[]).map_err(Code::from)))?
    };
    judge("setgroups(2) inside", &set, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const SETGROUPS_DENY: Scenario = Scenario::new(
    "user.setgroups-deny",
    "An ordinary user must give up setgroups(2) before he may write gid_map",
    setgroups_deny,
)
.shows(&["later-userns"], "user_namespaces(7), section Defining user and group ID mappings")
.steps(&[
    "An ordinary user calls unshare(CLONE_NEWUSER).",
    "The subject's process writes its gid_map: EPERM, because setgroups(2) would let it leave its groups.",
    "The control's process first writes deny to /proc/self/setgroups; the write to gid_map succeeds.",
])
.by_means_of("allow in /proc/PID/setgroups")
.needs(&["CONFIG_USER_NS"], 3, 19, 0);

fn setgroups_deny(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let written = sandbox.run(|| {
        unshare_as_user()?;
        if !sandbox.applies() {
            write(SETGROUPS_FILE, "deny")?;
        }
        put(GID_MAP, &format!("0 {OUTER_ID} 1\n"))
    })?;
    judge("a write to gid_map", &written, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const VIEW: Scenario =
    Scenario::new("user.map-view", "/proc/PID/uid_map shows from outside which users a process's users are", view)
        .shows(&["1c", "biederman-4"], "user_namespaces(7), section User and group ID mappings: uid_map and gid_map")
        .steps(&[
            "Inside: a process in a new user namespace waits.",
            "Outside: /proc/PID/uid_map must show that user 0 inside is user 100000 here, and so on for 65536 users.",
            "In the control it shows the map of the initial user namespace: each user is itself.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS", "CONFIG_PROC_FS"], 3, 8, 0);

fn view(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let inside = sandbox.hold(|| Ok(()))?;
    let text = read(format!("/proc/{}/uid_map", inside.pid()))?;
    let numbers: Vec<Option<u32>> = text.split_whitespace().map(|number| number.parse().ok()).collect();
    let (mapped, all) = ([0, OUTER_ID, ID_COUNT].map(Some), [0, 0, u32::MAX].map(Some));
    judge("/proc/PID/uid_map of the process inside", &numbers, &mapped.to_vec(), &all.to_vec())
}
