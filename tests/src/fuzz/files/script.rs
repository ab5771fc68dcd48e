//! Requests from a script of letters, so that mutations of the script are mutations of requests.

/// `struct fuse_in_header`, in bytes.
const HEADER: usize = 40;
/// The longest stream of requests that a script gives, in bytes.
const LONGEST: usize = 4 << 20;

/// Looks up /home/me/code/file, /home/me/code/link, /lib/modules/6.1/file; reads, lists, forgets.
pub const READS_SHOWN: &[u8] =
    b"il\x01\x00l\x02\x01l\x03\x02l\x04\x03a\x05r\x05\x00\x38l\x04\x04k\x06d\x04\x00\x38p\x04\x00\x38f\x05\x01s";
/// Looks up /home/me/.ssh/id and reads it.
pub const READS_HIDDEN: &[u8] = b"il\x01\x00l\x02\x01l\x03\x05l\x04\x06r\x05\x00\x38";

pub const WORDS: &[&[u8]] = &[
    READS_SHOWN,
    READS_HIDDEN,
    b"il\x01\x00l\x02\x01l\x03\x02l\x04\x0ar\x05\x00\x38k\x05",
    b"il\x01\x0bl\x02\x0cl\x03\x0dl\x04\x03r\x05\x00\x38p\x02\x00\x38",
    b"l\x01\x07l\x02\x08r\x03\x00\x38",
    b"n\x03\x0cfile/../.ssh",
    b"b\x03\x02\x01\x03\x01\x04\x30",
    b"o\x10\x05",
    b"W\x05\x02",
    b"L\x27",
    b"v\x07\x20",
];

/// The names that a script looks up by number: those of the tree, and those that must lead nowhere.
const NAMES: &[&[u8]] = &[
    b"home",
    b"me",
    b"code",
    b"file",
    b"link",
    b".ssh",
    b"id",
    b"etc",
    b"shadow",
    b"passwd",
    b"out",
    b"lib",
    b"modules",
    b"6.1",
    b"dir",
    b"up",
    b"you",
    b"root",
    b"proc",
    b"1",
    b"outside",
    b"HIDDEN-FROM-ALL-GUESTS",
    b".",
    b"..",
    b"",
    b"/",
    b"/etc/shadow",
    b"../.ssh/id",
    b"../../outside/file",
    b"file\0hidden",
    b"\xff\xfe",
    b"extra",
];

/// Numbers beyond those below 48: nodes, offsets, sizes, counts and lengths where something ends.
const NUMBERS: [u64; 24] = [
    48,
    100,
    160,
    1 << 10,
    4095,
    4096,
    8192,
    1 << 16,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 4056,
    (1 << 20) + 4057,
    (1 << 20) + 4096,
    (1 << 20) + 4097,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 48,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    u64::MAX - 1,
    u64::MAX,
];

fn number(byte: u8) -> u64 {
    match byte {
        0..48 => byte.into(),
        _ => NUMBERS[usize::from(byte - 48) % NUMBERS.len()],
    }
}

fn name(byte: u8) -> &'static [u8] {
    NAMES[usize::from(byte) % NAMES.len()]
}

/// The lower half of a number.
fn half(number: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = number.to_le_bytes();
    [a, b, c, d]
}

/// `struct fuse_read_in`
fn read_in(offset: u64, size: u64) -> Vec<u8> {
    [&[0; 8][..], &offset.to_ne_bytes(), &half(size), &[0; 20]].concat()
}

/// `struct fuse_init_in`
fn init_in(major: u8, minor: u8) -> Vec<u8> {
    let mut body = [major.into(), minor.into(), 1 << 20, u32::MAX, u32::MAX].map(u32::to_ne_bytes).concat();
    body.extend([0; 44]);
    body
}

struct Script<'a> {
    rest: std::iter::Copied<std::slice::Iter<'a, u8>>,
    /// The number of the next request.
    unique: u64,
    /// The length that the next header states, if it is not the right one.
    stated: Option<u64>,
    stream: Vec<u8>,
}

