//! Structures on a disk.

/// A zeroed structure, whose fields are set by their offset.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn new(len: u16) -> Self {
        Self(vec![0; usize::from(len)])
    }

    pub(super) fn bytes(mut self, offset: usize, value: &[u8]) -> Self {
        for (place, byte) in self.0.iter_mut().skip(offset).zip(value) {
            *place = *byte;
        }
        self
    }

    pub(super) fn le16(self, offset: usize, value: u16) -> Self {
        self.bytes(offset, &value.to_le_bytes())
    }

    pub(super) fn le32(self, offset: usize, value: impl Into<u32>) -> Self {
        self.bytes(offset, &value.into().to_le_bytes())
    }

    pub(super) fn be16(self, offset: usize, value: u16) -> Self {
        self.bytes(offset, &value.to_be_bytes())
    }

    pub(super) fn be32(self, offset: usize, value: impl Into<u32>) -> Self {
        self.bytes(offset, &value.into().to_be_bytes())
    }

    pub(super) fn be64(self, offset: usize, value: impl Into<u64>) -> Self {
        self.bytes(offset, &value.into().to_be_bytes())
    }

    /// Sets the checksum of the whole structure (CRC-32C), at this offset.
    pub(super) fn crc32c(self, offset: usize) -> Self {
        let crc = crc32c(&self.0);
        self.le32(offset, crc)
    }
}

/// RFC 3720, appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let shift = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ POLYNOMIAL };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
