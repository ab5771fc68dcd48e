use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::descriptor::{Descriptor, Kind};
use crate::image::{HEADER_BYTES, Header, Image, SECTIONS};
use crate::memory::{GROWS_DOWN, KernelMapping, MappedFile, Range, Source, advice};
use crate::process::{Action, Addresses, Instruction, Limit, Process};
use crate::tables::Tables;
use crate::thread::{Registers, Thread};

const FILE_BYTES: u64 = PAGES_AT + 16 * PAGE;

fn range(start: u64, pages: u64, protection: u32, source: Source) -> Range {
    Range { start, end: start + pages * PAGE, protection, flags: 0, source }
}

fn thread(tables: &mut Tables, number: u64) -> Thread {
    let mut state = vec![5; 900];
    let bytes = xstate::to_signal_frame(&mut state, 832).unwrap();
    let xstate_at = tables.add_extended_state(&state[..bytes]).unwrap();
    Thread {
        registers: Registers {
            r8: number,
            r9: 9,
            r10: 10,
            r11: 11,
            r12: 12,
            r13: 13,
            r14: 14,
            r15: 15,
            rdi: 1,
            rsi: 2,
            rbp: 3,
            rbx: 4,
            rdx: 5,
            rax: 271,
            rcx: 7,
            rsp: 0x7fff_0000_1000,
            rip: 0x5555_0000_1000,
            eflags: 0x246,
            cs: 0x33,
            ss: 0x2b,
            reserved: 0,
        },
        signal_mask: 1 << 13,
        fs_base: 0x5555_0001_0040,
        tid_at: 0x5555_0001_0000 + 16 * number,
        robust_list: 0x5555_0001_0020,
        robust_list_bytes: 24,
        rseq: 0x5555_0001_0100,
        rseq_bytes: 32,
        rseq_signature: 0x5305_3053,
        timer_slack_ns: 1,
        signal_stack: 0,
        signal_stack_bytes: 0,
        signal_stack_flags: 2,
        xstate_at,
        xstate_bytes: bytes as u64,
        name: *b"qemu-system-x86\0",
    }
}

/// Tables with a record of each kind.
fn whole() -> Tables {
    let addresses = Addresses {
        start_code: 0x5555_0000_0000,
        end_code: 0x5555_0000_2000,
        start_data: 0x5555_0001_0000,
        end_data: 0x5555_0001_1000,
        start_brk: 0x5555_0002_0000,
        brk: 0x5555_0002_2000,
        start_stack: 0x7fff_0000_2000,
    };
    let mut tables =
        Tables { process: Process { addresses, no_new_privileges: 1, filter_flags: 1 }, ..Tables::default() };
    let path_at = tables.add_path(b"/usr/bin/qemu-system-x86_64").unwrap();
    let file = MappedFile {
        path_at,
        path_bytes: 27,
        device: 1,
        inode: 2,
        size_bytes: 3,
        modified_ns: -4,
        changed_ns: 5,
        build_id_at: 0x5555_0000_0300,
        build_id_bytes: 20,
        build_id: [9; 32],
    };
    tables.files.push(file);
    tables.ranges = vec![
        range(0x5555_0000_0000, 2, 5, Source::File { file: 0, offset: 0 }),
        range(0x5555_0001_0000, 1, 3, Source::Image { offset: PAGES_AT }),
        Range { flags: advice::HUGE_PAGE.0, ..range(0x7f00_0000_0000, 512, 3, Source::Ram { node: 0, offset: PAGE }) },
        Range { flags: GROWS_DOWN, ..range(0x7fff_0000_0000, 2, 3, Source::Zeros) },
    ];
    let vdso = 0x7fff_0001_0000;
    tables.kernel_mappings =
        vec![KernelMapping { start: vdso - PAGE, end: vdso }, KernelMapping { start: vdso, end: vdso + 2 * PAGE }];
    tables.vdso = vec![3; 8192];
    tables.descriptors = vec![
        Descriptor { number: 3, flags: 0o4002, kind: Kind::Inherited { number: 3 } },
        Descriptor { number: 5, flags: 0o2_004_002, kind: Kind::SignalFd { mask: 0x1000_2040 } },
        Descriptor { number: 7, flags: 0o2_004_002, kind: Kind::EventFd { count: 1, semaphore: false } },
        Descriptor { number: 8, flags: 0o2_004_002, kind: Kind::Duplicate { of: 7 } },
        Descriptor { number: 11, flags: 0o100_002, kind: Kind::Ram { node: 0 } },
    ];
    tables.actions = vec![Action { signal: 13, handler: 1, flags: 2, restorer: 3, mask: 4 }];
    tables.filter = vec![Instruction { code: 6, if_true: 1, if_false: 2, operand: 0x7fff_0000 }];
    tables.limits = vec![Limit { resource: 7, soft: 20_000, hard: 20_000 }];
    for number in 0..3 {
        let thread = thread(&mut tables, number);
        tables.threads.push(thread);
    }
    tables
}

