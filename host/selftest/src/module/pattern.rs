//! What a kernel wants of its modules, read off those that came with it.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

use super::Unusable;

/// A record of `__versions`: a checksum of 8 bytes and a name of 56, padded with NULs (`struct modversion_info` of
/// include/linux/module.h).
pub const VERSION_BYTES: usize = 64;

/// What one kernel wants of its modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern {
    /// `struct module`, as the build lays it out for this kernel.
    pub this_module: ThisModule,
    /// The record of what the module was built for: `vermagic=...`.
    pub vermagic: String,
    /// The checksums of what the modules that were read import, where the kernel has such (`CONFIG_MODVERSIONS`).
    pub versions: BTreeMap<String, u64>,
    /// Size of an entry of `__bug_table`, in bytes: 12 up to 6.x, 16 where a format has been added to it.
    pub bug_entry: Option<usize>,
}

/// What is known of `struct module`: its size, and the places that the build fills in. They differ from one kernel and
/// configuration to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThisModule {
    /// In bytes.
    pub size: usize,
    /// Where the name is.
    pub name_at: usize,
    /// Where the address of the init function is.
    pub init_at: u64,
}

impl Pattern {
    /// Reads a module, an ELF file.
    ///
    /// # Errors
    /// [`Unusable`]
    pub fn read(module: &[u8]) -> Result<Self, Unusable> {
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

    /// Takes over what another module of the same kernel shows and this one did not.
    pub fn learn(&mut self, other: Self) {
        self.versions.extend(other.versions);
        self.bug_entry = self.bug_entry.or(other.bug_entry);
    }

    /// Whether another module could still show something that is wanted.
    #[must_use]
    pub fn is_complete(&self, imports: &BTreeSet<&str>) -> bool {
        let known = |name: &&str| self.versions.contains_key(*name);
        self.bug_entry.is_some() && (self.versions.is_empty() || imports.iter().all(known))
    }
}

type File<'a> = ElfFile64<'a, LittleEndian>;

fn section<'a>(file: &File<'a>, name: &'static str) -> Result<&'a [u8], Unusable> {
    file.section_by_name(name).ok_or(Unusable::Lacks(name))?.data().map_err(Unusable::Elf)
}

/// The strings of `.modinfo`, each ended by a NUL, with more of them between.
fn records(info: &[u8]) -> Vec<&str> {
    let records = info.split(|&byte| byte == 0).filter_map(|record| std::str::from_utf8(record).ok());
    records.filter(|record| !record.is_empty()).collect()
}

fn this_module(file: &File<'_>, name: &str) -> Result<ThisModule, Unusable> {
    const SECTION: &str = ".gnu.linkonce.this_module";
    let content = section(file, SECTION)?;
    let wanted = [name.as_bytes(), b"\0"].concat();
    // The name is all there is in it: the addresses are zero until the kernel fills them in.
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

/// An entry begins with a reference to code, and no other of its references is one to code.
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
