//! Finds the build id in the first pages of an ELF file (elf(5)). Pure.

/// `PT_NOTE` and `NT_GNU_BUILD_ID`.
const NOTE_SEGMENT: u32 = 4;
const BUILD_ID: u32 = 3;

/// Where the build id is in these first bytes of a file, and its length, both in bytes. None if the file has none there.
pub(crate) fn find(file: &[u8]) -> Option<(usize, usize)> {
    let elf = file.get(..64)?;
    // 64 bits, little-endian.
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number64(file, 32)?, half(file, 54)?, half(file, 56)?);
    (0..count).find_map(|number| {
        let header = table.checked_add(size.checked_mul(number)?)?;
        if number32(file, header)? != NOTE_SEGMENT {
            return None;
        }
        let (at, bytes) = (number64(file, header.checked_add(8)?)?, number64(file, header.checked_add(32)?)?);
        in_notes(file, at, at.checked_add(bytes)?)
    })
}

fn in_notes(file: &[u8], mut at: usize, end: usize) -> Option<(usize, usize)> {
    while at < end {
        let (name, bytes, kind) = (number32(file, at)?, number32(file, at + 4)?, number32(file, at + 8)?);
        let (name, bytes) = (usize::try_from(name).ok()?, usize::try_from(bytes).ok()?);
        let description = (at + 12).checked_add(name.checked_next_multiple_of(4)?)?;
        let behind = description.checked_add(bytes.checked_next_multiple_of(4)?)?;
        if kind == BUILD_ID && file.get(at + 12..)?.starts_with(b"GNU\0") && behind <= file.len() {
            return Some((description, bytes));
        }
        at = behind;
    }
    None
}

fn number32(file: &[u8], at: usize) -> Option<u32> {
    file.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn number64(file: &[u8], at: usize) -> Option<usize> {
    let bytes = file.get(at..)?.first_chunk()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

fn half(file: &[u8], at: usize) -> Option<usize> {
    file.get(at..)?.first_chunk().map(|bytes| usize::from(u16::from_le_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with a note of another kind and a build id of 8 bytes.
    fn elf() -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = 4;
        file[64 + 8] = 120;
        let mut note = |kind: u8, text: &[u8]| {
            file.extend([4, 0, 0, 0, 8, 0, 0, 0, kind, 0, 0, 0]);
            file.extend(b"GNU\0");
            file.extend(text);
        };
        note(1, b"another.");
        note(3, b"build id");
        let bytes = u8::try_from(file.len() - 120).unwrap();
        file[64 + 32] = bytes;
        file
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let file = elf();
        let (at, bytes) = find(&file).unwrap();
        assert_eq!(&file[at..at + bytes], b"build id");
    }

    #[test]
    fn truncated_and_damaged_files_have_none_or_one_within() {
        let file = elf();
        for cut in 0..file.len() {
            assert_eq!(find(&file[..cut]), None, "{cut}");
        }
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut harmed = file.clone();
                harmed[at] = value;
                if let Some((at, bytes)) = find(&harmed) {
                    assert!(at + bytes <= harmed.len());
                }
            }
        }
    }

    #[test]
    fn this_program_and_the_c_library_have_build_ids_or_none() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(find(&own).is_none_or(|(_, bytes)| (8..=32).contains(&bytes)));
        assert_eq!(find(b"#!/bin/sh"), None);
    }
}
