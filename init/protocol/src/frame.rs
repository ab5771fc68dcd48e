//! Frames: the encoder and the decoder of the link's byte stream. No IO, bounded memory.
//!
//! A frame is a 16-byte little-endian header and a payload of at most [`MAX_PAYLOAD`] bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `VMLB` |
//! | 4 | 1 | header version, [`HEADER_VERSION`] |
//! | 5 | 1 | [`Kind`] |
//! | 6 | 2 | flags: zero in this version |
//! | 8 | 4 | payload length in bytes |
//! | 12 | 4 | CRC-32 (IEEE) of bytes 0 to 11 and the payload |
//!
//! The decoder survives damage: it reports unusable bytes as [`Item::Damaged`] and continues at the next whole frame.
//! The caller decides what damage means.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The largest payload in bytes. A header that announces more is damage; the decoder allocates nothing for it.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The size of the header in bytes.
pub const HEADER_LEN: usize = 16;
/// The version of the header's layout that this build writes and reads.
pub const HEADER_VERSION: u8 = 1;

const MAGIC: [u8; 4] = *b"VMLB";

/// What a frame's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON message, see [`crate::message`].
    Message,
    /// A chunk of a scenario's raw output, see [`crate::message::RawChunk`].
    Raw,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Raw => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Message),
            2 => Some(Self::Raw),
            _ => None,
        }
    }
}

/// A frame whose checksum was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: Kind,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

/// Why the decoder could not use bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// The bytes do not start with a frame's magic.
    Garbage,
    /// The header has this version instead of [`HEADER_VERSION`].
    HeaderVersion(u8),
    /// The header has an unknown kind or unknown flags.
    UnknownKind(u8),
    /// The header announces more than [`MAX_PAYLOAD`] bytes.
    Oversize(u32),
    /// The checksum does not match.
    Checksum,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbage => f.write_str("bytes outside of any frame"),
            Self::HeaderVersion(version) => write!(f, "a frame header of version {version}"),
            Self::UnknownKind(kind) => write!(f, "a frame of unknown kind {kind}"),
            Self::Oversize(len) => write!(f, "a frame that announces {len} bytes (limit {MAX_PAYLOAD})"),
            Self::Checksum => f.write_str("a frame with a wrong checksum"),
        }
    }
}

/// A frame or a run of damaged bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A whole frame.
    Frame(Frame),
    /// Bytes that the decoder skipped. Adjacent skipped bytes of one push are reported together, with the reason of the
    /// first; a frame with a wrong checksum ends an item. The number of items depends on how the stream was split; the
    /// sum of their bytes does not.
    Damaged {
        /// The number of skipped bytes.
        bytes: u64,
        /// Why the first of them was skipped.
        why: Damage,
    },
}

/// The stream ended within a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the stream ended within a frame: {have} of {need} bytes were received")]
pub struct Truncated {
    /// Bytes received of the unfinished frame.
    pub have: usize,
    /// The frame's length in bytes by its header; [`HEADER_LEN`] if the header itself is incomplete.
    pub need: usize,
}

/// A payload of this many bytes does not fit into a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes do not fit into one frame (limit {MAX_PAYLOAD})")]
pub struct TooLarge(pub usize);

/// Appends one frame to `out`.
///
/// # Errors
/// [`TooLarge`] if the parts together exceed [`MAX_PAYLOAD`]; `out` is then unchanged.
pub fn encode(kind: Kind, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let len = u32::try_from(total).ok().filter(|_| total <= MAX_PAYLOAD).ok_or(TooLarge(total))?;
    let mut head = [0; HEADER_LEN - 4];
    head[..4].copy_from_slice(&MAGIC);
    head[4] = HEADER_VERSION;
    head[5] = kind.code();
    head[8..].copy_from_slice(&len.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head);
    parts.iter().for_each(|part| crc.update(part));
    out.reserve(HEADER_LEN + total);
    out.extend_from_slice(&head);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

/// The decoder of one direction of a link.
///
/// ```
/// use vmlab_protocol::frame::{Decoder, Item, Kind, encode};
/// let mut bytes = b"noise".to_vec();
/// encode(Kind::Raw, &[b"hi"], &mut bytes).unwrap();
/// let mut decoder = Decoder::default();
/// decoder.push(&bytes);
/// assert!(matches!(decoder.next_item(), Some(Item::Damaged { bytes: 5, .. })));
/// assert!(matches!(decoder.next_item(), Some(Item::Frame(frame)) if frame.payload == b"hi"));
/// assert_eq!(decoder.next_item(), None);
/// assert!(decoder.finish().is_ok());
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that were already decoded or skipped.
    used: usize,
    /// Skipped bytes that were not reported yet.
    damaged: Option<(u64, Damage)>,
    /// The stream has ended: an unfinished frame is damage, and the bytes after its first byte are decoded again.
    ended: bool,
    /// The first frame that the end of the stream cut off.
    cut: Option<Truncated>,
}

