//! What a run's counts mean for whoever called vmlab. Pure.

use super::stop::Stop;
use vmlab_events::event::Counts;
use vmlab_events::exit;
use vmlab_events::schedule::Repetition;

/// The exit code of a run: the gravest thing that happened.
///
/// What makes the other results doubtful comes first: an interruption, then the lab's own failures, then crashes. What
/// is flaky has failed: whoever retries wants to get on, and not to be told that all is well.
#[must_use]
pub(crate) const fn of(counts: &Counts, stopped: Option<Stop>, repetition: Repetition) -> u8 {
    // A search for a failure has no other end than its limit, and where everything ran, it was a search.
    let limit_is_the_end = matches!(repetition, Repetition::UntilFailure { .. }) && counts.not_run == 0;
    if matches!(stopped, Some(Stop::Interrupted)) {
        exit::INTERRUPTED
    } else if counts.lab > 0 {
        exit::LAB
    } else if counts.crashed > 0 {
        exit::CRASHED
    } else if counts.timed_out > 0 || (stopped.is_some() && !limit_is_the_end) {
        exit::TIMED_OUT
    } else if counts.bad > 0 || counts.flaky > 0 {
        exit::FAILED
    } else if counts.not_run > 0 {
        // Something that was to run did not, and nothing above says why: not to be taken for success.
        exit::LAB
    } else if counts.good == 0 {
        exit::NOTHING_RAN
    } else {
        exit::OK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &Counts, stopped: Option<Stop>) -> u8 {
        super::of(counts, stopped, Repetition::Once)
    }

    #[test]
    fn what_is_flaky_is_no_success() {
        let flaky = Counts { good: 5, flaky: 1, ..Counts::default() };
        assert_eq!(super::of(&flaky, None, Repetition::Retries { at_most: 2 }), exit::FAILED);
        assert_eq!(super::of(&Counts { crashed: 1, ..flaky }, None, Repetition::Once), exit::CRASHED);
    }

    #[test]
    fn the_limit_of_a_search_for_a_failure_is_its_end() {
        let limit = Some(Stop::RunLimit(std::time::Duration::from_secs(1)));
        let until = Repetition::UntilFailure { at_most: None };
        let good = Counts { good: 5, ..Counts::default() };
        assert_eq!(super::of(&good, limit, until), exit::OK);
        assert_eq!(super::of(&Counts { flaky: 1, ..good }, limit, until), exit::FAILED);
        assert_eq!(super::of(&Counts { not_run: 1, ..good }, limit, until), exit::TIMED_OUT);
        assert_eq!(super::of(&good, Some(Stop::Interrupted), until), exit::INTERRUPTED);
        assert_eq!(super::of(&good, limit, Repetition::Runs { count: 9 }), exit::TIMED_OUT);
    }

    #[test]
    fn only_good_and_skipped_is_success() {
        let none = Counts::default();
        assert_eq!(of(&none, None), exit::NOTHING_RAN);
        assert_eq!(of(&Counts { skipped: 3, ..none }, None), exit::NOTHING_RAN);
        let good = Counts { good: 5, skipped: 1, ..none };
        assert_eq!(of(&good, None), exit::OK);
        assert_eq!(of(&good, Some(Stop::Interrupted)), exit::INTERRUPTED);
        let limit = Stop::RunLimit(std::time::Duration::from_secs(1));
        assert_eq!(of(&Counts { not_run: 1, ..good }, Some(limit)), exit::TIMED_OUT);
        assert_eq!(of(&Counts { bad: 1, ..good }, None), exit::FAILED);
        assert_eq!(of(&Counts { bad: 1, timed_out: 1, ..good }, None), exit::TIMED_OUT);
        assert_eq!(of(&Counts { bad: 1, crashed: 1, timed_out: 1, ..good }, None), exit::CRASHED);
        assert_eq!(of(&Counts { crashed: 1, lab: 1, ..good }, None), exit::LAB);
        assert_eq!(of(&Counts { not_run: 1, ..good }, None), exit::LAB);
    }
}
