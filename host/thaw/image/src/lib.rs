//! The format of a frozen process. `vmlab-freezer` writes it, `vmlab-thawer` becomes the process that it describes. No IO, no
//! unsafe code, no allocation in the decoder.
//!
//! An image is one file. All numbers are little-endian:
//!
//! | offset | size | contents |
//! |---|---|---|
//! | 0 | 8 | magic `VMLFROZN` |
//! | 8 | 4 | version, [`VERSION`] |
//! | 12 | 4 | CRC-32 (IEEE) of the tables without this field |
//! | 16 | 8 | length of the tables in bytes, header included: a multiple of the page size |
//! | 24 | 8 | length of the file in bytes: a multiple of the page size |
//! | 32 | 12 × 8 | for each [section](Section) its offset in the tables and its number of records, 4 bytes each |
//! | 128 | | the sections |
//! | [`PAGES_AT`] | | the contents of the memory, which [`Source::Image`](memory::Source::Image) refers to |
//!
//! Pages of zeros are holes of the file. The checksum covers the tables only: the thawer reads the tables completely anyway, and a
//! checksum of 60 MiB of pages would take longer than the thaw itself. The host checks the whole file before its first use
//! (`vmlab_store::integrity`).
//!
//! An image is valid only for the boot of the host on which it was written, for the same processor, and for the same mapped files.
//! The thawer verifies the files and the vDSO. The rest is in the key of a template.
#![no_std]

#[cfg(any(test, feature = "encode"))]
extern crate alloc;

pub mod descriptor;
pub mod field;
pub mod image;
pub mod memory;
pub mod process;
pub mod thread;
pub mod xstate;

#[cfg(any(test, feature = "encode"))]
pub mod tables;

mod check;
#[cfg(test)]
mod tests;

use image::Section;

/// The version of the format.
pub const VERSION: u32 = 1;
/// The first bytes of an image.
pub const MAGIC: [u8; 8] = *b"VMLFROZN";
/// The size of a page, in bytes.
pub const PAGE: u64 = 4096;
/// The greatest length of the tables, in bytes. A QEMU with 8 processors needs 0.3 MiB.
pub const TABLES_LIMIT: u64 = 4 << 20;
/// The offset of the memory's contents.
pub const PAGES_AT: u64 = TABLES_LIMIT;

/// The number of threads that an image can have.
pub const THREADS_LIMIT: usize = 64;
/// The number of descriptors that an image can have.
pub const DESCRIPTORS_LIMIT: usize = 256;
/// The greatest number of a descriptor.
pub const DESCRIPTOR_LIMIT: u32 = 1023;
/// The number of files with the guest's memory.
pub const NODES_LIMIT: u32 = 8;

/// The thawer's own addresses: below everything that the kernel gives to a position-independent program, and above a program at
/// fixed addresses. Memory of a frozen process must not be here.
pub const OWN: (u64, u64) = (0x7000_0000, 0x8000_0000);
/// Where the thawer maps the tables.
pub const TABLES_AT: u64 = 0x7100_0000;
/// Where the thawer keeps its arguments and its environment, which others see.
pub const WORDS_AT: u64 = 0x7400_0000;
/// Where the thawer moves the vDSO while it unmaps everything else.
pub const VDSO_PARKED_AT: u64 = 0x7800_0000;
/// The end of a process's memory (`TASK_SIZE_MAX` of arch/x86/include/asm/page_64_types.h, with four levels of page tables).
pub const TOP: u64 = 0x7fff_ffff_f000;

/// The descriptor with the image that the thawer inherits. [`RAM_FD`] follows it.
pub const IMAGE_FD: i32 = 10;
/// The descriptor with the first file of guest memory that the thawer inherits; those of further nodes follow it.
pub const RAM_FD: i32 = IMAGE_FD + 1;
/// The thawer's exit status if it fails before the frozen process has run.
pub const NOT_THAWED: i32 = 71;

/// Why bytes are no image of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes do not begin with [`MAGIC`].
    Magic,
    /// The image has this version instead of [`VERSION`].
    Version(u32),
    /// The bytes end before the tables do, or the file's length is another one.
    Length,
    /// The checksum does not match.
    Checksum,
    /// A section is not within the tables.
    Section(Section),
    /// This record of a section has a value that is not possible.
    Record(Section, usize),
}

impl DecodeError {
    /// What is wrong, for a program that cannot format text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Magic => "no image of a frozen process",
            Self::Version(_) => "an image of another version",
            Self::Length => "the image is not complete",
            Self::Checksum => "the image is damaged",
            Self::Section(_) => "the image has a section outside of its tables",
            Self::Record(..) => "the image has an impossible record",
        }
    }
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version(version) => write!(f, "{}: {version}, not {VERSION}", self.name()),
            Self::Section(section) => write!(f, "{}: {section:?}", self.name()),
            Self::Record(section, number) => write!(f, "{}: {section:?}, number {number}", self.name()),
            other => f.write_str(other.name()),
        }
    }
}

impl core::error::Error for DecodeError {}
