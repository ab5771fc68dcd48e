//! Replaces this program's memory by that of the frozen process.
#![expect(unsafe_code, reason = "mmap(2), munmap(2) and mremap(2) change what is at an address")]

use core::slice;

use vmlab_thaw_image::image::{HEADER_BYTES, Header, Image, Section};
use vmlab_thaw_image::memory::{GROWS_DOWN, MappedFile, Range, Source, advice};
use vmlab_thaw_image::{IMAGE_FD, OWN, PAGE, RAM_FD, TABLES_AT, TOP, VDSO_PARKED_AT};

use crate::failure::Failure;
use crate::kernel::{call, checked, open, safe_call, status};

/// Addresses are numbers of 64 bits: this is an x86-64 program.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits")]
pub(crate) const fn address(number: u64) -> usize {
    number as usize
}

/// Maps the tables of the image, privately, and checks them.
pub(crate) fn tables() -> Result<Image<'static>, Failure> {
    let file_bytes = status("cannot read the image's length", IMAGE_FD)?.size_bytes;
    let mut header = [0; HEADER_BYTES];
    let read = safe_call!("cannot read the image", SYS_pread64, IMAGE_FD, header.as_mut_ptr(), HEADER_BYTES, 0)?;
    if read != HEADER_BYTES {
        return Err(vmlab_thaw_image::DecodeError::Length.into());
    }
    let Header { tables_bytes, .. } = Header::decode(&header, file_bytes)?;
    // Every page is read. To read them by one call is quicker than faults one by one.
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    safe_call!("cannot map the image's tables", SYS_mmap, TABLES_AT, tables_bytes, protection, flags, IMAGE_FD, 0)?;
    // SAFETY: the mapping was just made, is as long, stays for the life of the process, and nobody writes to it.
    let tables = unsafe { slice::from_raw_parts(address(TABLES_AT) as *const u8, address(tables_bytes)) };
    Ok(Image::decode(tables, file_bytes)?)
}

/// Moves the kernel's mappings to where the frozen process has them, and unmaps everything else but this program.
///
/// `vdso` is the address of the vDSO. Its data is before it, in as many and as large mappings as in the frozen process if the two
/// vDSOs are equal: both are from the same kernel.
pub(crate) fn clear(image: &Image<'static>, vdso: usize) -> Result<(), Failure> {
    let mappings = image.kernel_mappings();
    let theirs = image.bytes(Section::Vdso);
    // SAFETY: the kernel has mapped its vDSO there (getauxval(3), AT_SYSINFO_EHDR), and each page can be read. If theirs is longer,
    // the mapping ends within the comparison and the process with SIGSEGV; the two have the same length on the same kernel, and an
    // image is valid for one boot only.
    let ours = unsafe { slice::from_raw_parts(vdso as *const u8, theirs.len()) };
    if vdso == 0 || ours != theirs {
        return Err(Failure::new("the vDSO is not that of the frozen process", 0));
    }
    let (Ok(first), Ok(last)) = (mappings.get(0), mappings.get(mappings.count_all() - 1)) else {
        return Err(Failure::new("the image has no vDSO", 0));
    };
    let ours_begin = (vdso as u64).wrapping_sub(last.start - first.start);
    let shift = |from: u64, to: u64, what: &'static str| {
        mappings.into_iter().flatten().try_for_each(|mapping| {
            let (at, bytes) = (mapping.start - first.start, mapping.end - mapping.start);
            let flags = u64::from((libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).cast_unsigned());
            // SAFETY: nothing in this program uses the vDSO, and nothing is at the target: it is the thawer's own room, or
            // everything there was unmapped.
            let moved = unsafe { call(libc::SYS_mremap, [from + at, bytes, bytes, flags, to + at, 0].map(address)) };
            checked(what, moved).map(drop)
        })
    };
    shift(ours_begin, VDSO_PARKED_AT, "cannot move the vDSO")?;
    for (start, end) in [(PAGE, OWN.0), (OWN.1, TOP)] {
        // SAFETY: this program, its stack and the tables are between the two ranges.
        let unmapped = unsafe { call(libc::SYS_munmap, [address(start), address(end - start), 0, 0, 0, 0]) };
        checked("cannot unmap the thawer's memory", unmapped)?;
    }
    shift(VDSO_PARKED_AT, first.start, "cannot move the vDSO to its place")
}

