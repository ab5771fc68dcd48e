//! Renews a guest's entropy, boot id and wall clock. A fork starts with its template's memory, which includes the state
//! of the kernel's random number generator: without this step, forks of one template draw the same bytes from
//! getrandom(2), with and without vmgenid.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use vmlab_protocol::message::ENTROPY_BYTES;

use crate::sys::random;

/// The files that [`Fresh::prepare`] uses. They are opened before a template is saved, because opening costs an
/// emulated guest more than the rest of `prepare`.
#[derive(Debug)]
pub(super) struct Fresh {
    generator: File,
    id: File,
    /// The entropy that is credited, of [`ENTROPY_BYTES`] bytes, in bits.
    credit: i32,
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// New at each read. The kernel has the same code for it as for the boot id (drivers/char/random.c, `proc_do_uuid`).
const UUID: &str = "/proc/sys/kernel/random/uuid";

impl Fresh {
    /// Opens the files and reads nothing: the kernel draws the boot id at the first read.
    pub(super) fn open() -> Result<Self, String> {
        Self::with(BOOT_ID, random::ALL_BITS)
    }

    /// Takes the same ways through the kernel, but credits no entropy, and has no boot id.
    pub(super) fn for_exercise() -> Result<Self, String> {
        Self::with(UUID, 0)
    }

    fn with(id: &'static str, credit: i32) -> Result<Self, String> {
        let failed = |path: &'static str| move |error| format!("cannot open {path}: {error}");
        Ok(Self {
            generator: OpenOptions::new().write(true).open(random::DEVICE).map_err(failed(random::DEVICE))?,
            id: File::open(id).map_err(failed(id))?,
            credit,
        })
    }

    /// Mixes in the entropy, reseeds the generator, sets the wall clock, and returns the boot id.
    pub(super) fn prepare(&self, wall_clock_ns: u64, entropy: &str, fork: bool) -> Result<String, String> {
        let entropy = decode(entropy).ok_or("the host's entropy has a wrong length or is not hexadecimal")?;
        random::add_entropy(&self.generator, &entropy, self.credit)
            .map_err(|error| format!("RNDADDENTROPY: {error}"))?;
        match random::reseed(&self.generator) {
            // Linux before 4.17 lacks this ioctl. A booted guest may continue without it, a fork may not.
            Err(Errno::EINVAL) if !fork => {}
            // A generator that was never seeded, and is not by this.
            Err(Errno::ENODATA) if self.credit == 0 => {}
            reseeded => reseeded.map_err(|error| format!("RNDRESEEDCRNG: {error}"))?,
        }
        let out_of_range = |_| "the wall clock is out of range";
        let seconds = i64::try_from(wall_clock_ns / 1_000_000_000).map_err(out_of_range)?;
        let nanoseconds = i64::try_from(wall_clock_ns % 1_000_000_000).map_err(out_of_range)?;
        clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, nanoseconds))
            .map_err(|error| format!("clock_settime: {error}"))?;
        // A plain read into a buffer: asking for the file's size and position first costs a fork the translation of 270
        // more blocks of code in the emulator, of 4,000 until its answer (6.12).
        let mut text = [0; 64];
        let count = self.id.read_at(&mut text, 0).map_err(|error| format!("cannot read the boot id: {error}"))?;
        Ok(String::from_utf8_lossy(text.get(..count).unwrap_or_default()).trim_end().to_owned())
    }
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
    fn entropy_of_a_wrong_length_is_refused() {
        assert_eq!(decode(&"0f".repeat(ENTROPY_BYTES)), Some([15; ENTROPY_BYTES]));
        assert_eq!(decode(&"0f".repeat(ENTROPY_BYTES - 1)), None);
        assert_eq!(decode(&"zz".repeat(ENTROPY_BYTES)), None);
    }
}
