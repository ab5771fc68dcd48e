//! The archive of the guest's files: a reader that shares no code with the writer finds exactly the files that were written.

use std::collections::BTreeMap;

use vmlab_image::newc::{Archive, Node};

pub const WORDS: &[&[u8]] = &[b"dev", b"dev/console", b"init", b"TRAILER!!!", b"..", b"//", b"\0", b"a/b/c"];

/// Parses nodes from lines. A line has a letter for the kind, the path, and, after `>`, the content, target or numbers.
fn nodes(input: &[u8]) -> Vec<(String, Node)> {
    let line = |line: &[u8]| {
        let (&kind, rest) = line.split_first()?;
        let at = rest.iter().position(|&byte| byte == b'>').unwrap_or(rest.len());
        let content = rest.get(at + 1..).unwrap_or_default().to_vec();
        let number = |at: usize| u32::from(content.get(at).copied().unwrap_or_default());
        let permissions = u16::try_from(number(0) << 4 | number(1) & 15).unwrap_or_default();
        let node = match kind % 4 {
            0 => Node::Directory { permissions },
            1 => Node::File { permissions: 0o755, content },
            2 => Node::Symlink { target: String::from_utf8(content).ok()? },
            _ => Node::CharDevice { permissions, major: number(2) << 24 | 7, minor: number(3) },
        };
        Some((String::from_utf8(rest[..at].to_vec()).ok()?, node))
    };
    input.split(|&byte| byte == b'\n').filter_map(line).collect()
}

pub fn run(input: &[u8]) {
    let nodes = nodes(input);
    let (mut archive, mut kept) = (Archive::default(), BTreeMap::new());
    for (path, node) in &nodes {
        if archive.add(path, node.clone()).is_ok() {
            assert!(kept.insert(path.clone(), node.clone()).is_none(), "{path} was taken twice");
        }
    }
    let mut backwards = Archive::default();
    for (path, node) in kept.iter().rev() {
        backwards.add(path, node.clone()).expect("the same node was taken before");
    }
    let bytes = archive.to_bytes();
    assert_eq!(bytes, backwards.to_bytes(), "the order of adding is no matter");
    let Ok(bytes) = bytes else { return };
    assert_eq!(bytes.len() % 4, 0);
    assert_eq!(read(&bytes), kept);
}

/// Reads an archive by the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
fn read(mut rest: &[u8]) -> BTreeMap<String, Node> {
    let mut nodes = BTreeMap::new();
    loop {
        let (header, after) = rest.split_at(110);
        assert_eq!(&header[..6], b"070701");
        let field = |index: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * index..14 + 8 * index]).expect("digits");
            u32::from_str_radix(digits, 16).expect("hexadecimal digits")
        };
        let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
        let permissions = u16::try_from(mode & 0o7777).expect("twelve bits");
        let name = std::str::from_utf8(&after[..name_size - 1]).expect("a path is text").to_owned();
        assert_eq!(after[name_size - 1], 0);
        let content_at = (110 + name_size).next_multiple_of(4) - 110;
        if name == "TRAILER!!!" {
            assert!(after[content_at..].is_empty(), "something follows the trailer");
            return nodes;
        }
        let content = after[content_at..content_at + size].to_vec();
        rest = &after[(content_at + 110 + size).next_multiple_of(4) - 110..];
        let node = match mode >> 12 {
            0o04 => Node::Directory { permissions },
            0o10 => Node::File { permissions, content },
            0o12 => Node::Symlink { target: String::from_utf8(content).expect("a target is text") },
            0o02 => Node::CharDevice { permissions, major: field(9), minor: field(10) },
            other => panic!("a node of type {other:o}"),
        };
        assert!(nodes.insert(name, node).is_none());
    }
}
