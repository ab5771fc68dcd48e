//! Files that share their blocks until one of them is written (`ioctl_ficlone(2)`).

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::disk::{LoopDisk, probe_kind};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::support::{judge, read, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::attributes::clone_file;

pub(super) const REFLINK: Scenario =
    Scenario::new("file.reflink", "A write to a clone of a file, made by FICLONE, does not change the file", reflink)
        .shows(&["5d"], "ioctl_ficlone(2)")
        .steps(&[
            "mount(2) mounts a new XFS with reference counts from a loop device, and a file is written.",
            "ioctl(FICLONE) makes another file a clone of it. The control makes a hard link.",
            "The clone has the same content, and its first byte is written.",
            "The file must have the old content. In the control it has the new one.",
        ])
        .by_means_of("FICLONE")
        .needs(&["CONFIG_BLK_DEV_LOOP", "CONFIG_XFS_FS"], 5, 8, 0)
        .with_modules(&["loop", "xfs"])
        .probed_by(probe);

fn reflink(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = LoopDisk::xfs()?;
    let (file, clone) = (disk.join("file"), disk.join("clone"));
    write(&file, &"A".repeat(4096))?;
    if sandbox.applies() {
        let (target, source) = (File::create_new(&clone), File::open(&file));
        clone_file(target.during("creating a file")?, source.during("open(2)")?).during("ioctl(FICLONE)")?;
    } else {
        fs::hard_link(&file, &clone).during("link(2)")?;
    }
    require("whether the clone has the same content", &(read(&clone)? == "A".repeat(4096)), &true)?;
    let open = File::options().write(true).open(&clone).during("open(2) of the clone")?;
    open.write_all_at(b"B", 0).during("write(2) to the clone")?;
    judge(
        "the first bytes of the file and the clone",
        &(first(&read(&file)?), first(&read(&clone)?)),
        &("A".into(), "B".into()),
        &("B".into(), "B".into()),
    )
}

fn first(text: &str) -> String {
    text.chars().take(1).collect()
}

fn probe() -> Result<Probe, Trouble> {
    probe_kind("xfs")
}
