//! Making a guest one of its own. A fork wakes up with its template's memory, and with it the state of the kernel's
//! random number generator: forks of one template drew the same bytes from getrandom(2), vmgenid or not.

use std::fs;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use vmlab_protocol::message::ENTROPY_BYTES;

use crate::sys::random;

/// Mixes the entropy in, makes the generator draw anew from it, sets the wall clock, and gives the boot id, which the
/// kernel draws when it is first read.
pub(super) fn prepare(wall_clock_ns: u64, entropy: &str, fork: bool) -> Result<String, String> {
    let entropy = decode(entropy).ok_or("the entropy is not what it should be")?;
    random::add_entropy(&entropy).map_err(|error| format!("RNDADDENTROPY: {error}"))?;
    match random::reseed() {
        // Linux before 4.17 has no such call. A guest that booted by itself can do without, a fork cannot.
        Err(Errno::EINVAL) if !fork => {}
        reseeded => reseeded.map_err(|error| format!("RNDRESEEDCRNG: {error}"))?,
    }
    let seconds = i64::try_from(wall_clock_ns / 1_000_000_000).map_err(|_| "the wall clock is out of range")?;
    let nanoseconds = i64::try_from(wall_clock_ns % 1_000_000_000).map_err(|_| "the wall clock is out of range")?;
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, nanoseconds))
        .map_err(|error| format!("clock_settime: {error}"))?;
    let boot_id = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(boot_id).map(|id| id.trim_end().to_owned()).map_err(|error| format!("{boot_id}: {error}"))
}

fn decode(hex: &str) -> Option<[u8; ENTROPY_BYTES]> {
    let mut bytes = [0; ENTROPY_BYTES];
    if hex.len() != ENTROPY_BYTES * 2 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_read_whole_or_not_at_all() {
        assert_eq!(decode(&"0f".repeat(ENTROPY_BYTES)), Some([15; ENTROPY_BYTES]));
        assert_eq!(decode(&"0f".repeat(ENTROPY_BYTES - 1)), None);
        assert_eq!(decode(&"zz".repeat(ENTROPY_BYTES)), None);
    }
}
