//! A hostile guest, which sends any bytes. It may end its own service, and nothing else.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;

use super::Host;
use super::client::{INIT, init_in, read_in, request};
use super::protocol::snapshot;
use crate::{View, serve};

/// What only hidden files contain, and are called.
const CONTENT: &[u8] = b"CONTENT-THAT-NO-GUEST-SEES";
const NAME: &[u8] = b"name-that-no-guest-sees";
/// The content of a file that is shown.
const SHOWN: &[u8] = b"/home/me/code/file";
/// The number of messages that are sent to one service, if it lasts.
const MESSAGES: u64 = 500;

/// A generator of numbers, the same ones in each run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// A number that is likely to be near a limit.
    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => self.next(),
            1 => u64::MAX - self.below(3),
            2 => i64::MAX as u64 - 1 + self.below(3),
            3 => u64::from(u32::MAX) - 1 + self.below(3),
            _ => self.below(40),
        }
    }
}

/// A request that is well-formed, though maybe about nothing.
fn plausible(random: &mut Random) -> Vec<u8> {
    let name = random.one_of(&[
        b"home\0".as_slice(),
        b"me\0",
        b"code\0",
        b".ssh\0",
        b"id\0",
        b"..\0",
        b".\0",
        b"\0",
        b"a/b\0",
        b"/etc/shadow\0",
        b"etc\0",
        b"shadow\0",
        b"proc\0",
        b"1\0",
        b"link\0",
        b"file\0",
        b"../.ssh\0",
        b"lib\0",
        b"modules\0",
        b"6.1\0",
        b"\xff\0",
    ]);
    // Few nodes are known, and all of them have small numbers.
    let node = if random.below(10) == 0 { random.number() } else { 1 + random.below(12) };
    let opcode = match random.below(20) {
        0 => u32::try_from(random.below(60)).unwrap(),
        1 => u32::try_from(random.next() >> 32).unwrap(),
        2 => random.one_of(&[2, 42, 17]),
        _ => random.one_of(&[1, 1, 1, 1, 1, 3, 5, 15, 15, 28, 44, 44]),
    };
    let body = match opcode {
        1 => name.to_vec(),
        2 => random.number().to_ne_bytes().to_vec(),
        15 | 28 | 44 => {
            let size = u32::try_from(random.below(1 << 13)).unwrap();
            let offset = if random.below(2) == 0 { 0 } else { random.number() };
            read_in(offset, if random.below(20) == 0 { u32::MAX } else { size })
        }
        26 => init_in(),
        42 => {
            let count = random.below(4);
            let mut body = count.to_ne_bytes().to_vec();
            for _ in 0..count {
                body.extend(random.number().to_ne_bytes());
                body.extend(random.number().to_ne_bytes());
            }
            body
        }
        _ => [random.bytes(64), name.to_vec()].concat(),
    };
    request(opcode, random.next(), node, &body)
}

/// A message: mostly a plausible request, at times with some bytes changed, cut off, or of nothing but chance. Also tells
/// whether it is likely to end the service, so that what follows would not be read.
fn message(random: &mut Random) -> (Vec<u8>, bool) {
    let mut bytes = plausible(random);
    let kind = random.below(400);
    match kind {
        0 => {
            for _ in 0..=random.below(4) {
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                bytes[at] = random.next().to_le_bytes()[0];
            }
        }
        1 => bytes.truncate(usize::try_from(random.below(bytes.len() as u64)).unwrap()),
        2 => {
            let length = random.below(200);
            bytes = random.bytes(length);
        }
        // The right length, and a body of nothing but chance.
        3..8 => {
            let length = random.below(100);
            let body = random.bytes(length);
            bytes = request(random.one_of(&[1, 2, 3, 5, 15, 26, 28, 42, 44]), 1, 1 + random.below(9), &body);
        }
        _ => {}
    }
    (bytes, kind < 8)
}

