//! Requests that are refused, messages that are none, and limits.

use std::fs::{self, File};

use nix::errno::Errno;

use super::Host;
use super::client::{BATCH_FORGET, Client, INIT, LOOKUP, READDIRPLUS, ROOT, init_in, request};
use crate::ServeError;
use crate::nodes::ROOT as ROOT_NODE;
use crate::session::Session;

/// All that lies below a directory, with content.
pub(super) fn snapshot(host: &Host) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![host.dir.path().to_owned()];
    while let Some(path) = left.pop() {
        found.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        left.extend(fs::read_dir(&path).into_iter().flatten().map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}

#[test]
fn every_request_that_writes_is_refused_and_nothing_changes() {
    let host = Host::with(&["/dir/file", "/dir/sub/"]);
    let before = snapshot(&host);
    let mut guest = Client::mount(&host.view());
    let dir = guest.walk("/dir").unwrap().node;
    let file = guest.walk("/dir/file").unwrap().node;
    for opcode in [4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 48, 49, 51, 53] {
        for node in [dir, file, ROOT] {
            let mut body = vec![0; 64];
            body.extend(b"file\0sub\0");
            assert_eq!(guest.ask(opcode, node, &body), Err(Errno::EROFS as i32), "operation {opcode}");
        }
    }
    // A write of the largest size that was negotiated.
    assert_eq!(guest.ask(16, file, &vec![b'x'; 40 + (1 << 20)]), Err(Errno::EROFS as i32));
    assert_eq!(guest.content("/dir/file").unwrap(), b"/dir/file");
    guest.close().unwrap();
    assert_eq!(snapshot(&host), before);
}

#[test]
fn what_a_kernel_can_do_without_is_refused_for_good() {
    let host = Host::with(&["/file"]);
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/file").unwrap().node;
    // OPEN, OPENDIR, RELEASE, FLUSH, FSYNC, GETXATTR, LISTXATTR, ACCESS, LSEEK, POLL, GETLK, SETLK, SETLKW, STATX, SYNCFS.
    for opcode in [14, 27, 18, 25, 20, 22, 23, 34, 46, 40, 31, 32, 33, 52, 50] {
        assert_eq!(guest.ask(opcode, file, &[0; 64]), Err(Errno::ENOSYS as i32), "operation {opcode}");
    }
    assert_eq!(guest.ask(39, file, &[0; 64]), Err(Errno::ENOTTY as i32), "IOCTL");
    for opcode in [0, 7, 19, 56, 77, 4095, 1_048_576, u32::MAX] {
        assert_eq!(guest.ask(opcode, file, &[]), Err(Errno::ENOSYS as i32), "operation {opcode}");
    }
    // INTERRUPT has no reply: the next one is to the next request.
    guest.send(&request(36, 1 << 63, 0, &[0; 8]));
    assert_eq!(guest.content("/file").unwrap(), b"/file");
}

#[test]
fn a_mount_agrees_on_large_reads_and_on_no_opening() {
    let mut guest = Client::connect(&Host::with(&[]).view());
    let reply = guest.ask(INIT, 0, &init_in()).unwrap();
    let word = |at: usize| u32::from_ne_bytes(reply[at..at + 4].try_into().unwrap());
    let flags = word(12);
    for (flag, name) in [
        (1, "ASYNC_READ"),
        (1 << 12, "AUTO_INVAL_DATA"),
        (1 << 13, "DO_READDIRPLUS"),
        (1 << 17, "NO_OPEN_SUPPORT"),
        (1 << 22, "MAX_PAGES"),
        (1 << 24, "NO_OPENDIR_SUPPORT"),
    ] {
        assert_eq!(flags & flag, flag, "{name}");
    }
    for (flag, name) in [(1 << 16, "WRITEBACK_CACHE"), (1 << 20, "POSIX_ACL"), (1 << 4, "EXPORT_SUPPORT")] {
        assert_eq!(flags & flag, 0, "{name}");
    }
    assert_eq!((word(0), word(8), word(20), word(28) & 0xffff), (7, 1 << 20, 1 << 20, 256));
    guest.close().unwrap();
}

#[test]
fn kernels_that_ask_in_older_forms_are_answered() {
    let host = Host::with(&["/file"]);
    let mut guest = Client::connect(&host.view());
    // Linux 5.10: FUSE 7.32, without the extension.
    let body = [7_u32, 32, 1 << 17, 0x3fff_ffff].map(u32::to_ne_bytes).concat();
    assert_eq!(guest.ask(INIT, 0, &body).unwrap().len(), 64);
    assert_eq!(guest.content("/file").unwrap(), b"/file");
    // A version that does not exist yet is asked to go back to 7.
    let body = [8_u32, 0, 1 << 17, 0].map(u32::to_ne_bytes).concat();
    assert_eq!(guest.ask(INIT, 0, &body).unwrap()[..4], 7_u32.to_ne_bytes());
}

#[test]
fn a_guest_that_mounts_anew_starts_with_no_nodes() {
    let host = Host::with(&["/dir/file"]);
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/dir/file").unwrap().node;
    guest.ask(INIT, 0, &init_in()).unwrap();
    assert_eq!(guest.attributes(file), Err(libc::ESTALE));
    assert_eq!(guest.content("/dir/file").unwrap(), b"/dir/file");
}

#[test]
fn requests_of_impossible_lengths_end_the_service() {
    for length in [0_u32, 1, 39, (1 << 20) + 4097, u32::MAX] {
        let mut guest = Client::mount(&Host::with(&[]).view());
        let mut bytes = request(LOOKUP, 1, ROOT, b"x\0");
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        guest.send(&bytes);
        let end = guest.end();
        assert!(
            matches!(&end, Err(ServeError::Length { length: reported, opcode: LOOKUP }) if *reported == length as usize),
            "{end:?}"
        );
    }
}

#[test]
fn malformed_requests_end_the_service() {
    for (opcode, body) in [
        (LOOKUP, b"without an end".as_slice()),
        (2, b"1234567"),
        (3, b""),
        (15, b"12345678"),
        (INIT, b"1234"),
        (28, b""),
        (BATCH_FORGET, &[0xff; 8]),
        (BATCH_FORGET, &[2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]),
    ] {
        let mut guest = Client::mount(&Host::with(&[]).view());
        guest.send(&request(opcode, 1, ROOT, body));
        let end = guest.end();
        let is_reported = matches!(&end, Err(ServeError::Malformed { opcode: reported, .. }) if *reported == opcode);
        assert!(is_reported, "operation {opcode}: {end:?}");
    }
}

#[test]
fn a_stream_that_ends_within_a_request_is_an_error() {
    let mut guest = Client::mount(&Host::with(&[]).view());
    let bytes = request(LOOKUP, 1, ROOT, b"x\0");
    guest.send(&bytes[..30]);
    let end = guest.close();
    assert!(matches!(end, Err(ServeError::Truncated { bytes: 30 })), "{end:?}");
    let text = "the guest closed the port for the host's files 30 bytes into a request";
    assert_eq!(end.unwrap_err().to_string(), text);
}

#[test]
fn requests_may_come_in_pieces_and_several_at_once() {
    let host = Host::with(&["/a", "/b"]);
    let mut guest = Client::connect(&host.view());
    let mut stream = request(INIT, 0, 0, &init_in());
    for name in [b"a\0", b"b\0", b"c\0"] {
        stream.extend(request(LOOKUP, 0, ROOT, name));
    }
    for piece in stream.chunks(7) {
        guest.send(piece);
    }
    let replies: Vec<(i32, usize)> = (0..4).map(|_| guest.reply()).map(|(error, body)| (error, body.len())).collect();
    assert_eq!(replies, [(0, 64), (0, 128), (0, 128), (0, 128)]);
    guest.close().unwrap();
}

#[test]
fn a_guest_that_goes_without_its_reply_is_no_error() {
    let host = Host::with(&[]);
    File::create(host.path("/big")).unwrap().set_len(1 << 30).unwrap();
    let mut guest = Client::mount(&host.view());
    let file = guest.walk("/big").unwrap().node;
    for _ in 0..50 {
        guest.send(&request(15, 7, file, &super::client::read_in(0, 1 << 20)));
    }
    assert!(guest.close().is_ok());
}

#[test]
fn a_guest_may_know_so_many_files_and_no_more() {
    let host = Host::with(&["/dir/1", "/dir/2", "/dir/3", "/dir/4", "/dir/5"]);
    let mut guest = Client::mount(&host.view().with_node_limit(5));
    let dir = guest.walk("/dir").unwrap().node;
    let one = guest.look_up(dir, "1").unwrap().node;
    guest.look_up(dir, "2").unwrap();
    guest.look_up(dir, "3").unwrap();
    assert_eq!(guest.look_up(dir, "4"), Err(libc::ENFILE));
    let listed = guest.list_from(READDIRPLUS, dir, 0).unwrap();
    let without_node: Vec<&[u8]> = listed.iter().filter(|entry| entry.node == 0).map(|entry| &*entry.name).collect();
    assert_eq!(without_node, [b".".as_slice(), b"..", b"4", b"5"], "all are listed nevertheless");
    guest.forget(one, 1);
    assert_eq!(guest.look_up(dir, "4"), Err(libc::ENFILE), "the list has looked it up once more");
    guest.forget(one, 1);
    assert!(guest.look_up(dir, "4").is_ok());
}

#[test]
fn several_nodes_are_forgotten_at_once() {
    let host = Host::with(&["/a", "/b"]);
    let mut guest = Client::mount(&host.view());
    let nodes = ["/a", "/b"].map(|path| guest.walk(path).unwrap().node);
    let mut body = 3_u64.to_ne_bytes().to_vec();
    for (node, count) in [(nodes[0], 1_u64), (nodes[1], u64::MAX), (12_345, 1)] {
        body.extend(node.to_ne_bytes());
        body.extend(count.to_ne_bytes());
    }
    guest.send(&request(BATCH_FORGET, 0, 0, &body));
    for node in nodes {
        assert_eq!(guest.attributes(node), Err(libc::ESTALE));
    }
}

#[test]
fn an_entry_that_does_not_fit_into_a_list_is_not_counted_as_looked_up() {
    let host = Host::with(&["/a", "/b", "/c"]);
    let mut session = Session::new(&host.view());
    let mut room = 4;
    let added = session.list_and_look_up(ROOT_NODE, 0, &mut |_, _| {
        room -= 1;
        Ok(usize::from(room > 0))
    });
    added.unwrap();
    assert_eq!(session.nodes(), 2, "the root and one that fitted");
}
