//! Extended attributes (xattr(7)).

use std::fs::File;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Code, During, OUTER_ID, Sandbox, refused};
use crate::scenarios::support::{Scratch, judge, known, mount_tmpfs, require};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::attributes::{set_xattr, xattr};

pub(super) const CAPABILITY: Scenario = Scenario::new(
    "file.capability",
    "File capabilities set by root of a user namespace are valid in that namespace only",
    capability,
)
.shows(&["capabilities"], "capabilities(7), section Namespaced file capabilities")
.steps(&[
    "Inside: setxattr(2) sets security.capability of a file, in version 2 of the format.",
    "Outside: getxattr(2) must return version 3, with the user id outside of the root inside.",
])
.inside(&[Namespace::User])
.needs(&["CONFIG_USER_NS", "CONFIG_TMPFS_XATTR"], 4, 14, 0)
.probed_by(probe_xattr);

fn capability(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    /// `struct vfs_cap_data` of version 2: `CAP_NET_RAW` is permitted.
    const NET_RAW: [u8; 20] = [0, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let scratch = Scratch::new()?;
    let file = scratch.join("file");
    sandbox.run(|| {
        File::create_new(&file).during("creating a file")?;
        set_xattr(&file, c"security.capability", &NET_RAW).during("setxattr(security.capability) inside")
    })?;
    let value = xattr(&file, c"security.capability").during("getxattr(security.capability) outside")?;
    let number = |at: usize| value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let seen = (number(0).map(|magic| magic >> 24), number(20));
    judge("version and root of security.capability outside", &seen, &(Some(3), Some(OUTER_ID)), &(Some(2), None))
}

pub(super) const TRUSTED_XATTR: Scenario =
    Scenario::new("file.trusted-xattr", "Root of a user namespace cannot set attributes trusted.*", trusted_xattr)
        .shows(&["capabilities"], "xattr(7), section Trusted extended attributes")
        .steps(&["Inside: setxattr(2) of trusted.vmlab of a file that was created inside must fail with EPERM."])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS", "CONFIG_TMPFS_XATTR"], 3, 8, 0)
        .probed_by(probe_xattr);

/// Tests whether the tmpfs of /tmp has attributes at all.
fn probe_xattr() -> Result<Probe, Trouble> {
    let scratch = Scratch::new()?;
    let set = set_xattr(scratch.path(), c"trusted.vmlab", b"value");
    known("setxattr(trusted.vmlab) on tmpfs", set, &[Errno::EOPNOTSUPP], &[])
}

fn trusted_xattr(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let file = scratch.join("file");
    let set = sandbox.run(|| {
        File::create_new(&file).during("creating a file")?;
        Ok(set_xattr(&file, c"trusted.vmlab", b"value").map_err(Code::from))
    })?;
    judge("setxattr(trusted.vmlab) inside", &set, &refused(Errno::EPERM), &Ok(()))
}

pub(super) const USER_XATTR: Scenario = Scenario::new(
    "file.user-xattr",
    "Files on tmpfs have attributes user.*; files on ramfs have none",
    user_xattr,
)
.shows(&["xattrs", "version-27"], "tmpfs(5); xattr(7), section User extended attributes")
.steps(&[
    "mount(2) mounts a tmpfs. The control mounts a ramfs.",
    "setxattr(2) of user.vmlab must succeed, and getxattr(2) return the value. On ramfs it fails with EOPNOTSUPP.",
])
.by_means_of("tmpfs")
.needs(&["CONFIG_TMPFS_XATTR"], 6, 6, 0)
.probed_by(probe_user_xattr);

fn user_xattr(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let kind = if sandbox.applies() { "tmpfs" } else { "ramfs" };
    mount(Some("vmlab"), scratch.path(), Some(kind), MsFlags::empty(), None::<&str>)
        .during(format_args!("mount({kind})"))?;
    let set = set_user_xattr(&scratch)?.map_err(Code::from);
    if set.is_ok() {
        let value = xattr(&scratch.join("file"), c"user.vmlab").during("getxattr(user.vmlab)")?;
        require("the value of user.vmlab", &value, &b"value".to_vec())?;
    }
    judge("setxattr(user.vmlab)", &set, &Ok(()), &refused(Errno::EOPNOTSUPP))
}

fn set_user_xattr(scratch: &Scratch) -> Result<nix::Result<()>, Trouble> {
    let file = scratch.join("file");
    File::create_new(&file).during("creating a file")?;
    Ok(set_xattr(&file, c"user.vmlab", b"value"))
}

fn probe_user_xattr() -> Result<Probe, Trouble> {
    let scratch = Scratch::new()?;
    mount_tmpfs(scratch.path())?;
    known("setxattr(user.vmlab) on tmpfs", set_user_xattr(&scratch)?, &[Errno::EOPNOTSUPP], &[])
}
