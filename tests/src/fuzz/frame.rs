//! The frame decoder: it accounts for every byte, however the bytes are split.

use vmlab_protocol::frame::{Decoder, Frame, HEADER_LEN, Item, MAX_PAYLOAD, Truncated, encode};

pub const WORDS: &[&[u8]] = &[
    b"VMLB",
    b"VMLB\x01\x01\0\0",
    b"VMLB\x01\x02\0\0\0\0\x10\0",
    b"VMLB\x01\x01\0\0\x01\0\x10\0",
    b"\xff\xff\xff\xff",
];

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    frames: Vec<Frame>,
    damaged: u64,
    end: Result<(), Truncated>,
}

fn decode<'a, I: Iterator<Item = &'a [u8]>>(pieces: I) -> Decoded {
    let mut decoder = Decoder::default();
    let (mut frames, mut damaged) = (Vec::new(), 0);
    let mut take = |decoder: &mut Decoder| {
        while let Some(item) = decoder.next_item() {
            match item {
                Item::Frame(frame) => frames.push(frame),
                Item::Damaged { bytes, .. } => {
                    assert!(bytes > 0, "damage of no bytes");
                    damaged += bytes;
                }
            }
        }
    };
    for piece in pieces {
        decoder.push(piece);
        take(&mut decoder);
    }
    decoder.end();
    take(&mut decoder);
    Decoded { end: decoder.finish(), frames, damaged }
}

pub fn run(input: &[u8]) {
    let whole = decode(std::iter::once(input));
    let framed: usize = whole.frames.iter().map(|frame| HEADER_LEN + frame.payload.len()).sum();
    assert_eq!(framed as u64 + whole.damaged, input.len() as u64, "each byte is in a frame or damaged");
    assert!(whole.frames.iter().all(|frame| frame.payload.len() <= MAX_PAYLOAD));
    if let Err(Truncated { have, need }) = whole.end {
        assert!(have < need && need <= HEADER_LEN + MAX_PAYLOAD && whole.damaged > 0, "{:?}", whole.end);
    }
    assert_eq!(decode(super::pieces(input)), whole, "the same, cut elsewhere");
    assert_eq!(decode(input.chunks(1)), whole, "the same, byte by byte");

    let mut again = Vec::new();
    for frame in &whole.frames {
        encode(frame.kind, &[&frame.payload], &mut again).expect("what came in a frame fits into one");
    }
    let frames = whole.frames;
    assert_eq!(decode(again.chunks(97)), Decoded { frames, damaged: 0, end: Ok(()) }, "written and read again");
}
