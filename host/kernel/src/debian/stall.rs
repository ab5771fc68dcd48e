//! Notices an apt that gets no further. apt 2.6 waits for ever when the disk fills up under one of its methods: the
//! method gives up without a word.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

/// How often it is looked.
const TICK: Duration = Duration::from_secs(1);

/// After so many ticks without a change a full disk is the reason.
const FULL_AFTER: u32 = 3;

/// After so many ticks without a change nothing more is to be expected: apt itself gives up on a mirror that does not
/// answer after four times 30 seconds, apt.conf(5) and apt-transport-http(1).
pub(super) const SILENT_AFTER: u32 = 180;

/// A disk with less than this is full, in bytes.
const FULL_BELOW: u64 = 128 * 1024;

/// Why apt gets no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stall {
    /// The disk is full.
    Full,
    /// For no reason that can be seen.
    Silent,
}

/// Waits until apt, which works in a directory, gets no further. `changes` counts what it has said that was new.
pub(super) async fn watch(dir: &Path, changes: &Cell<u64>) -> Stall {
    let (mut seen, mut quiet) = (changes.get(), 0);
    loop {
        tokio::time::sleep(TICK).await;
        quiet = if changes.get() == seen { quiet + 1 } else { 0 };
        seen = changes.get();
        if let Some(stall) = judge(quiet, || free_bytes(dir)) {
            return stall;
        }
    }
}

fn judge(quiet: u32, free: impl Fn() -> Option<u64>) -> Option<Stall> {
    if quiet >= FULL_AFTER && free().is_some_and(|free| free < FULL_BELOW) {
        return Some(Stall::Full);
    }
    (quiet >= SILENT_AFTER).then_some(Stall::Silent)
}

/// What this user can still write where a directory is; `None` where the system does not say.
fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = statvfs(dir).ok()?;
    // Some blocks are kept for root.
    let blocks = if geteuid().is_root() { stat.blocks_free() } else { stat.blocks_available() };
    Some(blocks.saturating_mul(stat.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_silence() {
        for (quiet, free, stall) in [
            (FULL_AFTER - 1, Some(0), None),
            (FULL_AFTER, Some(0), Some(Stall::Full)),
            (FULL_AFTER, Some(FULL_BELOW), None),
            (FULL_AFTER, None, None),
            (SILENT_AFTER, Some(FULL_BELOW), Some(Stall::Silent)),
            (SILENT_AFTER, None, Some(Stall::Silent)),
            (SILENT_AFTER, Some(0), Some(Stall::Full)),
        ] {
            assert_eq!(judge(quiet, || free), stall, "{quiet} {free:?}");
        }
    }
}