fn host() -> Host {
    let mut host = Host::with(&[
        "/home/me/code/file",
        "/home/me/.ssh/id",
        "/home/you/letter",
        "/etc/shadow",
        "/etc/passwd",
        "/proc/1/environ",
        "/lib/x",
    ]);
    for hidden in ["/home/me/.ssh/id", "/home/you/letter", "/etc/shadow", "/proc/1/environ"] {
        fs::write(host.path(hidden), CONTENT).unwrap();
    }
    let name = String::from_utf8(NAME.to_vec()).unwrap();
    for directory in ["/home/me", "/home/me/.ssh", "/home/you", "/proc/1"] {
        fs::write(host.path(directory).join(&name), CONTENT).unwrap();
    }
    symlink("../.ssh/id", host.path("/home/me/code/link")).unwrap();
    let modules = host.path("/home/me/code");
    host.extra = vec![("/lib/modules/6.1".into(), modules)];
    host.cwd = "/home/me/code".into();
    host
}

/// Sends up to so many messages to one service. Gives how many were sent before it ended, and whether a file was read.
fn attack(view: &View, random: &mut Random, messages: u64) -> (u64, bool) {
    let (mut port, other_end) = UnixStream::pair().unwrap();
    let view = view.clone();
    let service = std::thread::spawn(move || serve(other_end, &view));
    let mut replies = port.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        let (mut kept, mut has_read) = (0, false);
        while let Ok(read @ 1..) = replies.read(&mut buffer[kept..]) {
            let seen = &buffer[..kept + read];
            for secret in [CONTENT, NAME] {
                assert!(!seen.windows(secret.len()).any(|window| window == secret), "a guest saw what is hidden");
            }
            has_read |= seen.windows(SHOWN.len()).any(|window| window == SHOWN);
            // What may be the beginning of a secret.
            let rest = seen.len().min(CONTENT.len());
            let start = seen.len() - rest;
            buffer.copy_within(start..start + rest, 0);
            kept = rest;
        }
        has_read
    });
    // The service may end at any message; what counts is what the reader has seen, and that the service has not panicked.
    // Here and below: a service that gives up closes the port, and its end is what is looked at.
    let _ = port.write_all(&request(INIT, 1, 0, &init_in()));
    // Nodes 2 to 7 are what is worth attacking.
    for (parent, name) in [(1, "home\0"), (2, "me\0"), (3, "code\0"), (4, "file\0"), (4, "link\0"), (1, "lib\0")] {
        let _ = port.write_all(&request(1, 1, parent, name.as_bytes()));
    }
    let mut sent = 0;
    while sent < messages {
        let (bytes, ends_service) = message(random);
        sent += 1;
        if port.write_all(&bytes).is_err() || ends_service {
            break;
        }
    }
    let _ = port.shutdown(std::net::Shutdown::Write);
    let _ = service.join().expect("the service does not panic");
    let has_read = reader.join().expect("nothing hidden is seen");
    (sent, has_read)
}

fn attack_with(messages: u64, seed: u64) {
    let host = host();
    let before = snapshot(&host);
    let view = host.view().with_node_limit(25);
    let mut random = Random(seed);
    let (mut left, mut services, mut read) = (messages, 0, 0);
    while left > 0 {
        let (sent, has_read) = attack(&view, &mut random, MESSAGES.min(left));
        left = left.saturating_sub(sent);
        services += 1;
        read += u64::from(has_read);
    }
    assert!(read * 10 > services, "the messages reach little: {read} of {services} services were asked for a file");
    assert_eq!(snapshot(&host), before, "a guest wrote to the host");
}

#[test]
fn twenty_thousand_hostile_messages_neither_see_nor_change_what_they_must_not() {
    attack_with(20_000, 1);
}

#[test]
#[ignore = "takes half a minute in a debug build; the same with fewer messages always runs"]
fn a_million_hostile_messages_neither_see_nor_change_what_they_must_not() {
    attack_with(1_000_000, 2);
}
