//! The reader of bzImage, vmlinux and unified kernel images: its result does not depend on how many bytes one read(2) returns.

use std::io::{Cursor, Read, Result, Seek, SeekFrom};

use vmlab_kernel::file::recognise;
use vmlab_kernel::is_release;

pub const WORDS: &[&[u8]] = &[
    b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0",
    b"HdrS\x0f\x02",
    b"\x55\xaa",
    b"Linux version 6.1.0 (",
    b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x1f\x8b\x08",
    b"MZ",
    b"PE\0\0\x64\x86",
    b".linux\0\0",
];

/// A reader that returns one byte at a time.
struct Dribble(Cursor<Vec<u8>>);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

impl Seek for Dribble {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.0.seek(to)
    }
}

pub fn run(input: &[u8]) {
    let length = input.len() as u64;
    let said =
        |result: std::result::Result<_, vmlab_kernel::file::Unbootable>| result.map_err(|error| error.to_string());
    let image = said(recognise(&mut Cursor::new(input), length));
    if let Ok(image) = &image {
        assert!(is_release(&image.release), "{:?} becomes a part of file names", image.release);
        let end = image.section.map_or(0, |section| section.offset + section.length);
        assert!(end <= length, "{:?} of {length} bytes", image.section);
    }
    assert_eq!(said(recognise(&mut Dribble(Cursor::new(input.to_vec())), length)), image, "the same, byte by byte");
}
