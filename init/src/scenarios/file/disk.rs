//! A new ext4 file system on a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::ext4::{Feature, format};
use crate::sandbox::During;
use crate::scenarios::support::{Scratch, exists, read};
use crate::scenarios::{Probe, Trouble};
use crate::sys::disk::attach_loop;

/// The modules of such a file system.
pub(super) const MODULES: &[&str] = &["loop", "ext4"];

/// A mounted ext4 file system whose root has mode 0777. Dropping the guard unmounts it and frees the device.
pub(in crate::scenarios) struct Ext4 {
    scratch: Scratch,
    device: PathBuf,
}

impl Ext4 {
    pub(in crate::scenarios) fn new(feature: Feature) -> Result<Self, Trouble> {
        let scratch = Scratch::new()?;
        let path = scratch.join("image");
        let image = File::options().read(true).write(true).create_new(true).open(&path).during("creating an image")?;
        format(&image, feature).during("writing an ext4 image")?;
        let (device, open_device) = attach_loop(&image).during("attaching a loop device")?;
        fs::remove_file(&path).during("unlink(2) of the image")?;
        let options = match feature {
            Feature::Verity => None,
            // Not only counts, but enforces limits.
            Feature::Project => Some("prjquota"),
        };
        mount(Some(&device), scratch.path(), Some("ext4"), MsFlags::empty(), options)
            .during(format_args!("mount(ext4, {options:?})"))?;
        // From now on, the mount keeps the device.
        drop(open_device);
        Ok(Self { scratch, device })
    }

    pub(in crate::scenarios) fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// The block device.
    pub(super) fn device(&self) -> &Path {
        &self.device
    }
}

/// Tests whether the kernel has loop devices and ext4.
pub(in crate::scenarios) fn probe() -> Result<Probe, Trouble> {
    if !exists(Path::new("/dev/loop-control"))? {
        return Ok(Probe::Missing("there is no /dev/loop-control".to_owned()));
    }
    probe_ext4()
}

/// Tests whether the kernel has ext4.
pub(in crate::scenarios) fn probe_ext4() -> Result<Probe, Trouble> {
    let has_ext4 = read("/proc/filesystems")?.lines().any(|line| line.trim() == "ext4");
    let missing = || Probe::Missing("/proc/filesystems does not name ext4".to_owned());
    Ok(if has_ext4 { Probe::Available } else { missing() })
}
