use super::fixture::{RELEASE, publish};
use super::*;

fn found(store: &KernelStore, stem: &str) -> Entry {
    match store.lookup(stem, Trust::Nothing).unwrap() {
        Lookup::Found(entry) => *entry,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_published_is_found_and_shared() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    assert!(matches!(store.lookup("a", Trust::Fingerprints).unwrap(), Lookup::Missing));
    assert_eq!(store.pinned().unwrap(), Vec::<String>::new());
    let first = publish(&store, "a");
    let second = publish(&store, "b");
    assert_eq!(first.kernel(), second.kernel());
    assert_eq!(found(&store, "a").record, first.record);
    assert_eq!(store.pinned().unwrap(), ["a", "b"]);
    assert_eq!(fs::read_dir(dir.path().join("kernels/staging")).unwrap().count(), 0);
}

#[test]
fn damage_is_seen_and_mended_by_publishing_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    let entry = publish(&store, "a");
    let modules = ["modules.dep", "kernel/virtio.ko"].map(|name| entry.modules().join(name));
    let others = [entry.kernel(), entry.config(), entry.manifest(), entry.dir.join(RECORD)];
    for path in modules.into_iter().chain(others) {
        fs::write(&path, "damaged").unwrap();
        assert!(matches!(store.lookup("a", Trust::Fingerprints).unwrap(), Lookup::Damaged(_)), "{path:?}");
        publish(&store, "a");
        fs::remove_file(&path).unwrap();
        assert!(matches!(store.lookup("a", Trust::Fingerprints).unwrap(), Lookup::Damaged(_)), "{path:?}");
        publish(&store, "a");
        assert_eq!(found(&store, "a").record, entry.record);
    }
}

#[test]
fn a_pin_that_leads_elsewhere_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    publish(&store, "a");
    let path = store.pin_path("a");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [(RELEASE, "../../etc"), ("\"format\": 2", "\"format\": 1"), ("{", "[")] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert!(matches!(store.lookup("a", Trust::Fingerprints).unwrap(), Lookup::Damaged(_)), "{to}");
    }
}

#[test]
fn what_was_pinned_is_known_whatever_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    assert_eq!(store.pinned_packages("a").unwrap(), []);
    let entry = publish(&store, "a");
    fs::remove_dir_all(&entry.dir).unwrap();
    assert_eq!(store.pinned_packages("a").unwrap(), entry.record.packages);
    fs::write(store.pin_path("a"), "damaged").unwrap();
    assert_eq!(store.pinned_packages("a").unwrap(), []);
}

#[test]
fn whatever_stands_in_a_kernels_place_is_damage_and_goes_with_the_next_fetch() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    let entry = publish(&store, "a");
    let files = [entry.kernel(), entry.config(), entry.manifest(), entry.dir.join(RECORD), store.pin_path("a")];
    let modules = ["modules.dep", "kernel/virtio.ko", "kernel"].map(|name| entry.modules().join(name));
    for place in files.iter().chain(&modules).chain([&entry.dir]) {
        for (name, oddity) in vmlab_store::fixture::ODDITIES {
            if name == "a directory" && place.ends_with("kernel") {
                continue;
            }
            vmlab_store::fixture::put(place, oddity);
            for trust in [Trust::Fingerprints, Trust::Nothing] {
                let found = store.lookup("a", trust).unwrap();
                assert!(matches!(found, Lookup::Damaged(_)), "{name} as {}: {found:?}", place.display());
            }
            publish(&store, "a");
            assert!(matches!(store.lookup("a", Trust::Nothing).unwrap(), Lookup::Found(_)), "{name}");
        }
    }
}
