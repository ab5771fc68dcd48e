//! Tests of the frame decoder with split, truncated, damaged and foreign bytes.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use proptest::prelude::*;
use vmlab_protocol::frame::{Damage, Decoder, Frame, HEADER_LEN, Item, Kind, MAX_PAYLOAD, TooLarge, encode};

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Message), Just(Kind::Raw)]
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let frame =
        (kind(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(kind, payload)| Frame { kind, payload });
    prop::collection::vec(frame, 0..6)
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        encode(frame.kind, &[&frame.payload], &mut out).unwrap();
    }
    out
}

/// Decodes a stream that arrives in pieces: the frames, the number of skipped bytes, and whether the stream ended
/// between two frames.
fn decode<'a, I: IntoIterator<Item = &'a [u8]>>(pieces: I) -> (Vec<Frame>, u64, bool) {
    let mut decoder = Decoder::default();
    let (mut frames, mut damaged) = (Vec::new(), 0);
    let mut take = |decoder: &mut Decoder| {
        while let Some(item) = decoder.next_item() {
            match item {
                Item::Frame(frame) => frames.push(frame),
                Item::Damaged { bytes, .. } => damaged += bytes,
            }
        }
    };
    for piece in pieces {
        decoder.push(piece);
        take(&mut decoder);
    }
    decoder.end();
    take(&mut decoder);
    let whole = decoder.finish().is_ok();
    (frames, damaged, whole)
}

/// Garbage without the first byte of a frame.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>().prop_filter("no start of a frame", |&b| b != b'V'), 1..200)
}

proptest! {
    #[test]
    fn frames_decode_unchanged_however_the_stream_is_split(
        frames in frames(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let bytes = encoded(&frames);
        let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[from..to]);
            from = to;
        }
        prop_assert_eq!(decode(pieces), (frames, 0, true));
    }

    #[test]
    fn garbage_around_frames_is_counted_and_loses_no_frame(
        frames in frames(),
        noise in prop::collection::vec(garbage(), 7),
        size in 1_usize..64,
    ) {
        let mut bytes = noise[0].clone();
        let mut expected = noise[0].len() as u64;
        for (frame, noise) in frames.iter().zip(&noise[1..]) {
            bytes.extend(encoded(std::slice::from_ref(frame)));
            bytes.extend(noise);
            expected += noise.len() as u64;
        }
        prop_assert_eq!(decode(bytes.chunks(size)), (frames, expected, true));
    }

    #[test]
    fn a_frame_truncated_at_any_byte_is_reported_as_truncated(frames in frames(), tail in 1_usize..HEADER_LEN) {
        let whole = encoded(&frames);
        let last = Frame { kind: Kind::Message, payload: vec![7; 40] };
        let mut bytes = whole.clone();
        bytes.extend(encoded(&[last]));
        for end in whole.len() + 1..bytes.len() {
            let (found, damaged, complete) = decode(bytes[..end].chunks(tail));
            prop_assert_eq!(&found, &frames);
            prop_assert!(!complete);
            prop_assert_eq!(damaged, (end - whole.len()) as u64);
        }
    }

    #[test]
    fn a_flipped_bit_is_damage_and_the_next_frame_is_found(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let first = Frame { kind: Kind::Message, payload: b"{\"type\":\"hello\"}".to_vec() };
        let second = Frame { kind: Kind::Raw, payload: b"output".to_vec() };
        let mut bytes = encoded(&[first.clone(), second.clone()]);
        let hit = at.index(HEADER_LEN + first.payload.len());
        bytes[hit] ^= 1_u8 << bit;
        let (frames, damaged, _) = decode([&bytes[..]]);
        prop_assert!(!frames.contains(&first));
        prop_assert!(damaged > 0);
        prop_assert_eq!(frames, vec![second]);
    }

    #[test]
    fn every_byte_of_any_input_is_a_frame_or_damage(bytes in prop::collection::vec(any::<u8>(), 0..2000), size in 1_usize..100) {
        let (frames, damaged, _) = decode(bytes.chunks(size));
        let framed: usize = frames.iter().map(|frame| HEADER_LEN + frame.payload.len()).sum();
        prop_assert_eq!(framed as u64 + damaged, bytes.len() as u64);
    }
}

#[test]
fn a_header_with_a_length_over_the_limit_is_damage_without_its_payload() {
    let mut bytes = encoded(&[Frame { kind: Kind::Raw, payload: vec![0; 4] }]);
    bytes[8..12].copy_from_slice(&u32::try_from(MAX_PAYLOAD + 1).unwrap().to_le_bytes());
    let mut decoder = Decoder::default();
    decoder.push(&bytes[..HEADER_LEN]);
    let Some(Item::Damaged { why, .. }) = decoder.next_item() else { panic!("no damage reported") };
    assert_eq!(why, Damage::Oversize(u32::try_from(MAX_PAYLOAD + 1).unwrap()));
}

#[test]
fn each_wrong_checksum_is_an_item_of_its_own() {
    // A megabyte of headers, each of which announces the rest, would cost gigabytes of checksums in one call otherwise.
    let mut bytes = Vec::new();
    for _ in 0..3 {
        bytes.extend(encoded(&[Frame { kind: Kind::Raw, payload: vec![0; 4] }]));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    }
    let mut decoder = Decoder::default();
    decoder.push(&bytes);
    let one = Item::Damaged { bytes: HEADER_LEN as u64 + 4, why: Damage::Checksum };
    assert_eq!([(); 4].map(|()| decoder.next_item()), [Some(one.clone()), Some(one.clone()), Some(one), None]);
}

#[test]
fn the_largest_payload_fits_and_one_more_byte_does_not() {
    let mut out = Vec::new();
    encode(Kind::Raw, &[&vec![1; MAX_PAYLOAD]], &mut out).unwrap();
    let (frames, ..) = decode(out.chunks(65_536));
    assert_eq!(frames[0].payload.len(), MAX_PAYLOAD);
    let before = out.len();
    assert_eq!(encode(Kind::Raw, &[&vec![1; MAX_PAYLOAD], &[1]], &mut out), Err(TooLarge(MAX_PAYLOAD + 1)));
    assert_eq!(out.len(), before);
}

#[test]
fn unknown_versions_kinds_and_flags_are_reported_as_such() {
    let good = encoded(&[Frame { kind: Kind::Raw, payload: b"x".to_vec() }]);
    for (at, value, expected) in [
        (4, 9, Damage::HeaderVersion(9)),
        (5, 77, Damage::UnknownKind(77)),
        (6, 1, Damage::UnknownKind(2)),
        (16, b'y', Damage::Checksum),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let Some(Item::Damaged { why, .. }) = decoder.next_item() else { panic!("byte {at}: no damage reported") };
        assert_eq!(why, expected, "byte {at}");
    }
}
