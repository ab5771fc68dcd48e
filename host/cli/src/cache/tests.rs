use std::fs;
use std::path::PathBuf;

use clap::Parser;

use super::*;
use vmlab_store::cache::Why;
use vmlab_store::cache::entry::Way;
use vmlab_store::dirs::Dirs;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn vmlab_cache(dir: &Path, args: &[&str]) -> Result<u8, Failure> {
    let args = Command::try_parse_from([&["cache"], args].concat()).unwrap().args;
    run(&args, &Context { dirs: Dirs { cache: dir.to_owned(), state: dir.join("state") } })
}

fn entry(kind: Kind, what: &str, size_bytes: u64) -> Entry {
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
        way: Way::default(),
    }
}

fn entries() -> Vec<Entry> {
    vec![
        Entry {
            useless: Some("the vmlab that made it has ended".into()),
            ..entry(Kind::Leftover, "half a file", 4096)
        },
        Entry { in_use: true, ..entry(Kind::Template, "6.1.0\x1b[2J, 256M, 1 CPU, tcg", 119_857_152) },
        entry(Kind::Image, "initramfs 759123de462b", 1_710_080),
        Entry {
            pinned_by: vec!["debian:trixie".into(), "debian:sid".into()],
            ..entry(Kind::Kernel, "6.12.1 (6.12.1-1)", 1 << 30)
        },
        entry(Kind::Kernel, "6.11.1 (6.11.1-1)", 1 << 27),
        Entry { unreadable: Some("cannot read /c/t: no\x1b".into()), ..entry(Kind::Template, "0123abcd", 0) },
        entry(Kind::Memo, "sha256 of /a", 4096),
        entry(Kind::Memo, "qemu of /b", 4096),
    ]
}

#[test]
fn the_list_is_a_table_with_a_total_and_the_limit() {
    insta::assert_snapshot!(show::table(Path::new("/c"), &entries(), Limit::default()));
    insta::assert_snapshot!(show::table(Path::new("/c"), &[], Limit::None), @r"
    The cache is empty.
    0 B of none in /c
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
    assert!(hints.len() == 2 && hints[1].contains("8.0 KiB are memos"), "{hints:?}");
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
    let hold = vmlab_store::hold::Hold::share(&image);
    let kept = vmlab_cache(dir.path(), &["clear", "--yes"]).unwrap_err();
    assert!(kept.code == exit::LAB && kept.to_string().contains("aa.cpio"), "{kept}");
    drop(hold);
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
