//! Archives of a guest that the command has taken over.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;

use tar::EntryType;
use vmlab_protocol::archive::{HEADER_LIMIT, LINK, MTIME, PATH};

use super::{Host, LIMIT, Sent};
use crate::{OutError, extract};

const OUTSIDE: [&str; 2] = ["secret 644 secret 1", "sub/ 755"];

/// Writes an archive that must be refused, and checks that nothing outside of the directory changes.
fn refused(archive: &[u8]) -> (Host, OutError) {
    let host = Host::new();
    let before = fs::read_dir(host.path("")).unwrap().count();
    let error = host.extract(archive).unwrap_err();
    assert_eq!(host.listing("outside"), OUTSIDE);
    assert_eq!(fs::read_dir(host.path("")).unwrap().count(), before);
    let left: Vec<_> = host.listing("out").into_iter().filter(|line| line.contains(".vmlab-out")).collect();
    assert!(left.is_empty(), "temporary files are left: {left:?}");
    (host, error)
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let long = format!("0/{}", "../".repeat(200));
    for path in [
        "0/../outside/x",
        "0/a/../../outside/x",
        "0/..",
        "../outside/x",
        "/tmp/x",
        "0//etc/x",
        "0/./x",
        "0/a/",
        "0/",
        "",
        "1/x",
        "-1/x",
        "x",
        "18446744073709551616/x",
        "0/a\0b",
        "..",
        &long,
    ] {
        let kinds: [fn(Sent, &str) -> Sent; 3] = [
            |sent, path| sent.file(path, 0o644, "x"),
            |sent, path| sent.directory(path, 0o755),
            |sent, path| sent.link(path, "x"),
        ];
        for kind in kinds {
            let (host, error) = refused(&kind(Sent::new(), path).end(1));
            assert!(matches!(error, OutError::Refused { .. }), "{path}: {error}");
            assert!(host.listing("out").is_empty(), "{path}");
        }
    }
}

#[test]
fn no_symbolic_link_is_followed() {
    for target in ["../outside", "..", "/", ".", "../outside/sub"] {
        let (host, error) = refused(&Sent::new().link("0/a", target).file("0/a/x", 0o644, "x").end(1));
        assert!(matches!(error, OutError::Write { .. }), "{error}");
        assert_eq!(host.listing("out"), [format!("a -> {target}")]);
        refused(&Sent::new().link("0/a", target).directory("0/a/sub", 0o755).end(1));
        refused(&Sent::new().link("0/a", target).link("0/a/sub", "x").end(1));
        refused(&Sent::new().directory("0/d", 0o755).link("0/d/a", target).file("0/d/a/x/y", 0o644, "x").end(1));
    }
    // A link that the host has is not followed either.
    let host = Host::new();
    symlink("../outside", host.path("out/own")).unwrap();
    host.extract(&Sent::new().file("0/own/secret", 0o644, "x").end(1)).unwrap_err();
    assert_eq!(host.listing("outside"), OUTSIDE);
    // A link in the place of a file is replaced, and a file written through it is not.
    let host = Host::new();
    host.extract(&Sent::new().link("0/a", "../outside/secret").file("0/a", 0o644, "x").end(1)).unwrap();
    assert_eq!(
        (host.listing("out"), host.listing("outside")),
        (vec!["a 644 x 1".to_owned()], OUTSIDE.map(str::to_owned).to_vec())
    );
}

#[test]
fn a_directory_of_another_option_is_not_moved_by_a_link() {
    let host = Host::new();
    // `--out a:out --out b:out/b`: the first directory has a link where the second one is to be.
    let places = [host.place("out"), host.place("out/b")];
    let sent = Sent::new().link("0/b", "../outside").directory("1", 0o755).file("1/x", 0o644, "x");
    extract(sent.end(2).as_slice(), &places, LIMIT).unwrap();
    assert_eq!(
        (host.listing("out"), host.listing("outside")),
        (vec!["b/ 755".to_owned(), "b/x 644 x 1".to_owned()], OUTSIDE.map(str::to_owned).to_vec())
    );
    let places = [host.place("out"), host.place("out/c")];
    let sent = Sent::new().link("0/c", "../outside").file("1/x", 0o644, "x");
    extract(sent.end(2).as_slice(), &places, LIMIT).unwrap_err();
    assert_eq!(host.listing("outside"), OUTSIDE);
}

#[test]
fn entries_that_come_twice_are_harmless() {
    let host = Host::new();
    let sent = Sent::new()
        .directory("0/d", 0o700)
        .file("0/d/f", 0o644, "first")
        .file("0/d/f", 0o600, "second")
        .directory("0/d", 0o777)
        .link("0/l", "a")
        .link("0/l", "b")
        .file("0/x", 0o644, "x")
        .directory("0/x", 0o750);
    host.extract(&sent.end(1)).unwrap();
    assert_eq!(host.listing("out"), ["d/ 700", "d/f 600 second 1", "l -> b", "x/ 750"]);
    let (host, error) =
        refused(&Sent::new().directory("0/d", 0o755).file("0/d/f", 0o644, "x").link("0/d", "../outside").end(1));
    assert!(matches!(error, OutError::IsDirectory { .. }), "{error}");
    assert_eq!(host.listing("outside"), OUTSIDE);
}

#[test]
fn other_kinds_of_entries_are_refused() {
    for kind in [
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XGlobalHeader,
        EntryType::Continuous,
        EntryType::new(b'Z'),
    ] {
        let fields = [(PATH, b"0/x".as_slice()), (LINK, b"../outside/secret".as_slice())];
        let (host, error) = refused(&Sent::new().extended(&fields).header(kind, 0o644, 0, b"").end(1));
        assert!(error.to_string().contains("it is no file, directory or symbolic link"), "{error}");
        assert!(host.listing("out").is_empty());
    }
    let (_, error) = refused(&Sent::new().link("0", "../outside").end(1));
    assert!(matches!(error, OutError::Refused { .. }), "{error}");
}

