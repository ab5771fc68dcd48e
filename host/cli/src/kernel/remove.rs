//! `vmlab kernel remove`.

use vmlab_kernel::KernelSource;
use vmlab_kernel::fetched::KERNELS;
use vmlab_store::cache::size::human;
use vmlab_store::cache::{self, Entry, Removal};
use vmlab_store::dirs::Dirs;

use crate::{Failure, output};

/// Removes fetched kernels. All are looked up before the first one is removed.
pub(super) fn remove(sources: &[KernelSource], dirs: &Dirs) -> Result<(), Failure> {
    let listing = cache::scan(&dirs.cache, &[&KERNELS]);
    let mut entries: Vec<&Entry> = Vec::new();
    for source in sources {
        let entry = find(&source.to_string(), source, &listing.entries)?;
        if !entries.iter().any(|known| known.path == entry.path) {
            entries.push(entry);
        }
    }
    for entry in entries {
        match cache::remove(&dirs.cache, entry).map_err(Failure::lab)? {
            Removal::Gone => output::print(&format!(
                "removed {}, {} ({})\n",
                entry.pinned_by.join(" and "),
                entry.what,
                human(entry.size_bytes)
            ))?,
            Removal::InUse => {
                return Err(Failure::lab(format!(
                    "{} is in use by another vmlab; try again when that has ended",
                    entry.pinned_by.join(" and ")
                )));
            }
        }
    }
    Ok(())
}

/// The entry of a source.
fn find<'a>(label: &str, source: &KernelSource, entries: &'a [Entry]) -> Result<&'a Entry, Failure> {
    if !matches!(source, KernelSource::Debian(_)) {
        return Err(Failure::usage(format!(
            "{label} is not a kernel that vmlab fetched, so vmlab does not remove it; `vmlab kernel list` shows those that are"
        )));
    }
    let found = entries.iter().find(|entry| entry.pinned_by.iter().any(|pin| pin == label));
    found.ok_or_else(|| Failure::usage(format!("{label} is not in the cache; `vmlab kernel list` shows what is")))
}

#[cfg(test)]
mod tests {
    use vmlab_events::exit;
    use vmlab_kernel::fetched::{KernelStore, fixture};

    use super::*;

    fn with_kernels(stems: &[&str]) -> (tempfile::TempDir, Dirs) {
        let home = tempfile::tempdir().unwrap();
        let dirs = Dirs { cache: home.path().join("cache"), state: home.path().join("state") };
        stems.iter().for_each(|stem| drop(fixture::publish(&KernelStore::new(&dirs.cache), stem)));
        (home, dirs)
    }

    fn sources(names: &[&str]) -> Vec<KernelSource> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn pinned(dirs: &Dirs) -> usize {
        KernelStore::new(&dirs.cache).pinned().unwrap().len()
    }

    #[test]
    fn a_removed_kernel_is_gone_and_can_be_named_twice() {
        let (_home, dirs) = with_kernels(&["debian_bookworm_cloud-amd64"]);
        remove(&sources(&["debian:bookworm", "debian:bookworm/cloud-amd64"]), &dirs).unwrap();
        assert_eq!((pinned(&dirs), cache::scan(&dirs.cache, &[&KERNELS]).entries.len()), (0, 0));
        let failure = remove(&sources(&["debian:bookworm"]), &dirs).unwrap_err();
        assert_eq!(failure.code, exit::USAGE);
        assert!(failure.to_string().contains("debian:bookworm is not in the cache"), "{failure}");
    }

    #[test]
    fn nothing_is_removed_if_one_name_is_wrong() {
        let (_home, dirs) = with_kernels(&["debian_bookworm_cloud-amd64"]);
        for (wrong, words) in [
            ("debian:trixie", "is not in the cache"),
            ("debian:bookworm/amd64", "is not in the cache"),
            ("./bzImage", "is not a kernel that vmlab fetched"),
            ("installed", "is not a kernel that vmlab fetched"),
        ] {
            let failure = remove(&sources(&["debian:bookworm", wrong]), &dirs).unwrap_err();
            assert!(failure.code == exit::USAGE && failure.to_string().contains(words), "{failure}");
            assert_eq!(pinned(&dirs), 1);
        }
    }

    #[test]
    fn a_kernel_that_a_run_uses_stays() {
        let (_home, dirs) = with_kernels(&["debian_bookworm_cloud-amd64"]);
        let entries = cache::scan(&dirs.cache, &[&KERNELS]).entries;
        let lease = vmlab_store::lease::Lease::shared(&entries[0].path).unwrap();
        let failure = remove(&sources(&["debian:bookworm"]), &dirs).unwrap_err();
        assert!(failure.code == exit::LAB && failure.to_string().contains("is in use by another vmlab"), "{failure}");
        drop(lease);
        remove(&sources(&["debian:bookworm"]), &dirs).unwrap();
    }
}
