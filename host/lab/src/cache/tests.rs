use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tempfile::TempDir;

use vmlab_kernel::fetched::fixture::publish;
use vmlab_kernel::fetched::{KERNELS, KernelStore};
use vmlab_qemu::template::TEMPLATES;
use vmlab_store::cache::leftovers::{LEFTOVER, OLDER};
use vmlab_store::cache::{Entry, EntryKind, Goal, Limit, Outcome, Removal, Room, Why, disk, remove};
use vmlab_store::fixture::{NOT_REGULAR, put};
use vmlab_store::lease::Lease;
use vmlab_store::lock::Lock;
use vmlab_store::stat_cache::{FACT, Fact};
use vmlab_store::{atomic, checksummed, host_boot_id};

use super::KINDS;

/// A cache with made-up entries.
struct Made {
    dir: TempDir,
}

fn days_ago(days: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(days * 24 * 3600)
}

impl Made {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn at(&self, below: &str) -> PathBuf {
        self.path().join(below)
    }

    fn write(&self, below: &str, bytes: &[u8], age_days: u64) -> PathBuf {
        let path = self.at(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        File::open(&path).unwrap().set_modified(days_ago(age_days)).unwrap();
        path
    }

    /// Adds a template with 1 MiB of memory, of which 256 KiB are not empty.
    fn template(&self, key: &str, age_days: u64) -> PathBuf {
        let ram = self.write(&format!("templates/{key}/ram"), &[1; 256 << 10], age_days);
        File::options().write(true).open(ram).unwrap().set_len(1 << 20).unwrap();
        self.write(&format!("templates/{key}/state"), b"state", age_days);
        self.write(&format!("templates/{key}.lock"), b"", age_days);
        let arguments = ["-accel", "tcg", "-m", "256M", "-smp", "2"];
        let about = json!({
            "key": key,
            "made_from": { "arguments": arguments },
            "hello": { "kernel_release": "6.1.0" },
        });
        let dir = self.at(&format!("templates/{key}"));
        let path = dir.join("template.json");
        checksummed::write(&path, &about).unwrap();
        File::open(path).unwrap().set_modified(days_ago(age_days)).unwrap();
        dir
    }

    fn image(&self, sha256: &str, age_days: u64) -> PathBuf {
        self.write(&format!("images/{sha256}.used"), b"", age_days);
        self.write(&format!("images/{sha256}.cpio"), &[2; 64 << 10], 99)
    }

    /// A cache with an entry of each kind, none of them in use.
    fn full() -> Self {
        let made = Self::new();
        made.template("old", 20);
        made.template("new", 2);
        made.image("aa11", 5);
        publish(&KernelStore::new(made.path()), "debian_sid_cloud-amd64");
        made.write("kernels/entries/unpinned/vmlinuz", &[3; 32 << 10], 1);
        Fact::new(made.path(), "sha256", &[]).put(&"x").unwrap();
        Fact::new(made.path(), "KVM", &[]).on_boot(host_boot_id().unwrap()).put(&"x").unwrap();
        let [directory, file] = OLDER;
        made.write(&format!("{directory}/1.json"), br#"{"kind":"sha256","files":[],"value":"x"}"#, 3);
        made.write(file, br#"{"boot_id":"b","answers":[]}"#, 3);
        made.write("templates/half.draft/ram", &[1; 8192], 1);
        made.write("kernels/staging/debian_trixie_amd64/apt/lists", &[4; 8192], 1);
        made.write("stat-cache/.tmpAbCdEf", b"{", 1);
        made
    }
}

const GOAL: Goal = Goal { limit: Limit::Bytes(0), used_before: None, pinned: false };

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{} {}", entry.kind.name, entry.what)).collect()
}

fn scan(made: &Made) -> vmlab_store::cache::Listing {
    vmlab_store::cache::scan(made.path(), &KINDS)
}

fn prune(made: &Made, goal: Goal, dry_run: bool) -> Outcome {
    vmlab_store::cache::prune(made.path(), &KINDS, goal, dry_run)
}

fn clear(made: &Made, which: &[&'static EntryKind]) -> Outcome {
    vmlab_store::cache::clear(made.path(), &KINDS, which)
}

fn well(outcome: Outcome) -> Outcome {
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    outcome
}

#[test]
fn a_scan_lists_each_entry_with_its_description_and_size() {
    let made = Made::full();
    let found = scan(&made);
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    let mut listed = names(&found.entries);
    listed.sort();
    assert_eq!(
        listed,
        [
            "fact KVM",
            "fact sha256",
            "image initramfs aa11",
            "kernel 6.1.0-56-cloud-amd64 (6.1.192-2)",
            "kernel unpinned",
            "leftover an incomplete file",
            "leftover an incomplete template",
            "leftover facts of an older version of vmlab",
            "leftover facts of an older version of vmlab",
            "leftover files and package lists of a fetch: debian:trixie/amd64",
            "template 6.1.0, 256M, 2 CPUs, tcg",
            "template 6.1.0, 256M, 2 CPUs, tcg",
        ]
    );
    for entry in &found.entries {
        let expected = match entry.kind {
            kind if *kind == TEMPLATES => 256 << 10..320 << 10,
            kind if *kind == vmlab_image::IMAGES => 64 << 10..68 << 10,
            _ => 1..64 << 10,
        };
        assert!(expected.contains(&entry.size_bytes), "{entry:?}");
        assert!(!entry.in_use, "{entry:?}");
    }
    let find = |what: &str| found.entries.iter().find(|entry| entry.what.contains(what)).unwrap();
    assert_eq!(find("6.1.0-56").pinned_by, ["debian:sid"]);
    assert!(find("6.1.0-56").useless.is_none() && find("unpinned").useless.is_some());
    assert_eq!(find("aa11").last_used, disk::modified(&made.at("images/aa11.used")).unwrap().unwrap());
    let templates: Vec<_> = found.entries.iter().filter(|entry| *entry.kind == TEMPLATES).collect();
    assert!(templates[0].path.ends_with("new") && templates[1].path.ends_with("old"), "the last used first");
}

#[test]
fn pruning_removes_all_files_of_removed_entries_and_none_of_others() {
    let made = Made::full();
    let goal = Goal { limit: Limit::Bytes(700 << 10), ..GOAL };
    let dry = well(prune(&made, goal, true));
    assert_eq!(scan(&made).entries.len(), 12, "a dry run removes nothing");
    let outcome = well(prune(&made, goal, false));
    assert_eq!(dry.removed.len(), outcome.removed.len());
    assert_eq!(outcome.removed.iter().filter(|(_, why)| matches!(why, Why::Useless(_))).count(), 6);
    assert_eq!(scan(&made).entries.len(), 6);
    let outcome = well(prune(&made, Goal { limit: Limit::Bytes(400 << 10), ..GOAL }, false));
    let removed: Vec<_> = outcome.removed.iter().map(|(entry, why)| (entry.path.clone(), why.clone())).collect();
    assert_eq!(removed, [(made.at("templates/old"), Why::Room)]);
    well(prune(&made, GOAL, false));
    let mut left = names(&scan(&made).entries);
    left.sort();
    assert_eq!(left, ["fact KVM", "fact sha256", "kernel 6.1.0-56-cloud-amd64 (6.1.192-2)"]);
    let empty = |below: &str| fs::read_dir(made.at(below)).unwrap().count() == 0;
    assert!(empty("templates") && empty("images") && empty("kernels/staging"));
    let outcome = well(prune(&made, Goal { pinned: true, ..GOAL }, false));
    assert_eq!(outcome.removed.len(), 1);
    assert!(empty("kernels/entries") && empty("kernels/refs"));
}

#[test]
fn an_entry_that_is_made_or_used_is_never_removed() {
    let made = Made::full();
    let store = KernelStore::new(made.path());
    let vmlab_kernel::fetched::Lookup::Found(kernel) =
        store.lookup("debian_sid_cloud-amd64", vmlab_store::integrity::Trust::Nothing).unwrap()
    else {
        panic!("it was published")
    };
    let _leases = ["templates/new", "images/aa11.cpio"].map(|below| Lease::shared(&made.at(below)).unwrap());
    let locks = ["templates/half.lock", "kernels/locks/debian_trixie_amd64.lock"]
        .map(|below| Lock::try_take(&made.at(below)).unwrap().unwrap());
    let survivors =
        ["templates/new", "images/aa11.cpio", "templates/half.draft", "kernels/staging/debian_trixie_amd64"];
    let stay = || {
        assert!(survivors.iter().all(|below| made.at(below).exists()) && kernel.kernel().exists());
        assert!(matches!(store.peek("debian_sid_cloud-amd64").unwrap(), vmlab_kernel::fetched::Lookup::Found(_)));
    };
    well(prune(&made, Goal { pinned: true, ..GOAL }, false));
    stay();
    assert!(!made.at("templates/old").exists());
    let outcome = well(clear(&made, &KINDS));
    stay();
    assert_eq!(outcome.in_use.len(), 5);
    assert_eq!(outcome.left.len(), 5);
    drop((kernel, locks));
    let outcome = well(clear(&made, &[&KERNELS, &LEFTOVER]));
    assert_eq!(outcome.removed.len(), 3);
    assert_eq!(scan(&made).entries.len(), 2);
}

#[test]
fn an_entry_that_is_used_since_the_scan_is_not_removed() {
    let made = Made::full();
    let entries = scan(&made).entries;
    let find = |kind: &EntryKind| entries.iter().find(|entry| entry.kind == kind && entry.useless.is_none()).unwrap();
    let (template, kernel) = (find(&TEMPLATES), find(&KERNELS));
    let lease = Lease::shared(&template.path).unwrap();
    assert_eq!(remove(made.path(), template).unwrap(), Removal::InUse);
    drop(lease);
    let lock = Lock::try_take(template.disposal.lock.as_ref().unwrap()).unwrap().unwrap();
    assert_eq!(remove(made.path(), template).unwrap(), Removal::InUse);
    drop(lock);
    assert_eq!(remove(made.path(), template).unwrap(), Removal::Gone);
    assert_eq!(remove(made.path(), template).unwrap(), Removal::Gone, "it is gone already");
    publish(&KernelStore::new(made.path()), "debian_trixie_cloud-amd64");
    assert_eq!(remove(made.path(), kernel).unwrap(), Removal::InUse, "it was pinned meanwhile");
    assert!(kernel.path.exists());
}

#[test]
fn concurrent_removals_remove_each_entry_once_without_errors() {
    let made = Made::full();
    for number in 0..40 {
        made.template(&format!("t{number}"), number);
    }
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let cache = made.path();
                scope.spawn(move || {
                    if number % 2 == 0 {
                        vmlab_store::cache::prune(cache, &KINDS, GOAL, false)
                    } else {
                        vmlab_store::cache::clear(cache, &KINDS, &[&TEMPLATES])
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for outcome in outcomes {
        assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    }
    // Each process counted the entries that another removed as in use or gone; no further round is needed.
    well(prune(&made, GOAL, false));
    let left: BTreeSet<_> = scan(&made).entries.iter().map(|entry| entry.kind.name).collect();
    assert_eq!(left, BTreeSet::from([KERNELS.name, FACT.name]));
}

#[test]
fn creating_and_removing_at_the_same_time_does_no_harm() {
    let made = Made::new();
    let store = KernelStore::new(made.path());
    thread::scope(|scope| {
        let maker = scope.spawn(|| {
            for _ in 0..60 {
                let entry = publish(&store, "debian_sid_cloud-amd64");
                assert!(entry.kernel().exists(), "an entry with a lease stays");
                assert!(entry.lease.is_some());
            }
        });
        while !maker.is_finished() {
            well(clear(&made, &[&KERNELS]));
        }
        maker.join().unwrap();
    });
}

#[test]
fn an_unreadable_directory_is_reported_and_the_rest_is_pruned() {
    let made = Made::full();
    fs::remove_dir_all(made.at("images")).unwrap();
    made.write("images", b"no directory", 0);
    let outcome = prune(&made, GOAL, false);
    let errors: Vec<_> = outcome.errors.iter().map(ToString::to_string).collect();
    assert!(matches!(&errors[..], [only] if only.contains(made.at("images").to_str().unwrap())), "{errors:?}");
    assert!(!made.at("templates/old").exists() && !made.at("kernels/staging/debian_trixie_amd64").exists());
}

#[test]
fn age_alone_removes_unused_entries() {
    let made = Made::full();
    let goal = Goal { limit: Limit::None, used_before: Some(days_ago(10)), pinned: false };
    let outcome = well(prune(&made, goal, false));
    let old: Vec<_> = outcome.removed.iter().filter(|(_, why)| *why == Why::Old).collect();
    assert_eq!(old.len(), 1);
    assert_eq!(old[0].0.path, made.at("templates/old"));
}

#[test]
fn a_run_keeps_the_cache_within_its_limit_and_reports_it() {
    let made = Made::full();
    assert_eq!(scan(&made).entries.len(), 12);
    for limit in [Limit::None, Limit::default()] {
        let room = vmlab_store::cache::keep_within(made.path(), &KINDS, limit);
        assert_eq!(room, Room::default(), "leftovers are removed silently");
        assert_eq!(scan(&made).entries.len(), 6);
    }
    let lease = Lease::shared(&made.at("templates/old"));
    let Room { notices, over } = vmlab_store::cache::keep_within(made.path(), &KINDS, Limit::Bytes(100 << 10));
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("limit of 100.0 KiB") && notices[0].contains("2 items"), "{notices:?}");
    let over = over.unwrap();
    assert!(over.contains("vmlab cache prune --pinned") && over.contains("VMLAB_CACHE_LIMIT"), "{over}");
    assert!(made.at("templates/old").exists() && !made.at("templates/new").exists());
    drop(lease);
}

#[test]
fn leftovers_of_a_killed_remover_are_found_by_the_next() {
    let made = Made::full();
    atomic::create_dir(&made.at("kernels/staging")).unwrap();
    fs::rename(made.at("kernels/entries/unpinned"), made.at("kernels/staging/unpinned")).unwrap();
    fs::rename(made.at("templates/old"), made.at("templates/old.draft")).unwrap();
    well(prune(&made, Goal { limit: Limit::None, ..GOAL }, false));
    assert!(!made.at("kernels/staging/unpinned").exists());
    assert!(!made.at("templates/old.draft").exists() && !made.at("templates/old.lock").exists());
    assert!(made.at("templates/new").exists());
}

#[test]
fn an_empty_cache_is_empty() {
    let home = tempfile::tempdir().unwrap();
    let found = vmlab_store::cache::scan(&home.path().join("none"), &KINDS);
    assert!(found.entries.is_empty() && found.errors.is_empty());
    well(vmlab_store::cache::clear(&home.path().join("none"), &KINDS, &KINDS));
    assert!(!home.path().join("none").exists());
}

/// The path of a file or directory of each kind of entry.
const PLACES: [&str; 14] = [
    "templates/old",
    "templates/old/template.json",
    "templates/old.lock",
    "images/aa11.cpio",
    "images/aa11.used",
    "unpacked/6.1-aa.vmlinux",
    "module-lists/6.1-aa.json",
    "builds/trees/aa.json",
    "stat-cache/1.json",
    OLDER[0],
    OLDER[1],
    "kernels/entries/unpinned",
    "kernels/entries/unpinned/kernel.json",
    "kernels/refs/debian_sid_cloud-amd64.json",
];

#[test]
fn other_types_of_files_at_an_entrys_path_are_listed_and_removed() {
    for place in PLACES {
        for (name, make) in NOT_REGULAR {
            let made = Made::full();
            put(&made.at(place), make);
            let found = scan(&made);
            assert!(found.errors.is_empty(), "{name} as {place}: {:?}", found.errors);
            let at_place = |entry: &&Entry| made.at(place).starts_with(&entry.path);
            let entry = found.entries.iter().find(at_place);
            let no_entry_by_itself = place.ends_with(".lock") || place.ends_with(".used");
            let whole = name == "a directory" && matches!(place, "templates/old" | "kernels/entries/unpinned");
            assert!(no_entry_by_itself || whole || entry.unwrap().useless.is_some(), "{name} as {place}: {entry:?}");
            well(prune(&made, Goal { limit: Limit::None, ..GOAL }, false));
            if !no_entry_by_itself {
                assert!(fs::symlink_metadata(made.at(place)).is_err(), "{name} as {place} was not pruned");
            }
            well(clear(&made, &KINDS));
            let left = scan(&made).entries;
            assert!(left.is_empty() && fs::symlink_metadata(made.at(place)).is_err(), "{name} as {place}: {left:?}");
        }
    }
}

#[test]
fn a_damaged_pin_that_was_repaired_meanwhile_stays() {
    let made = Made::new();
    let store = KernelStore::new(made.path());
    publish(&store, "debian_sid_cloud-amd64");
    let pin = made.write("kernels/refs/debian_sid_cloud-amd64.json", b"{", 0);
    let entries = scan(&made).entries;
    let damaged = entries.iter().find(|entry| entry.path == pin).unwrap();
    assert_eq!((damaged.kind, &damaged.what[..]), (&LEFTOVER, "the pin of debian:sid"));
    publish(&store, "debian_sid_cloud-amd64");
    assert_eq!(remove(made.path(), damaged).unwrap(), Removal::InUse);
    assert!(matches!(store.peek("debian_sid_cloud-amd64").unwrap(), vmlab_kernel::fetched::Lookup::Found(_)));
}
