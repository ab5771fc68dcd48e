//! Extended attributes (xattr(7)).

use std::fs::File;

use nix::errno::Errno;

use crate::sandbox::{Code, During, Sandbox, refused};
use crate::scenarios::support::{Scratch, judge, known, mount_kind, mount_tmpfs, require};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::attributes::{set_xattr, xattr};

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
    mount_kind(kind, scratch.path(), None).during(format_args!("mount({kind})"))?;
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
