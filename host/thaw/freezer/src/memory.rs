//! The memory of the process: which ranges an image has, and where their contents come from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use nix::unistd::Pid;
use vmlab_thaw_image::memory::{BUILD_ID_LIMIT, GROWS_DOWN, KernelMapping, MappedFile, Range, Source, advice};
use vmlab_thaw_image::tables::Tables;
use vmlab_thaw_image::{NODES_LIMIT, OWN, PAGE};

use crate::build_id;
use crate::pages::Pages;
use crate::procfs::{self, Memory, unreadable};
use crate::refusal::Refusal;
use crate::smaps::{self, Mapping};

/// Up to so many untouched pages between touched ones become part of a range: a further mmap(2) takes longer than 64 pages of zeros.
const GAP: usize = 64;

/// Flags of memory (`VmFlags` in proc_pid_smaps(5)) that need nothing: permissions, accounting, and advice that only tells the
/// kernel how to read a file. `mg` (KSM) is left out of a thawed process, and so is `dp` (`MAP_DROPPABLE`, Linux 6.11), by which
/// the kernel may take memory back.
const HARMLESS: &[&str] =
    &["rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", "ac", "nr", "sd", "mg", "gd", "sr", "rr", "dp"];
/// Flags that become advice.
const ADVICE: [(&str, u32); 5] = [
    ("hg", advice::HUGE_PAGE.0),
    ("nh", advice::NO_HUGE_PAGE.0),
    ("dd", advice::DONT_DUMP.0),
    ("dc", advice::DONT_FORK.0),
    ("wf", advice::WIPE_ON_FORK.0),
];

/// What `/proc/PID/pagemap` says of a page (Documentation/admin-guide/mm/pagemap.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// Zeros, or what the mapped file has.
    Untouched,
    /// The process has written to it.
    Own,
    /// An access is an error (`MADV_GUARD_INSTALL`).
    Guard,
}

impl Page {
    const fn of(entry: u64) -> Self {
        const PRESENT_OR_SWAPPED: u64 = 3 << 62;
        const OF_A_FILE: u64 = 1 << 61;
        const GUARD: u64 = 1 << 58;
        if entry & GUARD != 0 {
            Self::Guard
        } else if entry & PRESENT_OR_SWAPPED != 0 && entry & OF_A_FILE == 0 {
            Self::Own
        } else {
            Self::Untouched
        }
    }
}

struct Reader<'a> {
    memory: Memory,
    pagemap: File,
    ram: Vec<String>,
    pages: Pages<'a>,
    files: BTreeMap<String, u32>,
}

/// Adds all memory to the tables, and copies what is the process's own to the image. Returns the image's length, and the bytes
/// that were written.
pub(crate) fn read(process: Pid, image: &File, ram: &[OsString], tables: &mut Tables) -> Result<(u64, u64), Refusal> {
    let memory = Memory::of(process).map_err(Refusal::on("open QEMU's memory"))?;
    let pagemap = File::open(format!("/proc/{process}/pagemap")).map_err(Refusal::on("open QEMU's page map"))?;
    let ram = ram_paths(ram)?;
    let mut reader = Reader { memory, pagemap, ram, pages: Pages::new(image), files: BTreeMap::new() };
    for mapping in smaps::parse(&procfs::read(process, "smaps")?)? {
        reader.add(&mapping, tables)?;
    }
    let Some(vdso) = tables.kernel_mappings.last().copied() else {
        return Err(Refusal::Mapping("QEMU has no vDSO".to_owned()));
    };
    tables.vdso.resize(usize::try_from(vdso.end - vdso.start).unwrap_or_default(), 0);
    reader.memory.read_exact_at(&mut tables.vdso, vdso.start).map_err(Refusal::on("read the vDSO"))?;
    Ok((reader.pages.end(), reader.pages.written))
}

/// The paths of the guest's memory as the kernel shows them.
pub(crate) fn ram_paths(ram: &[OsString]) -> Result<Vec<String>, Refusal> {
    let path = |path: &OsString| {
        let path = fs::canonicalize(path).map_err(Refusal::on("find the guest's memory"))?;
        Ok(path.to_string_lossy().into_owned())
    };
    ram.iter().take(NODES_LIMIT as usize).map(path).collect()
}

