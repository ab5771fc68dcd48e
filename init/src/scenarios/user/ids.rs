//! User ids inside and outside.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::kill;
use nix::unistd::{geteuid, getpid};
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Code, During, ID_COUNT, OUTER_ID, Sandbox, answer, refused};
use crate::scenarios::support::{Scratch, judge, read, require};
use crate::scenarios::{Finding, Scenario, Trouble};

pub(super) const CHOWN_UNMAPPED: Scenario =
    Scenario::new("user.chown-unmapped", "chown(2) to a user that is not mapped fails with EINVAL", chown_unmapped)
        .shows(&["biederman-4"], "user_namespaces(7), section User and group ID mappings")
        .steps(&[
            "Inside: creates a file as root.",
            "Inside: chown(2) of the file to user 65536, the first user without a mapping, must fail with EINVAL.",
            "The control gives the file to the same user in the initial user namespace, where each user exists.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn chown_unmapped(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let file = scratch.join("file");
    let given = sandbox.run(|| {
        create(&file)?;
        answer("chown(2) inside", chown(&file, Some(ID_COUNT), None))
    })?;
    judge(&format!("chown({ID_COUNT}) inside"), &given, &refused(Errno::EINVAL), &Ok(()))
}

pub(super) const FILE_OWNER: Scenario =
    Scenario::new("user.file-owner", "A file created by root inside belongs to the mapped user outside", file_owner)
        .shows(&["biederman-4"], "user_namespaces(7), section User and group ID mappings")
        .steps(&[
            "Inside: root, which is user 100000 outside, creates a file and is its owner.",
            "Outside: the file must belong to user 100000.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn file_owner(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let file = scratch.join("file");
    let inside = sandbox.run(|| {
        create(&file)?;
        owner(&file)
    })?;
    require("the file's owner inside", &inside, &0)?;
    judge("the file's owner outside", &owner(&file)?, &OUTER_ID, &0)
}

pub(super) const OVERFLOW_UID: Scenario = Scenario::new(
    "user.overflow-uid",
    "A file of an unmapped user appears as the overflow user's inside",
    overflow_uid,
)
.shows(&["biederman-4"], "user_namespaces(7), section Unmapped user and group IDs")
.steps(&[
    "Outside: root creates a file, and reads /proc/sys/kernel/overflowuid.",
    "Inside: stat(2) must name the overflow user as the file's owner.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn overflow_uid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let file = scratch.join("file");
    create(&file)?;
    let inside = sandbox.run(|| owner(&file))?;
    judge("the owner of root's file, inside", &inside, &overflow_user()?, &0)
}

pub(super) const SIGNAL: Scenario =
    Scenario::new("user.signal", "Root of a user namespace may not signal a process of the outer root", signal)
        .shows(&["2f"], "kill(2)")
        .steps(&["Inside: kill(2) with signal 0 to a process of root outside must fail with EPERM."])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn signal(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid();
    let answer = sandbox.run(|| Ok(kill(outside, None).map_err(Code::from)))?;
    judge(&format!("kill({outside}, 0) inside"), &answer, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const UNMAPPED_EUID: Scenario = Scenario::new(
    "user.unmapped-euid",
    "A process in a user namespace without a map is the overflow user",
    unmapped_euid,
)
.shows(&["biederman-4", "later-userns"], "user_namespaces(7), section Unmapped user and group IDs")
.steps(&[
    "The subject's process calls unshare(CLONE_NEWUSER); nobody writes a map.",
    "geteuid(2) must return the number in /proc/sys/kernel/overflowuid.",
    "The control's process does not call unshare(2): it is root.",
])
.by_means_of("unshare(CLONE_NEWUSER) without an id map")
.needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn unmapped_euid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let overflow = overflow_user()?;
    let user = sandbox.run(|| {
        if sandbox.applies() {
            unshare(CloneFlags::CLONE_NEWUSER).during("unshare(CLONE_NEWUSER)")?;
        }
        Ok(geteuid().as_raw())
    })?;
    judge("geteuid(2)", &user, &overflow, &0)
}

fn overflow_user() -> Result<u32, Trouble> {
    read("/proc/sys/kernel/overflowuid")?.parse().during("reading overflowuid")
}

fn create(path: &Path) -> Result<(), Trouble> {
    File::create_new(path).map(drop).during(format_args!("creating {}", path.display()))
}

/// The owner's user id as seen by the calling process.
fn owner(path: &Path) -> Result<u32, Trouble> {
    Ok(fs::metadata(path).during(format_args!("stat({})", path.display()))?.uid())
}
