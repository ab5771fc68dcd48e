//! What is written for archives of an honest guest.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use vmlab_protocol::archive::OutReport;

use super::{Host, LIMIT, Sent};
use crate::{Place, extract};

#[test]
fn a_tree_gets_its_modes_times_and_links() {
    let host = Host::new();
    let long = "n".repeat(255);
    let sent = Sent::new()
        .directory("0", 0o755)
        .file("0/tool", 0o4755, "x")
        .directory("0/locked", 0o500)
        .file("0/locked/file", 0o400, "y")
        .directory("0/locked/deep", 0o2750)
        .link("0/locked/deep/link", "../..//./no/such")
        .file("0/after", 0o644, "")
        .file(format!("0/locked/{long}"), 0o600, "z");
    let reports = extract(sent.end(1).as_slice(), &[host.place("new/parents/out")], LIMIT).unwrap();
    assert_eq!(reports, [OutReport { exists: true, ..OutReport::default() }]);
    let expected = [
        "after 644  1".to_owned(),
        "locked/ 500".to_owned(),
        "locked/deep/ 750".to_owned(),
        "locked/deep/link -> ../..//./no/such".to_owned(),
        "locked/file 400 y 1".to_owned(),
        format!("locked/{long} 600 z 1"),
        "tool 755 x 1".to_owned(),
    ];
    assert_eq!(host.listing("new/parents/out"), expected);
    let time = |path: &str| {
        let about = fs::symlink_metadata(host.path("new/parents/out").join(path)).unwrap();
        (about.mtime(), about.mtime_nsec())
    };
    assert_eq!(time("tool"), (1_000_000_000, 7));
    assert_eq!(time("locked/deep"), (-2, 500_000_000));
    assert_eq!(time("locked/deep/link"), (5, 0));
}

