//! Finds the kernel in a unified kernel image (UKI): an EFI program with the kernel in its section `.linux`, and further
//! sections such as `.initrd` and `.cmdline` (the UAPI group's "Unified Kernel Image" specification, systemd-stub(7)).

use std::io::{Read, Seek, SeekFrom};

use object::LittleEndian;
use object::pe::{self, ImageDosHeader, ImageNtHeaders64};
use object::read::pe::ImageNtHeaders as _;

use super::{HEAD_BYTES, Image, Unbootable, bzimage, foreign};

/// The name of the kernel's section. Section names have 8 bytes.
const KERNEL: [u8; 8] = *b".linux\0\0";

/// The part of a file that is the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// The offset of the first byte.
    pub offset: u64,
    /// The length in bytes.
    pub length: u64,
}

/// The kernel's section of a UKI of `length` bytes that begins with `head`; `None` if the file is no UKI. Of several
/// profiles in a UKI, the first is the default.
pub(super) fn section(head: &[u8], length: u64) -> Result<Option<Section>, Unbootable> {
    let Some((machine, header)) = kernel_header(head) else { return Ok(None) };
    let foreign = match machine {
        pe::IMAGE_FILE_MACHINE_AMD64 => None,
        pe::IMAGE_FILE_MACHINE_ARM64 => Some("arm64"),
        pe::IMAGE_FILE_MACHINE_RISCV64 => Some("RISC-V"),
        _ => Some("another architecture (a unified kernel image)"),
    };
    if let Some(architecture) = foreign {
        return Err(Unbootable::Architecture(architecture.to_owned()));
    }
    // The section is padded in the file if its size in memory is smaller.
    let in_file = u64::from(header.size_of_raw_data.get(LittleEndian));
    let in_memory = u64::from(header.virtual_size.get(LittleEndian));
    let section = Section {
        offset: header.pointer_to_raw_data.get(LittleEndian).into(),
        length: if in_memory == 0 { in_file } else { in_file.min(in_memory) },
    };
    let expected = section.offset + section.length;
    if length < expected {
        return Err(Unbootable::Truncated { expected, actual: length });
    }
    Ok(Some(section))
}

fn kernel_header(head: &[u8]) -> Option<(pe::Machine, &pe::ImageSectionHeader)> {
    let mut offset = ImageDosHeader::parse(head).ok()?.nt_headers_offset().into();
    let (headers, _) = ImageNtHeaders64::parse(head, &mut offset).ok()?;
    let sections = headers.sections(head, offset).ok()?;
    let kernel = sections.iter().find(|section| section.name == KERNEL)?;
    Some((headers.file_header().machine.get(LittleEndian), kernel))
}

/// Recognises the kernel in a section.
pub(super) fn recognise<R: Read + Seek>(input: &mut R, section: Section) -> Result<Image, Unbootable> {
    let mut head = Vec::new();
    input.seek(SeekFrom::Start(section.offset)).map_err(Unbootable::Read)?;
    input.by_ref().take(HEAD_BYTES.min(section.length)).read_to_end(&mut head).map_err(Unbootable::Read)?;
    let found =
        if bzimage::is_one(&head) { bzimage::recognise(&head, section.length) } else { Err(foreign::name(&head)) };
    match found {
        Ok(image) => Ok(Image { section: Some(section), ..image }),
        Err(what) => Err(Unbootable::InUki(Box::new(what))),
    }
}
