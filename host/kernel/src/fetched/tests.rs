use super::fixture::publish;
use super::*;

fn found(store: &KernelStore, stem: &str) -> Entry {
    match store.lookup(stem, Trust::Nothing).unwrap() {
        Lookup::Found(entry) => *entry,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_published_kernel_is_found_and_shared() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    assert!(matches!(store.lookup("a", Trust::Stat).unwrap(), Lookup::Missing));
    assert_eq!(store.pinned().unwrap(), Vec::<String>::new());
    let first = publish(&store, "a");
    let second = publish(&store, "b");
    assert_eq!(first.kernel(), second.kernel());
    assert_eq!(found(&store, "a").record, first.record);
    assert_eq!(store.pinned().unwrap(), ["a", "b"]);
    assert_eq!(fs::read_dir(dir.path().join("kernels/staging")).unwrap().count(), 0);
}

#[test]
fn damage_is_found_and_repaired_by_publishing_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    let entry = publish(&store, "a");
    let modules = ["modules.dep", "kernel/virtio.ko"].map(|name| entry.modules().join(name));
    let others = [entry.kernel(), entry.config(), entry.dir.join(RECORD)];
    for path in modules.into_iter().chain(others) {
        fs::write(&path, "damaged").unwrap();
        assert!(matches!(store.lookup("a", Trust::Stat).unwrap(), Lookup::Damaged(_)), "{path:?}");
        publish(&store, "a");
        fs::remove_file(&path).unwrap();
        assert!(matches!(store.lookup("a", Trust::Stat).unwrap(), Lookup::Damaged(_)), "{path:?}");
        publish(&store, "a");
        assert_eq!(found(&store, "a").record, entry.record);
    }
}

#[test]
fn a_pin_to_another_kernel_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    publish(&store, "a");
    let path = store.pin_path("a");
    let Stored::Sound(pin) = store.read_pin("a").unwrap() else { panic!("no pin") };
    let entry = |entry: &str| Pin { entry: entry.to_owned(), ..pin.clone() };
    for wrong in [entry("../../etc"), entry("."), entry("none"), Pin { format: 1, ..pin.clone() }] {
        checksummed::write(&path, &wrong).unwrap();
        assert!(matches!(store.lookup("a", Trust::Stat).unwrap(), Lookup::Damaged(_)), "{wrong:?}");
    }
}

#[test]
fn a_pin_of_another_version_is_not_listed_as_a_leftover() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    publish(&store, "a");
    let path = store.pin_path("a");
    let leftovers = || (KERNELS.list)(dir.path()).entries.into_iter().filter(|entry| entry.path == path).count();
    checksummed::write(&path, &serde_json::json!({ "format": FORMAT + 1, "kernel": "a" })).unwrap();
    assert_eq!(leftovers(), 0);
    fs::write(&path, "{").unwrap();
    assert_eq!(leftovers(), 1);
}

#[test]
fn a_flipped_byte_in_a_pin_or_a_record_is_damage_and_repaired_by_publishing_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    let entry = publish(&store, "a");
    for path in [store.pin_path("a"), entry.dir.join(RECORD)] {
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut harmed = bytes.clone();
            harmed[at] ^= 1;
            fs::write(&path, &harmed).unwrap();
            match store.lookup("a", Trust::Stat).unwrap() {
                Lookup::Found(same) => assert_eq!(same.record, entry.record, "byte {at} of {}", path.display()),
                Lookup::Damaged(why) => assert!(why.contains(path.to_str().unwrap()), "{why}"),
                Lookup::Missing => panic!("byte {at} of {}", path.display()),
            }
        }
        publish(&store, "a");
        assert_eq!(found(&store, "a").record, entry.record);
    }
}

/// Converts an entry to the format of vmlab before December 2026.
fn make_format_2(store: &KernelStore, entry: &Entry) {
    let sum = |path: &Path| vmlab_store::sha256_of(&mut fs::File::open(path).unwrap()).unwrap();
    let line = |name: &str| {
        let path = entry.modules().join(name);
        format!("{} {} {name}\n", sum(&path), fs::metadata(&path).unwrap().len())
    };
    let manifest = line("kernel/virtio.ko") + &line("modules.dep");
    fs::write(entry.dir.join("modules.manifest"), &manifest).unwrap();
    let Record { label, suite, release, version, packages, .. } = &entry.record;
    let (kernel, config, list) = (sum(&entry.kernel()), sum(&entry.config()), sum(&entry.dir.join("modules.manifest")));
    let record = serde_json::json!({
        "format": 2, "label": label, "suite": suite, "release": release, "version": version, "packages": packages,
        "kernel_sha256": kernel, "config_sha256": config, "manifest_sha256": list, "fetched_at_unix_ms": 7,
    });
    fs::write(entry.dir.join(RECORD), record.to_string()).unwrap();
    let pin = serde_json::json!({
        "format": 2, "entry": entry.dir.file_name().unwrap().to_str(), "release": release, "version": version,
        "packages": packages, "kernel_sha256": kernel, "config_sha256": config, "resolved_at_unix_ms": 7,
    });
    fs::write(store.pin_path("a"), pin.to_string()).unwrap();
}

#[test]
fn a_kernel_of_format_2_stays_usable_and_its_files_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    let entry = publish(&store, "a");
    make_format_2(&store, &entry);
    let again = found(&store, "a");
    assert_eq!(
        (again.record.files.clone(), again.kernel_sha256()),
        (entry.record.files.clone(), entry.kernel_sha256())
    );
    assert_eq!(store.pinned_packages("a").unwrap(), entry.record.packages);
    for path in [entry.kernel(), entry.config(), entry.modules().join("kernel/virtio.ko")] {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, bytes.iter().rev().copied().collect::<Vec<_>>()).unwrap();
        assert!(matches!(store.lookup("a", Trust::Stat).unwrap(), Lookup::Damaged(_)), "{path:?}");
        fs::write(&path, bytes).unwrap();
    }
    for path in [entry.dir.join(RECORD), entry.dir.join("modules.manifest"), store.pin_path("a")] {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("virtio", "other").replace("\"packages\"", "\"Packages\"")).unwrap();
        assert!(matches!(store.lookup("a", Trust::Stat).unwrap(), Lookup::Damaged(_)), "{path:?}");
        fs::write(&path, text).unwrap();
    }
    assert!(matches!(store.lookup("a", Trust::Nothing).unwrap(), Lookup::Found(_)));
}

#[test]
fn the_pinned_packages_are_known_even_if_the_entry_is_gone() {
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
fn other_types_of_files_at_a_kernels_path_are_damage_and_replaced_by_the_next_fetch() {
    let dir = tempfile::tempdir().unwrap();
    let store = KernelStore::new(dir.path());
    let entry = publish(&store, "a");
    let files = [entry.kernel(), entry.config(), entry.dir.join(RECORD), store.pin_path("a")];
    let modules = ["modules.dep", "kernel/virtio.ko", "kernel"].map(|name| entry.modules().join(name));
    for place in files.iter().chain(&modules).chain([&entry.dir]) {
        for (name, make) in vmlab_store::fixture::NOT_REGULAR {
            if name == "a directory" && place.ends_with("kernel") {
                continue;
            }
            vmlab_store::fixture::put(place, make);
            for trust in [Trust::Stat, Trust::Nothing] {
                let found = store.lookup("a", trust).unwrap();
                assert!(matches!(found, Lookup::Damaged(_)), "{name} as {}: {found:?}", place.display());
            }
            publish(&store, "a");
            assert!(matches!(store.lookup("a", Trust::Nothing).unwrap(), Lookup::Found(_)), "{name}");
        }
    }
}
