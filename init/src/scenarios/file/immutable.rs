//! Files whose content is constant, and whose names are not: "immutable linkage invert" of Linux-VServer.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::errno::Errno;

use super::disk::{self, LoopDisk};
use super::ext4::Feature;
use crate::sandbox::{Answer, During, Sandbox, answer, refused};
use crate::scenarios::support::{exists, judge, write};
use crate::scenarios::{Finding, Probe, Scenario, Trouble};
use crate::sys::attributes::{enable_verity, set_immutable};

pub(super) const IMMUTABLE_LINK: Scenario = Scenario::new(
    "file.immutable-link",
    "fs-verity freezes the content of a file, but not its names; chattr +i freezes both",
    immutable_link,
)
.shows(&["0b"], "Documentation/filesystems/fsverity.rst; ioctl_iflags(2)")
.steps(&[
    "mount(2) mounts a new ext4 file system from a loop device, and a file is written there.",
    "FS_IOC_ENABLE_VERITY freezes the content of the file. The control sets FS_IMMUTABLE_FL instead.",
    "open(O_WRONLY) must fail with EPERM.",
    "link(2), rename(2), chmod(2) and unlink(2) must succeed. In the control they fail with EPERM.",
])
.by_means_of("FS_IOC_ENABLE_VERITY")
.needs(&["CONFIG_BLK_DEV_LOOP", "CONFIG_EXT4_FS", "CONFIG_FS_VERITY"], 5, 8, 0)
.with_modules(disk::MODULES)
.probed_by(probe);

fn immutable_link(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let disk = LoopDisk::ext4(Feature::Verity)?;
    let file = disk.join("file");
    write(&file, "content")?;
    let open = File::open(&file).during("open(2)")?;
    if sandbox.applies() {
        enable_verity(&open).during("ioctl(FS_IOC_ENABLE_VERITY)")?;
    } else {
        set_immutable(&open, true).during("ioctl(FS_IOC_SETFLAGS)")?;
    }
    let seen = changes(&file, &disk.join("link"), &disk.join("renamed"))?;
    let refusal = refused(Errno::EPERM);
    let mut frozen = [Ok(()); 5];
    if let Some(first) = frozen.first_mut() {
        *first = refusal;
    }
    judge("open(O_WRONLY), link(2), rename(2), chmod(2), unlink(2)", &seen, &frozen, &[refusal; 5])
}

/// Tries to change the content, then the names and the mode.
fn changes(file: &Path, link: &Path, renamed: &Path) -> Result<[Answer; 5], Trouble> {
    let opened = answer("open(O_WRONLY)", OpenOptions::new().write(true).open(file))?.map(drop);
    let linked = answer("link(2)", fs::hard_link(file, link))?;
    let moved = answer("rename(2)", fs::rename(file, renamed))?;
    let name = if moved.is_ok() { renamed } else { file };
    let mode = answer("chmod(2)", fs::set_permissions(name, Permissions::from_mode(0o600)))?;
    Ok([opened, linked, moved, mode, answer("unlink(2)", fs::remove_file(name))?])
}

fn probe() -> Result<Probe, Trouble> {
    let probe = disk::probe()?;
    // The directory of features exists since 4.3, the entry only with CONFIG_FS_VERITY (fs/ext4/sysfs.c).
    let feature = "/sys/fs/ext4/features/verity";
    if probe == Probe::Available && !exists(Path::new(feature))? {
        return Ok(Probe::Missing(format!("there is no {feature}")));
    }
    Ok(probe)
}
