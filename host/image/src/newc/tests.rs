use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

fn file(content: &[u8]) -> Node {
    Node::File { permissions: 0o644, content: content.to_vec() }
}

fn directory() -> Node {
    Node::Directory { permissions: 0o755 }
}

/// A node of each kind, with contents of every length modulo 4.
fn nodes() -> Vec<(&'static str, Node)> {
    vec![
        ("init", Node::File { permissions: 0o755, content: b"#!/bin/true\n".to_vec() }),
        ("dev", directory()),
        ("dev/console", Node::CharDevice { permissions: 0o600, major: 5, minor: 1 }),
        ("etc", directory()),
        ("etc/a", file(b"")),
        ("etc/bb", file(b"1")),
        ("etc/ccc", file(b"22")),
        ("etc/dddd", file(b"333")),
        ("etc-before-its-children", file(b"4444")),
        ("tmp", Node::Directory { permissions: 0o1777 }),
        ("link", Node::Symlink { target: "etc/ccc".to_owned() }),
    ]
}

fn archive(nodes: impl IntoIterator<Item = (&'static str, Node)>) -> Archive {
    let mut archive = Archive::default();
    for (path, node) in nodes {
        archive.add(path, node).unwrap();
    }
    archive
}

/// Runs GNU cpio with the archive on its standard input, in `dir`.
fn cpio(options: &[&str], dir: &std::path::Path, archive: &[u8]) -> String {
    let mut child = Command::new("cpio")
        .args(options)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs GNU cpio ({error}): run `tests/run`, or install cpio"));
    child.stdin.take().unwrap().write_all(archive).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "cpio {options:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn gnu_cpio_lists_the_nodes_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = archive(nodes()).to_bytes().unwrap();
    let listing = cpio(&["--quiet", "-itvn"], dir.path(), &bytes);
    let rows: Vec<String> = listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        rows,
        [
            "drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
            "crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
            "drwxr-xr-x 2 0 0 0 Jan 1 1970 etc",
            "-rw-r--r-- 1 0 0 4 Jan 1 1970 etc-before-its-children",
            "-rw-r--r-- 1 0 0 0 Jan 1 1970 etc/a",
            "-rw-r--r-- 1 0 0 1 Jan 1 1970 etc/bb",
            "-rw-r--r-- 1 0 0 2 Jan 1 1970 etc/ccc",
            "-rw-r--r-- 1 0 0 3 Jan 1 1970 etc/dddd",
            "-rwxr-xr-x 1 0 0 12 Jan 1 1970 init",
            "lrwxrwxrwx 1 0 0 7 Jan 1 1970 link -> etc/ccc",
            "drwxrwxrwt 2 0 0 0 Jan 1 1970 tmp",
        ]
    );
}

#[test]
fn gnu_cpio_unpacks_the_contents_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let contents = nodes().into_iter().filter(|(_, node)| !matches!(node, Node::CharDevice { .. }));
    let bytes = archive(contents.clone()).to_bytes().unwrap();
    cpio(&["--quiet", "-id", "--no-preserve-owner"], dir.path(), &bytes);
    let mut files = 0;
    for (path, node) in contents {
        if let Node::File { content, .. } = node {
            assert_eq!(std::fs::read(dir.path().join(path)).unwrap(), content, "{path}");
            files += 1;
        }
    }
    assert_eq!(files, 6);
    assert_eq!(std::fs::read_link(dir.path().join("link")).unwrap(), std::path::Path::new("etc/ccc"));
}

#[test]
fn the_order_of_adding_does_not_matter() {
    let forwards = archive(nodes()).to_bytes().unwrap();
    let backwards = archive(nodes().into_iter().rev()).to_bytes().unwrap();
    assert_eq!(forwards, backwards);
    assert_eq!(forwards.len() % 4, 0);
}

#[test]
fn the_header_has_the_documented_form() {
    let bytes = archive([("a", file(b"xyz"))]).to_bytes().unwrap();
    let header = "070701\
         00000001\
         000081a4\
         00000000\
         00000000\
         00000001\
         00000000\
         00000003\
         00000000\
         00000000\
         00000000\
         00000000\
         00000002\
         00000000";
    assert_eq!(std::str::from_utf8(&bytes[..110]).unwrap(), header);
    assert_eq!(&bytes[110..116], b"a\0xyz\0");
    assert!(bytes[116..].starts_with(b"070701"), "the trailer follows at the next multiple of 4 bytes");
    assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
}

#[test]
fn paths_that_the_kernel_would_ignore_or_change_are_refused() {
    let longest = "x".repeat(MAX_PATH_BYTES);
    let too_long = "x".repeat(MAX_PATH_BYTES + 1);
    let mut archive = Archive::default();
    archive.add(&longest, file(b"")).unwrap();
    for bad in ["", "/init", "a//b", "a/", ".", "..", "a/../b", "a/./b", "a\0b", "TRAILER!!!", &too_long] {
        let error = archive.add(bad, file(b"")).unwrap_err();
        assert!(matches!(error, NewcError::BadPath { .. }), "{bad:?}: {error}");
    }
    assert_eq!(archive.add(&longest, directory()), Err(NewcError::Duplicate(longest.clone())));
}

#[test]
fn a_node_needs_its_parent_directory() {
    let orphan = archive([("dev/console", file(b""))]);
    assert_eq!(orphan.to_bytes(), Err(NewcError::NoParent("dev/console".to_owned())));
    let below_a_file = archive([("dev", file(b"")), ("dev/console", file(b""))]);
    assert_eq!(below_a_file.to_bytes(), Err(NewcError::NoParent("dev/console".to_owned())));
}

#[test]
fn targets_and_permissions_have_limits() {
    let mut archive = Archive::default();
    for target in [String::new(), "x".repeat(MAX_PATH_BYTES + 1), "a\0b".to_owned()] {
        assert_eq!(archive.add("link", Node::Symlink { target }), Err(NewcError::BadTarget("link".to_owned())));
    }
    let error = archive.add("dir", Node::Directory { permissions: 0o10000 }).unwrap_err();
    assert_eq!(error, NewcError::BadPermissions { path: "dir".to_owned(), permissions: 0o10000 });
}
