//! The throughput of the link with frames and checksums, in MB (10^6 bytes) per second.

use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vmlab_protocol::frame::{Decoder, Item, Kind};
use vmlab_protocol::message::{self, ENTROPY_BYTES, GuestMessage, HostMessage};

use crate::restore::{Fork, Recipe, runtime};
use crate::series::{Bar, Series, against, heading, line};
use crate::vmlab::{Outcome, Vmlab, failed};

/// The scenario of the fault suite that writes until it is stopped.
const FLOOD: &str = "fault.floods";
/// How much of its output is measured.
const FROM_GUEST_BYTES: u64 = 64 << 20;
/// The padding of each message to the guest.
const PADDING_BYTES: usize = 900 << 10;
/// The number of messages to the guest.
const TO_GUEST_MESSAGES: usize = 16;
/// How often each way is measured.
const ROUNDS: u32 = 5;
/// The size of a read buffer.
const PIECE_BYTES: usize = 256 << 10;

/// Measures both directions alternately, each in a fork of its own.
pub fn measure(lab: &Vmlab) -> Outcome<()> {
    heading("the link");
    let recipe = Recipe::restored(lab)?;
    let runtime = runtime()?;
    let (mut out, mut into) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        out.figure(runtime.block_on(from_guest(&recipe))?);
        into.figure(runtime.block_on(to_guest(&recipe))?);
    }
    line("guest to host, output of a scenario", "MB/s", &out);
    line("host to guest, messages of 0.9 MB", "MB/s", &into);
    against("guest to host", "MB/s", out.median(), Bar::AtLeast(100.0));
    Ok(())
}

/// The rate from the arrival of the first output to that of the last.
async fn from_guest(recipe: &Recipe) -> Outcome<f64> {
    let mut fork = recipe.start().await?;
    let order = HostMessage::Run {
        run: 1,
        job: FLOOD.parse()?,
        leg_timeout_ms: 600_000,
        output_limit: u64::MAX,
        marker: None,
        command: None,
    };
    send(&mut fork, &order).await?;
    let (mut decoder, mut piece) = (Decoder::default(), vec![0; PIECE_BYTES]);
    // `start` has read the first byte of the answer to `prepare`. The decoder skips the rest of that frame as garbage.
    let (mut began, mut seen) = (None, 0_u64);
    while seen < FROM_GUEST_BYTES {
        let count = fork.qemu.control.read(&mut piece).await?;
        if count == 0 {
            return Err(failed("the link was closed"));
        }
        decoder.push(&piece[..count]);
        while let Some(item) = decoder.next_item() {
            let Item::Frame(frame) = item else { continue };
            match frame.kind {
                Kind::Raw if began.is_none() => began = Some(Instant::now()),
                Kind::Raw => seen += frame.payload.len() as u64,
                Kind::Message => {}
            }
        }
    }
    let taken = began.ok_or_else(|| failed("no output came"))?.elapsed();
    fork.qemu.end().await?;
    Ok(megabytes(seen) / taken.as_secs_f64())
}

/// The rate from the first message to the answer to the last. The padding is a field that the guest does not know and
/// ignores.
async fn to_guest(recipe: &Recipe) -> Outcome<f64> {
    let mut fork = recipe.start().await?;
    let order = json!({
        "type": "prepare", "wall_clock_ns": 1_700_000_000_000_000_000_u64, "entropy": "a5".repeat(ENTROPY_BYTES),
        "fork": true, "padding": "x".repeat(PADDING_BYTES),
    });
    let mut bytes = Vec::new();
    message::encode(&order, &mut bytes)?;
    let (mut decoder, mut piece) = (Decoder::default(), vec![0; PIECE_BYTES]);
    let began = Instant::now();
    for _ in 0..TO_GUEST_MESSAGES {
        fork.qemu.control.write_all(&bytes).await?;
        answer(&mut fork, &mut decoder, &mut piece).await?;
    }
    let taken = began.elapsed();
    fork.qemu.end().await?;
    Ok(megabytes((bytes.len() * TO_GUEST_MESSAGES) as u64) / taken.as_secs_f64())
}

async fn answer(fork: &mut Fork, decoder: &mut Decoder, piece: &mut [u8]) -> Outcome<()> {
    loop {
        while let Some(item) = decoder.next_item() {
            let Item::Frame(frame) = item else { continue };
            let said: message::Envelope = message::decode(&frame)?;
            if matches!(said.message, GuestMessage::Prepared { .. }) {
                return Ok(());
            }
        }
        let count = fork.qemu.control.read(piece).await?;
        if count == 0 {
            return Err(failed("the link was closed"));
        }
        decoder.push(&piece[..count]);
    }
}

async fn send(fork: &mut Fork, order: &HostMessage) -> Outcome<()> {
    let mut bytes = Vec::new();
    message::encode(order, &mut bytes)?;
    Ok(fork.qemu.control.write_all(&bytes).await?)
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
}
