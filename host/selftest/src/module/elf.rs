//! Writes a module as a file: a relocatable ELF object, as `ld -r` makes it at the end of a module's build.

use object::elf;
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

use super::Unmakeable;
use super::code::{Code, Fixup, Kind, Section, To};
use super::pattern::{Pattern, VERSION_BYTES};

/// The source file that BUG() and WARN() print. Kernels before about 5.17 count the reference to it from the beginning of the
/// entry, later kernels from the field itself, 4 bytes further on. The path reads the same from both positions.
const BUG_FILE: &[u8] = b"././fault.c\0";
/// The position in the path for a reference that is counted from the field.
const BUG_FILE_AT: u64 = 4;
/// A symbol that no module calls, and that every module has a checksum of (kernel/module/version.c).
const LAYOUT: &str = "module_layout";

/// The file of a module with this content, for the kernel of this pattern.
///
/// # Errors
/// [`Unmakeable`]
pub(crate) fn write(name: &str, code: &Code, pattern: &Pattern) -> Result<Vec<u8>, Unmakeable> {
    let mut writer = Writer::new(code);
    writer.describe(name, code, pattern)?;
    writer.fix(code)?;
    if let Some((at, flags)) = code.bug {
        writer.bug_table(at, flags, pattern.bug_entry.ok_or(Unmakeable::NoBugTable)?)?;
    }
    writer.object.write().map_err(Unmakeable::Write)
}

struct Writer {
    object: Object<'static>,
    text: SectionId,
    data: SectionId,
    init: SymbolId,
}

impl Writer {
    fn new(code: &Code) -> Self {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
        object.append_section_data(text, &code.text, 16);
        let data = object.add_section(Vec::new(), b".data".to_vec(), SectionKind::Data);
        object.append_section_data(data, &code.data, 16);
        let size = code.text.len() as u64 - code.init;
        let init = object.add_symbol(symbol("init_module", code.init, size, SymbolKind::Text, text));
        Self { object, text, data, init }
    }

    /// Writes what the kernel reads first: `.modinfo`, `struct module` and the checksums of imported symbols.
    fn describe(&mut self, name: &str, code: &Code, pattern: &Pattern) -> Result<(), Unmakeable> {
        let this = &pattern.this_module;
        let records = [
            "license=GPL",
            "depends=",
            "intree=Y",
            "retpoline=Y",
            &format!("name={name}"),
            &format!("vermagic={}", pattern.vermagic),
        ]
        .join("\0");
        let section = self.object.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        self.object.append_section_data(section, &[records.as_bytes(), b"\0"].concat(), 1);

        let mut content = vec![0; this.size];
        let room = content.get_mut(this.name_at..this.name_at + name.len()).ok_or(Unmakeable::Name)?;
        room.copy_from_slice(name.as_bytes());
        let section = self.object.add_section(Vec::new(), b".gnu.linkonce.this_module".to_vec(), SectionKind::Data);
        self.object.append_section_data(section, &content, 64);
        self.object.add_symbol(symbol("__this_module", 0, this.size as u64, SymbolKind::Data, section));
        self.relocate(section, this.init_at, elf::R_X86_64_64, self.init, 0)?;

        if !pattern.versions.is_empty() {
            let section = self.object.add_section(Vec::new(), b"__versions".to_vec(), SectionKind::ReadOnlyData);
            let mut records = Vec::new();
            for name in std::iter::once(LAYOUT).chain(code.imports()) {
                let checksum = pattern.versions.get(name).ok_or(Unmakeable::Checksum(name))?;
                records.extend(version(name, *checksum));
            }
            self.object.append_section_data(section, &records, 32);
        }
        Ok(())
    }

    fn fix(&mut self, code: &Code) -> Result<(), Unmakeable> {
        let (text, data) = (self.object.section_symbol(self.text), self.object.section_symbol(self.data));
        for Fixup { section, at, kind, to } in &code.fixups {
            let (symbol, offset) = match to {
                To::Text(offset) => (text, *offset),
                To::Data(offset) => (data, *offset),
                To::Import(name) => (self.import(name), 0),
            };
            let (kind, behind) = match (kind, to) {
                (Kind::Absolute, _) => (elf::R_X86_64_64, 0),
                (Kind::Absolute32, _) => (elf::R_X86_64_32S, 0),
                (Kind::Relative32, To::Import(_)) => (elf::R_X86_64_PLT32, 4),
                (Kind::Relative32, _) => (elf::R_X86_64_PC32, 4),
            };
            let section = match section {
                Section::Text => self.text,
                Section::Data => self.data,
            };
            self.relocate(section, *at, kind, symbol, offset.cast_signed() - behind)?;
        }
        Ok(())
    }

    /// Writes one entry: instruction, format (on kernels that have this field), file, line, flags (`struct bug_entry` of
    /// include/asm-generic/bug.h).
    fn bug_table(&mut self, at: u64, flags: u16, entry_bytes: usize) -> Result<(), Unmakeable> {
        let strings = self.object.add_section(Vec::new(), b".rodata".to_vec(), SectionKind::ReadOnlyData);
        self.object.append_section_data(strings, BUG_FILE, 16);
        let empty = BUG_FILE.len() as u64 - 1;
        let mut entry = vec![0; entry_bytes];
        let tail = [1_u16.to_le_bytes(), flags.to_le_bytes()].concat();
        entry.splice(entry_bytes - tail.len().., tail);
        let section = self.object.add_section(Vec::new(), b"__bug_table".to_vec(), SectionKind::Data);
        self.object.append_section_data(section, &entry, 8);
        let (text, strings) = (self.object.section_symbol(self.text), self.object.section_symbol(strings));
        self.relocate(section, 0, elf::R_X86_64_PC32, text, at.cast_signed())?;
        let mut fields = vec![BUG_FILE_AT];
        if entry_bytes == 16 {
            fields.insert(0, empty);
        }
        for (field, offset) in (1..).zip(fields) {
            self.relocate(section, field * 4, elf::R_X86_64_PC32, strings, offset.cast_signed())?;
        }
        Ok(())
    }

    fn import(&mut self, name: &str) -> SymbolId {
        let undefined = Symbol {
            name: name.into(),
            value: 0,
            size: 0,
            kind: SymbolKind::Unknown,
            scope: SymbolScope::Unknown,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        };
        self.object.add_symbol(undefined)
    }

    fn relocate(
        &mut self,
        section: SectionId,
        offset: u64,
        r_type: elf::RelocationType,
        symbol: SymbolId,
        addend: i64,
    ) -> Result<(), Unmakeable> {
        let flags = RelocationFlags::Elf { r_type };
        self.object.add_relocation(section, Relocation { offset, symbol, addend, flags }).map_err(Unmakeable::Write)
    }
}

fn symbol(name: &str, value: u64, size: u64, kind: SymbolKind, section: SectionId) -> Symbol {
    Symbol {
        name: name.into(),
        value,
        size,
        kind,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    }
}

fn version(name: &str, checksum: u64) -> [u8; VERSION_BYTES] {
    let mut record = [0; VERSION_BYTES];
    let (head, tail) = record.split_at_mut(8);
    head.copy_from_slice(&checksum.to_le_bytes());
    tail.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    record
}
