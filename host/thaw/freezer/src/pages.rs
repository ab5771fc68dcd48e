//! Copies pages of the process to the image, without those that have zeros only.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use vmlab_thaw_image::{PAGE, PAGES_AT};

use crate::procfs::Memory;
use crate::refusal::Refusal;

const PAGE_BYTES: usize = 4096;
/// How much is read at a time, in bytes.
const CHUNK: u64 = 1 << 20;
/// From this size on, a range has the same place within 2 MiB in the image as in memory, so that the page cache can have large
/// pages for it.
const LARGE: u64 = 2 << 20;

/// The part of the image behind the tables.
pub(crate) struct Pages<'a> {
    image: &'a File,
    /// The offset behind the last range, in bytes.
    end: u64,
    /// Bytes that were written, without zeros.
    pub(crate) written: u64,
    buffer: Vec<u8>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(image: &'a File) -> Self {
        Self { image, end: PAGES_AT, written: 0, buffer: Vec::new() }
    }

    /// Copies a range. Returns its offset in the image.
    pub(crate) fn copy(&mut self, memory: &Memory, start: u64, end: u64) -> Result<u64, Refusal> {
        if end - start >= LARGE {
            self.end += start.wrapping_sub(self.end) % LARGE;
        }
        let offset = self.end;
        let mut at = start;
        while at < end {
            let bytes = (end - at).min(CHUNK);
            self.buffer.resize(usize::try_from(bytes).unwrap_or_default(), 0);
            memory.read_exact_at(&mut self.buffer, at).map_err(Refusal::on("read QEMU's memory"))?;
            self.write(offset + (at - start))?;
            at += bytes;
        }
        self.end += end - start;
        Ok(offset)
    }

    /// Writes the pages of the buffer that have anything else than zeros, neighbours together.
    fn write(&mut self, offset: u64) -> Result<(), Refusal> {
        let zeros = [0; PAGE_BYTES];
        let runs = self.buffer.as_chunks::<PAGE_BYTES>().0.chunk_by(|a, b| (*a == zeros) == (*b == zeros));
        let mut at = offset;
        for run in runs {
            let bytes = run.as_flattened();
            if run[0] != zeros {
                self.image.write_all_at(bytes, at).map_err(Refusal::on("write the image"))?;
                self.written += bytes.len() as u64;
            }
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// The length of the image, in bytes.
    pub(crate) const fn end(&self) -> u64 {
        self.end.next_multiple_of(PAGE)
    }
}