/// The state of the bytes at the front of the buffer.
enum Front {
    Frame { kind: Kind, len: usize },
    NeedMore(usize),
    Bad(Damage),
}

impl Decoder {
    /// Appends the next bytes of the stream.
    ///
    /// If the caller takes all items out before each push, the decoder holds at most one unfinished frame and the bytes
    /// of this push.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next item, or `None` if the decoder needs more bytes.
    pub fn next_item(&mut self) -> Option<Item> {
        loop {
            let front = match self.front() {
                Front::NeedMore(need) if self.ended && self.used < self.buffer.len() => {
                    let have = self.buffer.len() - self.used;
                    self.cut.get_or_insert(Truncated { have, need });
                    Front::Bad(Damage::Garbage)
                }
                front => front,
            };
            match front {
                Front::Bad(why) => {
                    let skip = 1 + next_magic(&self.buffer[self.used + 1..]);
                    self.used += skip;
                    self.damaged.get_or_insert((0, why)).0 += skip as u64;
                    // Verifying a checksum reads all bytes that the header announces. A megabyte of forged headers
                    // would cost gigabytes of reading in one call; returning here lets the caller stop after the first.
                    if why == Damage::Checksum {
                        return self.take_damage();
                    }
                }
                Front::NeedMore(_) => return self.take_damage(),
                Front::Frame { kind, len } => {
                    if let Some(damage) = self.take_damage() {
                        return Some(damage);
                    }
                    let start = self.used + HEADER_LEN;
                    self.used = start + len;
                    return Some(Item::Frame(Frame { kind, payload: self.buffer[start..self.used].to_vec() }));
                }
            }
        }
    }

    /// Marks the end of the stream: the following calls of [`Self::next_item`] decode the bytes of an unfinished frame
    /// again.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Checks that the stream ended between two frames. Only bytes that [`Self::next_item`] has not taken yet count.
    ///
    /// # Errors
    /// [`Truncated`] if the stream ended within a frame.
    pub fn finish(&self) -> Result<(), Truncated> {
        match (self.cut, self.front()) {
            (Some(cut), _) => Err(cut),
            (None, Front::NeedMore(need)) if self.used < self.buffer.len() => {
                Err(Truncated { have: self.buffer.len() - self.used, need })
            }
            (None, _) => Ok(()),
        }
    }

    fn take_damage(&mut self) -> Option<Item> {
        self.damaged.take().map(|(bytes, why)| Item::Damaged { bytes, why })
    }

    fn front(&self) -> Front {
        let bytes = &self.buffer[self.used..];
        let seen = bytes.len().min(MAGIC.len());
        if bytes[..seen] != MAGIC[..seen] {
            return Front::Bad(Damage::Garbage);
        }
        // Each field is checked as soon as it is complete, so that the decoder does not wait for the rest of a bad
        // header.
        if let Some(&version) = bytes.get(4)
            && version != HEADER_VERSION
        {
            return Front::Bad(Damage::HeaderVersion(version));
        }
        let Some((head, rest)) = bytes.split_at_checked(HEADER_LEN) else {
            return Front::NeedMore(HEADER_LEN);
        };
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let announced = u32_at(8);
        let len = announced as usize;
        if len > MAX_PAYLOAD {
            return Front::Bad(Damage::Oversize(announced));
        }
        let (Some(kind), [0, 0]) = (Kind::from_code(head[5]), [head[6], head[7]]) else {
            return Front::Bad(Damage::UnknownKind(head[5]));
        };
        let Some(payload) = rest.get(..len) else {
            return Front::NeedMore(HEADER_LEN + len);
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head[..12]);
        crc.update(payload);
        if crc.finalize() != u32_at(12) {
            return Front::Bad(Damage::Checksum);
        }
        Front::Frame { kind, len }
    }
}

/// The offset of the next possible start of a frame in `bytes`: a whole magic, or the beginning of a magic at the end.
fn next_magic(bytes: &[u8]) -> usize {
    (0..bytes.len())
        .find(|&at| {
            let rest = &bytes[at..];
            let seen = rest.len().min(MAGIC.len());
            rest[..seen] == MAGIC[..seen]
        })
        .unwrap_or(bytes.len())
}
