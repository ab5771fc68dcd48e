//! Detects an apt without progress. apt 2.6 waits forever when the disk is full, because its method ends without a
//! message.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

/// The interval of checks.
const TICK: Duration = Duration::from_secs(1);

/// The number of ticks without progress after which the disk is checked.
const FULL_AFTER: u32 = 3;

/// The number of ticks without progress after which apt is killed. apt itself gives up on a silent mirror after four
/// times 30 seconds (apt.conf(5), apt-transport-http(1)).
pub(super) const SILENT_AFTER: u32 = 180;

/// A disk with less free space than this counts as full, in bytes.
const FULL_BELOW: u64 = 128 * 1024;

/// Why apt makes no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stall {
    /// The disk is full.
    Full,
    /// The reason is unknown.
    Silent,
}

/// Waits until apt stops making progress. `dir` is apt's directory; `changes` counts new output.
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

/// The free space for this user on the directory's file system, in bytes; `None` if it is unknown.
fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = statvfs(dir).ok()?;
    // Blocks reserved for root do not count.
    let blocks = if geteuid().is_root() { stat.blocks_free() } else { stat.blocks_available() };
    Some(blocks.saturating_mul(stat.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_distinguished_from_silence() {
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