#[test]
fn malformed_headers_are_refused() {
    let file = |sent: Sent| sent.header(EntryType::Regular, 0o644, 1, b"x").end(1);
    let path = [(PATH, b"0/x".as_slice())];
    for archive in [
        file(Sent::new()),
        file(Sent::new().extended(&path).extended(&path)),
        file(Sent::new().extended(&[(LINK, b"x")])),
        file(Sent::new().extended(&[(PATH, b"0/x"), (PATH, b"0/y")])),
        file(Sent::new().extended(&[(PATH, b"0/x"), (MTIME, b"soon")])),
        file(Sent::new().header(EntryType::XHeader, 0, 5, b"99 a=")),
        b"not an archive".repeat(100),
        vec![0xff; 4096],
    ] {
        let (host, error) = refused(&archive);
        assert!(matches!(error, OutError::Malformed { .. }), "{error}");
        assert!(host.listing("out").is_empty());
    }
    let report = |json: &[u8]| {
        let sent = Sent::new().extended(&[(PATH, b"report")]);
        sent.header(EntryType::Regular, 0, json.len() as u64, json).builder.into_inner().unwrap()
    };
    for json in [&b"[]"[..], b"{}", b"\xff", b"[{\"exists\":1}]"] {
        assert!(matches!(refused(&report(json)).1, OutError::Malformed { .. }));
    }
}

#[test]
fn sizes_are_only_believed_when_the_bytes_come() {
    let header = |kind: EntryType, size: u64| {
        let mut archive =
            Sent::new().extended(&[(PATH, b"0/x")]).header(kind, 0o644, 0, b"").builder.into_inner().unwrap();
        archive.truncate(1024);
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
        archive
    };
    for size in [u64::MAX, u64::MAX - 511, 1 << 62, 1 << 40] {
        let (host, error) = refused(&header(EntryType::Regular, size));
        assert!(matches!(error, OutError::Incomplete | OutError::Malformed { .. }), "{error}");
        assert!(host.listing("out").is_empty());
    }
    let extended = Sent::new().header(EntryType::XHeader, 0, 0, b"").builder.into_inner().unwrap();
    let mut huge = tar::Header::from_byte_slice(&extended[..512]).clone();
    huge.set_size(HEADER_LIMIT + 1);
    huge.set_cksum();
    // The rest never ends, and is not read.
    let archive = huge.as_bytes().as_slice().chain(io::repeat(b'x'));
    let host = Host::new();
    let error = extract(archive, &[host.place("out")], LIMIT).unwrap_err();
    assert!(error.to_string().contains("a header of 65537 bytes"), "{error}");
}

#[test]
fn an_archive_that_is_cut_anywhere_is_incomplete() {
    let whole = Sent::new().directory("0/d", 0o755).file("0/d/f", 0o644, &"x".repeat(700)).link("0/l", "t").end(1);
    // The two blocks of zeros at the end say nothing.
    let end = whole.len() - 1024;
    for cut in (0..end - 512 + 2).step_by(37) {
        let (host, error) = refused(&whole[..cut]);
        assert!(matches!(error, OutError::Incomplete | OutError::Malformed { .. }), "{cut}: {error}");
        assert!(
            host.listing("out").iter().all(|line| !line.contains("d/f") || line.len() > 700),
            "a file appears whole"
        );
    }
    Host::new().extract(&whole[..end]).unwrap();
    let mut zeros = whole[..1024].to_vec();
    zeros.resize(4096, 0);
    assert!(matches!(refused(&zeros).1, OutError::Incomplete), "an end without a report");
}

#[test]
fn damaged_archives_write_nothing_outside() {
    let whole = Sent::new()
        .directory("0", 0o755)
        .directory("0/d", 0o755)
        .link("0/d/l", "../../outside")
        .file("0/d/f", 0o644, "x")
        .file("0/g", 0o644, "y")
        .end(1);
    let host = Host::new();
    for at in (0..whole.len()).step_by(11) {
        for byte in [whole[at] ^ 1, b'/', b'.', 0xff] {
            let mut archive = whole.clone();
            archive[at] = byte;
            // The checksum of each header is made right, so that the damage gets through.
            for block in (0..archive.len()).step_by(512) {
                if archive[block + 257..].starts_with(b"ustar") {
                    let mut header = tar::Header::from_byte_slice(&archive[block..block + 512]).clone();
                    header.set_cksum();
                    archive[block..block + 512].copy_from_slice(header.as_bytes());
                }
            }
            // Some of them are valid.
            let _ = host.extract(&archive);
        }
    }
    assert_eq!(host.listing("outside"), OUTSIDE);
    assert_eq!(fs::read_dir(host.path("")).unwrap().count(), 2);
}

#[test]
fn files_that_no_guest_can_hold_are_refused_before_they_are_written() {
    let host = Host::new();
    let sent = Sent::new().file("0/a", 0o644, &"x".repeat(3000)).file("0/b", 0o644, &"x".repeat(3000)).end(1);
    let error = extract(sent.as_slice(), &[host.place("out")], 7000).unwrap_err();
    assert!(matches!(error, OutError::TooLarge { size: 3000, limit: 7000, .. }), "{error}");
    assert!(host.path("out/a").exists() && !host.path("out/b").exists());
    extract(sent.as_slice(), &[host.place("out")], 7024).unwrap();
}
