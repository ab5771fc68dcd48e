use std::io::{Seek as _, SeekFrom, Write as _};

use super::key::Ingredients;
use super::*;
use crate::accelerator::Accelerator;
use crate::argv::Machine;
use crate::devices::{Disk, DiskFormat};
use crate::qemu::{Qemu, QemuIdentity, QemuVersion};
use tempfile::TempDir;
use vmlab_console::Kind;
use vmlab_events::fixture::hello;
use vmlab_store::fixture::old_file;
use vmlab_store::fixture::{NOT_REGULAR, put};
use vmlab_store::lock::Lock;

fn qemu() -> Qemu {
    let identity = QemuIdentity {
        path: PathBuf::from("/usr/bin/qemu"),
        version_line: "QEMU emulator version 7.2.22".to_owned(),
        size_bytes: 1,
        modified_ns: 2,
    };
    let version = QemuVersion { major: 7, minor: 2, micro: 22 };
    Qemu { path: PathBuf::from("/usr/bin/qemu"), version, identity, version_cpu_us: 15_000 }
}

const MACHINE: Machine = Machine::bare(Accelerator::Tcg, 256, 1);

fn disk(file: &str, identity: &str) -> Disk {
    Disk { file: file.into(), format: DiskFormat::Raw, identity: identity.to_owned() }
}

fn ingredients<'a>(qemu: &'a Qemu, machine: &'a Machine) -> Ingredients<'a> {
    Ingredients { kernel_sha256: "k", image_sha256: "i", machine, port_timeout_ms: 1, append: None, qemu }
}

/// A cache with one template, whose memory has data at its beginning and in its middle.
fn made() -> (TempDir, Key, Template) {
    let cache = tempfile::tempdir().unwrap();
    let key = Key::of(&ingredients(&qemu(), &MACHINE));
    let template = make(&cache, &key);
    (cache, key, template)
}

fn make(cache: &TempDir, key: &Key) -> Template {
    let draft = Draft::new(cache.path(), key).unwrap();
    let mut ram = File::create_new(ram_of(&draft.ram())).unwrap();
    ram.write_all(&[1; 5000]).unwrap();
    ram.seek(SeekFrom::Start(10 << 20)).unwrap();
    ram.write_all(&[2; 5000]).unwrap();
    ram.set_len(32 << 20).unwrap();
    draft.create_state().unwrap().write_all(b"device state").unwrap();
    draft.publish(cache.path(), key, boot()).unwrap()
}

/// The file of the only node.
fn ram_of(files: &[PathBuf]) -> &Path {
    let [file] = files else { panic!("{files:?}") };
    file
}

/// The directory of a template in the cache.
fn dir_of(template: &Template) -> PathBuf {
    ram_of(&template.ram()).parent().unwrap().to_owned()
}

fn boot() -> BootReport {
    let boot_notes = vec!["the kernel warned while it booted: WARNING: CPU: 0 at kernel/x.c:1".to_owned()];
    let suite_warnings =
        vec![Finding { suite: Some("rtc".to_owned()), ..Finding::of_title(Kind::Warning, "WARNING: x") }];
    BootReport { hello: hello(), boot_notes, suite_warnings }
}

fn about_of(dir: &Path) -> serde_json::Value {
    let Stored::Sound(about) = checksummed::read(&dir.join(ABOUT)).unwrap() else { panic!("no description") };
    about
}

/// Changes the description, with a valid checksum.
fn edit(dir: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(dir.join(ABOUT)).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(dir.join(ABOUT), text.replace(from, to)).unwrap();
}

fn damage_of(cache: &TempDir, key: &Key) -> String {
    match find(cache.path(), key).unwrap() {
        Found::Damaged(why) => why,
        other => panic!("not found out: {other:?}"),
    }
}

#[test]
fn a_published_template_is_found_and_leaves_no_draft() {
    let (cache, key, template) = made();
    let Found::Whole(found) = find(cache.path(), &key).unwrap() else { panic!("not found") };
    assert_eq!((found.ram(), found.boot), (template.ram(), boot()));
    assert_eq!(fs::read_dir(root(cache.path())).unwrap().count(), 1);
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let key = Key::of(&ingredients(&qemu(), &MACHINE));
    let draft = Draft::new(cache.path(), &key).unwrap();
    fs::write(ram_of(&draft.ram()), "half").unwrap();
    drop(draft);
    assert!(matches!(find(cache.path(), &key).unwrap(), Found::Nothing));
    assert_eq!(fs::read_dir(root(cache.path())).unwrap().count(), 0);
}

