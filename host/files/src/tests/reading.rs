//! Files and directories as they are.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Host;
use super::client::{Client, READDIR, READDIRPLUS, ROOT, STATFS};

#[test]
fn a_file_is_read_in_pieces_and_to_its_end() {
    let host = Host::with(&["/a/b/c"]);
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(host.path("/a/b/c"), &content).unwrap();
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/a/b/c").unwrap();
    assert_eq!(file.size, content.len() as u64);
    let mut read = Vec::new();
    loop {
        let piece = guest.read(file.node, read.len() as u64, 1 << 20).unwrap();
        if piece.is_empty() {
            break;
        }
        read.extend(piece);
    }
    assert!(read == content);
    assert_eq!(guest.read(file.node, u64::MAX - 5, 100), Err(libc::EINVAL));
    assert_eq!(guest.read(file.node, 0, 0).unwrap(), b"");
    assert!(guest.read(file.node, 0, u32::MAX).unwrap().len() >= 1 << 20, "a read that is too long is a shorter one");
    guest.close().unwrap();
}

#[test]
fn files_of_more_than_4_gib_have_their_size_and_their_end() {
    let host = Host::with(&[]);
    let size = (5 << 30) + 3;
    let file = File::create(host.path("/big")).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"end", size - 3).unwrap();
    let mut guest = Client::mount(&host.view());
    let found = guest.walk("/big").unwrap();
    assert_eq!(found.size, size);
    assert_eq!(guest.read(found.node, size - 5, 4096).unwrap(), b"\0\0end");
}

#[test]
fn names_that_are_not_utf8_are_names() {
    let host = Host::with(&[]);
    let name = OsStr::from_bytes(b"\xff\xfe z\xc3");
    fs::create_dir(host.path("/").join(name)).unwrap();
    fs::write(host.path("/").join(name).join(name), b"x").unwrap();
    let mut guest = Client::mount(&host.view());
    let dir = guest.look_up(ROOT, name.as_bytes()).unwrap();
    let file = guest.look_up(dir.node, name.as_bytes()).unwrap();
    assert_eq!(guest.read(file.node, 0, 10).unwrap(), b"x");
    for opcode in [READDIR, READDIRPLUS] {
        assert_eq!(guest.list(opcode, "/").unwrap()[0].name, name.as_bytes());
    }
}

#[test]
fn links_are_read_and_not_followed() {
    let host = Host::with(&["/target"]);
    let text = OsString::from("../\u{7f}/".repeat(500));
    symlink(&text, host.path("/link")).unwrap();
    symlink("target", host.path("/short")).unwrap();
    let mut guest = Client::mount(&host.view());
    let link = guest.walk("/link").unwrap();
    assert_eq!(link.mode & libc::S_IFMT, libc::S_IFLNK);
    assert_eq!(guest.read_link(link.node).unwrap(), text.as_bytes());
    let short = guest.walk("/short").unwrap().node;
    assert_eq!(guest.read_link(short).unwrap(), b"target");
    assert_eq!(guest.read(short, 0, 10), Err(libc::EACCES));
    assert_eq!(guest.read_link(ROOT), Err(libc::EINVAL));
}

#[test]
fn the_caller_is_root_and_modes_are_as_on_the_host() {
    let host = Host::with(&["/file", "/dir/"]);
    fs::set_permissions(host.path("/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/file").unwrap();
    assert_eq!((file.uid, file.mode & 0o7777), (0, 0o4751));
    assert_eq!(guest.walk("/dir").unwrap().mode & libc::S_IFMT, libc::S_IFDIR);
    assert_eq!(file.inode, host.path("/file").metadata().unwrap().ino());
}

#[test]
fn special_files_are_shown_and_never_opened() {
    let host = Host::with(&[]);
    mkfifo(&host.path("/fifo"), Mode::S_IRUSR).unwrap();
    let _listener = UnixListener::bind(host.path("/socket")).unwrap();
    let mut guest = Client::mount(&host.view());
    for (name, kind, listed) in [("/fifo", libc::S_IFIFO, libc::DT_FIFO), ("/socket", libc::S_IFSOCK, libc::DT_SOCK)] {
        let found = guest.walk(name).unwrap();
        assert_eq!(found.mode & libc::S_IFMT, kind, "{name}");
        assert_eq!(guest.read(found.node, 0, 10), Err(libc::EACCES), "{name}");
        let entries = guest.list(READDIR, "/").unwrap();
        assert!(
            entries.iter().any(|entry| entry.name == name.as_bytes()[1..] && entry.kind == u32::from(listed)),
            "{name}"
        );
    }
    let host = Host { extra: vec![("/devices".into(), "/dev".into())], ..Host::with(&[]) };
    let mut guest = Client::mount(&host.view());
    let null = guest.walk("/devices/null").unwrap();
    assert_eq!((null.mode & libc::S_IFMT, null.rdev), (libc::S_IFCHR, 0x103));
    assert_eq!(guest.read(null.node, 0, 10), Err(libc::EACCES));
}

#[test]
fn a_directory_is_no_file_and_a_file_is_no_directory() {
    let host = Host::with(&["/dir/file"]);
    let mut guest = Client::mount(&host.view());
    let dir = guest.walk("/dir").unwrap().node;
    assert_eq!(guest.read(dir, 0, 10), Err(libc::EISDIR));
    let file = guest.walk("/dir/file").unwrap().node;
    for opcode in [READDIR, READDIRPLUS] {
        assert_eq!(guest.list_from(opcode, file, 0), Err(libc::ENOTDIR));
    }
    assert_eq!(guest.look_up(file, "x").map(|found| found.node), Err(libc::ENOENT));
}

#[test]
fn directories_of_100_000_entries_are_listed_completely() {
    let host = Host::with(&["/many/"]);
    for number in 0..100_000 {
        // Links of one file: many times as fast as files.
        let name = host.path(format!("/many/{number:06}"));
        if number % 10_000 == 0 {
            File::create(name).unwrap();
        } else {
            fs::hard_link(host.path(format!("/many/{:06}", number / 10_000 * 10_000)), name).unwrap();
        }
    }
    let mut guest = Client::mount(&host.view());
    for opcode in [READDIR, READDIRPLUS] {
        let entries = guest.list(opcode, "/many").unwrap();
        assert_eq!(entries.len(), 100_000);
        for (number, entry) in entries.iter().enumerate() {
            assert_eq!(entry.name, format!("{number:06}").as_bytes());
            assert_eq!(entry.node != 0, opcode == READDIRPLUS);
        }
    }
    guest.close().unwrap();
}

#[test]
fn listed_entries_have_the_numbers_and_nodes_of_a_lookup() {
    let host = Host::with(&["/dir/a", "/dir/b/", "/dir/c"]);
    symlink("a", host.path("/dir/l")).unwrap();
    let mut guest = Client::mount(&host.view());
    let dir = guest.walk("/dir").unwrap().node;
    for entry in guest.list(READDIRPLUS, "/dir").unwrap() {
        let found = guest.look_up(dir, &entry.name).unwrap();
        assert_eq!((entry.node, entry.inode), (found.node, found.inode));
        assert_eq!(u64::from(entry.kind) << 12, u64::from(found.mode & libc::S_IFMT));
    }
}

#[test]
fn a_file_system_that_says_nothing_of_its_size_answers_statfs() {
    let mut guest = Client::mount(&Host::with(&[]).view());
    assert_eq!(guest.ask(STATFS, ROOT, &[]).unwrap().len(), 80);
}
