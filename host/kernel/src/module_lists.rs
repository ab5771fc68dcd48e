//! What the cache keeps about module directories, as one kind of entries.

use std::path::Path;

use crate::{indexes, modules};
use vmlab_store::cache::{EntryKind, Listing, leftovers};

/// Making a list or an index again takes some seconds.
pub static MODULE_LISTS: EntryKind = EntryKind {
    name: "module list",
    plural: "module-lists",
    help: "modules.dep and indexes of module directories without them",
    rank: Some(2),
    list,
};

pub(crate) fn list(cache: &Path) -> Listing {
    let mut listing = leftovers::half_written(&modules::root(cache));
    for found in [modules::entries(cache, &MODULE_LISTS), indexes::entries(cache, &MODULE_LISTS)] {
        match found {
            Ok(entries) => listing.entries.extend(entries),
            Err(error) => listing.errors.push(error),
        }
    }
    // Both come from one directory.
    listing.errors.truncate(1);
    listing
}
