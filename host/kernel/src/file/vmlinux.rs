//! Recognises a kernel in an ELF file (elf(5)).

use std::io::{Read, Seek, SeekFrom};

use object::LittleEndian;
use object::elf::{self, DataEncoding, FileClass, FileHeader64, Machine, ProgramHeader64, ProgramType};
use object::read::elf::{FileHeader, ProgramHeader};

use super::{Format, Image, Unbootable};
use crate::release;

/// The beginning of the kernel's banner (init/version.c).
const BANNER: &[u8] = b"Linux version ";

/// The window of the search for the banner, in bytes.
const WINDOW_BYTES: usize = 1 << 20;

/// The overlap of two windows, in bytes, so that a banner across their border is found.
const OVERLAP_BYTES: usize = 128;

/// The limit of the search, in bytes: the banner is in `.rodata`, well within this limit.
const SEARCH_LIMIT: u64 = 256 << 20;

/// The limit for reading a note segment, in bytes.
const NOTES_LIMIT: u64 = 64 * 1024;

/// `XEN_ELFNOTE_PHYS32_ENTRY` of xen/interface/elfnote.h: the PVH entry point, which QEMU looks for.
const PVH_NOTE: u32 = 18;

type Segment = ProgramHeader64<LittleEndian>;

pub(super) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(&elf::ELFMAG)
}

/// Recognises a kernel in an ELF file of `length` bytes that begins with `head`.
pub(super) fn recognise<R: Read + Seek>(input: &mut R, head: &[u8], length: u64) -> Result<Image, Unbootable> {
    let header_bytes = size_of::<FileHeader64<LittleEndian>>() as u64;
    let truncated = |expected| Unbootable::Truncated { expected, actual: length };
    if length < header_bytes {
        return Err(truncated(header_bytes));
    }
    let segments = segments(head).map_err(|problem| match problem {
        Problem::Foreign(architecture) => Unbootable::Architecture(architecture),
        Problem::Malformed => Unbootable::NotAKernel,
        Problem::TableBeyondEnd(expected) => truncated(expected),
    })?;
    let ends = segments.iter().map(|s| s.p_offset.get(LittleEndian).saturating_add(s.p_filesz.get(LittleEndian)));
    let expected = ends.max().unwrap_or(0);
    if length < expected {
        return Err(truncated(expected));
    }
    let release = release(input, segments)?.ok_or(Unbootable::NotAKernel)?;
    if !has_pvh_note(input, segments)? {
        return Err(Unbootable::NoPvh);
    }
    Ok(Image { format: Format::Vmlinux, release, section: None })
}

enum Problem {
    Foreign(String),
    Malformed,
    TableBeyondEnd(u64),
}

fn segments(head: &[u8]) -> Result<&[Segment], Problem> {
    if let Some(architecture) = foreign(head) {
        return Err(Problem::Foreign(architecture));
    }
    let header = FileHeader64::<LittleEndian>::parse(head).map_err(|_| Problem::Malformed)?;
    let table = u64::from(header.e_phnum.get(LittleEndian)) * size_of::<Segment>() as u64;
    let end = header.e_phoff.get(LittleEndian).saturating_add(table);
    if table > 0 && end > head.len() as u64 {
        return Err(Problem::TableBeyondEnd(end));
    }
    header.program_headers(LittleEndian, head).map_err(|_| Problem::Malformed)
}

/// The architecture of a file that is not for little-endian 64-bit x86.
fn foreign(head: &[u8]) -> Option<String> {
    let (class, order) = (FileClass(*head.get(4)?), DataEncoding(*head.get(5)?));
    let machine = [*head.get(18)?, *head.get(19)?];
    let machine = if order == elf::ELFDATA2MSB { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    let name = match Machine(machine) {
        elf::EM_X86_64 if class == elf::ELFCLASS64 => return None,
        elf::EM_X86_64 => "x32",
        elf::EM_386 => "32-bit x86",
        elf::EM_AARCH64 => "arm64",
        elf::EM_ARM => "32-bit ARM",
        elf::EM_RISCV => "RISC-V",
        elf::EM_PPC => "32-bit PowerPC",
        elf::EM_PPC64 => "64-bit PowerPC",
        elf::EM_S390 => "s390",
        elf::EM_MIPS => "MIPS",
        elf::EM_LOONGARCH => "LoongArch",
        elf::EM_SPARCV9 => "64-bit SPARC",
        _ => return Some(format!("another architecture (ELF machine {machine})")),
    };
    Some(name.to_owned())
}

fn of_type(segments: &[Segment], kind: ProgramType) -> impl Iterator<Item = (u64, u64)> {
    segments
        .iter()
        .filter(move |segment| segment.p_type(LittleEndian) == kind)
        .map(|segment| (segment.p_offset.get(LittleEndian), segment.p_filesz.get(LittleEndian)))
}

fn release<R: Read + Seek>(input: &mut R, segments: &[Segment]) -> Result<Option<String>, Unbootable> {
    let mut left = SEARCH_LIMIT;
    for (offset, length) in of_type(segments, elf::PT_LOAD) {
        input.seek(SeekFrom::Start(offset)).map_err(Unbootable::Read)?;
        let searched = length.min(left);
        left -= searched;
        if let Some(release) = search(&mut input.by_ref().take(searched)).map_err(Unbootable::Read)? {
            return Ok(Some(release));
        }
    }
    Ok(None)
}

fn search(input: &mut impl Read) -> std::io::Result<Option<String>> {
    let mut window = Vec::with_capacity(WINDOW_BYTES + OVERLAP_BYTES);
    loop {
        let read = input.by_ref().take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
        if let Some(release) = find_banner(&window) {
            return Ok(Some(release));
        }
        if read == 0 {
            return Ok(None);
        }
        window.drain(..window.len().saturating_sub(OVERLAP_BYTES));
    }
}

fn find_banner(window: &[u8]) -> Option<String> {
    window.windows(BANNER.len()).enumerate().filter(|(_, seen)| *seen == BANNER).find_map(|(at, _)| {
        // If the release is cut off, the next window contains it completely.
        release::of_banner(&window[at + BANNER.len()..]).filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn has_pvh_note<R: Read + Seek>(input: &mut R, segments: &[Segment]) -> Result<bool, Unbootable> {
    for (offset, length) in of_type(segments, elf::PT_NOTE) {
        let mut notes = Vec::new();
        input.seek(SeekFrom::Start(offset)).map_err(Unbootable::Read)?;
        input.by_ref().take(length.min(NOTES_LIMIT)).read_to_end(&mut notes).map_err(Unbootable::Read)?;
        if note_types(&notes).any(|(name, kind)| name == b"Xen\0" && kind == PVH_NOTE) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Owner and type of each note (elf(5), "Notes"): three 32-bit words, then name and contents, each padded to four
/// bytes.
fn note_types(mut notes: &[u8]) -> impl Iterator<Item = (&[u8], u32)> {
    let padded = |length: u32| (length as usize).saturating_add(3) & !3;
    std::iter::from_fn(move || {
        let (header, rest) = notes.split_first_chunk::<12>()?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let name = rest.get(..word(0) as usize)?;
        notes = rest.get(padded(word(0)).saturating_add(padded(word(4)))..).unwrap_or_default();
        Some((name, word(8)))
    })
}
