//! What can go wrong in a leg, and the errnos that are answers rather than errors.

use std::{fmt, io};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// A leg could not do what it was to do: the step and its error, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble(pub String);

impl Trouble {
    /// With this sentence.
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the step in which an error came up.
pub trait During<T> {
    /// The value, or a [`Trouble`] that says which step met which error.
    ///
    /// # Errors
    /// The error that there was.
    fn during(self, step: impl fmt::Display) -> Result<T, Trouble>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, step: impl fmt::Display) -> Result<T, Trouble> {
        self.map_err(|error| Trouble(format!("{step}: {error}")))
    }
}

/// An errno that a system call gave as its answer. Its `Debug` form is the errno's name, as `ESRCH`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code(i32);

impl Code {
    /// As nix has it.
    #[must_use]
    pub fn errno(self) -> Errno {
        Errno::from_raw(self.0)
    }
}

impl From<Errno> for Code {
    fn from(errno: Errno) -> Self {
        Self(errno as i32)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.errno(), f)
    }
}

/// What a system call answered, where the errno is the observation and not a mishap.
pub type Answer<T = ()> = Result<T, Code>;

/// The refusal with this errno, as an answer to hold others against.
pub fn refused<T>(errno: Errno) -> Answer<T> {
    Err(errno.into())
}

/// Takes a call's result as an answer.
///
/// # Errors
/// Never for an errno; [`Trouble`] for an error of `std::io` that did not come from the system.
pub fn answer<T>(step: &str, result: Result<T, impl Into<io::Error>>) -> Result<Answer<T>, Trouble> {
    match result.map_err(Into::into) {
        Ok(value) => Ok(Ok(value)),
        Err(error) => match error.raw_os_error() {
            Some(code) => Ok(Err(Code(code))),
            None => Err(Trouble(format!("{step}: {error}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_are_answers_and_other_errors_are_troubles() {
        assert_eq!(answer("kill(2)", Err::<(), _>(Errno::ESRCH)), Ok(refused(Errno::ESRCH)));
        assert_eq!(answer("open(2)", Err::<(), _>(io::Error::from_raw_os_error(2))), Ok(refused(Errno::ENOENT)));
        assert_eq!(answer("connect(2)", Err::<(), _>(io::Error::other("odd"))), Err(Trouble::new("connect(2): odd")));
        assert_eq!(format!("{:?}", refused::<()>(Errno::EAGAIN)), "Err(EAGAIN)");
    }
}
