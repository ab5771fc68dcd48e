//! The descriptors of a frozen process.

use crate::field::{Field, Reader, Sink, record};

/// What a descriptor refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A descriptor that the process inherited under this number. The thawer inherits one under the same number, to whatever the
    /// thawed process is to be connected.
    Inherited {
        /// The number at the start of the process, which need not be its number now.
        number: u32,
    },
    /// An eventfd(2).
    EventFd {
        /// Its counter.
        count: u64,
        /// Whether it was made with `EFD_SEMAPHORE`.
        semaphore: bool,
    },
    /// A signalfd(2).
    SignalFd {
        /// The signals that it accepts; bit 0 is signal 1.
        mask: u64,
    },
    /// The guest's memory. The thawed process gets a descriptor for reading only.
    Ram {
        /// The number of the NUMA node.
        node: u32,
    },
    /// The same open file as another descriptor, which comes earlier in the section.
    Duplicate {
        /// The number of that descriptor.
        of: u32,
    },
}

impl Field for Kind {
    const SIZE: usize = 16;

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (kind, index, value) = (u32::read(from)?, u32::read(from)?, u64::read(from)?);
        match (kind, index, value) {
            (0, number, 0) => Some(Self::Inherited { number }),
            (1, semaphore @ (0 | 1), count) => Some(Self::EventFd { count, semaphore: semaphore == 1 }),
            (2, 0, mask) => Some(Self::SignalFd { mask }),
            (3, node, 0) => Some(Self::Ram { node }),
            (4, of, 0) => Some(Self::Duplicate { of }),
            _ => None,
        }
    }

    fn write(&self, to: &mut impl Sink) {
        let (kind, index, value) = match *self {
            Self::Inherited { number } => (0_u32, number, 0_u64),
            Self::EventFd { count, semaphore } => (1, u32::from(semaphore), count),
            Self::SignalFd { mask } => (2, 0, mask),
            Self::Ram { node } => (3, node, 0),
            Self::Duplicate { of } => (4, of, 0),
        };
        kind.write(to);
        index.write(to);
        value.write(to);
    }
}

record! {
    /// A descriptor. The standard streams, 0 to 2, are not in an image: a thawed process has those that the thawer was started with.
    Descriptor {
        /// Its number.
        number: u32,
        /// As `flags` in `/proc/PID/fdinfo` (proc(5)): `O_NONBLOCK`, `O_CLOEXEC`, and others.
        flags: u32,
        /// What the descriptor refers to.
        kind: Kind,
    }
}
