//! Reads kernels that vmlab before December 2026 fetched: their JSON has no checksum, and their modules' digests are in
//! a separate text file. They stay usable because the archive may no longer have the pinned version.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{CONFIG, FORMAT, KERNEL, Package, Pin, RECORD, Record, modules_below};
use vmlab_store::integrity::Integrity;

#[derive(Debug, Deserialize)]
struct OldPin {
    format: u32,
    entry: String,
    packages: Vec<Package>,
    resolved_at_unix_ms: u64,
}

#[derive(Debug, Deserialize)]
struct OldRecord {
    format: u32,
    label: String,
    suite: String,
    release: String,
    version: String,
    packages: Vec<Package>,
    kernel_sha256: String,
    config_sha256: String,
    fetched_at_unix_ms: u64,
}

/// Reads a pin of this format; `None` if the file has another format.
pub(super) fn pin(path: &Path) -> Option<Pin> {
    let old: OldPin = read(path)?;
    let OldPin { format, entry, packages, resolved_at_unix_ms } = old;
    (format == 2).then_some(Pin { format: FORMAT, entry, packages, resolved_at_unix_ms })
}

/// Reads an entry's record of this format; `None` if the entry has another format.
pub(super) fn record(dir: &Path) -> Option<Record> {
    let old: OldRecord = read(&dir.join(RECORD)).filter(|old: &OldRecord| old.format == 2)?;
    let below = modules_below(&old.release);
    let size_of = |name: &str| fs::metadata(dir.join(name)).ok().map(|file| file.len());
    let own = |name, sha256| Some(format!("{sha256} {} {name}", size_of(name)?));
    let modules = fs::read_to_string(dir.join("modules.manifest")).ok()?;
    // `SHA256 SIZE PATH`, with the path relative to the modules' directory.
    let in_entry = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let (sha256, size, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some(format!("{sha256} {size} {}/{path}", below.display()))
    };
    let mut lines = vec![own(CONFIG, &old.config_sha256)?];
    lines.extend(modules.lines().map(in_entry).collect::<Option<Vec<_>>>()?);
    lines.push(own(KERNEL, &old.kernel_sha256)?);
    let OldRecord { label, suite, release, version, packages, fetched_at_unix_ms, .. } = old;
    let files = Integrity::from_lines(lines.into_iter())?;
    Some(Record { format: FORMAT, label, suite, release, version, packages, fetched_at_unix_ms, files })
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    // The caller has seen damaged JSON, so the path was a regular file.
    serde_json::from_reader(vmlab_store::regular::open(path).ok()?).ok()
}
