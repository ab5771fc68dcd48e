//! Reads from a kernel's own modules what the kernel requires of a module.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

use super::Unusable;

/// The size of a record of `__versions`: a checksum of 8 bytes and a name of 56 bytes, padded with NULs (`struct modversion_info` of
/// include/linux/module.h).
pub(crate) const VERSION_BYTES: usize = 64;

/// What one kernel requires of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The layout of `struct module`.
    pub(crate) this_module: ThisModule,
    /// The string `vermagic=...` of `.modinfo`.
    pub(crate) vermagic: String,
    /// The checksums of the symbols that the modules import; None without `CONFIG_MODVERSIONS`.
    pub(crate) versions: BTreeMap<String, u64>,
    /// The size of an entry of `__bug_table`, in bytes: 12 up to 6.x, 16 on kernels whose entries have a format.
    pub(crate) bug_entry: Option<usize>,
}

/// The size of `struct module` and the offsets of the fields that a build fills in. They depend on the kernel's version and
/// configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ThisModule {
    /// The size in bytes.
    pub(crate) size: usize,
    /// The offset of the name.
    pub(crate) name_at: usize,
    /// The offset of the init function's address.
    pub(crate) init_at: u64,
}

impl Pattern {
    /// Reads a module's ELF file.
    ///
    /// # Errors
    /// [`Unusable`]
    pub(crate) fn read(module: &[u8]) -> Result<Self, Unusable> {
        let file = ElfFile64::<LittleEndian>::parse(module).map_err(Unusable::Elf)?;
        let info = records(section(&file, ".modinfo")?);
        let value = |key: &'static str| {
            info.iter().find_map(|record| record.strip_prefix(key)).ok_or(Unusable::Lacks(key)).map(str::to_owned)
        };
        let (name, vermagic) = (value("name=")?, value("vermagic=")?);
        Ok(Self {
            this_module: this_module(&file, &name)?,
            vermagic,
            versions: section(&file, "__versions").map(versions).unwrap_or_default(),
            bug_entry: bug_entry(&file),
        })
    }

    /// Adds what another module of the same kernel shows and this pattern lacks.
    pub(crate) fn learn(&mut self, other: Self) {
        self.versions.extend(other.versions);
        self.bug_entry = self.bug_entry.or(other.bug_entry);
    }

    /// Whether the pattern has all wanted symbols, so that no other module need be read.
    #[must_use]
    pub(crate) fn is_complete(&self, imports: &BTreeSet<&str>) -> bool {
        let known = |name: &&str| self.versions.contains_key(*name);
        self.bug_entry.is_some() && (self.versions.is_empty() || imports.iter().all(known))
    }
}

type File<'a> = ElfFile64<'a, LittleEndian>;

fn section<'a>(file: &File<'a>, name: &'static str) -> Result<&'a [u8], Unusable> {
    file.section_by_name(name).ok_or(Unusable::Lacks(name))?.data().map_err(Unusable::Elf)
}

/// The strings of `.modinfo`, which are separated by one or more NULs.
fn records(info: &[u8]) -> Vec<&str> {
    let records = info.split(|&byte| byte == 0).filter_map(|record| std::str::from_utf8(record).ok());
    records.filter(|record| !record.is_empty()).collect()
}

fn this_module(file: &File<'_>, name: &str) -> Result<ThisModule, Unusable> {
    const SECTION: &str = ".gnu.linkonce.this_module";
    let content = section(file, SECTION)?;
    let wanted = [name.as_bytes(), b"\0"].concat();
    // The name is the only part that is not zero: the kernel writes the addresses when it loads the module.
    let name_at = content.windows(wanted.len()).position(|window| window == wanted).ok_or(Unusable::Lacks("name"))?;
    let relocations = file.section_by_name(SECTION).into_iter().flat_map(|section| section.relocations());
    let mut places = relocations.filter_map(|(at, relocation)| {
        let RelocationTarget::Symbol(index) = relocation.target() else { return None };
        let symbol = file.symbol_by_index(index).ok()?;
        (symbol.name() == Ok("init_module")).then_some(at)
    });
    let init_at = places.next().ok_or(Unusable::Lacks("init_module"))?;
    Ok(ThisModule { size: content.len(), name_at, init_at })
}

fn versions(records: &[u8]) -> BTreeMap<String, u64> {
    let (records, _) = records.as_chunks::<VERSION_BYTES>();
    let read = records.iter().filter_map(|record| {
        let (checksum, name) = record.split_first_chunk::<8>()?;
        let name = name.split(|&byte| byte == 0).next()?;
        Some((std::str::from_utf8(name).ok()?.to_owned(), u64::from_le_bytes(*checksum)))
    });
    read.collect()
}

/// The size of an entry. Only the first reference of an entry refers to code.
fn bug_entry(file: &File<'_>) -> Option<usize> {
    let table = file.section_by_name("__bug_table")?;
    let is_code = |index| {
        let section = file.symbol_by_index(index).ok().and_then(|symbol| symbol.section_index())?;
        file.section_by_index(section).ok()?.name().ok().map(|name| name.contains(".text"))
    };
    let mut starts = table.relocations().filter_map(|(at, relocation)| match relocation.target() {
        RelocationTarget::Symbol(index) => is_code(index).filter(|code| *code).map(|_| at),
        _ => None,
    });
    let (first, second) = (starts.next()?, starts.next().unwrap_or(table.size()));
    usize::try_from(second.checked_sub(first)?).ok().filter(|size| matches!(size, 12 | 16))
}
