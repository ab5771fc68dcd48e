//! The decoder: a view of an image's tables.

use core::marker::PhantomData;

use crate::descriptor::Descriptor;
use crate::field::{Field, Reader};
use crate::memory::{KernelMapping, MappedFile, Range};
use crate::process::{Action, Instruction, Limit, Process};
use crate::thread::Thread;
use crate::{DecodeError, MAGIC, PAGE, TABLES_LIMIT, VERSION};

/// A section of the tables. The number is its place in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// One [`Process`].
    Process,
    /// [`Range`], sorted by address.
    Ranges,
    /// [`KernelMapping`], sorted by address.
    KernelMappings,
    /// [`MappedFile`].
    Files,
    /// [`Descriptor`], sorted by number.
    Descriptors,
    /// [`Action`].
    Actions,
    /// [`Thread`].
    Threads,
    /// [`Instruction`]; empty if the process has no filter.
    Filter,
    /// [`Limit`].
    Limits,
    /// Bytes: the paths of files, each with a NUL behind it.
    Text,
    /// Bytes: the extended state of the threads.
    ExtendedState,
    /// Bytes: the vDSO, which the thawer compares with its own.
    Vdso,
}

/// All sections, in the order of their numbers.
pub const SECTIONS: [Section; 12] = [
    Section::Process,
    Section::Ranges,
    Section::KernelMappings,
    Section::Files,
    Section::Descriptors,
    Section::Actions,
    Section::Threads,
    Section::Filter,
    Section::Limits,
    Section::Text,
    Section::ExtendedState,
    Section::Vdso,
];

/// The alignment of a section, in bytes: that of the extended state.
pub const SECTION_ALIGNMENT: usize = 64;

const CHECKSUM_AT: usize = 12;
const SECTIONS_AT: usize = 32;
/// The length of the header, in bytes.
pub const HEADER_BYTES: usize = SECTIONS_AT + SECTIONS.len() * 8;

/// The beginning of an image: how long its tables and its file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// In bytes.
    pub tables_bytes: u64,
    /// In bytes.
    pub file_bytes: u64,
    checksum: u32,
}

impl Header {
    /// Reads the header of a file of this length.
    ///
    /// # Errors
    /// [`DecodeError::Magic`], [`DecodeError::Version`], [`DecodeError::Length`].
    pub fn decode(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut read = || {
            Some((
                <[u8; 8]>::read(&mut reader)?,
                u32::read(&mut reader)?,
                u32::read(&mut reader)?,
                u64::read(&mut reader)?,
                u64::read(&mut reader)?,
            ))
        };
        let (magic, version, checksum, tables_bytes, stated_bytes) = read().ok_or(DecodeError::Length)?;
        if magic != MAGIC {
            return Err(DecodeError::Magic);
        }
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let whole = HEADER_BYTES as u64..=TABLES_LIMIT;
        let aligned = tables_bytes.is_multiple_of(PAGE) && stated_bytes.is_multiple_of(PAGE);
        if !whole.contains(&tables_bytes) || !aligned || stated_bytes != file_bytes || file_bytes < tables_bytes {
            return Err(DecodeError::Length);
        }
        Ok(Self { tables_bytes, file_bytes, checksum })
    }
}

/// A view of an image's tables, all of whose records were checked.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    tables: &'a [u8],
    sections: [(usize, usize); SECTIONS.len()],
}

impl<'a> Image<'a> {
    /// A view of tables, which begin with the header. Their records are not checked yet.
    pub(crate) fn of_tables(tables: &'a [u8], file_bytes: u64) -> Result<Self, DecodeError> {
        let header = tables.first_chunk().ok_or(DecodeError::Length)?;
        let Header { tables_bytes, checksum, .. } = Header::decode(header, file_bytes)?;
        if tables_bytes != tables.len() as u64 {
            return Err(DecodeError::Length);
        }
        if checksum_of(tables) != checksum {
            return Err(DecodeError::Checksum);
        }
        let mut image = Self { tables, sections: [(0, 0); SECTIONS.len()] };
        for (section, place) in SECTIONS.into_iter().zip(&mut image.sections) {
            *place = find(tables, section).ok_or(DecodeError::Section(section))?;
        }
        Ok(image)
    }

    /// The process.
    ///
    /// # Errors
    /// None in a decoded image.
    pub fn process(&self) -> Result<Process, DecodeError> {
        self.records(Section::Process).next().unwrap_or(Err(DecodeError::Section(Section::Process)))
    }

