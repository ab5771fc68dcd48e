//! The kinds of entries that vmlab's cache holds.

use vmlab_store::cache::Inventory;

/// All kinds, each listed by the crate that makes such entries.
pub const KINDS: &[Inventory] = &[
    vmlab_qemu::template::inventory::inventory,
    vmlab_image::inventory,
    vmlab_kernel::unpack::inventory,
    vmlab_kernel::fetched::inventory::inventory,
    vmlab_store::memo::inventory::inventory,
    vmlab_qemu::accel::inventory,
];

#[cfg(test)]
mod tests;
