//! The kinds of entries in vmlab's cache.

use vmlab_store::cache::EntryKind;
use vmlab_store::cache::leftovers::LEFTOVER;

/// All kinds. Each is defined by the crate that creates such entries.
pub static KINDS: [&EntryKind; 11] = [
    &LEFTOVER,
    &vmlab_qemu::template::TEMPLATES,
    &vmlab_kernel::unpack::UNPACKED,
    &vmlab_kernel::module_lists::MODULE_LISTS,
    &vmlab_image::IMAGES,
    &vmlab_build::identity::TREES,
    &vmlab_build::store::OBJECTS,
    &vmlab_build::store::BUILDS,
    &vmlab_kernel::debian::code::SOURCES,
    &vmlab_kernel::fetched::KERNELS,
    &vmlab_store::stat_cache::FACT,
];

#[cfg(test)]
mod tests;
