//! From a bzImage to the vmlinux in it. Pure.

use std::io::Cursor;

use super::lz4;
use crate::decompress::{self, DecompressError};
use crate::file::{self, Format, Unbootable, bzimage};

/// The most that is read of a bzImage, and the most that its kernel may become, in bytes. Stock kernels are some 14 MiB, and
/// some 60 unpacked.
pub const LIMIT_BYTES: u64 = 1 << 30;

/// What must be there of a file to tell whether it is a bzImage, in bytes.
pub const HEAD_BYTES: u64 = 4096;

/// The payload's last bytes are the length of what is in it, little-endian; gzip's own format has it there, after the others
/// the kernel's build appends it (`size_append` in scripts/Makefile.lib).
const LENGTH_BYTES: usize = 4;

const GZIP: &[u8] = b"\x1f\x8b";

/// Why a kernel's file holds no vmlinux to boot.
#[derive(Debug, thiserror::Error)]
pub enum NoVmlinux {
    /// It is one itself, or nothing.
    #[error("it is not a bzImage")]
    NotABzImage,
    /// The header's fields make no sense.
    #[error("its header names no payload within the file")]
    NoPayload,
    /// bzip2, LZMA, LZO, or what is yet to come.
    #[error("its payload is in no known form: it begins with {0:02x?}")]
    Unknown(Vec<u8>),
    /// A decoder refused it.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// Likewise.
    #[error("its LZ4 data cannot be decompressed")]
    Lz4,
    /// Something else came out than went in.
    #[error("its payload is to become {promised} bytes, and became {actual}")]
    Length {
        /// As the payload says.
        promised: u32,
        /// What came out.
        actual: usize,
    },
    /// It would be too large.
    #[error("its payload is to become {0} bytes, more than any kernel has")]
    TooLarge(u32),
    /// What came out is not what QEMU boots: above all a kernel without `CONFIG_PVH`.
    #[error("its payload: {0}")]
    Unbootable(#[from] Unbootable),
    /// What came out is another kernel, or no vmlinux.
    #[error("its payload is a {format:?} of {release}")]
    Another {
        /// Its form.
        format: Format,
        /// Its release.
        release: String,
    },
}

/// Whether a file that begins so is a bzImage.
#[must_use]
pub fn is_bzimage(head: &[u8]) -> bool {
    bzimage::is_one(head)
}

/// The vmlinux in a bzImage, which QEMU can enter and which is the kernel `release`.
///
/// # Errors
/// [`NoVmlinux`]
pub fn vmlinux(bytes: &[u8], release: &str) -> Result<Vec<u8>, NoVmlinux> {
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
