//! The encoder.

use alloc::vec::Vec;

use crate::descriptor::Descriptor;
use crate::field::{Field, Sink as _};
use crate::image::{HEADER_BYTES, Image, SECTION_ALIGNMENT, SECTIONS, Section, checksum_of};
use crate::memory::{KernelMapping, MappedFile, Range};
use crate::process::{Action, Addresses, Instruction, Limit, Process};
use crate::thread::Thread;
use crate::{DecodeError, MAGIC, PAGE, VERSION};

/// The contents of an image without its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// The process.
    pub process: Process,
    /// The ranges of memory, sorted by address.
    pub ranges: Vec<Range>,
    /// The mappings of the kernel's.
    pub kernel_mappings: Vec<KernelMapping>,
    /// The mapped files.
    pub files: Vec<MappedFile>,
    /// The descriptors, sorted by number.
    pub descriptors: Vec<Descriptor>,
    /// What signals do.
    pub actions: Vec<Action>,
    /// The threads.
    pub threads: Vec<Thread>,
    /// The seccomp filter.
    pub filter: Vec<Instruction>,
    /// The resource limits.
    pub limits: Vec<Limit>,
    /// The paths of the files.
    pub text: Vec<u8>,
    /// The extended state of the threads.
    pub extended_state: Vec<u8>,
    /// The vDSO.
    pub vdso: Vec<u8>,
}

impl Default for Tables {
    fn default() -> Self {
        let addresses =
            Addresses { start_code: 0, end_code: 0, start_data: 0, end_data: 0, start_brk: 0, brk: 0, start_stack: 0 };
        Self {
            process: Process { addresses, no_new_privileges: 0, filter_flags: 0 },
            ranges: Vec::new(),
            kernel_mappings: Vec::new(),
            files: Vec::new(),
            descriptors: Vec::new(),
            actions: Vec::new(),
            threads: Vec::new(),
            filter: Vec::new(),
            limits: Vec::new(),
            text: Vec::new(),
            extended_state: Vec::new(),
            vdso: Vec::new(),
        }
    }
}

impl Tables {
    /// Adds a path. Returns where it begins in the text.
    ///
    /// # Errors
    /// [`DecodeError::Section`] if the text gets too long.
    pub fn add_path(&mut self, path: &[u8]) -> Result<u32, DecodeError> {
        let at = u32::try_from(self.text.len()).map_err(|_| DecodeError::Section(Section::Text))?;
        self.text.put(path);
        self.text.push(0);
        Ok(at)
    }

    /// Adds a thread's extended state. Returns where it begins in its section.
    ///
    /// # Errors
    /// [`DecodeError::Section`] if the section gets too long.
    pub fn add_extended_state(&mut self, state: &[u8]) -> Result<u32, DecodeError> {
        pad(&mut self.extended_state, SECTION_ALIGNMENT);
        let at = self.extended_state.len();
        self.extended_state.put(state);
        u32::try_from(at).map_err(|_| DecodeError::Section(Section::ExtendedState))
    }

    /// The tables of an image whose file has this length.
    ///
    /// # Errors
    /// As [`Image::decode`]: no decoder would accept the tables.
    pub fn encode(&self, file_bytes: u64) -> Result<Vec<u8>, DecodeError> {
        let mut bytes = alloc::vec![0; HEADER_BYTES];
        let mut places = Vec::new();
        for section in SECTIONS {
            pad(&mut bytes, SECTION_ALIGNMENT);
            let at = bytes.len();
            let count = self.write(section, &mut bytes);
            for number in [at, count] {
                let number = u32::try_from(number).map_err(|_| DecodeError::Section(section))?;
                number.write(&mut places);
            }
        }
        pad(&mut bytes, usize::try_from(PAGE).map_err(|_| DecodeError::Length)?);
        let mut header = Vec::new();
        MAGIC.write(&mut header);
        VERSION.write(&mut header);
        0_u32.write(&mut header);
        (bytes.len() as u64).write(&mut header);
        file_bytes.write(&mut header);
        header.put(&places);
        bytes[..HEADER_BYTES].copy_from_slice(&header);
        let checksum = checksum_of(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        Image::decode(&bytes, file_bytes)?;
        Ok(bytes)
    }

    /// Writes a section. Returns the number of its records.
    fn write(&self, section: Section, to: &mut Vec<u8>) -> usize {
        fn all<T: Field>(records: &[T], to: &mut Vec<u8>) -> usize {
            records.iter().for_each(|record| record.write(to));
            records.len()
        }
        match section {
            Section::Process => all(&[self.process], to),
            Section::Ranges => all(&self.ranges, to),
            Section::KernelMappings => all(&self.kernel_mappings, to),
            Section::Files => all(&self.files, to),
            Section::Descriptors => all(&self.descriptors, to),
            Section::Actions => all(&self.actions, to),
            Section::Threads => all(&self.threads, to),
            Section::Filter => all(&self.filter, to),
            Section::Limits => all(&self.limits, to),
            Section::Text => all(&self.text, to),
            Section::ExtendedState => all(&self.extended_state, to),
            Section::Vdso => all(&self.vdso, to),
        }
    }
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}
