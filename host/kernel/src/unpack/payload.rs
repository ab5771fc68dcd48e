//! Extracts the vmlinux from a bzImage. Pure.

use std::io::Cursor;

use super::lz4;
use crate::decompress::{self, DecompressError};
use crate::file::{self, Format, Unbootable, bzimage};

/// The size limit of a bzImage and of its vmlinux, in bytes. Stock kernels have some 14 MiB, and some 60 MiB unpacked.
pub(super) const LIMIT_BYTES: u64 = 1 << 30;

/// The number of bytes that are necessary to recognise a bzImage.
pub(super) const HEAD_BYTES: u64 = 4096;

/// The payload ends with its decompressed length, little-endian. gzip's format has the length there; for other formats
/// the kernel's build appends it (`size_append` in scripts/Makefile.lib).
const LENGTH_BYTES: usize = 4;

const GZIP: &[u8] = b"\x1f\x8b";

/// Why a kernel file contains no bootable vmlinux.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoVmlinux {
    /// The file is no bzImage.
    #[error("it is not a bzImage")]
    NotABzImage,
    /// The header's payload fields are invalid.
    #[error("its header names no payload within the file")]
    NoPayload,
    /// The payload's compression is not supported: bzip2, LZMA, LZO or a future format.
    #[error("its payload has an unknown compression format: it begins with {0:02x?}")]
    Unknown(Vec<u8>),
    /// Decompression failed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// LZ4 decompression failed.
    #[error("its LZ4 data cannot be decompressed")]
    Lz4,
    /// The decompressed length differs from the length in the payload.
    #[error("its payload has {actual} bytes decompressed instead of {promised}")]
    Length {
        /// The length in the payload, in bytes.
        promised: u32,
        /// The decompressed length, in bytes.
        actual: usize,
    },
    /// The length in the payload exceeds the limit.
    #[error("its payload claims {0} bytes decompressed, more than any kernel has")]
    TooLarge(u32),
    /// QEMU cannot boot the vmlinux, usually because of a missing `CONFIG_PVH`.
    #[error("its payload: {0}")]
    Unbootable(#[from] Unbootable),
    /// The payload is another kernel, or no vmlinux.
    #[error("its payload is a {format:?} of {release}")]
    Another {
        /// The format of the payload.
        format: Format,
        /// The release of the payload.
        release: String,
    },
}

#[must_use]
pub(super) fn is_bzimage(head: &[u8]) -> bool {
    bzimage::is_one(head)
}

/// The vmlinux in a bzImage. Checks that QEMU can boot it and that its release is `release`.
///
/// # Errors
/// [`NoVmlinux`].
pub(super) fn vmlinux(bytes: &[u8], release: &str) -> Result<Vec<u8>, NoVmlinux> {
    if !is_bzimage(bytes) {
        return Err(NoVmlinux::NotABzImage);
    }
    let payload = bzimage::payload(bytes).ok_or(NoVmlinux::NoPayload)?;
    let (data, &length) = payload.split_last_chunk::<LENGTH_BYTES>().ok_or(NoVmlinux::NoPayload)?;
    let promised = u32::from_le_bytes(length);
    if u64::from(promised) > LIMIT_BYTES {
        return Err(NoVmlinux::TooLarge(promised));
    }
    let unpacked = if data.starts_with(lz4::MAGIC) {
        lz4::unpack(data, promised as usize).ok_or(NoVmlinux::Lz4)?
    } else {
        let data = if data.starts_with(GZIP) { payload } else { data };
        let unknown = || NoVmlinux::Unknown(data.iter().take(8).copied().collect());
        decompress::unpack(data, promised.into())?.ok_or_else(unknown)?
    };
    if unpacked.len() != promised as usize {
        return Err(NoVmlinux::Length { promised, actual: unpacked.len() });
    }
    let image = file::recognise(&mut Cursor::new(&unpacked), promised.into())?;
    if image.format == Format::Vmlinux && image.release == release {
        Ok(unpacked)
    } else {
        Err(NoVmlinux::Another { format: image.format, release: image.release })
    }
}
