//! Reads what a kernel module says about itself. Pure.

use object::LittleEndian;
use object::elf::{FileHeader64, SHT_SYMTAB};
use object::read::elf::{FileHeader, SectionHeader, Sym};

/// The symbol of an exported symbol's entry (include/linux/export-internal.h).
const EXPORT: &[u8] = b"__ksymtab_";

/// The fields of the `.modinfo` section of a decompressed module, in order: `KEY=VALUE`. None if the file is no module.
pub(crate) fn fields(elf: &[u8]) -> Option<Vec<(&str, &str)>> {
    let header = FileHeader64::<LittleEndian>::parse(elf).ok()?;
    let sections = header.sections(LittleEndian, elf).ok()?;
    let (_, section) = sections.section_by_name(LittleEndian, b".modinfo")?;
    Some(pairs(section.data(LittleEndian, elf).ok()?))
}

/// The pairs in texts of the form `KEY=VALUE` that end with a NUL. Others are left out.
pub(crate) fn pairs(texts: &[u8]) -> Vec<(&str, &str)> {
    let texts = texts.split(|&byte| byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
    texts.filter_map(|text| text.split_once('=')).collect()
}

/// The symbols that a decompressed module exports; none if it has no symbol table.
pub(crate) fn exported(elf: &[u8]) -> Vec<&str> {
    let symbols = || {
        let header = FileHeader64::<LittleEndian>::parse(elf).ok()?;
        let sections = header.sections(LittleEndian, elf).ok()?;
        sections.symbols(LittleEndian, elf, SHT_SYMTAB).ok()
    };
    let Some(symbols) = symbols() else { return Vec::new() };
    let names = symbols.iter().filter_map(|symbol| symbol.name(LittleEndian, symbols.strings()).ok());
    names.filter_map(|name| std::str::from_utf8(name.strip_prefix(EXPORT)?).ok()).collect()
}
