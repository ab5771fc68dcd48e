//! Errors of a leg, and errnos that are observations rather than errors.

use std::{fmt, io};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// The step of a leg that failed and its error, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::box_collection, reason = "a result with a pointer for an error fits into registers")]
pub(crate) struct Trouble {
    text: Box<String>,
}

impl Trouble {
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self::of(&what)
    }

    /// Once for all types, because this is called in hundreds of places.
    #[cold]
    #[inline(never)]
    fn of(what: &dyn fmt::Display) -> Self {
        Self { text: Box::new(what.to_string()) }
    }

    pub(crate) fn into_text(self) -> String {
        *self.text
    }
}

/// A trouble of this text.
#[expect(non_snake_case, reason = "reads as the constructor of a tuple struct")]
pub(crate) fn Trouble(text: String) -> Trouble {
    Trouble::new(text)
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Adds the failed step to an error.
pub(crate) trait During<T> {
    /// Converts an error to a [`Trouble`] with the name of the step.
    fn during(self, step: impl fmt::Display) -> Result<T, Trouble>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, step: impl fmt::Display) -> Result<T, Trouble> {
        self.map_err(|error| failed(&step, &error))
    }
}

/// Once for all types of steps and errors, because this is called in hundreds of places.
#[cold]
#[inline(never)]
fn failed(step: &dyn fmt::Display, error: &dyn fmt::Display) -> Trouble {
    Trouble::new(format_args!("{step}: {error}"))
}

/// An errno that a system call returned. The `Debug` form is the errno's name, for example `ESRCH`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code(i32);

impl Code {
    #[must_use]
    pub(crate) fn errno(self) -> Errno {
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

/// The result of a system call whose errno is an observation and not an error.
pub(crate) type Answer<T = ()> = Result<T, Code>;

/// The answer with this errno, to compare others with.
pub(crate) fn refused<T>(errno: Errno) -> Answer<T> {
    Err(errno.into())
}

/// Converts a call's result to an answer.
///
/// # Errors
/// [`Trouble`] for an error of `std::io` without an errno.
pub(crate) fn answer<T>(step: &str, result: Result<T, impl Into<io::Error>>) -> Result<Answer<T>, Trouble> {
    match result.map_err(Into::into) {
        Ok(value) => Ok(Ok(value)),
        Err(error) => match error.raw_os_error() {
            Some(code) => Ok(Err(Code(code))),
            None => Err(Trouble::new(format_args!("{step}: {error}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_an_answer_and_other_errors_are_troubles() {
        assert_eq!(answer("kill(2)", Err::<(), _>(Errno::ESRCH)), Ok(refused(Errno::ESRCH)));
        assert_eq!(answer("open(2)", Err::<(), _>(io::Error::from_raw_os_error(2))), Ok(refused(Errno::ENOENT)));
        assert_eq!(answer("connect(2)", Err::<(), _>(io::Error::other("odd"))), Err(Trouble::new("connect(2): odd")));
        assert_eq!(format!("{:?}", refused::<()>(Errno::EAGAIN)), "Err(EAGAIN)");
    }
}
