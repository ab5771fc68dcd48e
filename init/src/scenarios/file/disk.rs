//! New file systems on loop devices.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::ext4::{self, Feature};
use super::xfs;
use crate::sandbox::During;
use crate::scenarios::support::{Scratch, exists, read};
use crate::scenarios::{Probe, Trouble};
use crate::sys::loop_device::{attach, unbind};

/// The modules of such a file system.
pub(super) const MODULES: &[&str] = &["loop", "ext4"];

/// A mounted file system whose root has mode 0777. Dropping the guard unmounts it and frees the device.
pub(in crate::scenarios) struct LoopDisk {
    scratch: Scratch,
    device: PathBuf,
}

impl LoopDisk {
    pub(in crate::scenarios) fn ext4(feature: Feature) -> Result<Self, Trouble> {
        let options = match feature {
            Feature::Verity => None,
            // Not only counts, but enforces limits.
            Feature::Project => Some("prjquota"),
        };
        Self::mount("ext4", options, |image| ext4::format(image, feature))
    }

    pub(super) fn xfs() -> Result<Self, Trouble> {
        // Another leg's file system with the same UUID may not be unmounted yet.
        Self::mount("xfs", Some("nouuid"), xfs::format)
    }

    fn mount(kind: &str, options: Option<&str>, format: impl FnOnce(&File) -> io::Result<()>) -> Result<Self, Trouble> {
        let scratch = Scratch::new()?;
        let path = scratch.join("image");
        let image = File::options().read(true).write(true).create_new(true).open(&path).during("creating an image")?;
        format(&image).during("writing an image")?;
        let (device, open_device) = attach(&image).during("attaching a loop device")?;
        fs::remove_file(&path).during("unlink(2) of the image")?;
        let mounted = mount(Some(&device), scratch.path(), Some(kind), MsFlags::empty(), options);
        // The mount keeps the device, and its end detaches the image.
        unbind(&open_device).during("ioctl(LOOP_CLR_FD)")?;
        mounted.during(format_args!("mount({kind}, {options:?})"))?;
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
    probe_kind("ext4")
}

/// Tests whether the kernel has loop devices and this file system.
pub(super) fn probe_kind(kind: &str) -> Result<Probe, Trouble> {
    if exists(Path::new("/dev/loop-control"))? {
        probe_file_system(kind)
    } else {
        Ok(Probe::Missing("there is no /dev/loop-control".to_owned()))
    }
}

/// Tests whether the kernel has this file system.
pub(in crate::scenarios) fn probe_file_system(kind: &str) -> Result<Probe, Trouble> {
    let is_listed = read("/proc/filesystems")?.lines().any(|line| line.split_whitespace().last() == Some(kind));
    let missing = || Probe::Missing(format!("/proc/filesystems does not name {kind}"));
    Ok(if is_listed { Probe::Available } else { missing() })
}
