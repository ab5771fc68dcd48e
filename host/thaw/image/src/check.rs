//! What must hold of the records, so that the thawer does not harm itself and no process is made of nonsense.

use crate::descriptor::Kind;
use crate::image::{Image, Section};
use crate::memory::{BUILD_ID_LIMIT, GROWS_DOWN, Range, Source, advice};
use crate::process::INSTRUCTIONS_LIMIT;
use crate::thread::Thread;
use crate::{DESCRIPTOR_LIMIT, DESCRIPTORS_LIMIT, DecodeError, NODES_LIMIT, OWN, PAGE, THREADS_LIMIT, TOP, xstate};

/// The number of mappings of the kernel's. There are three in Linux 6.18.
const KERNEL_MAPPINGS_LIMIT: usize = 8;
/// The number of signals.
const SIGNALS: u64 = 64;
/// The number of resource limits (`RLIM_NLIMITS`).
const RESOURCES: u64 = 16;

impl<'a> Image<'a> {
    /// Checks tables, which begin with the header, and every record in them.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn decode(tables: &'a [u8], file_bytes: u64) -> Result<Self, DecodeError> {
        let image = Self::of_tables(tables, file_bytes)?;
        all(&image, file_bytes)?;
        Ok(image)
    }
}

fn all(image: &Image<'_>, file_bytes: u64) -> Result<(), DecodeError> {
    let process = image.process()?;
    record(Section::Process, 0, process.no_new_privileges <= 1)?;
    memory(image, file_bytes)?;
    files(image)?;
    descriptors(image)?;
    threads(image)?;
    for (number, action) in image.actions().enumerate() {
        let action = action?;
        record(Section::Actions, number, (1..=SIGNALS).contains(&action.signal))?;
    }
    for (number, limit) in image.limits().enumerate() {
        let limit = limit?;
        record(Section::Limits, number, limit.resource < RESOURCES && limit.soft <= limit.hard)?;
    }
    section(Section::Filter, image.filter().count_all() <= INSTRUCTIONS_LIMIT)
}

fn record(section: Section, number: usize, holds: bool) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Record(section, number)) }
}

fn section(section: Section, holds: bool) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Section(section)) }
}

/// Whether these are whole pages of a process, none of them the thawer's own.
fn is_span(start: u64, end: u64) -> bool {
    let pages = start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE) && start < end && end <= TOP;
    pages && start >= PAGE && (end <= OWN.0 || start >= OWN.1)
}

fn memory(image: &Image<'_>, file_bytes: u64) -> Result<(), DecodeError> {
    let mut behind = 0;
    for (number, range) in image.ranges().enumerate() {
        let range = range?;
        record(Section::Ranges, number, range.start >= behind && is_range(image, &range, file_bytes))?;
        behind = range.end;
    }
    let (mut behind, mut bytes) = (0, 0);
    for (number, mapping) in image.kernel_mappings().enumerate() {
        let mapping = mapping?;
        // The thawer moves them together.
        let follows = number == 0 || mapping.start == behind;
        let free = image.ranges().flatten().all(|range| mapping.end <= range.start || mapping.start >= range.end);
        record(Section::KernelMappings, number, is_span(mapping.start, mapping.end) && follows && free)?;
        (behind, bytes) = (mapping.end, mapping.end - mapping.start);
    }
    let count = image.kernel_mappings().count_all();
    section(Section::KernelMappings, (1..=KERNEL_MAPPINGS_LIMIT).contains(&count))?;
    // The last one is the vDSO.
    section(Section::Vdso, image.bytes(Section::Vdso).len() as u64 == bytes)
}

fn is_range(image: &Image<'_>, range: &Range, file_bytes: u64) -> bool {
    let Range { start, end, protection, flags, source } = *range;
    let known = advice::ALL.iter().fold(GROWS_DOWN, |all, (bit, _)| all | bit);
    if !is_span(start, end) || protection > 7 || flags & !known != 0 {
        return false;
    }
    let within = |offset: u64, limit: u64| {
        offset.is_multiple_of(PAGE) && offset.checked_add(end - start).is_some_and(|behind| behind <= limit)
    };
    let contents = match source {
        Source::Zeros => true,
        Source::Image { offset } => within(offset, file_bytes),
        Source::File { file, offset } => (file as usize) < image.files().count_all() && within(offset, u64::MAX >> 1),
        Source::Ram { node, offset } => node < NODES_LIMIT && within(offset, u64::MAX >> 1),
    };
    contents && (flags & (GROWS_DOWN | advice::WIPE_ON_FORK.0) == 0 || source == Source::Zeros)
}

fn files(image: &Image<'_>) -> Result<(), DecodeError> {
    for (number, file) in image.files().enumerate() {
        let file = file?;
        let (at, bytes) = (file.build_id_at, file.build_id_bytes);
        let readable = |range: Range| {
            matches!(range.source, Source::File { file, .. } if file as usize == number)
                && range.protection & 1 != 0
                && range.start <= at
                && at.checked_add(bytes).is_some_and(|end| end <= range.end)
        };
        // The thawer reads it there.
        let identified = at == 0 || bytes <= BUILD_ID_LIMIT as u64 && image.ranges().flatten().any(readable);
        record(Section::Files, number, image.path(&file).is_some_and(|path| !path.is_empty()) && identified)?;
    }
    Ok(())
}

fn descriptors(image: &Image<'_>) -> Result<(), DecodeError> {
    section(Section::Descriptors, image.descriptors().count_all() <= DESCRIPTORS_LIMIT)?;
    let mut least = 3;
    for (number, descriptor) in image.descriptors().enumerate() {
        let descriptor = descriptor?;
        let kind = match descriptor.kind {
            Kind::EventFd { .. } | Kind::SignalFd { .. } => true,
            Kind::Inherited { number } => (3..=DESCRIPTOR_LIMIT).contains(&number),
            Kind::Ram { node } => node < NODES_LIMIT,
            Kind::Duplicate { of } => {
                of < descriptor.number
                    && image.descriptors().flatten().any(|first| {
                        first.number == of && matches!(first.kind, Kind::EventFd { .. } | Kind::SignalFd { .. })
                    })
            }
        };
        let in_order = (least..=DESCRIPTOR_LIMIT).contains(&descriptor.number);
        record(Section::Descriptors, number, in_order && kind)?;
        least = descriptor.number + 1;
    }
    Ok(())
}

fn threads(image: &Image<'_>) -> Result<(), DecodeError> {
    section(Section::Threads, (1..=THREADS_LIMIT).contains(&image.threads().count_all()))?;
    for (number, thread) in image.threads().enumerate() {
        let thread = thread?;
        let Thread { xstate_at, tid_at, name, .. } = thread;
        let state = image.extended_state(&thread).is_some_and(xstate::is_signal_frame);
        let aligned = xstate_at.is_multiple_of(64) && tid_at.is_multiple_of(4);
        record(Section::Threads, number, state && aligned && name.last() == Some(&0))?;
        // The kernel writes the thread's id there.
        let id_is_memory = image.ranges().flatten().any(|range| {
            range.protection & 2 != 0
                && range.start <= tid_at
                && tid_at.checked_add(4).is_some_and(|end| end <= range.end)
        });
        record(Section::Threads, number, id_is_memory)?;
    }
    Ok(())
}
