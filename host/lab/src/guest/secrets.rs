//! The host's secrets for a guest: fresh entropy, and the key of its markers.

use std::fs::File;
use std::io::{self, Read as _};

use sha2::{Digest as _, Sha256};
use vmlab_protocol::message::ENTROPY_BYTES;
use vmlab_store::hex;

/// The secrets of one guest, from the host's random number generator.
#[derive(Clone)]
pub(crate) struct Secrets {
    entropy: [u8; ENTROPY_BYTES],
    marker_key: [u8; 32],
    markers: u64,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Draws new secrets.
    ///
    /// # Errors
    /// Fails if /dev/urandom cannot be read.
    pub(crate) fn draw() -> io::Result<Self> {
        let mut urandom = File::open("/dev/urandom")?;
        let mut secrets = Self::fixed();
        urandom.read_exact(&mut secrets.entropy)?;
        urandom.read_exact(&mut secrets.marker_key)?;
        Ok(secrets)
    }

    /// Fixed values, for tests and as a placeholder.
    pub(crate) const fn fixed() -> Self {
        Self { entropy: [0; ENTROPY_BYTES], marker_key: [0; 32], markers: 0 }
    }

    /// The entropy for the guest, in hexadecimal.
    pub(crate) fn entropy(&self) -> String {
        hex(&self.entropy)
    }

    /// The next marker, a line that the guest's kernel has to print. A guest cannot derive it from earlier markers.
    pub(crate) fn next_marker(&mut self) -> String {
        self.markers += 1;
        let digest = Sha256::new().chain_update(self.marker_key).chain_update(self.markers.to_le_bytes()).finalize();
        format!("vmlab: so far {}", hex(&digest[..8]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_and_every_marker_differs() {
        let (mut a, mut b) = (Secrets::draw().unwrap(), Secrets::draw().unwrap());
        assert_ne!(a.entropy(), b.entropy());
        let markers = [a.next_marker(), a.next_marker(), b.next_marker(), b.next_marker()];
        let distinct: std::collections::BTreeSet<_> = markers.iter().collect();
        assert_eq!(distinct.len(), 4, "{markers:?}");
    }
}