    /// The ranges of memory.
    #[must_use]
    pub const fn ranges(&self) -> Records<'a, Range> {
        self.records(Section::Ranges)
    }

    /// The mappings of the kernel's.
    #[must_use]
    pub const fn kernel_mappings(&self) -> Records<'a, KernelMapping> {
        self.records(Section::KernelMappings)
    }

    /// The mapped files.
    #[must_use]
    pub const fn files(&self) -> Records<'a, MappedFile> {
        self.records(Section::Files)
    }

    /// The descriptors.
    #[must_use]
    pub const fn descriptors(&self) -> Records<'a, Descriptor> {
        self.records(Section::Descriptors)
    }

    /// What signals do.
    #[must_use]
    pub const fn actions(&self) -> Records<'a, Action> {
        self.records(Section::Actions)
    }

    /// The threads.
    #[must_use]
    pub const fn threads(&self) -> Records<'a, Thread> {
        self.records(Section::Threads)
    }

    /// The seccomp filter.
    #[must_use]
    pub const fn filter(&self) -> Records<'a, Instruction> {
        self.records(Section::Filter)
    }

    /// The resource limits.
    #[must_use]
    pub const fn limits(&self) -> Records<'a, Limit> {
        self.records(Section::Limits)
    }

    /// The bytes of a section. Their layout is that of the kernel's structs for [`Section::Filter`], [`Section::ExtendedState`]
    /// and [`Section::Vdso`].
    #[must_use]
    pub fn bytes(&self, section: Section) -> &'a [u8] {
        let (at, count) = self.sections[section as usize];
        self.tables.get(at..at + count * record_bytes(section)).unwrap_or_default()
    }

    /// The path of a file, with a NUL at its end.
    #[must_use]
    pub fn path(&self, file: &MappedFile) -> Option<&'a core::ffi::CStr> {
        let at = file.path_at as usize;
        let path = self.bytes(Section::Text).get(at..)?.get(..(file.path_bytes as usize).checked_add(1)?)?;
        core::ffi::CStr::from_bytes_with_nul(path).ok()
    }

    /// The extended state of a thread.
    #[must_use]
    pub fn extended_state(&self, thread: &Thread) -> Option<&'a [u8]> {
        let state = self.bytes(Section::ExtendedState).get(thread.xstate_at as usize..)?;
        state.get(..usize::try_from(thread.xstate_bytes).ok()?)
    }

    const fn records<T: Field>(&self, section: Section) -> Records<'a, T> {
        let (at, count) = self.sections[section as usize];
        Records { tables: self.tables, section, at, count, next: 0, record: PhantomData }
    }
}

/// The records of a section, in order.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a, T> {
    tables: &'a [u8],
    section: Section,
    at: usize,
    count: usize,
    next: usize,
    record: PhantomData<T>,
}

impl<T: Field> Records<'_, T> {
    /// The number of records.
    #[must_use]
    pub const fn count_all(&self) -> usize {
        self.count
    }

    /// The record with this number.
    ///
    /// # Errors
    /// [`DecodeError::Record`] if the section has no such record, or the record is malformed.
    pub fn get(&self, number: usize) -> Result<T, DecodeError> {
        let record = || {
            let at = self.at + number.checked_mul(T::SIZE).filter(|_| number < self.count)?;
            T::read(&mut Reader::new(self.tables.get(at..at + T::SIZE)?))
        };
        record().ok_or(DecodeError::Record(self.section, number))
    }
}

impl<T: Field> Iterator for Records<'_, T> {
    type Item = Result<T, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        self.next += 1;
        (number < self.count).then(|| self.get(number))
    }
}

/// The size of a section's record, in bytes.
#[must_use]
pub(crate) const fn record_bytes(section: Section) -> usize {
    match section {
        Section::Process => Process::SIZE,
        Section::Ranges => Range::SIZE,
        Section::KernelMappings => KernelMapping::SIZE,
        Section::Files => MappedFile::SIZE,
        Section::Descriptors => Descriptor::SIZE,
        Section::Actions => Action::SIZE,
        Section::Threads => Thread::SIZE,
        Section::Filter => Instruction::SIZE,
        Section::Limits => Limit::SIZE,
        Section::Text | Section::ExtendedState | Section::Vdso => 1,
    }
}

/// Where a section is, and how many records it has.
fn find(tables: &[u8], section: Section) -> Option<(usize, usize)> {
    let mut reader = Reader::new(tables.get(SECTIONS_AT + section as usize * 8..)?);
    let (at, count) = (u32::read(&mut reader)? as usize, u32::read(&mut reader)? as usize);
    let end = at.checked_add(count.checked_mul(record_bytes(section))?)?;
    (at.is_multiple_of(SECTION_ALIGNMENT) && at >= HEADER_BYTES && end <= tables.len()).then_some((at, count))
}

/// The checksum of tables.
pub(crate) fn checksum_of(tables: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(tables.get(..CHECKSUM_AT).unwrap_or_default());
    hasher.update(tables.get(CHECKSUM_AT + 4..).unwrap_or_default());
    hasher.finalize()
}