#[test]
fn a_template_is_removed_unless_another_process_makes_or_uses_it() {
    let (cache, key, template) = made();
    assert_eq!(remove(cache.path(), &key).unwrap(), Removal::InUse);
    drop(template);
    let lock = Lock::try_take(&lock_path(cache.path(), key.name())).unwrap().unwrap();
    assert_eq!(remove(cache.path(), &key).unwrap(), Removal::InUse);
    drop(lock);
    assert!(matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)));
    for _ in 0..2 {
        assert_eq!(remove(cache.path(), &key).unwrap(), Removal::Gone);
        assert_eq!(fs::read_dir(root(cache.path())).unwrap().count(), 0);
    }
}

#[test]
fn drafts_of_killed_processes_are_removed_and_others_stay() {
    let (cache, key, template) = made();
    let drafts = ["killed", "locked"].map(|key| root(cache.path()).join(format!("{key}{DRAFT}")));
    for draft in &drafts {
        fs::create_dir(draft).unwrap();
        fs::write(draft.join(RAM), "memory").unwrap();
    }
    let lock = vmlab_store::lock::Lock::try_take(&lock_path(cache.path(), "locked")).unwrap().unwrap();
    remove_drafts(cache.path());
    assert!(!drafts[0].exists() && drafts[1].join(RAM).exists());
    assert!(ram_of(&template.ram()).exists() && matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)));
    drop(lock);
    remove_drafts(cache.path());
    assert!(!drafts[1].exists());
    remove_drafts(Path::new("/proc/none"));
}

#[test]
fn a_changed_byte_in_either_file_is_damage() {
    for (file, at) in [(RAM, 4999), (RAM, 10 << 20), (RAM, 20 << 20), (STATE, 3)] {
        let (cache, key, template) = made();
        let path = dir_of(&template).join(file);
        let mut opened = File::options().write(true).open(&path).unwrap();
        opened.seek(SeekFrom::Start(at)).unwrap();
        opened.write_all(b"!").unwrap();
        assert!(damage_of(&cache, &key).contains(file));
    }
}

#[test]
fn a_missing_truncated_or_foreign_part_is_damage() {
    type Harm = fn(&Path);
    let harms: &[(&str, Harm)] = &[
        ("no ram", |dir| fs::remove_file(dir.join(RAM)).unwrap()),
        ("no state", |dir| fs::remove_file(dir.join(STATE)).unwrap()),
        ("no description", |dir| fs::remove_file(dir.join(ABOUT)).unwrap()),
        ("ram cut", |dir| File::options().write(true).open(dir.join(RAM)).unwrap().set_len(1 << 20).unwrap()),
        ("description cut", |dir| fs::write(dir.join(ABOUT), "{").unwrap()),
        ("hello edited", |dir| edit(dir, &hello().kernel_release, "6.6.6")),
        ("format edited", |dir| edit(dir, "\"format\": 3", "\"format\": 4")),
        ("description of another", |dir| {
            let mut about = about_of(dir);
            about["key"] = "0".into();
            checksummed::write(&dir.join(ABOUT), &about).unwrap();
        }),
        ("description of another under this key", |dir| {
            let mut about = about_of(dir);
            about["made_from"]["kernel_sha256"] = "another".into();
            checksummed::write(&dir.join(ABOUT), &about).unwrap();
        }),
        ("a file in its place", |dir| {
            fs::remove_dir_all(dir).unwrap();
            fs::write(dir, "no template").unwrap();
        }),
    ];
    for (name, harm) in harms {
        let (cache, key, template) = made();
        harm(&dir_of(&template));
        assert!(!damage_of(&cache, &key).is_empty(), "{name}");
        drop(template);
        drop(make(&cache, &key));
        assert!(matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)), "{name} was not replaced");
    }
}

#[test]
fn other_types_of_files_at_a_templates_path_are_damage_and_replaced() {
    let (cache, key, template) = made();
    let dir = dir_of(&template);
    drop(template);
    let lock = lock_path(cache.path(), key.name());
    let draft = root(cache.path()).join(format!("{}{DRAFT}", key.name()));
    let places = [&dir, &dir.join(ABOUT), &dir.join(RAM), &dir.join(STATE), &lock, &draft];
    for place in places {
        for (name, other) in NOT_REGULAR {
            put(place, other);
            if place.starts_with(&dir) {
                assert!(!damage_of(&cache, &key).is_empty(), "{name} as {}", place.display());
            }
            let lock = Lock::try_take(&lock).unwrap().unwrap();
            drop(make(&cache, &key));
            drop(lock);
            assert!(matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)), "{name} as {}", place.display());
        }
    }
}

