//! Overlayfs: a common lower tree that nobody changes, because each change makes a copy.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::disk::probe_file_system;
use crate::sandbox::{During, Sandbox};
use crate::scenarios::support::{Scratch, exists, judge, mount_kind, mount_tmpfs, read, require, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};

pub(super) const COPY_UP: Scenario = Scenario::new(
    "file.copy-up",
    "A write through overlayfs copies the file: its other hard link and the lower file stay old",
    copy_up,
)
.shows(&["5d"], "Documentation/filesystems/overlayfs.rst, section Non-standard behavior")
.steps(&[
    "A lower directory gets a file with two hard links, a and b.",
    "mount(overlay) merges it with an empty upper directory. The control makes a bind mount of the lower directory.",
    "In the merged directory, a is written.",
    "In the merged directory, b must have the old content, and in the lower directory too.",
])
.by_means_of("overlayfs")
.needs(&["CONFIG_OVERLAY_FS"], 4, 0, 0)
.with_modules(&["overlay"])
.probed_by(probe);

fn copy_up(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let tree = Tree::new(sandbox.applies())?;
    write(tree.0.join("merged/a"), "new")?;
    require("a in the merged directory", &read(tree.0.join("merged/a"))?, &"new".to_owned())?;
    let seen = (read(tree.0.join("merged/b"))?, read(tree.0.join("lower/a"))?);
    let both = |text: &str| (text.to_owned(), text.to_owned());
    judge("b in the merged directory, and a in the lower one", &seen, &both("old"), &both("new"))
}

pub(super) const WHITEOUT: Scenario = Scenario::new(
    "file.whiteout",
    "A file deleted through overlayfs stays in the lower tree, hidden by a whiteout",
    whiteout,
)
.shows(&["5d"], "Documentation/filesystems/overlayfs.rst, section whiteouts and opaque directories")
.steps(&[
    "mount(overlay) merges a lower directory with an empty upper one. The control makes a bind mount of the lower one.",
    "unlink(2) removes a file from the merged directory.",
    "The file must still be in the lower directory, and the upper one must have a whiteout: a character device 0:0.",
])
.by_means_of("overlayfs")
.needs(&["CONFIG_OVERLAY_FS"], 4, 0, 0)
.with_modules(&["overlay"])
.probed_by(probe);

fn whiteout(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let tree = Tree::new(sandbox.applies())?;
    let merged = tree.0.join("merged/a");
    fs::remove_file(&merged).during("unlink(2)")?;
    require("whether the file is in the merged directory", &exists(&merged)?, &false)?;
    let upper = tree.0.join("upper/a");
    let is_whiteout = exists(&upper)? && {
        let found = fs::symlink_metadata(&upper).during("stat(2) of the upper file")?;
        found.file_type().is_char_device() && found.rdev() == 0
    };
    let seen = (exists(&tree.0.join("lower/a"))?, is_whiteout);
    judge("the lower file exists, and the upper one is a whiteout", &seen, &(true, true), &(false, false))
}

/// The directories lower, upper, work and merged.
struct Tree(Scratch);

impl Tree {
    /// The merged directory is an overlay, or otherwise the lower directory itself.
    fn new(overlay: bool) -> Result<Self, Trouble> {
        let scratch = Scratch::new()?;
        mount_tmpfs(scratch.path())?;
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(scratch.join(name)).during("mkdir(2)")?;
        }
        write(scratch.join("lower/a"), "old")?;
        fs::hard_link(scratch.join("lower/a"), scratch.join("lower/b")).during("link(2)")?;
        if overlay {
            mount_overlay(scratch.path(), "")?;
        } else {
            let flags = MsFlags::MS_BIND;
            mount(Some(&scratch.join("lower")), &scratch.join("merged"), None::<&str>, flags, None::<&str>)
                .during("mount(MS_BIND)")?;
        }
        Ok(Self(scratch))
    }
}

/// Mounts an overlay of `lower` and `upper` on `merged`, all in this directory.
pub(in crate::scenarios) fn mount_overlay(dir: &Path, options: &str) -> Result<(), Trouble> {
    let shown = dir.display();
    let data = format!("lowerdir={shown}/lower,upperdir={shown}/upper,workdir={shown}/work{options}");
    mount_kind("overlay", &dir.join("merged"), Some(&data)).during(format_args!("mount(overlay, {data})"))
}

fn probe() -> Result<Probe, Trouble> {
    probe_file_system("overlay")
}
