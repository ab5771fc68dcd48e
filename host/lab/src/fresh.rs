//! What makes a guest one of its own, drawn from the host.

use std::fs::File;
use std::io::{self, Read as _};
use std::time::{SystemTime, UNIX_EPOCH};

use vmlab_protocol::message::ENTROPY_BYTES;

use crate::guest::session::Freshness;
use vmlab_store::hex;

/// A random marker, which no guest can know before the host sends it.
///
/// # Errors
/// /dev/urandom cannot be read.
pub(super) fn marker() -> io::Result<String> {
    Ok(format!("vmlab: so far {}", hex(&random::<8>()?)))
}

fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Draws it now.
///
/// # Errors
/// /dev/urandom cannot be read.
pub(super) fn draw(fork: bool) -> io::Result<Freshness> {
    let entropy = random::<ENTROPY_BYTES>()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall_clock_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    Ok(Freshness { wall_clock_ns, entropy: hex(&entropy), fork })
}
