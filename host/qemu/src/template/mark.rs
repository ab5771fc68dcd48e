//! Telling whether a file is still what it was, at the price of a stat where it can be.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};

use vmlab_store::fingerprint::Fingerprint;
use vmlab_store::plain;

/// Bytes that are looked at together: of memory, most blocks are empty, and those cost nothing.
const BLOCK: usize = 64 * 1024;

/// What a file was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    file: Fingerprint,
    /// CRC-32 of all blocks that are not zero, each with its place. Against damage, not malice: the cache is its
    /// owner's.
    crc32: u32,
}

impl Mark {
    /// Takes the mark of a file.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let crc32 = checksum(&mut plain::open(path)?)?;
        Ok(Self { file: Fingerprint::of(path)?, crc32 })
    }

    /// Whether nobody has written to the file since.
    pub(super) fn is_unchanged(&self, path: &Path) -> io::Result<bool> {
        Ok(Fingerprint::of(path)? == self.file)
    }

    /// Whether the content is the same.
    pub(super) fn has_same_content(&self, path: &Path) -> io::Result<bool> {
        let same_size = Fingerprint::of(path)?.size_bytes() == self.file.size_bytes();
        Ok(same_size && checksum(&mut plain::open(path)?)? == self.crc32)
    }
}

/// Holes are zeros whether the file system tells of them or not, so that a copy has the same checksum.
fn checksum(file: &mut File) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut block = vec![0; BLOCK];
    let zeros = vec![0; BLOCK];
    let mut at: u64 = 0;
    while let Some(data) = next_data(file, at)? {
        at = data - data % BLOCK as u64;
        file.seek(SeekFrom::Start(at))?;
        let count = fill(file, &mut block)?;
        if count == 0 {
            break;
        }
        if block[..count] != zeros[..count] {
            crc.update(&at.to_le_bytes());
            crc.update(&block[..count]);
        }
        at += count as u64;
    }
    Ok(crc.finalize())
}

/// Where the next data begins; None where there is none. A file system without holes has data everywhere (lseek(2)).
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    let offset = i64::try_from(at).map_err(io::Error::other)?;
    match lseek(file, offset, Whence::SeekData) {
        Ok(data) => u64::try_from(data).map(Some).map_err(io::Error::other),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn fill(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