/// Maps the memory of the frozen process.
pub(crate) fn map(image: &Image<'static>) -> Result<(), Failure> {
    // Ranges of a file follow each other, so one open file is enough.
    let mut opened: Option<(u32, i32)> = None;
    for range in image.ranges() {
        let range = range?;
        let file = match range.source {
            Source::Zeros => -1,
            Source::Image { .. } => IMAGE_FD,
            // A node is less than NODES_LIMIT.
            Source::Ram { node, .. } => RAM_FD + node.cast_signed(),
            Source::File { file, .. } => match opened {
                Some((number, descriptor)) if number == file => descriptor,
                before => {
                    if let Some((_, descriptor)) = before {
                        safe_call!("cannot close a file", SYS_close, descriptor)?;
                    }
                    let descriptor = open_same(image, file)?;
                    opened = Some((file, descriptor));
                    descriptor
                }
            },
        };
        map_range(&range, file)?;
    }
    if let Some((_, descriptor)) = opened {
        safe_call!("cannot close a file", SYS_close, descriptor)?;
    }
    for file in image.files() {
        check_build_id(image, &file?)?;
    }
    Ok(())
}

fn map_range(range: &Range, file: i32) -> Result<(), Failure> {
    let Range { start, end, protection, flags, source } = *range;
    let mut how = libc::MAP_PRIVATE | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
    let offset = match source {
        Source::Zeros => {
            how |= libc::MAP_ANONYMOUS;
            0
        }
        Source::Image { offset } | Source::File { offset, .. } | Source::Ram { offset, .. } => offset,
    };
    if flags & GROWS_DOWN != 0 {
        how |= libc::MAP_GROWSDOWN;
    }
    let (at, bytes) = (address(start), end - start);
    // With MAP_FIXED_NOREPLACE nothing that exists is replaced.
    safe_call!("cannot map memory", SYS_mmap, at, bytes, protection, how, file, offset)?;
    for (bit, advice) in advice::ALL {
        if flags & bit != 0 {
            // The range was just made, and nobody uses it yet.
            safe_call!("cannot advise the kernel on memory", SYS_madvise, at, bytes, advice)?;
        }
    }
    Ok(())
}

/// Opens a mapped file, and makes sure that it is the one that the process had mapped.
fn open_same(image: &Image<'static>, number: u32) -> Result<i32, Failure> {
    let file: MappedFile = image.files().get(number as usize)?;
    let path = image.path(&file).ok_or(Failure::new("a mapped file has no path", 0))?;
    let descriptor = open(path)?;
    let now = status("cannot stat a mapped file", descriptor)?;
    let same = now.device == file.device
        && now.inode == file.inode
        && now.size_bytes == file.size_bytes
        && now.modified_ns == file.modified_ns
        && now.changed_ns == file.changed_ns;
    if same { Ok(descriptor) } else { Err(Failure::new("a mapped file has changed:", 0).of(path)) }
}

fn check_build_id(image: &Image<'static>, file: &MappedFile) -> Result<(), Failure> {
    let expected = file.build_id.get(..address(file.build_id_bytes)).unwrap_or_default();
    if file.build_id_at == 0 || expected.is_empty() {
        return Ok(());
    }
    // SAFETY: the decoder has checked that a readable range of this file has these addresses, and it is mapped now. The file's
    // length is as it was, so the page is there.
    let found = unsafe { slice::from_raw_parts(address(file.build_id_at) as *const u8, expected.len()) };
    let failure = Failure::new("a mapped file has another build id:", 0);
    if found == expected { Ok(()) } else { Err(image.path(file).map_or(failure, |path| failure.of(path))) }
}
