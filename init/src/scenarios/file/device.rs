//! Device nodes.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use vmlab_protocol::catalogue::Namespace;

use crate::sandbox::{Answer, Code, Sandbox, refused};
use crate::scenarios::support::{Scratch, judge, require};
use crate::scenarios::{Finding, Scenario, Trouble};

pub(super) const MKNOD: Scenario =
    Scenario::new("file.mknod", "Root of a user namespace cannot make device nodes, except whiteouts", make_nodes)
        .shows(&["later-locked-mounts"], "mknod(2); commit a3c751a50fe6 (Linux 5.8)")
        .steps(&[
            "Inside: mknod(2) makes a character device 0:0, a whiteout.",
            "Inside: mknod(2) of the character device 1:3, /dev/null, must fail with EPERM.",
        ])
        .inside(&[Namespace::User])
        .needs(&["CONFIG_USER_NS"], 5, 8, 0);

fn make_nodes(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let scratch = Scratch::new()?;
    let (whiteout, null) =
        sandbox.run(|| Ok((node(&scratch.join("whiteout"), 0, 0), node(&scratch.join("null"), 1, 3))))?;
    require("mknod(0:0) inside", &whiteout, &Ok(()))?;
    judge("mknod(1:3) inside", &null, &refused(Errno::EPERM), &Ok(()))
}

/// Makes a character device.
pub(in crate::scenarios) fn node(path: &Path, major: u64, minor: u64) -> Answer {
    mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor)).map_err(Code::from)
}
