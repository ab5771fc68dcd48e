use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::*;

static RUNNING: AtomicBool = AtomicBool::new(false);

fn modules() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("kernel/a b")).unwrap();
    fs::write(dir.path().join("modules.dep"), "").unwrap();
    fs::write(dir.path().join("kernel/a b/x.ko"), "module").unwrap();
    symlink("/usr/src", dir.path().join("build")).unwrap();
    dir
}

fn list(dir: &Path) -> Integrity {
    Integrity::of_tree(dir, &RUNNING).unwrap().unwrap()
}

#[test]
fn a_list_is_the_same_after_writing_and_reading() {
    let dir = modules();
    let made = list(dir.path());
    let hashes = ["module", ""].map(|text| hex(&Sha256::digest(text)));
    let lines = [format!("{} 6 kernel/a b/x.ko", hashes[0]), format!("{} 0 modules.dep", hashes[1])];
    let json = serde_json::to_string(&made).unwrap();
    assert_eq!(json, format!("[\"sha256:{}\",\"sha256:{}\"]", lines[0], lines[1]));
    assert_eq!(serde_json::from_str::<Integrity>(&json).unwrap(), made);
    assert_eq!(Integrity::from_lines(lines.iter().cloned()), Some(made.clone()));
    assert_eq!(made.sha256("modules.dep"), Some(&hashes[1][..]));
    assert!(Integrity::from_lines(["x".to_owned()].into_iter()).is_none());
    assert!(serde_json::from_str::<Integrity>("[\"md5:00 1 x\"]").is_err());
    assert_eq!(Integrity::of_tree(dir.path(), &AtomicBool::new(true)).unwrap(), None);
}

#[test]
fn damage_is_found_at_each_level_of_trust() {
    let (dir, cache) = (modules(), tempfile::tempdir().unwrap());
    let made = list(dir.path());
    let damage = |trust| made.damage(dir.path(), cache.path(), trust, Lasts::WhileUnchanged).unwrap();
    let module = dir.path().join("kernel/a b/x.ko");
    for trust in [Trust::Stat, Trust::Nothing] {
        assert_eq!(damage(trust), None);
        made.remember(dir.path(), cache.path(), Lasts::WhileUnchanged);
        for text in ["modul", "modulf"] {
            fs::write(&module, text).unwrap();
            assert!(damage(trust).unwrap().ends_with("x.ko has changed since it was put there"));
        }
        fs::remove_file(&module).unwrap();
        assert!(damage(trust).unwrap().ends_with("x.ko is missing"));
        fs::write(&module, "module").unwrap();
    }
}

#[test]
fn files_of_the_same_name_in_different_subdirectories_are_told_apart() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let names = ["a/b/x.ko", "a/x.ko", "c/b/x.ko", "x.ko"];
    for name in names {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "module").unwrap();
    }
    let made = list(dir.path());
    made.remember(dir.path(), cache.path(), Lasts::WhileUnchanged);
    let damage = || made.damage(dir.path(), cache.path(), Trust::Stat, Lasts::WhileUnchanged).unwrap();
    assert_eq!(damage(), None);
    for name in names {
        // The same size, so that only the times tell.
        fs::write(dir.path().join(name), "modulf").unwrap();
        assert!(damage().unwrap().ends_with(&format!("{name} has changed since it was put there")));
        fs::write(dir.path().join(name), "module").unwrap();
    }
    fs::rename(dir.path().join("a"), dir.path().join("d")).unwrap();
    assert!(damage().unwrap().ends_with("a/b/x.ko is missing"));
}

#[test]
fn remembered_digests_are_not_computed_again_unless_nothing_is_trusted() {
    let (dir, cache) = (modules(), tempfile::tempdir().unwrap());
    let mut made = list(dir.path());
    made.remember(dir.path(), cache.path(), Lasts::UntilReboot);
    made.0[0].digest = "another".to_owned();
    let damage = |trust, lasts| made.damage(dir.path(), cache.path(), trust, lasts).unwrap();
    assert_eq!(damage(Trust::Stat, Lasts::UntilReboot), None);
    assert!(damage(Trust::Nothing, Lasts::UntilReboot).is_some());
    assert!(damage(Trust::Stat, Lasts::WhileUnchanged).is_some(), "it is another fact");
}

#[test]
fn two_lists_of_a_directory_are_both_remembered() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lists = ["ram", "frozen"].map(|name| {
        fs::write(dir.path().join(name), name).unwrap();
        Integrity::of_guest(dir.path(), &[name]).unwrap()
    });
    for list in &mut lists {
        list.remember(dir.path(), cache.path(), Lasts::UntilReboot);
        list.0[0].digest = "another".to_owned();
    }
    for list in &lists {
        assert_eq!(list.damage(dir.path(), cache.path(), Trust::Stat, Lasts::UntilReboot).unwrap(), None);
    }
}

/// Only [`Integrity::remember`] may trust files that were just written.
#[test]
fn files_that_another_process_has_just_written_are_not_remembered() {
    let (dir, cache) = (modules(), tempfile::tempdir().unwrap());
    let mut made = list(dir.path());
    let damage = |made: &Integrity| made.damage(dir.path(), cache.path(), Trust::Stat, Lasts::WhileUnchanged).unwrap();
    assert_eq!(damage(&made), None);
    made.0[0].digest = "another".to_owned();
    assert!(damage(&made).is_some());
}

#[test]
fn a_sparse_file_and_a_copy_without_holes_have_the_same_digest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ram");
    let mut file = File::create_new(&path).unwrap();
    file.write_all(&[1; 5000]).unwrap();
    file.set_len(4 << 20).unwrap();
    let made = Integrity::of_guest(dir.path(), &["ram"]).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    assert_eq!(Integrity::of_guest(dir.path(), &["ram"]).unwrap(), made);
    for at in [0, 4999, 2 << 20, (4 << 20) - 1] {
        let mut harmed = bytes.clone();
        harmed[at] ^= 1;
        fs::write(&path, &harmed).unwrap();
        assert_ne!(Integrity::of_guest(dir.path(), &["ram"]).unwrap(), made, "byte {at}");
    }
}
