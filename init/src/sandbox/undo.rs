//! Putting back what a trial changed outside its sandbox, however the trial ends.

use std::cell::RefCell;
use std::fmt;

use super::Trouble;

thread_local! {
    /// What this process could not put back. A destructor has nobody to return an error to, so it is kept here and
    /// [`settle`] turns it into the leg's trouble: a guest that was left changed must not look like a good one.
    static FAILURES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Puts something back when it goes out of scope.
#[must_use = "it puts things back as soon as it is dropped"]
pub struct Undo<F: FnMut() -> Result<(), Trouble>> {
    what: &'static str,
    back: F,
}

impl<F: FnMut() -> Result<(), Trouble>> Undo<F> {
    /// `back` will be called once; `what` names it in the trouble that it may make.
    pub const fn new(what: &'static str, back: F) -> Self {
        Self { what, back }
    }
}

impl<F: FnMut() -> Result<(), Trouble>> Drop for Undo<F> {
    fn drop(&mut self) {
        if let Err(trouble) = (self.back)() {
            failed(format_args!("{}: {trouble}", self.what));
        }
    }
}

/// Notes that something could not be put back.
pub fn failed(what: impl fmt::Display) {
    FAILURES.with_borrow_mut(|failures| failures.push(what.to_string()));
}

/// The result, unless something could not be put back since the last call.
///
/// # Errors
/// What could not be put back, after the result's own trouble, if any.
pub fn settle<T>(result: Result<T, Trouble>) -> Result<T, Trouble> {
    let failures = FAILURES.take();
    if failures.is_empty() {
        return result;
    }
    let left = format!("could not put back {}", failures.join("; "));
    Err(Trouble(match result {
        Ok(_) => left,
        Err(trouble) => format!("{trouble}; and {left}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_put_back_is_the_leg_s_trouble_once() {
        drop(Undo::new("the clock", || Err(Trouble::new("clock_settime(2): EPERM"))));
        assert_eq!(settle(Ok(1)), Err(Trouble::new("could not put back the clock: clock_settime(2): EPERM")));
        drop(Undo::new("the name", || Ok(())));
        assert_eq!(settle(Ok(1)), Ok(1));
        failed("the mount");
        assert_eq!(
            settle(Err::<(), _>(Trouble::new("mount(2): EBUSY"))),
            Err(Trouble::new("mount(2): EBUSY; and could not put back the mount"))
        );
    }
}
