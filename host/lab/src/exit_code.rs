//! The exit code of a run. Pure.

use super::stop::Stop;
use vmlab_events::event::Counts;
use vmlab_events::exit;
use vmlab_events::schedule::Repetition;

/// The exit code of a run, by its most serious result.
///
/// Results that make others doubtful come first: an interruption, then the lab's own failures, then crashes. A flaky
/// job counts as failed: retries let a run continue, but do not make it a success.
#[must_use]
pub(crate) const fn of(counts: &Counts, stopped: Option<Stop>, repetition: Repetition) -> u8 {
    // A search for a failure ends with its limit; if every job ran, this is no timeout.
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
        // A job did not run for no reason above: this must not count as a success.
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
    fn a_flaky_job_is_no_success() {
        let flaky = Counts { good: 5, flaky: 1, ..Counts::default() };
        assert_eq!(super::of(&flaky, None, Repetition::Retries { at_most: 2 }), exit::FAILED);
        assert_eq!(super::of(&Counts { crashed: 1, ..flaky }, None, Repetition::Once), exit::CRASHED);
    }

    #[test]
    fn a_search_for_a_failure_ends_regularly_at_its_limit() {
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
