//! Decompresses kernels and modules on the host: old kernels cannot decompress modules, and decompression under an
//! emulator is slow.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::Stream;
use ruzstd::decoding::StreamingDecoder;

/// The memory limit of a decoder, in bytes. The kernel's build needs 1 MiB for modules (scripts/Makefile.modinst of
/// Linux 6.12) and a little more than the dictionary's 128 MiB for the kernel itself (scripts/xz_wrap.sh of Linux 6.12,
/// `zstd22` of scripts/Makefile.lib); `xz -9` needs 65 MiB, `zstd -19` 8 MiB.
const MAX_DECODER_BYTES: u64 = 256 << 20;

const ELF: &[u8] = b"\x7fELF";
const XZ: &[u8] = b"\xfd7zXZ\0";
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Why data cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The data is damaged, or its decoder needs more than 256 MiB.
    #[error("its {format} data cannot be decompressed")]
    Damaged {
        /// xz, gzip or zstd.
        format: &'static str,
        /// The decoder's error.
        source: io::Error,
    },
    /// The decompressed data exceeds the limit.
    #[error("its decompressed data has more than {limit_bytes} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The decompressed data is no ELF file.
    #[error("it is neither an ELF file nor an ELF file compressed with xz, gzip or zstd")]
    NotElf,
}

/// The ELF file in `bytes`, which may be compressed. The format is detected by the first bytes. Decompression stops one
/// byte after `limit_bytes`.
///
/// # Errors
/// [`DecompressError`] if `bytes` is damaged, too large or no ELF file.
pub fn module(bytes: Vec<u8>, limit_bytes: u64) -> Result<Vec<u8>, DecompressError> {
    let elf = unpack(&bytes, limit_bytes)?.unwrap_or(bytes);
    if elf.starts_with(ELF) { Ok(elf) } else { Err(DecompressError::NotElf) }
}

/// Decompresses `bytes`; `None` if they do not begin like xz, gzip or zstd. Decompression stops one byte after
/// `limit_bytes`.
///
/// # Errors
/// [`DecompressError::Damaged`], [`DecompressError::TooLarge`].
pub fn unpack(bytes: &[u8], limit_bytes: u64) -> Result<Option<Vec<u8>>, DecompressError> {
    let damaged = |format| move |source| DecompressError::Damaged { format, source };
    if bytes.starts_with(XZ) {
        let stream = Stream::new_stream_decoder(MAX_DECODER_BYTES, 0).map_err(io::Error::from);
        let decoder = XzDecoder::new_stream(bytes, stream.map_err(damaged("xz"))?);
        read_bounded(decoder, limit_bytes, "xz").map(Some)
    } else if bytes.starts_with(GZIP) {
        read_bounded(MultiGzDecoder::new(bytes), limit_bytes, "gzip").map(Some)
    } else if bytes.starts_with(ZSTD) {
        let decoder = StreamingDecoder::new_with_max_window_size(bytes, MAX_DECODER_BYTES);
        let decoder = decoder.map_err(|error| damaged("zstd")(io::Error::other(error)))?;
        read_bounded(decoder, limit_bytes, "zstd").map(Some)
    } else {
        Ok(None)
    }
}

fn read_bounded(decoder: impl Read, limit_bytes: u64, format: &'static str) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    let read = decoder.take(limit_bytes.saturating_add(1)).read_to_end(&mut out);
    let length = read.map_err(|source| DecompressError::Damaged { format, source })?;
    if length as u64 > limit_bytes { Err(DecompressError::TooLarge { limit_bytes }) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LIMIT: u64 = 1 << 20;

    fn elf() -> Vec<u8> {
        [ELF, &b"a module's text, again and again. ".repeat(100)].concat()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    type Compressor = fn(&[u8]) -> Vec<u8>;
    const FORMATS: [(&str, Compressor); 3] = [("xz", xz), ("gzip", gzip), ("zstd", zstd)];

    #[test]
    fn each_format_decompresses_to_the_original() {
        assert_eq!(module(elf(), LIMIT).unwrap(), elf());
        for (format, compress) in FORMATS {
            assert_eq!(module(compress(&elf()), LIMIT).unwrap(), elf(), "{format}");
        }
    }

    #[test]
    fn a_decompression_bomb_stops_at_the_limit() {
        let bomb = [ELF, &vec![0; 2 << 20]].concat();
        for (format, compress) in FORMATS {
            let small = compress(&bomb);
            assert!((small.len() as u64) < LIMIT, "{format}: {} bytes", small.len());
            let error = module(small, LIMIT).unwrap_err();
            assert!(matches!(error, DecompressError::TooLarge { limit_bytes: LIMIT }), "{format}: {error}");
        }
    }

    #[test]
    fn exactly_the_limit_is_allowed() {
        for (format, compress) in FORMATS {
            let whole = elf();
            let limit = whole.len() as u64;
            assert_eq!(module(compress(&whole), limit).unwrap(), whole, "{format}");
        }
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        for (format, compress) in FORMATS {
            let mut cut = compress(&elf());
            cut.truncate(cut.len() / 2);
            let error = module(cut, LIMIT).unwrap_err();
            assert!(matches!(error, DecompressError::Damaged { .. }), "{format}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_no_module_is_an_error() {
        for (what, bytes) in [("text", b"root:x:0:0".to_vec()), ("nothing", Vec::new()), ("xz of text", xz(b"root"))] {
            let error = module(bytes, LIMIT).unwrap_err();
            assert!(matches!(error, DecompressError::NotElf), "{what}: {error}");
        }
    }
}
