//! Lists the KUnit suites that are built into a kernel, from its vmlinux.
//!
//! The section `.kunit_test_suites` has a pointer for each suite, and its bounds have symbols
//! (include/asm-generic/vmlinux.lds.h). A suite begins with its name, in 256 bytes (include/kunit/test.h). Until 5.19 each
//! pointer is to an array of suites, which ends with NULL.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, ReadCache, ReadRef};
use vmlab_protocol::job::{BadSuite, SuiteId};

/// Start and end of the lists: all kernels; and since 6.8 the suites of code that is dropped after the boot.
const LISTS: [(&str, &str); 2] =
    [("__kunit_suites_start", "__kunit_suites_end"), ("__kunit_init_suites_start", "__kunit_init_suites_end")];
const NAME_BYTES: u64 = 256;
/// The size of a pointer.
const POINTER: u64 = 8;
/// The lowest address of the kernel's half (Documentation/arch/x86/x86_64/mm.rst).
const KERNEL_ADDRESSES: u64 = 0xff00_0000_0000_0000;
/// The most suites that are read; 7.3 has about 150.
const MAX_SUITES: usize = 10_000;

/// Why the suites cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum SuitesError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// Not an ELF file.
    #[error("it is no vmlinux: {0}")]
    Elf(#[from] object::Error),
    /// The list of suites points to an address without contents.
    #[error("its list of KUnit suites points to {0:#x}, which is in no section")]
    Address(u64),
    /// A name that cannot be that of a suite.
    #[error(transparent)]
    Name(#[from] BadSuite),
    /// More suites than any kernel has.
    #[error("its list of KUnit suites does not end")]
    Endless,
}

/// The names of the suites in a vmlinux that has its symbols, sorted; empty if it has no KUnit.
///
/// # Errors
/// [`SuitesError`]
pub fn of(vmlinux: &Path) -> Result<Vec<SuiteId>, SuitesError> {
    let file = ReadCache::new(File::open(vmlinux)?);
    let elf = ElfFile64::<LittleEndian, _>::parse(&file)?;
    let symbol = |name: &str| elf.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address());
    let mut names = Vec::new();
    for (start, end) in LISTS {
        if let (Some(start), Some(end)) = (symbol(start), symbol(end)) {
            read_list(&elf, start..end, &mut names)?;
        }
    }
    // Of two suites with the same name, only one has a directory in debugfs.
    names.sort();
    names.dedup();
    Ok(names)
}

/// The contents of a kernel's memory, as far as its file has them.
trait Memory {
    fn bytes(&self, at: u64, length: u64) -> Result<&[u8], SuitesError>;

    fn pointer(&self, at: u64) -> Result<u64, SuitesError> {
        Ok(self.bytes(at, POINTER)?.try_into().map_or(0, u64::from_le_bytes))
    }
}

impl<'a, R: ReadRef<'a>> Memory for ElfFile64<'a, LittleEndian, R> {
    fn bytes(&self, at: u64, length: u64) -> Result<&[u8], SuitesError> {
        for section in self.sections() {
            if let Some(bytes) = section.data_range(at, length)? {
                return Ok(bytes);
            }
        }
        Err(SuitesError::Address(at))
    }
}

/// Reads a list of pointers to suites or to arrays of suites.
fn read_list(memory: &impl Memory, list: Range<u64>, names: &mut Vec<SuiteId>) -> Result<(), SuitesError> {
    for index in 0..list.end.saturating_sub(list.start) / POINTER {
        let target = memory.pointer(list.start + index * POINTER)?;
        let first = memory.pointer(target)?;
        // A name is ASCII, and the upper bytes of a kernel address are not.
        if first != 0 && first < KERNEL_ADDRESSES {
            names.push(name(memory, target)?);
        } else {
            read_array(memory, target, names)?;
        }
        if names.len() > MAX_SUITES {
            return Err(SuitesError::Endless);
        }
    }
    Ok(())
}

fn read_array(memory: &impl Memory, array: u64, names: &mut Vec<SuiteId>) -> Result<(), SuitesError> {
    for index in 0..MAX_SUITES as u64 {
        match memory.pointer(array + index * POINTER)? {
            0 => return Ok(()),
            suite => names.push(name(memory, suite)?),
        }
    }
    Err(SuitesError::Endless)
}

fn name(memory: &impl Memory, suite: u64) -> Result<SuiteId, SuitesError> {
    let bytes = memory.bytes(suite, NAME_BYTES)?;
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(SuiteId::new(&String::from_utf8_lossy(name))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0xffff_ffff_8200_4140;

    struct Fake(Vec<u8>);

    impl Memory for Fake {
        fn bytes(&self, at: u64, length: u64) -> Result<&[u8], SuitesError> {
            let start = at.checked_sub(BASE).and_then(|start| usize::try_from(start).ok());
            let range = start.and_then(|start| self.0.get(start..start + usize::try_from(length).ok()?));
            range.ok_or(SuitesError::Address(at))
        }
    }

    /// Two suites at the start, then these words.
    fn memory(words: &[u64]) -> Fake {
        let mut bytes = Vec::new();
        for name in ["list-kunit-test", "a b"] {
            bytes.extend_from_slice(name.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(256), 0);
        }
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        Fake(bytes)
    }

    fn read(words: &[u64], listed: Range<u64>) -> Result<Vec<String>, SuitesError> {
        let mut names = Vec::new();
        let at = |index: u64| BASE + 512 + index * POINTER;
        read_list(&memory(words), at(listed.start)..at(listed.end), &mut names)?;
        Ok(names.iter().map(|name| name.suite().to_owned()).collect())
    }

    #[test]
    fn a_list_points_to_suites_or_to_arrays_of_them() {
        let (one, two) = (BASE, BASE + 256);
        assert_eq!(read(&[one, two], 0..2).unwrap(), ["list-kunit-test", "a b"]);
        assert_eq!(read(&[one, two], 1..2).unwrap(), ["a b"]);
        assert_eq!(read(&[], 0..0).unwrap(), [""; 0]);
        // Two arrays, the second of which is empty; then the list.
        let array = |index: u64| BASE + 512 + index * POINTER;
        let words = [two, one, 0, 0, array(0), array(3)];
        assert_eq!(read(&words, 4..6).unwrap(), ["a b", "list-kunit-test"]);
    }

    #[test]
    fn a_list_that_leads_nowhere_is_an_error() {
        assert!(matches!(read(&[7], 0..1), Err(SuitesError::Address(7))));
        assert!(matches!(read(&[BASE], 0..2), Err(SuitesError::Address(_))));
        // An array without an end.
        let array = BASE + 512 + POINTER;
        assert!(matches!(read(&[array, BASE], 0..1), Err(SuitesError::Address(_))));
    }

    #[test]
    fn only_an_elf_file_has_suites() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(of(file.path()), Err(SuitesError::Elf(_))));
        assert!(matches!(of(Path::new("/nonexistent")), Err(SuitesError::Read(_))));
    }
}