#[test]
fn files_are_replaced_and_directories_are_merged() {
    let host = Host::new();
    for (path, content) in
        [("out/replaced", "old"), ("out/kept", "old"), ("out/sub/kept", "old"), ("out/becomes-dir", "old")]
    {
        fs::create_dir_all(host.path(path).parent().unwrap()).unwrap();
        fs::write(host.path(path), content).unwrap();
    }
    fs::hard_link(host.path("out/replaced"), host.path("outside/other-name")).unwrap();
    symlink("../outside/secret", host.path("out/was-link")).unwrap();
    symlink("../outside", host.path("out/was-link-to-dir")).unwrap();
    fs::set_permissions(host.path("out/sub"), Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(host.path("out/kept"), Permissions::from_mode(0o600)).unwrap();
    let sent = Sent::new()
        .directory("0", 0o777)
        .file("0/replaced", 0o644, "new")
        .directory("0/sub", 0o777)
        .file("0/sub/added", 0o644, "new")
        .directory("0/becomes-dir", 0o755)
        .file("0/was-link", 0o644, "new")
        .directory("0/was-link-to-dir", 0o755)
        .file("0/was-link-to-dir/f", 0o644, "new")
        .link("0/kept", "target");
    host.extract(&sent.end(1)).unwrap();
    let expected = [
        "becomes-dir/ 755",
        "kept -> target",
        "replaced 644 new 1",
        "sub/ 711",
        "sub/added 644 new 1",
        "sub/kept 644 old 1",
        "was-link 644 new 1",
        "was-link-to-dir/ 755",
        "was-link-to-dir/f 644 new 1",
    ];
    assert_eq!(host.listing("out"), expected);
    assert_eq!(host.listing("outside"), ["other-name 644 old 1", "secret 644 secret 1", "sub/ 755"]);
}

#[test]
fn names_of_any_bytes_are_written() {
    let host = Host::new();
    let odd = b"a\xff\n\x1b[31m ".to_vec();
    let sent =
        Sent::new().directory("0", 0o755).file([b"0/", odd.as_slice()].concat(), 0o600, "x").file("0/-rf", 0o600, "y");
    host.extract(&sent.end(1)).unwrap();
    assert_eq!(fs::read(host.path("out").join(OsStr::from_bytes(&odd))).unwrap(), b"x");
    assert_eq!(fs::read(host.path("out/-rf")).unwrap(), b"y");
}

#[test]
fn a_single_file_takes_the_place_or_goes_into_a_directory() {
    let host = Host::new();
    fs::write(host.path("existing"), "old").unwrap();
    symlink("outside", host.path("link")).unwrap();
    let archive = Sent::new().file("0", 0o644, "new").end(1);
    for (place, written) in
        [("out", "out/name"), ("fresh", "fresh"), ("a/b", "a/b"), ("existing", "existing"), ("link", "outside/name")]
    {
        let place_of_run = host.place(place);
        extract(archive.as_slice(), &[place_of_run.part(Path::new("")).unwrap()], LIMIT).unwrap();
        assert_eq!(fs::read(host.path(written)).unwrap(), b"new", "{place}");
    }
}

#[test]
fn several_places_and_parts_are_kept_apart() {
    let host = Host::new();
    let sent = Sent::new().directory("0", 0o750).file("0/f", 0o644, "first").file("1", 0o644, "second").end(2);
    let divided = |name: &str| Place::prepare(&host.path(name), OsStr::new("name"), true).unwrap();
    let (first, second) = (divided("first"), divided("second"));
    for way in ["k", "k2/1", "k2/2"] {
        let places = [&first, &second].map(|place| place.part(Path::new(way)).unwrap());
        assert_eq!(places[0].path(), host.path("first").join(way));
        extract(sent.as_slice(), &places, LIMIT).unwrap();
    }
    assert_eq!(host.listing("first").iter().filter(|line| line.ends_with("first 1")).count(), 3);
    assert_eq!(fs::read(host.path("second/k2/2/name")).unwrap(), b"second");
    assert_eq!(fs::metadata(host.path("first/k2/1")).unwrap().mode() & 0o777, 0o750);
}

#[test]
fn nothing_is_created_for_nothing() {
    let host = Host::new();
    extract(Sent::new().end(1).as_slice(), &[host.place("none")], LIMIT).unwrap();
    extract(Sent::new().end(1).as_slice(), &[host.place("none/such")], LIMIT).unwrap();
    Place::prepare(&host.path("none"), OsStr::new("name"), true).unwrap().part(Path::new("k")).unwrap();
    assert!(!host.path("none").exists());
}

#[test]
fn a_place_that_cannot_be_written_to_is_reported_at_once() {
    let host = Host::new();
    fs::write(host.path("file"), "").unwrap();
    for (path, divided) in [("file/x", false), ("file/x/y", false), ("file", true), ("file/x", true)] {
        let error = Place::prepare(&host.path(path), OsStr::new("name"), divided).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("Not a directory"), "{error}");
    }
    let error = Place::prepare(&host.path("none/../x"), OsStr::new("name"), false).unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
    // Nobody may create files there, root neither.
    let error = Place::prepare(Path::new("/proc/x"), OsStr::new("name"), false).unwrap_err().to_string();
    assert!(error.starts_with("--out cannot write to /proc/x: create a file: "), "{error}");
    for path in [".", "..", "/"] {
        let found = Place::prepare(Path::new(path), OsStr::new("name"), false);
        assert!(found.is_ok_and(|place| place.path() == Path::new(path)), "{path}");
    }
    assert!(fs::read_dir(host.path("out")).unwrap().next().is_none(), "the trial leaves nothing");
}

#[test]
fn a_directory_is_not_replaced_by_a_file() {
    let host = Host::new();
    fs::create_dir_all(host.path("out/dir/sub")).unwrap();
    for sent in [Sent::new().file("0/dir", 0o644, "x"), Sent::new().link("0/dir", "x")] {
        let error = host.extract(&sent.end(1)).unwrap_err().to_string();
        assert!(error.contains("out/dir: it is a directory here and a file in the guest"), "{error}");
    }
    assert_eq!(host.listing("out"), ["dir/ 755", "dir/sub/ 755"], "no temporary file is left");
}

#[test]
fn zeros_become_holes() {
    let host = Host::new();
    let content = ["\0".repeat(4 << 20), "end".to_owned(), "\0".repeat(1 << 20)].concat();
    host.extract(&Sent::new().file("0/sparse", 0o644, &content).end(1)).unwrap();
    let file = host.path("out/sparse");
    assert_eq!(fs::read_to_string(&file).unwrap(), content);
    assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
}