impl Reader<'_> {
    fn add(&mut self, mapping: &Mapping, tables: &mut Tables) -> Result<(), Refusal> {
        let Mapping { start, end, name, line, .. } = mapping;
        if name == "[vsyscall]" {
            return Ok(());
        }
        if name == "[vdso]" || name.starts_with("[vvar") {
            // mseal(2): the thawer could not move it.
            if mapping.flags.iter().any(|flag| flag == "sl") {
                return Err(property("sl", mapping));
            }
            tables.kernel_mappings.push(KernelMapping { start: *start, end: *end });
            return Ok(());
        }
        let flags = flags(mapping)?;
        if name.ends_with(" (deleted)") && name.starts_with('/') {
            return Err(if mapping.shared { Refusal::Shared(line.clone()) } else { Refusal::Deleted(name.clone()) });
        }
        let is_ours = *end > OWN.0 && *start < OWN.1;
        let is_known = name.is_empty() || name.starts_with('/') || is_anonymous(name);
        if is_ours || !is_known {
            return Err(Refusal::Mapping(line.clone()));
        }
        if let Some(node) = self.ram.iter().position(|ram| ram == name) {
            let node = u32::try_from(node).map_err(|_| Refusal::Mapping(line.clone()))?;
            if !mapping.shared {
                return Err(Refusal::Mapping(line.clone()));
            }
            let source = Source::Ram { node, offset: mapping.offset };
            tables.ranges.push(range(mapping, *start, *end, flags, source));
            return Ok(());
        }
        if mapping.shared {
            return Err(Refusal::Shared(line.clone()));
        }
        let pages = self.pagemap(*start, *end)?;
        if name.starts_with('/') {
            self.add_file(mapping, flags, &pages, tables)
        } else {
            self.add_anonymous(mapping, flags, &pages, tables)
        }
    }

    fn pagemap(&self, start: u64, end: u64) -> Result<Vec<Page>, Refusal> {
        let mut bytes = vec![0; usize::try_from((end - start) / PAGE * 8).unwrap_or_default()];
        let read = self.pagemap.read_exact_at(&mut bytes, start / PAGE * 8);
        read.map_err(Refusal::on("read QEMU's page map"))?;
        Ok(bytes.as_chunks().0.iter().map(|entry| Page::of(u64::from_le_bytes(*entry))).collect())
    }

    /// A private mapping of a file: from the file if the process has not written to it, else completely from the image.
    fn add_file(&mut self, mapping: &Mapping, flags: u32, pages: &[Page], tables: &mut Tables) -> Result<(), Refusal> {
        let Mapping { start, end, offset, .. } = *mapping;
        if pages.contains(&Page::Guard) {
            return Err(property("guard pages in a file", mapping));
        }
        let source = if pages.contains(&Page::Own) {
            Source::Image { offset: self.pages.copy(&self.memory, start, end)? }
        } else {
            let file = self.file(mapping, tables)?;
            Source::File { file, offset }
        };
        tables.ranges.push(range(mapping, start, end, flags, source));
        Ok(())
    }

    /// The number of a mapping's file, which is added if it is new.
    fn file(&mut self, mapping: &Mapping, tables: &mut Tables) -> Result<u32, Refusal> {
        let number = match self.files.get(&mapping.name) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(tables.files.len()).map_err(|_| unreadable("smaps", "too many files"))?;
                let file = identify(&mapping.name, tables)?;
                tables.files.push(file);
                self.files.insert(mapping.name.clone(), number);
                number
            }
        };
        let file = &mut tables.files[number as usize];
        if mapping.offset == 0 && mapping.protection & 1 != 0 && file.build_id_at == 0 {
            // The headers and notes are at the beginning of a program.
            let mut first = vec![0; usize::try_from(PAGE.min(mapping.end - mapping.start)).unwrap_or_default()];
            self.memory.read_exact_at(&mut first, mapping.start).map_err(Refusal::on("read QEMU's memory"))?;
            if let Some((at, bytes)) = build_id::find(&first).filter(|(_, bytes)| *bytes <= BUILD_ID_LIMIT) {
                file.build_id_at = mapping.start + at as u64;
                file.build_id_bytes = bytes as u64;
                file.build_id[..bytes].copy_from_slice(&first[at..at + bytes]);
            }
        }
        Ok(number)
    }

    /// Anonymous memory: touched pages from the image, all others are zeros. Of what is wiped in a fork, everything is.
    fn add_anonymous(
        &mut self,
        mapping: &Mapping,
        flags: u32,
        pages: &[Page],
        tables: &mut Tables,
    ) -> Result<(), Refusal> {
        let address = |page: usize| mapping.start + page as u64 * PAGE;
        // Only zeros can grow, and not onto each other.
        let grows = mapping.flags.iter().any(|flag| flag == "gd");
        if grows {
            let below = mapping.start.saturating_sub(PAGE);
            tables.ranges.push(range(mapping, below, mapping.start, flags | GROWS_DOWN, Source::Zeros));
        }
        for (kind, first, behind) in runs(pages) {
            let (start, end) = (address(first), address(behind));
            let (flags, source) = match kind {
                Page::Untouched => (flags, Source::Zeros),
                Page::Guard => (flags | advice::GUARD.0, Source::Zeros),
                Page::Own if flags & advice::WIPE_ON_FORK.0 != 0 => (flags, Source::Zeros),
                Page::Own => (flags, Source::Image { offset: self.pages.copy(&self.memory, start, end)? }),
            };
            tables.ranges.push(range(mapping, start, end, flags, source));
        }
        Ok(())
    }
}