#[test]
fn memory_that_qemu_cannot_open_is_an_error_before_qemu_starts() {
    let cache = tempfile::tempdir().unwrap();
    let key = Key::of(&ingredients(&qemu(), &MACHINE));
    let draft = Draft::new(cache.path(), &key).unwrap();
    // Another process writes the file: a child process of another test could inherit this process's open descriptor.
    assert!(std::process::Command::new("cp").arg("/bin/sleep").arg(ram_of(&draft.ram())).status().unwrap().success());
    draft.create_state().unwrap();
    let template = draft.publish(cache.path(), &key, boot()).unwrap();
    // Not even root can write to a running program (execve(2), ETXTBSY).
    let mut running = std::process::Command::new(ram_of(&template.ram())).arg("60").spawn().unwrap();
    let found = find(cache.path(), &key);
    running.kill().unwrap();
    running.wait().unwrap();
    let error = found.unwrap_err().to_string();
    assert!(error.contains("cannot open for writing") && error.contains(RAM), "{error}");
    assert!(matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)));
}

#[test]
fn a_refusal_is_remembered_for_that_key_and_that_qemu_until_the_next_boot() {
    let cache = tempfile::tempdir().unwrap();
    let qemu = Qemu { path: old_file(), ..qemu() };
    let key = Key::of(&ingredients(&qemu, &MACHINE));
    assert_eq!(refusal::known(cache.path(), &key, &qemu), None);
    assert!(refusal::remember(cache.path(), &key, &qemu, "no").unwrap());
    assert_eq!(refusal::known(cache.path(), &key, &qemu), Some("no".to_owned()));
    let other_key = Key::of(&ingredients(&qemu, &Machine { cpus: 2, ..MACHINE }));
    assert_eq!(refusal::known(cache.path(), &other_key, &qemu), None);
    let script = Qemu { path: cache.path().join("qemu"), ..qemu.clone() };
    fs::write(&script.path, "#!/bin/sh\nexec qemu\n").unwrap();
    assert!(!refusal::remember(cache.path(), &key, &script, "no").unwrap());
    let fact = fs::read_dir(cache.path().join("stat-cache")).unwrap().next().unwrap().unwrap().path();
    let Stored::Sound(sound) = checksummed::read::<serde_json::Value>(&fact).unwrap() else { panic!("no fact") };
    let mut other = sound.clone();
    other["boot_id"] = "another boot".into();
    checksummed::write(&fact, &other).unwrap();
    assert_eq!(refusal::known(cache.path(), &key, &qemu), None);
    // A damaged fact counts as a cache miss.
    checksummed::write(&fact, &sound).unwrap();
    let bytes = fs::read(&fact).unwrap();
    for at in 0..bytes.len() {
        let mut harmed = bytes.clone();
        harmed[at] ^= 1;
        fs::write(&fact, &harmed).unwrap();
        assert!(refusal::known(cache.path(), &key, &qemu).is_none_or(|why| why == "no"), "byte {at}");
    }
    assert!(refusal::remember(cache.path(), &key, &qemu, "no").unwrap());
}

#[test]
fn a_disk_without_space_for_the_memory_is_an_error_before_qemu_starts() {
    let cache = tempfile::tempdir().unwrap();
    let key = Key::of(&ingredients(&qemu(), &Machine { memory_mib: u32::MAX, ..MACHINE }));
    let error = Draft::new(cache.path(), &key).unwrap_err();
    assert!(error.to_string().contains("save a guest's memory in"), "{error}");
}

#[test]
fn a_copy_and_another_boot_of_the_host_are_no_damage() {
    let (cache, key, template) = made();
    let copy = dir_of(&template).join("copy");
    fs::copy(ram_of(&template.ram()), &copy).unwrap();
    fs::rename(copy, ram_of(&template.ram())).unwrap();
    for fact in fs::read_dir(cache.path().join("stat-cache")).unwrap() {
        let path = fact.unwrap().path();
        let Stored::Sound(mut fact) = checksummed::read::<serde_json::Value>(&path).unwrap() else { panic!("no fact") };
        fact["boot_id"] = "another boot".into();
        checksummed::write(&path, &fact).unwrap();
    }
    for _ in 0..2 {
        assert!(matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)));
    }
}

