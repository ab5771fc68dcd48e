//! `vmlab kernel remove`.

use vmlab_build::store::{self, BUILDS, OBJECTS};
use vmlab_kernel::KernelSource;
use vmlab_kernel::fetched::KERNELS;
use vmlab_store::cache::size::human;
use vmlab_store::cache::{self, Entry, Removal};
use vmlab_store::dirs::Dirs;

use crate::{Failure, output};

/// Removes fetched and built kernels. All are looked up before the first one is removed.
pub(super) fn remove(sources: &[KernelSource], dirs: &Dirs) -> Result<(), Failure> {
    let listing = cache::scan(&dirs.cache, &[&KERNELS, &BUILDS, &OBJECTS]);
    let mut entries: Vec<(String, &Entry)> = Vec::new();
    for source in sources {
        for entry in find(source, &listing.entries)? {
            if !entries.iter().any(|(_, known)| known.path == entry.path) {
                entries.push((name_of(source, entry), entry));
            }
        }
    }
    for (name, entry) in entries {
        match cache::remove(&dirs.cache, entry).map_err(Failure::lab)? {
            Removal::Gone => output::print(&format!("removed {name} ({})\n", human(entry.size_bytes)))?,
            Removal::InUse => {
                return Err(Failure::lab(format!("{name} is in use by another vmlab; try again when that has ended")));
            }
        }
    }
    Ok(())
}

/// What an entry is to the user.
fn name_of(source: &KernelSource, entry: &Entry) -> String {
    if entry.kind.name == OBJECTS.name {
        format!("the object files of {source}")
    } else if entry.kind.name == BUILDS.name {
        entry.what.clone()
    } else {
        format!("{}, {}", entry.pinned_by.join(" and "), entry.what)
    }
}

/// The entries of a source: one for a fetched kernel, and for one that was built the kernels and their object files.
fn find<'a>(source: &KernelSource, entries: &'a [Entry]) -> Result<Vec<&'a Entry>, Failure> {
    let label = source.to_string();
    let is_its = |entry: &&Entry| match source {
        KernelSource::Debian(_) => entry.pinned_by.contains(&label),
        KernelSource::Order(_) => store::label(&entry.path).is_some_and(|(name, _)| name == label),
        KernelSource::Installed(_) | KernelSource::Path(_) => false,
    };
    let found: Vec<_> = entries.iter().filter(is_its).collect();
    match source {
        KernelSource::Installed(_) | KernelSource::Path(_) => Err(Failure::usage(format!(
            "{label} is not a kernel that vmlab fetched or built, so vmlab does not remove it; `vmlab kernel list` shows those \
             that are"
        ))),
        _ if found.is_empty() => {
            Err(Failure::usage(format!("{label} is not in the cache; `vmlab kernel list` shows what is")))
        }
        _ => Ok(found),
    }
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
            ("tree:/nowhere+net", "is not in the cache"),
            ("./bzImage", "is not a kernel that vmlab fetched or built"),
            ("installed", "is not a kernel that vmlab fetched or built"),
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

    #[test]
    fn a_built_kernel_is_removed_by_its_name_with_its_object_files() {
        let (_home, dirs) = with_kernels(&[]);
        let name = "tree:/src/linux+net";
        for (place, label) in [("one", name), ("two", name), ("other", "tree:/src/linux")] {
            let objects = dirs.cache.join("builds/objects").join(place);
            std::fs::create_dir_all(&objects).unwrap();
            std::fs::write(objects.join("label"), label).unwrap();
        }
        remove(&sources(&[name]), &dirs).unwrap();
        let left: Vec<_> = std::fs::read_dir(dirs.cache.join("builds/objects")).unwrap().flatten().collect();
        assert_eq!(left.iter().map(std::fs::DirEntry::file_name).collect::<Vec<_>>(), ["other"]);
        assert!(remove(&sources(&[name]), &dirs).unwrap_err().to_string().contains("is not in the cache"));
    }
}
