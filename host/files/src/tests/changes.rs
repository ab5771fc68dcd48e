//! What a guest sees of files that change on the host after it has looked them up.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use super::Host;
use super::client::{Client, READDIR, ROOT};

#[test]
fn a_removed_file_is_missing() {
    let host = Host::with(&["/dir/file"]);
    let mut guest = Client::mount(&host.view());
    let dir = guest.walk("/dir").unwrap().node;
    let file = guest.walk("/dir/file").unwrap().node;
    fs::remove_dir_all(host.path("/dir")).unwrap();
    assert_eq!(guest.attributes(file), Err(libc::ENOENT));
    assert_eq!(guest.read(file, 0, 10), Err(libc::ENOENT));
    assert_eq!(guest.look_up(dir, "file"), Err(libc::ENOENT));
    assert_eq!(guest.look_up(ROOT, "dir"), Err(libc::ENOENT));
    assert_eq!(guest.list_from(READDIR, dir, 0), Err(libc::ENOENT));
}

#[test]
fn a_replaced_file_shows_as_if_it_had_been_rewritten() {
    let host = Host::with(&["/file", "/new", "/dir/a", "/new dir/b"]);
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/file").unwrap();
    assert_eq!(guest.read(file.node, 0, 10).unwrap(), b"/file");
    fs::rename(host.path("/new"), host.path("/file")).unwrap();
    assert_eq!(guest.attributes(file.node).unwrap().size, 4);
    assert_eq!(guest.read(file.node, 0, 10).unwrap(), b"/new");
    assert_eq!(guest.walk("/file").unwrap().node, file.node);
    let dir = guest.walk("/dir").unwrap().node;
    fs::rename(host.path("/dir"), host.path("/old dir")).unwrap();
    fs::rename(host.path("/new dir"), host.path("/dir")).unwrap();
    assert_eq!(guest.walk("/dir").unwrap().node, dir);
    assert_eq!(guest.look_up(dir, "a"), Err(libc::ENOENT));
    assert_eq!(guest.content("/dir/b").unwrap(), b"/new dir/b");
}

#[test]
fn a_file_that_is_replaced_by_a_directory_is_stale() {
    let host = Host::with(&["/file"]);
    let mut guest = Client::mount(&host.view());
    let old = guest.walk("/file").unwrap();
    fs::remove_file(host.path("/file")).unwrap();
    fs::create_dir(host.path("/file")).unwrap();
    assert_eq!(guest.attributes(old.node), Err(libc::ESTALE));
    assert_eq!(guest.read(old.node, 0, 10), Err(libc::ESTALE));
    assert_ne!(guest.walk("/file").unwrap().node, old.node);
}

#[test]
fn a_file_that_is_being_read_stays_the_same_file() {
    let host = Host::with(&["/file", "/new"]);
    let mut guest = Client::mount(&host.view());
    let old = guest.walk("/file").unwrap().node;
    assert_eq!(guest.read(old, 0, 2).unwrap(), b"/f");
    fs::rename(host.path("/new"), host.path("/file")).unwrap();
    assert_eq!(guest.read(old, 2, 10).unwrap(), b"ile", "a page of one file and a page of another are no file");
}

#[test]
fn a_file_that_is_changed_in_place_shows_it() {
    let host = Host::with(&["/file"]);
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/file").unwrap();
    assert_eq!(guest.read(file.node, 0, 10).unwrap(), b"/file");
    fs::write(host.path("/file"), "a longer text").unwrap();
    assert_eq!(guest.attributes(file.node).unwrap().size, 13);
    assert_eq!(guest.read(file.node, 0, 100).unwrap(), b"a longer text");
    File::options().write(true).open(host.path("/file")).unwrap().set_len(1).unwrap();
    assert_eq!(guest.read(file.node, 0, 100).unwrap(), b"a");
    assert_eq!(guest.read(file.node, 5, 100).unwrap(), b"");
    let name = File::options().write(true).open(host.path("/file")).unwrap();
    name.write_all_at(b"b", 0).unwrap();
    assert_eq!(guest.content("/file").unwrap(), b"b");
}

#[test]
fn a_list_is_read_anew_from_its_beginning_and_kept_meanwhile() {
    let host = Host::with(&["/dir/a", "/dir/b", "/dir/d"]);
    let mut guest = Client::mount(&host.view());
    let dir = guest.walk("/dir").unwrap().node;
    let names = |guest: &mut Client, offset| -> Vec<String> {
        let listed = guest.list_from(READDIR, dir, offset).unwrap();
        listed.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
    };
    assert_eq!(names(&mut guest, 0), [".", "..", "a", "b", "d"]);
    host.add("/dir/c");
    assert_eq!(names(&mut guest, 3), ["b", "d"]);
    assert_eq!(names(&mut guest, 0), [".", "..", "a", "b", "c", "d"]);
    assert_eq!(names(&mut guest, u64::MAX), [""; 0]);
}

#[test]
fn more_files_than_may_be_open_are_read_in_turns() {
    let paths: Vec<String> = (0..200).map(|number| format!("/{number}")).collect();
    let host = Host::with(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let mut guest = Client::mount(&host.view());
    for _ in 0..2 {
        for path in &paths {
            assert_eq!(guest.content(path).unwrap(), path.as_bytes());
        }
    }
}