/// The requests of a script, one after the other.
pub fn requests(script: &[u8]) -> Vec<u8> {
    let mut script = Script { rest: script.iter().copied(), unique: 1, stated: None, stream: Vec::new() };
    while let (Some(letter), true) = (script.rest.next(), script.stream.len() < LONGEST) {
        script.step(letter);
    }
    script.stream
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        self.rest.next().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        number(self.byte())
    }

    fn taken(&mut self) -> Vec<u8> {
        let length = self.byte().into();
        self.rest.by_ref().take(length).collect()
    }

    fn step(&mut self, letter: u8) {
        match letter {
            b'i' => self.push(26, 0, &init_in(7, 38)),
            b'v' => {
                let body = init_in(self.byte(), self.byte());
                self.push(26, 0, &body);
            }
            b'l' => {
                let (node, name) = (self.number(), name(self.byte()));
                self.push(1, node, &[name, b"\0"].concat());
            }
            // Any name, with no NUL at its end if the script has none.
            b'n' => {
                let (node, name) = (self.number(), self.taken());
                self.push(1, node, &name);
            }
            b'a' => self.about(3, &[0; 16]),
            b'k' => self.about(5, &[]),
            b's' => self.push(17, 1, &[]),
            b'r' => self.read(15),
            b'd' => self.read(28),
            b'p' => self.read(44),
            b'f' => {
                let (node, count) = (self.number(), self.number());
                self.push(2, node, &count.to_ne_bytes());
            }
            b'b' => self.forget_several(),
            b'o' => {
                let (opcode, node, name) = (self.byte(), self.number(), name(self.byte()));
                self.push(opcode.into(), node, &[&[0; 64], name, b"\0"].concat());
            }
            b'O' => {
                let opcode = self.number();
                self.about(opcode, &[0; 64]);
            }
            b'W' => {
                let (node, size) = (self.number(), self.number().min(2 << 20));
                self.push(16, node, &vec![b'w'; usize::try_from(size).unwrap()]);
            }
            b'j' => {
                let (opcode, node, body) = (self.byte(), self.number(), self.taken());
                self.push(opcode.into(), node, &body);
            }
            b'L' => self.stated = Some(self.number()),
            b'x' => {
                let bytes = self.taken();
                self.stream.extend(bytes);
            }
            b'c' => {
                let cut = self.byte().into();
                self.stream.truncate(self.stream.len().saturating_sub(cut));
            }
            _ => {}
        }
    }

    fn about(&mut self, opcode: u64, body: &[u8]) {
        let node = self.number();
        self.push(opcode, node, body);
    }

    fn read(&mut self, opcode: u64) {
        let (node, offset, size) = (self.number(), self.number(), self.number());
        self.push(opcode, node, &read_in(offset, size));
    }

    /// BATCH_FORGET, whose first number need not be that of the nodes that follow.
    fn forget_several(&mut self) {
        let (stated, nodes) = (self.number(), self.byte() % 64);
        let mut body = stated.to_ne_bytes().to_vec();
        for _ in 0..nodes {
            body.extend(self.number().to_ne_bytes());
            body.extend(self.number().to_ne_bytes());
        }
        self.push(42, 0, &body);
    }

    fn push(&mut self, opcode: u64, node: u64, body: &[u8]) {
        let length = self.stated.take().unwrap_or((HEADER + body.len()) as u64);
        self.stream.extend([half(length), half(opcode)].concat());
        self.stream.extend([self.unique, node, 0, 0].map(u64::to_ne_bytes).concat());
        self.stream.extend(body);
        self.unique += 1;
    }
}

/// The numbers of the requests in a stream, as their headers divide it.
pub fn numbers(mut stream: &[u8]) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let header = stream.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let [_, _, _, _, _, _, _, _, unique @ .., _, _, _, _, _, _, _, _] = header.first_chunk::<24>()?;
        stream = stream.get(length.max(1)..)?;
        Some(u64::from_ne_bytes(*unique))
    })
}
