//! The messages: writing and reading a message again gives the same message.

use serde::Serialize;
use serde::de::DeserializeOwned;
use vmlab_protocol::frame::{Decoder, Frame, HEADER_LEN, Item, Kind};
use vmlab_protocol::message::{self, Envelope, HostMessage, RawChunk};

pub const WORDS: &[&[u8]] = &[
    b"{\"seq\":0,\"boottime_ns\":1,\"type\":\"prepared\",\"boot_id\":\"x\"}",
    b"\"type\":\"scenario_started\",\"run\":1,\"scenario\":\"uts.hostname\"",
    b"\"type\":\"leg_finished\",\"run\":1,\"leg\":\"probe\",\"outcome\":{\"kind\":\"available\"},\"duration_ns\":1,\"output_dropped\":0",
    b"\"type\":\"scenario_finished\",\"run\":1",
    b"\"type\":\"run_finished\",\"started\":1",
    b"\"type\":\"refused\",\"run\":1,\"why\":\"no\"",
    b"{\"type\":\"finish\",\"marker\":\"x\"}",
    b"{\"type\":\"prepare\",\"wall_clock_ns\":1,\"entropy\":\"00\",\"fork\":true}",
    b"{\"type\":\"run\",\"run\":1,\"scenario\":\"a.b\",\"leg_timeout_ms\":1,\"output_limit\":1}",
    b"18446744073709551615",
    b"\\ud800",
    b"\\u0000",
    b"1e999",
    b"[[[[[[[[",
];

pub fn run(input: &[u8]) {
    let frame = Frame { kind: Kind::Message, payload: input.to_vec() };
    if let Ok(envelope) = message::decode::<Envelope>(&frame) {
        same_again(&envelope);
    }
    if let Ok(order) = message::decode::<HostMessage>(&frame) {
        same_again(&order);
    }
    if let Ok(chunk) = RawChunk::decode(input) {
        let mut bytes = Vec::new();
        chunk.encode(&mut bytes).expect("a chunk that came fits into a frame");
        let frame = only_frame(&bytes);
        assert_eq!((frame.kind, RawChunk::decode(&frame.payload)), (Kind::Raw, Ok(chunk)));
        assert_eq!(bytes.len(), HEADER_LEN + input.len(), "nothing but the output and its head");
    }
}

fn same_again<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &M) {
    let mut bytes = Vec::new();
    // Escapes make text longer, so a message that came in one frame may not fit into one frame again.
    if message::encode(message, &mut bytes).is_err() {
        assert!(bytes.is_empty(), "half a message");
        return;
    }
    assert_eq!(message::decode::<M>(&only_frame(&bytes)).as_ref(), Ok(message));
}

fn only_frame(bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    match decoder.next_item() {
        Some(Item::Frame(frame)) if decoder.next_item().is_none() => frame,
        other => panic!("one frame was written, and read was {other:?}"),
    }
}
