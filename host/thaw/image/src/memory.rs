//! The memory of a frozen process.

use crate::field::{Field, Reader, Sink, record};

/// Where the contents of a range come from. Every range is private: what a thawed process writes, nobody else sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Zeros.
    Zeros,
    /// The image, from this offset on.
    Image {
        /// In bytes.
        offset: u64,
    },
    /// A mapped file, which the process has not written to.
    File {
        /// Its number in the section of files.
        file: u32,
        /// In bytes.
        offset: u64,
    },
    /// The guest's memory.
    Ram {
        /// The number of the NUMA node.
        node: u32,
        /// In bytes.
        offset: u64,
    },
}

impl Field for Source {
    const SIZE: usize = 16;

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (kind, index, offset) = (u32::read(from)?, u32::read(from)?, u64::read(from)?);
        match (kind, index, offset) {
            (0, 0, 0) => Some(Self::Zeros),
            (1, 0, offset) => Some(Self::Image { offset }),
            (2, file, offset) => Some(Self::File { file, offset }),
            (3, node, offset) => Some(Self::Ram { node, offset }),
            _ => None,
        }
    }

    fn write(&self, to: &mut impl Sink) {
        let (kind, index, offset) = match *self {
            Self::Zeros => (0_u32, 0_u32, 0_u64),
            Self::Image { offset } => (1, 0, offset),
            Self::File { file, offset } => (2, file, offset),
            Self::Ram { node, offset } => (3, node, offset),
        };
        kind.write(to);
        index.write(to);
        offset.write(to);
    }
}

record! {
    /// A range of addresses: a mapping, or a part of one.
    Range {
        /// The first address.
        start: u64,
        /// The address behind the last one.
        end: u64,
        /// As in mmap(2): `PROT_READ`, `PROT_WRITE`, `PROT_EXEC`.
        protection: u32,
        /// [`advice`] and [`GROWS_DOWN`].
        flags: u32,
        /// Where the contents come from.
        source: Source,
    }
}

/// `MAP_GROWSDOWN` (mmap(2)): the stack of the first thread. Only for [`Source::Zeros`].
pub const GROWS_DOWN: u32 = 1 << 31;

/// The bit of [`Range::flags`] and the advice of madvise(2) that it stands for.
pub mod advice {
    /// `MADV_HUGEPAGE`.
    pub const HUGE_PAGE: (u32, u32) = (1, 14);
    /// `MADV_NOHUGEPAGE`.
    pub const NO_HUGE_PAGE: (u32, u32) = (1 << 1, 15);
    /// `MADV_DONTDUMP`.
    pub const DONT_DUMP: (u32, u32) = (1 << 2, 16);
    /// `MADV_DONTFORK`.
    pub const DONT_FORK: (u32, u32) = (1 << 3, 10);
    /// `MADV_GUARD_INSTALL` (Linux 6.13): glibc's guard pages of a thread's stack.
    pub const GUARD: (u32, u32) = (1 << 4, 102);
    /// `MADV_WIPEONFORK` (Linux 4.14): memory of which a copy of a process must not have the contents, such as the state of a
    /// random generator. Only for [`Source::Zeros`](super::Source::Zeros): a thawed process is a copy.
    pub const WIPE_ON_FORK: (u32, u32) = (1 << 5, 18);
    /// All of them.
    pub const ALL: [(u32, u32); 6] = [HUGE_PAGE, NO_HUGE_PAGE, DONT_DUMP, DONT_FORK, GUARD, WIPE_ON_FORK];
}

record! {
    /// A mapping of the kernel's: the vDSO is the last one, its data (`[vvar]`) is before it.
    KernelMapping {
        /// The first address.
        start: u64,
        /// The address behind the last one.
        end: u64,
    }
}

/// The room for a build id, in bytes. GNU ld makes 20 bytes, lld 8 to 20.
pub const BUILD_ID_LIMIT: usize = 32;

record! {
    /// A mapped file: where it is, and how to see that it is the same one still. Times are in ns since 1970.
    MappedFile {
        /// Where its path begins in the section of text.
        path_at: u32,
        /// The path's length in bytes, without the NUL that follows.
        path_bytes: u32,
        /// `st_dev` (stat(2)).
        device: u64,
        /// `st_ino`.
        inode: u64,
        /// `st_size`.
        size_bytes: u64,
        /// `st_mtim`.
        modified_ns: i64,
        /// `st_ctim`.
        changed_ns: i64,
        /// The address at which the process sees the build id; 0 if the file has none.
        build_id_at: u64,
        /// The length of the build id, in bytes.
        build_id_bytes: u64,
        /// The build id.
        build_id: [u8; BUILD_ID_LIMIT],
    }
}
