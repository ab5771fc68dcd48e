//! Records as bytes. Each record of a type has the same size.

/// Reads fields from a record. At its end it yields zeros, so that a reader needs no errors: [`Field::SIZE`] says how many bytes
/// a type needs, and the caller takes as many.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.0 = rest;
                *taken
            }
            None => [0; N],
        }
    }
}

/// Takes bytes.
pub trait Sink {
    /// Appends these bytes.
    fn put(&mut self, bytes: &[u8]);
}

#[cfg(any(test, feature = "encode"))]
impl Sink for alloc::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A value in a record.
pub trait Field: Sized {
    /// The size in bytes.
    const SIZE: usize;
    /// Reads the value. None if no value has these bytes.
    fn read(from: &mut Reader<'_>) -> Option<Self>;
    /// Writes the value.
    fn write(&self, to: &mut impl Sink);
}

macro_rules! number {
    ($($type:ty),*) => {
        $(impl Field for $type {
            const SIZE: usize = size_of::<$type>();
            fn read(from: &mut Reader<'_>) -> Option<Self> {
                Some(Self::from_le_bytes(from.take()))
            }
            fn write(&self, to: &mut impl Sink) {
                to.put(&self.to_le_bytes());
            }
        })*
    };
}
number!(u8, u16, u32, u64, i64);

impl<const N: usize> Field for [u8; N] {
    const SIZE: usize = N;
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(from.take())
    }
    fn write(&self, to: &mut impl Sink) {
        to.put(self);
    }
}

/// Defines a record: a struct with public fields, which follow each other in this order.
macro_rules! record {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $crate::field::Field for $name {
            const SIZE: usize = 0 $(+ <$type as $crate::field::Field>::SIZE)*;
            fn read(from: &mut $crate::field::Reader<'_>) -> Option<Self> {
                Some(Self { $($field: $crate::field::Field::read(from)?,)* })
            }
            fn write(&self, to: &mut impl $crate::field::Sink) {
                $($crate::field::Field::write(&self.$field, to);)*
            }
        }
    };
}
pub(crate) use record;