fn decoded(image: &Image<'_>) -> Tables {
    Tables {
        process: image.process().unwrap(),
        ranges: image.ranges().map(Result::unwrap).collect(),
        kernel_mappings: image.kernel_mappings().map(Result::unwrap).collect(),
        files: image.files().map(Result::unwrap).collect(),
        descriptors: image.descriptors().map(Result::unwrap).collect(),
        actions: image.actions().map(Result::unwrap).collect(),
        threads: image.threads().map(Result::unwrap).collect(),
        filter: image.filter().map(Result::unwrap).collect(),
        limits: image.limits().map(Result::unwrap).collect(),
        text: image.bytes(Section::Text).to_vec(),
        extended_state: image.bytes(Section::ExtendedState).to_vec(),
        vdso: image.bytes(Section::Vdso).to_vec(),
    }
}

/// Puts the right checksum on tables that a test has changed.
fn sign(bytes: &mut [u8]) {
    let checksum = image::checksum_of(bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn encoded_tables_decode_to_the_same() {
    let tables = whole();
    let bytes = tables.encode(FILE_BYTES).unwrap();
    let image = Image::decode(&bytes, FILE_BYTES).unwrap();
    assert_eq!(decoded(&image), tables);
    assert_eq!(image.path(&tables.files[0]).unwrap(), c"/usr/bin/qemu-system-x86_64");
    assert_eq!(image.extended_state(&tables.threads[2]).unwrap().len(), 836);
    let header = Header::decode(bytes.first_chunk().unwrap(), FILE_BYTES).unwrap();
    assert_eq!(header.tables_bytes, bytes.len() as u64);
}

/// The layout is a promise: images of this version are read by other builds.
#[test]
fn the_layout_of_the_version_is_as_documented() {
    let bytes = whole().encode(FILE_BYTES).unwrap();
    assert_eq!((&bytes[..8], &bytes[8..12], HEADER_BYTES), (&b"VMLFROZN"[..], &1_u32.to_le_bytes()[..], 128));
    assert_eq!(bytes[16..24], (bytes.len() as u64).to_le_bytes());
    assert_eq!(bytes[24..32], FILE_BYTES.to_le_bytes());
    let sizes: Vec<_> = SECTIONS.into_iter().map(image::record_bytes).collect();
    assert_eq!(sizes, [64, 40, 16, 96, 24, 40, 264, 8, 24, 1, 1, 1]);
}

#[test]
fn any_flipped_bit_of_the_tables_is_an_error() {
    let bytes = whole().encode(FILE_BYTES).unwrap();
    for at in 0..bytes.len() {
        let mut harmed = bytes.clone();
        harmed[at] ^= 1 << (at % 8);
        assert!(Image::decode(&harmed, FILE_BYTES).is_err(), "byte {at}");
    }
}

#[test]
fn an_image_of_another_length_is_incomplete() {
    let bytes = whole().encode(FILE_BYTES).unwrap();
    for length in [0, PAGES_AT, FILE_BYTES - PAGE, FILE_BYTES - 1, FILE_BYTES + PAGE, u64::MAX] {
        assert_eq!(Image::decode(&bytes, length).unwrap_err(), DecodeError::Length, "{length}");
    }
    for cut in [0, 1, HEADER_BYTES - 1, HEADER_BYTES, bytes.len() - 1] {
        assert_eq!(Image::decode(&bytes[..cut], FILE_BYTES).unwrap_err(), DecodeError::Length, "{cut}");
    }
}

#[test]
fn another_version_is_named() {
    let mut bytes = whole().encode(FILE_BYTES).unwrap();
    bytes[8] = 2;
    sign(&mut bytes);
    let error = Image::decode(&bytes, FILE_BYTES).unwrap_err();
    assert_eq!(error, DecodeError::Version(2));
    assert!(alloc::format!("{error}").contains("2, not 1"));
}

type Harm = fn(&mut Tables);

#[test]
fn impossible_records_are_refused() {
    let harms: &[(Section, Harm)] = &[
        (Section::Ranges, |tables| tables.ranges[0].start += 1),
        (Section::Ranges, |tables| tables.ranges[0].end = tables.ranges[1].end),
        (Section::Ranges, |tables| tables.ranges[0].protection = 8),
        (Section::Ranges, |tables| tables.ranges[0].flags = 1 << 20),
        (Section::Ranges, |tables| tables.ranges[0].flags = GROWS_DOWN),
        (Section::Ranges, |tables| tables.ranges[0].flags = advice::WIPE_ON_FORK.0),
        (Section::Ranges, |tables| tables.ranges[0].source = Source::File { file: 1, offset: 0 }),
        (Section::Ranges, |tables| tables.ranges[1].source = Source::Image { offset: FILE_BYTES }),
        (Section::Ranges, |tables| tables.ranges[1].source = Source::Image { offset: PAGES_AT + 1 }),
        (Section::Ranges, |tables| tables.ranges[2].source = Source::Ram { node: 8, offset: 0 }),
        (Section::Ranges, |tables| tables.ranges[3].end = TOP + PAGE),
        (Section::Ranges, |tables| tables.ranges.insert(0, range(OWN.0, 1, 3, Source::Zeros))),
        (Section::Ranges, |tables| tables.ranges.insert(0, range(OWN.1 - PAGE, 2, 3, Source::Zeros))),
        (Section::Ranges, |tables| tables.ranges.insert(0, range(OWN.0 - PAGE, 2, 3, Source::Zeros))),
        (Section::Ranges, |tables| tables.ranges.insert(0, range(0, 1, 3, Source::Zeros))),
        (Section::KernelMappings, |tables| tables.kernel_mappings.clear()),
        (Section::KernelMappings, |tables| tables.kernel_mappings[0].start = tables.ranges[3].start),
        (Section::KernelMappings, |tables| tables.kernel_mappings[1].start += PAGE),
        (Section::Vdso, |tables| tables.vdso.truncate(4096)),
        (Section::Files, |tables| tables.files[0].path_bytes = 26),
        (Section::Files, |tables| tables.files[0].path_at = u32::MAX),
        (Section::Files, |tables| tables.files[0].build_id_at = 0x5555_0001_0000),
        (Section::Files, |tables| tables.files[0].build_id_bytes = 33),
        (Section::Files, |tables| tables.files[0].build_id_at = u64::MAX),
        (Section::Descriptors, |tables| tables.descriptors[0].number = 2),
        (Section::Descriptors, |tables| tables.descriptors[1].number = 3),
        (Section::Descriptors, |tables| tables.descriptors[4].number = DESCRIPTOR_LIMIT + 1),
        (Section::Descriptors, |tables| tables.descriptors[0].kind = Kind::Inherited { number: 2 }),
        (Section::Descriptors, |tables| tables.descriptors[3].kind = Kind::Duplicate { of: 3 }),
        (Section::Descriptors, |tables| tables.descriptors[3].kind = Kind::Duplicate { of: 8 }),
        (Section::Descriptors, |tables| tables.descriptors[4].kind = Kind::Ram { node: 8 }),
        (Section::Actions, |tables| tables.actions[0].signal = 0),
        (Section::Actions, |tables| tables.actions[0].signal = 65),
        (Section::Limits, |tables| tables.limits[0].resource = 16),
        (Section::Limits, |tables| tables.limits[0].hard = 1),
        (Section::Process, |tables| tables.process.no_new_privileges = 2),
        (Section::Filter, |tables| tables.filter = vec![tables.filter[0]; 4097]),
        (Section::Threads, |tables| tables.threads.clear()),
        (Section::Threads, |tables| tables.threads = vec![tables.threads[0]; THREADS_LIMIT + 1]),
        (Section::Threads, |tables| tables.threads[0].xstate_at += 64),
        (Section::Threads, |tables| tables.threads[0].xstate_bytes -= 4),
        (Section::Threads, |tables| tables.threads[0].xstate_bytes = u64::MAX),
        (Section::Threads, |tables| tables.threads[0].name = [b'x'; 16]),
        (Section::Threads, |tables| tables.threads[0].tid_at = 0x5555_0000_0000),
        (Section::Threads, |tables| tables.threads[0].tid_at = u64::MAX - 3),
    ];
    for (number, (section, harm)) in harms.iter().enumerate() {
        let mut tables = whole();
        harm(&mut tables);
        let error = tables.encode(FILE_BYTES).unwrap_err();
        let found = match error {
            DecodeError::Section(found) | DecodeError::Record(found, _) => found,
            other => panic!("harm {number}: {other}"),
        };
        assert_eq!(found, *section, "harm {number}: {error}");
    }
}

#[test]
fn tables_that_grow_beyond_their_limit_are_refused() {
    let mut tables = whole();
    tables.text.resize(5 << 20, b'x');
    assert_eq!(tables.encode(FILE_BYTES).unwrap_err(), DecodeError::Length);
}

/// Reads everything that a decoded image has.
fn read_all(image: &Image<'_>) {
    let tables = decoded(image);
    for file in &tables.files {
        assert!(image.path(file).is_some());
    }
    for thread in &tables.threads {
        assert!(image.extended_state(thread).is_some());
    }
    for range in &tables.ranges {
        assert!(range.end <= OWN.0 || range.start >= OWN.1);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..8192), length in any::<u64>()) {
        prop_assert!(Image::decode(&bytes, length).is_err());
    }

    /// With a valid checksum, so that the records are read.
    #[test]
    fn damaged_tables_are_refused_or_harmless(changes in proptest::collection::vec((0_usize..12_288, any::<u8>()), 1..8)) {
        let mut bytes = whole().encode(FILE_BYTES).unwrap();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        sign(&mut bytes);
        if let Ok(image) = Image::decode(&bytes, FILE_BYTES) {
            read_all(&image);
        }
    }

    /// Words of the header and the first records, which have the numbers and offsets.
    #[test]
    fn any_offsets_and_counts_are_refused_or_harmless(
        changes in proptest::collection::vec((0_usize..64, prop_oneof![any::<u32>(), 0_u32..16_384]), 1..6)
    ) {
        let mut bytes = whole().encode(FILE_BYTES).unwrap();
        for (word, value) in changes {
            bytes[32 + word * 4..36 + word * 4].copy_from_slice(&value.to_le_bytes());
        }
        sign(&mut bytes);
        if let Ok(image) = Image::decode(&bytes, FILE_BYTES) {
            read_all(&image);
        }
    }
}