/// Pages of the same kind that follow each other: kind, the first page, and the page behind the last one. A few untouched pages
/// between touched ones count as touched.
fn runs(pages: &[Page]) -> Vec<(Page, usize, usize)> {
    let mut runs: Vec<(Page, usize, usize)> = Vec::new();
    for (number, kind) in pages.iter().enumerate() {
        match runs.as_mut_slice() {
            [.., (last, _, behind)] if last == kind => *behind = number + 1,
            [.., (Page::Own, _, behind), (Page::Untouched, gap, end)] if *kind == Page::Own && *end - *gap <= GAP => {
                *behind = number + 1;
                runs.pop();
            }
            _ => runs.push((*kind, number, number + 1)),
        }
    }
    runs
}

fn range(mapping: &Mapping, start: u64, end: u64, flags: u32, source: Source) -> Range {
    Range { start, end, protection: mapping.protection, flags, source }
}

/// Memory of a process's own: the heap, the stack, and what prctl(2) has named with `PR_SET_VMA_ANON_NAME`.
fn is_anonymous(name: &str) -> bool {
    name == "[heap]" || name == "[stack]" || name.starts_with("[anon:")
}

/// The flags of the ranges of a mapping.
fn flags(mapping: &Mapping) -> Result<u32, Refusal> {
    if mapping.flags.is_empty() {
        return Err(Refusal::NoProperties);
    }
    mapping.flags.iter().try_fold(0, |all, flag| {
        if HARMLESS.contains(&flag.as_str()) {
            return Ok(all);
        }
        let known = ADVICE.iter().find(|(name, _)| name == flag).map(|(_, bit)| all | bit);
        known.ok_or_else(|| property(flag, mapping))
    })
}

fn property(flag: &str, mapping: &Mapping) -> Refusal {
    Refusal::Property { flag: flag.to_owned(), mapping: mapping.line.clone() }
}

fn identify(path: &str, tables: &mut Tables) -> Result<MappedFile, Refusal> {
    let stat = fs::metadata(Path::new(path)).map_err(Refusal::on("stat a mapped file"))?;
    if !stat.is_file() {
        return Err(Refusal::Mapping(path.to_owned()));
    }
    let time = |seconds: i64, nanoseconds: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds);
    Ok(MappedFile {
        path_at: tables.add_path(path.as_bytes())?,
        path_bytes: u32::try_from(path.len()).map_err(|_| Refusal::Mapping(path.to_owned()))?,
        device: stat.dev(),
        inode: stat.ino(),
        size_bytes: stat.size(),
        modified_ns: time(stat.mtime(), stat.mtime_nsec()),
        changed_ns: time(stat.ctime(), stat.ctime_nsec()),
        build_id_at: 0,
        build_id_bytes: 0,
        build_id: [0; BUILD_ID_LIMIT],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(flags: &str) -> Mapping {
        let text = format!("1000-3000 rw-p 00000000 00:00 0 \nVmFlags: {flags}\n");
        smaps::parse(&text).unwrap().remove(0)
    }

    #[test]
    fn few_untouched_pages_between_touched_ones_are_copied() {
        use Page::{Guard, Own, Untouched};
        let pages = |counts: &[(Page, usize)]| -> Vec<Page> {
            counts.iter().flat_map(|(page, count)| std::iter::repeat_n(*page, *count)).collect()
        };
        assert_eq!(runs(&[]), []);
        let joined = pages(&[(Untouched, 2), (Own, 1), (Untouched, GAP), (Own, 3), (Untouched, 1)]);
        assert_eq!(runs(&joined), [(Untouched, 0, 2), (Own, 2, 6 + GAP), (Untouched, 6 + GAP, 7 + GAP)]);
        let apart = pages(&[(Own, 1), (Untouched, GAP + 1), (Own, 1)]);
        assert_eq!(runs(&apart), [(Own, 0, 1), (Untouched, 1, GAP + 2), (Own, GAP + 2, GAP + 3)]);
        let guarded = pages(&[(Guard, 1), (Untouched, 1), (Own, 1), (Guard, 1), (Own, 1)]);
        assert_eq!(runs(&guarded).len(), 5);
    }

    #[test]
    fn advice_is_kept_and_unknown_properties_are_refused() {
        assert_eq!(flags(&mapping("rd wr mr mw me ac sd")), Ok(0));
        assert_eq!(flags(&mapping("rd wr dd dp wf")), Ok(advice::DONT_DUMP.0 | advice::WIPE_ON_FORK.0));
        assert_eq!(flags(&mapping("rd dc hg mg")), Ok(advice::DONT_FORK.0 | advice::HUGE_PAGE.0));
        for unknown in ["lo", "ss", "ht", "um", "sl", "xx"] {
            let refusal = flags(&mapping(&format!("rd wr {unknown}"))).unwrap_err();
            assert!(refusal.to_string().contains(&format!("`{unknown}`")), "{refusal}");
        }
        assert_eq!(flags(&mapping("")), Err(Refusal::NoProperties));
    }

    #[test]
    fn a_page_is_own_only_if_it_is_there_and_of_no_file() {
        assert_eq!(Page::of(0), Page::Untouched);
        assert_eq!(Page::of(1 << 63), Page::Own);
        assert_eq!(Page::of(1 << 62), Page::Own);
        assert_eq!(Page::of(1 << 63 | 1 << 61), Page::Untouched);
        assert_eq!(Page::of(1 << 58), Page::Guard);
    }
}