/// After a crash of the host, stat(2) does not show lost data.
#[test]
fn a_templates_files_are_read_once_after_each_boot_of_the_host() {
    let (cache, key, template) = made();
    let mut about = about_of(&dir_of(&template));
    let list = about["files"].as_array_mut().unwrap();
    list[0] = list[0].as_str().unwrap().replace("crc32:", "crc32:f").into();
    checksummed::write(&dir_of(&template).join(ABOUT), &about).unwrap();
    // Rewriting the description has changed the directory, so the files are read.
    assert!(damage_of(&cache, &key).contains(RAM));
    let (cache, key, template) = made();
    let text = fs::read(dir_of(&template).join(ABOUT)).unwrap();
    fs::write(dir_of(&template).join(ABOUT), text).unwrap();
    assert!(matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)), "its own files are trusted at once");
    let fact = fs::read_dir(cache.path().join("stat-cache")).unwrap().next().unwrap().unwrap().path();
    let used = || fs::metadata(&fact).unwrap().modified().unwrap();
    let before = used();
    assert!(matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)));
    assert!(used() > before, "the answer comes from the stat cache");
}

#[test]
fn a_flipped_byte_in_a_description_is_damage_and_repaired_by_publishing_again() {
    let (cache, key, template) = made();
    let path = dir_of(&template).join(ABOUT);
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut harmed = bytes.clone();
        harmed[at] ^= 1;
        fs::write(&path, &harmed).unwrap();
        match find(cache.path(), &key).unwrap() {
            Found::Whole(same) => assert_eq!(same.boot, boot(), "byte {at}"),
            Found::Damaged(_) => {}
            Found::Nothing => panic!("byte {at}"),
        }
    }
    drop(template);
    drop(make(&cache, &key));
    assert!(matches!(find(cache.path(), &key).unwrap(), Found::Whole(_)));
}

#[test]
fn every_ingredient_is_in_the_key() {
    let (qemu, mut other_qemu) = (qemu(), qemu());
    other_qemu.identity.modified_ns += 1;
    let (more, kvm) = (Machine { memory_mib: 512, ..MACHINE }, Machine { accelerator: Accelerator::Kvm, ..MACHINE });
    let machine = MACHINE;
    let same = ingredients(&qemu, &machine);
    let others = [
        Ingredients { kernel_sha256: "K", ..same },
        Ingredients { image_sha256: "I", ..same },
        Ingredients { machine: &more, ..same },
        Ingredients { machine: &Machine { cpus: 2, ..MACHINE }, ..same },
        Ingredients { machine: &Machine { counts_instructions: true, ..MACHINE }, ..same },
        Ingredients { machine: &kvm, ..same },
        Ingredients { machine: &Machine { network: true, ..MACHINE }, ..same },
        Ingredients { machine: &Machine { nested: true, ..MACHINE }, ..same },
        Ingredients { machine: &Machine { nodes: 2, ..MACHINE }, ..same },
        Ingredients { machine: &Machine { disks: vec![disk("/a", "1")], ..MACHINE }, ..same },
        Ingredients { machine: &Machine { disks: vec![disk("/a", "2")], ..MACHINE }, ..same },
        Ingredients { port_timeout_ms: 2, ..same },
        Ingredients { append: Some("nokaslr"), ..same },
        Ingredients { qemu: &other_qemu, ..same },
    ];
    assert_eq!(Key::of(&same), Key::of(&ingredients(&qemu, &MACHINE)));
    for other in others {
        assert_ne!(Key::of(&same).name(), Key::of(&other).name(), "{other:?}");
    }
}

#[test]
fn a_draft_in_memory_becomes_a_template_that_leaves_nothing_in_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let key = Key::of(&ingredients(&qemu(), &MACHINE));
    let draft = Draft::in_memory(&key).unwrap();
    File::options().write(true).open(ram_of(&draft.ram())).unwrap().write_all(b"memory").unwrap();
    draft.create_state().unwrap().write_all(b"device state").unwrap();
    let template = draft.publish(cache.path(), &key, boot()).unwrap();
    let memory = fs::read(ram_of(&template.ram())).unwrap();
    assert!(memory.len() == 256 << 20 && memory.starts_with(b"memory"));
    for fork in [template.clone(), template] {
        assert_eq!(io::read_to_string(fork.open_state().unwrap()).unwrap(), "device state");
    }
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn each_node_has_a_file_of_its_own() {
    let cache = tempfile::tempdir().unwrap();
    let machine = Machine { nodes: 2, ..MACHINE };
    let key = Key::of(&ingredients(&qemu(), &machine));
    let draft = Draft::new(cache.path(), &key).unwrap();
    for (file, text) in draft.ram().iter().zip(["node 0", "node 1"]) {
        fs::write(file, text).unwrap();
    }
    draft.create_state().unwrap();
    let template = draft.publish(cache.path(), &key, boot()).unwrap();
    let texts: Vec<_> = template.ram().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert_eq!(texts, ["node 0", "node 1"]);
    fs::write(&template.ram()[1], "node 2").unwrap();
    assert!(matches!(find(cache.path(), &key).unwrap(), Found::Damaged(_)));
}
