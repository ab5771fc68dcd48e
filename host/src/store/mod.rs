//! What vmlab keeps on disk: a cache that can be deleted at any time, and run records.

pub mod dirs;
pub mod journal;
pub mod record;
pub mod whole;

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
