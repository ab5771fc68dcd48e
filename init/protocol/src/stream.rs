//! The streams of a process in a guest.

use serde::{Deserialize, Serialize};

/// A stream of a leg's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 0: from the host to the guest. Only commands have it.
    Stdin,
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
    /// From the guest to the host, when a command has ended: the files that it wrote, see [`crate::archive`].
    Archive,
}
