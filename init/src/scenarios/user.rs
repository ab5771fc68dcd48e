//! User namespaces: user ids and capabilities.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{gethostname, getpid, sethostname};
use vmlab_protocol::catalogue::Namespace;

use super::support::{Scratch, judge, read, require};
use super::{Finding, Scenario, Trouble, Undo};
use crate::sandbox::{Code, During, ID_COUNT, OUTER_ID, Sandbox, answer, refused};

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&CAPABILITIES, &CHOWN_UNMAPPED, &FILE_OWNER, &OVERFLOW_UID, &SIGNAL];

const CAPABILITIES: Scenario =
    Scenario::new("user.capabilities", "Root of a user namespace may not set the host name", capabilities)
        .shows(&["3a"], "user_namespaces(7), section Effect of capabilities within a user namespace")
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn capabilities(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = gethostname().during("gethostname(2)")?;
    let _back = Undo::new("the host name", || sethostname(&before).during("sethostname(2)"));
    let answer = sandbox.run(|| Ok(sethostname("vmlab-inside").map_err(Code::from)))?;
    judge("sethostname(2) inside", &answer, &refused(Errno::EPERM), &Ok(()))
}

const CHOWN_UNMAPPED: Scenario =
    Scenario::new("user.chown-unmapped", "chown(2) to a user that is not mapped fails with EINVAL", chown_unmapped)
        .shows(&["biederman-4"], "user_namespaces(7), section User and group ID mappings")
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

const FILE_OWNER: Scenario =
    Scenario::new("user.file-owner", "A file created by root inside belongs to the mapped user outside", file_owner)
        .shows(&["biederman-4"], "user_namespaces(7), section User and group ID mappings")
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

const OVERFLOW_UID: Scenario = Scenario::new(
    "user.overflow-uid",
    "A file of an unmapped user appears as the overflow user's inside",
    overflow_uid,
)
.shows(&["biederman-4"], "user_namespaces(7), section Unmapped user and group IDs")
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn overflow_uid(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let file = scratch.join("file");
    create(&file)?;
    let overflow = read("/proc/sys/kernel/overflowuid")?.parse::<u32>().during("reading overflowuid")?;
    let inside = sandbox.run(|| owner(&file))?;
    judge("the owner of root's file, inside", &inside, &overflow, &0)
}

const SIGNAL: Scenario =
    Scenario::new("user.signal", "Root of a user namespace may not signal a process of the outer root", signal)
        .shows(&["2f"], "kill(2)")
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 3, 8, 0);

fn signal(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let outside = getpid();
    let answer = sandbox.run(|| Ok(kill(outside, None).map_err(Code::from)))?;
    judge(&format!("kill({outside}, 0) inside"), &answer, &refused(Errno::EPERM), &Ok(()))
}

fn create(path: &Path) -> Result<(), Trouble> {
    File::create_new(path).map(drop).during(format_args!("creating {}", path.display()))
}

/// The owner's user id as seen by the calling process.
fn owner(path: &Path) -> Result<u32, Trouble> {
    Ok(fs::metadata(path).during(format_args!("stat({})", path.display()))?.uid())
}
