//! Guards that undo a trial's changes outside its sandbox, however the trial ends.

use std::cell::RefCell;
use std::fmt;

use super::Trouble;

thread_local! {
    /// The failed undo actions of this process. A destructor cannot return an error, so it stores the error here, and
    /// [`check_undone`] makes it the leg's trouble: a leg that left its guest changed must not pass.
    static FAILURES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs an undo action when it goes out of scope.
#[must_use = "the undo action runs when this is dropped"]
pub(crate) struct Undo<'a> {
    what: &'static str,
    back: Box<dyn FnMut() -> Result<(), Trouble> + 'a>,
}

impl<'a> Undo<'a> {
    /// `what` names the changed thing in an error message. The guard calls `back` once.
    pub(crate) fn new(what: &'static str, back: impl FnMut() -> Result<(), Trouble> + 'a) -> Self {
        Self { what, back: Box::new(back) }
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Err(trouble) = (self.back)() {
            failed(format_args!("{}: {trouble}", self.what));
        }
    }
}

/// Records a failed undo action.
pub(crate) fn failed(what: impl fmt::Display) {
    FAILURES.with_borrow_mut(|failures| failures.push(what.to_string()));
}

/// Returns `result`, or the undo actions that failed since the last call.
///
/// # Errors
/// The result's own trouble, followed by the failed undo actions.
pub(crate) fn check_undone<T>(result: Result<T, Trouble>) -> Result<T, Trouble> {
    let failures = FAILURES.take();
    if failures.is_empty() {
        return result;
    }
    let left = format!("could not restore {}", failures.join("; "));
    Err(match result {
        Ok(_) => Trouble::new(left),
        Err(trouble) => Trouble::new(format_args!("{trouble}; and {left}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_undo_is_the_legs_trouble_once() {
        drop(Undo::new("the clock", || Err(Trouble::new("clock_settime(2): EPERM"))));
        assert_eq!(check_undone(Ok(1)), Err(Trouble::new("could not restore the clock: clock_settime(2): EPERM")));
        drop(Undo::new("the name", || Ok(())));
        assert_eq!(check_undone(Ok(1)), Ok(1));
        failed("the mount");
        assert_eq!(
            check_undone(Err::<(), _>(Trouble::new("mount(2): EBUSY"))),
            Err(Trouble::new("mount(2): EBUSY; and could not restore the mount"))
        );
    }
}
