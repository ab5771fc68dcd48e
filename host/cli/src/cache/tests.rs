use std::fs;
use std::path::PathBuf;

use clap::Parser;

use super::*;
use vmlab_image::IMAGES;
use vmlab_kernel::fetched::KERNELS;
use vmlab_qemu::template::TEMPLATES;
use vmlab_store::cache::leftovers::LEFTOVER;
use vmlab_store::cache::{Disposal, Why};
use vmlab_store::dirs::Dirs;
use vmlab_store::stat_cache::FACT;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn vmlab_cache(dir: &Path, args: &[&str]) -> Result<u8, Failure> {
    let args = Command::try_parse_from([&["cache"], args].concat()).unwrap().args;
    run(&args, &Context { dirs: Dirs { cache: dir.to_owned(), state: dir.join("state") } })
}

fn entry(kind: &'static EntryKind, what: &str, size_bytes: u64) -> Entry {
    Entry {
        kind,
        what: what.to_owned(),
        path: PathBuf::from(what),
        size_bytes,
        last_used: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_345_323),
        in_use: false,
        pinned_by: Vec::new(),
        useless: None,
        unreadable: None,
        disposal: Disposal::default(),
    }
}

fn entries() -> Vec<Entry> {
    vec![
        Entry { useless: Some("the process that made it has ended".into()), ..entry(&LEFTOVER, "half a file", 4096) },
        Entry { in_use: true, ..entry(&TEMPLATES, "6.1.0\x1b[2J, 256M, 1 CPU, tcg", 119_857_152) },
        entry(&IMAGES, "initramfs 759123de462b", 1_710_080),
        Entry {
            pinned_by: vec!["debian:trixie".into(), "debian:sid".into()],
            ..entry(&KERNELS, "6.12.1 (6.12.1-1)", 1 << 30)
        },
        entry(&KERNELS, "6.11.1 (6.11.1-1)", 1 << 27),
        Entry { unreadable: Some("cannot read /c/t: no\x1b".into()), ..entry(&TEMPLATES, "0123abcd", 0) },
        entry(&FACT, "sha256 of /a", 4096),
        entry(&FACT, "qemu of /b", 4096),
    ]
}

#[test]
fn the_list_is_a_table_with_a_total_and_the_limit() {
    insta::assert_snapshot!(show::table(Path::new("/c"), &entries(), Limit::default()));
    insta::assert_snapshot!(show::table(Path::new("/c"), &[], Limit::None), @r"
    The cache is empty.
    0 B in /c; limit: none (VMLAB_CACHE_LIMIT)
    ");
}

#[test]
fn what_went_is_told_with_its_reason() {
    let mut entries = entries();
    let why = [Why::Useless("cut".into()), Why::Room, Why::Old, Why::Asked];
    let removed: Vec<_> = entries.drain(..4).zip(why).collect();
    let outcome = Outcome { removed, in_use: Vec::new(), left: entries, errors: Vec::new() };
    insta::assert_snapshot!(show::outcome(&outcome, "would remove"));
}

#[test]
fn a_limit_that_is_not_met_has_its_reasons() {
    let outcome = Outcome { removed: Vec::new(), in_use: Vec::new(), left: entries(), errors: Vec::new() };
    let goal = |bytes: u64, pinned: bool| Goal { limit: Limit::Bytes(bytes), used_before: None, pinned };
    assert_eq!(show::hints(&outcome, goal(1 << 40, false)), Vec::<String>::new());
    let hints = show::hints(&outcome, goal(1 << 20, false));
    assert_eq!(hints.len(), 2);
    assert!(hints[0].contains("1.0 GiB are pinned") && hints[1].contains("uses 114.3 MiB"), "{hints:?}");
    let hints = show::hints(&outcome, goal(0, true));
    assert!(hints.len() == 2 && hints[1].contains("8.0 KiB are facts"), "{hints:?}");
}

#[test]
fn clearing_is_refused_where_nobody_can_be_asked_and_done_where_told() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("images/aa.cpio");
    fs::create_dir(dir.path().join("images")).unwrap();
    fs::write(&image, "x").unwrap();
    if !io::stdin().is_terminal() {
        let refused = vmlab_cache(dir.path(), &["clear"]).unwrap_err();
        assert!(refused.code == exit::USAGE && refused.to_string().contains("--yes"), "{refused}");
    }
    assert_eq!(vmlab_cache(dir.path(), &["clear", "templates", "--yes"]).unwrap(), exit::OK);
    assert!(image.exists());
    let lease = vmlab_store::lease::Lease::shared(&image);
    let refused = vmlab_cache(dir.path(), &["clear", "--yes"]).unwrap_err();
    assert!(refused.code == exit::LAB && refused.to_string().contains("aa.cpio"), "{refused}");
    drop(lease);
    assert_eq!(vmlab_cache(dir.path(), &["clear", "image", "--yes"]).unwrap(), exit::OK);
    assert!(!image.exists());
}

#[test]
fn what_cannot_be_read_is_an_error_of_the_lab() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("templates"), "").unwrap();
    for args in [&["list"][..], &["list", "--json"], &["prune", "--max-size", "0"], &["clear", "--yes"]] {
        let failure = vmlab_cache(dir.path(), args).unwrap_err();
        assert_eq!(failure.code, exit::LAB, "{args:?}");
        assert!(failure.to_string().contains(dir.path().join("templates").to_str().unwrap()), "{failure}");
    }
}

#[test]
fn arguments_that_mean_nothing_are_refused() {
    for args in [&["prune", "--max-size", "1.5G"][..], &["prune", "--older-than", "-1"], &["clear", "disks"], &[]] {
        assert!(Command::try_parse_from([&["cache"], args].concat()).is_err(), "{args:?}");
    }
}

#[test]
fn every_kind_is_understood_by_its_plural_and_its_name_and_listed_in_the_help() {
    for kind in vmlab_lab::cache::KINDS {
        for name in [kind.plural, kind.name] {
            let args = Command::try_parse_from(["cache", "clear", name]).unwrap().args;
            assert!(matches!(args.command, super::Command::Clear { kinds, .. } if kinds == [kind]), "{name}");
        }
    }
    let help = Command::try_parse_from(["cache", "clear", "--help"]).unwrap_err().to_string();
    assert!(
        vmlab_lab::cache::KINDS.iter().all(|kind| help.contains(kind.plural) && help.contains(kind.help)),
        "{help}"
    );
}
