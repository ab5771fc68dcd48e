//! A block device without a disk: a loop device on a file in memory.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc::O_DIRECT;
use nix::sys::stat::{major, minor};

use super::super::support::{Scratch, until};
use super::super::{Probe, Trouble};
use crate::sandbox::{During, undo};
use crate::sys::loop_device;

pub(super) const MODULES: &[&str] = &["loop"];
const CONTROL: &str = "/dev/loop-control";

/// Tests whether the kernel has loop devices.
pub(super) fn probe() -> Result<Probe, Trouble> {
    Ok(if Path::new(CONTROL).exists() { Probe::Available } else { Probe::Missing(format!("there is no {CONTROL}")) })
}

/// A new device, so that no other cgroup has used its page cache. Dropping the guard removes it.
pub(super) struct Disk {
    control: File,
    number: i32,
    /// None when the guard is dropped.
    device: Option<File>,
    path: PathBuf,
    _backing: Scratch,
}

impl Disk {
    /// Creates a device of this size, in bytes, filled with zeros.
    pub(super) fn new(size: usize) -> Result<Self, Trouble> {
        let control = OpenOptions::new().read(true).write(true).open(CONTROL).during("opening /dev/loop-control")?;
        let number = add(&control)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let opened = OpenOptions::new().read(true).write(true).open(&path).during("opening a loop device");
        let disk = Self { control, number, device: Some(opened?), path, _backing: Scratch::new()? };
        let backing = disk._backing.join("disk");
        let file = File::create_new(&backing).during("creating the file of a loop device")?;
        file.set_len(size as u64).during("ftruncate(2)")?;
        let file =
            OpenOptions::new().read(true).write(true).open(&backing).during("opening the file of a loop device")?;
        loop_device::bind(disk.device()?, &file).during("ioctl(LOOP_SET_FD)")?;
        Ok(disk)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn device(&self) -> Result<&File, Trouble> {
        self.device.as_ref().ok_or_else(|| Trouble::new("the loop device is closed"))
    }

    /// `MAJOR:MINOR`, by which the files of the io controller name the device.
    pub(super) fn name(&self) -> Result<String, Trouble> {
        let id = self.device()?.metadata().during("fstat(2)")?.rdev();
        Ok(format!("{}:{}", major(id), minor(id)))
    }

    /// Writes all dirty pages of the device to it.
    pub(super) fn sync(&self) -> Result<(), Trouble> {
        self.device()?.sync_all().during("fsync(2) of a block device")
    }

    fn remove(&mut self) -> Result<(), Trouble> {
        if let Some(device) = self.device.take() {
            match loop_device::unbind(&device) {
                // ENXIO: creating the guard failed before the device had a file.
                Ok(()) | Err(Errno::ENXIO) => {}
                Err(errno) => return Err(errno).during("ioctl(LOOP_CLR_FD)"),
            }
        }
        // EBUSY while the last close(2) of the device is not complete.
        until("the removal of a loop device", || match loop_device::remove(&self.control, self.number) {
            Ok(()) => Ok(true),
            Err(Errno::EBUSY) => Ok(false),
            Err(errno) => Err(errno).during("ioctl(LOOP_CTL_REMOVE)"),
        })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(trouble) = self.remove() {
            undo::failed(format_args!("the loop device {}: {trouble}", self.path.display()));
        }
    }
}

/// Adds a device with a number that is not in use.
fn add(control: &File) -> Result<i32, Trouble> {
    for number in 100..200 {
        match loop_device::add(control, number) {
            Ok(()) => return Ok(number),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).during("ioctl(LOOP_CTL_ADD)"),
        }
    }
    Err(Trouble::new("a hundred loop devices are in use"))
}

/// A page in memory at an address that direct IO takes (open(2), section O_DIRECT).
#[repr(align(4096))]
struct Page([u8; PAGE]);

pub(super) const PAGE: usize = 4096;

/// Opens the device without the page cache and hands out a function that writes its first page.
pub(super) fn direct_writer(path: &Path) -> Result<impl FnMut() -> Result<(), Trouble>, Trouble> {
    let device = OpenOptions::new().write(true).custom_flags(O_DIRECT).open(path).during("opening a block device")?;
    let page = Box::new(Page([1; PAGE]));
    Ok(move || {
        use std::os::unix::fs::FileExt as _;
        device.write_all_at(&page.0, 0).during("write(2) with O_DIRECT")
    })
}

/// Writes this many bytes through the page cache.
pub(super) fn write_cached(path: &Path, bytes: usize) -> Result<(), Trouble> {
    let mut device = OpenOptions::new().write(true).open(path).during("opening a block device")?;
    device.write_all(&vec![1; bytes]).during("write(2) to a block device")
}
