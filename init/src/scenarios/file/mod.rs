//! Files: immutable content, quotas, copies on write, extended attributes, device nodes, and files in memory.

mod attribute;
mod bytes;
mod device;
mod disk;
mod ext4;
mod immutable;
mod memory;
mod overlay;
mod project;
mod reflink;
mod xfs;

use super::Scenario;
pub(super) use device::node;
pub(super) use disk::{LoopDisk, probe as probe_disk, probe_file_system};
pub(super) use ext4::Feature;
pub(super) use overlay::mount_overlay;

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[
    &overlay::COPY_UP,
    &immutable::IMMUTABLE_LINK,
    &memory::MEMFD_NOEXEC,
    &memory::MEMFD_SYSCTL,
    &device::MKNOD,
    &project::BOUNDARY,
    &project::LIMIT,
    &project::USAGE,
    &project::USER_NAMESPACE,
    &project::QUOTACTL_FD,
    &reflink::REFLINK,
    &memory::TMPFS_SIZE,
    &attribute::USER_XATTR,
    &overlay::WHITEOUT,
];
