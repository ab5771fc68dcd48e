use super::*;
use vmlab_events::fixture;
use vmlab_events::loss::Deadline;
use vmlab_events::verdict::{LaunchFailure, Seen, SkipReason, StartFailure, Timeout};

const KERNEL: &str = "debian:bookworm";

fn specs() -> Vec<JobSpec> {
    fixture::scenarios().into_iter().map(JobSpec::from).collect()
}

fn kernel() -> TargetId {
    TargetId::new(KERNEL)
}

fn failed() -> Verdict {
    fixture::failed("it showed")
}

fn skipped() -> Verdict {
    let (symbols, evidence) = (vec!["CONFIG_UTS_NS".to_owned()], "ENOSYS".to_owned());
    Verdict::Skipped { reason: SkipReason::ConfigNotSet { symbols, evidence } }
}

fn crashed() -> Verdict {
    Verdict::KernelCrashed {
        what: "Oops".to_owned(),
        trace: Vec::new(),
        kind: None,
        fingerprint: None,
        task: None,
        pvpanic: None,
        suite: None,
    }
}

fn not_run() -> Verdict {
    fixture::interrupted()
}

fn run_limit() -> Verdict {
    let (deadline, text) = (Some(Deadline::Run), "the run limit of 1000 ms passed".to_owned());
    Verdict::TimedOut { reason: Timeout::Recorded { deadline, text } }
}

/// A tracker with one job, and the events about it.
struct Case {
    tracker: AttemptTracker,
    id: Job,
    events: Vec<LabEvent>,
}

impl Case {
    fn new(repetition: Repetition) -> Self {
        let (tracker, spec) = (AttemptTracker::new(repetition), specs().swap_remove(0));
        tracker.open(&[kernel()], std::slice::from_ref(&spec));
        Self { tracker, id: spec.job(), events: Vec::new() }
    }

    fn take(&mut self, verdict: Verdict, end: AttemptEnd, over: bool) -> &mut Self {
        let attempt = if end == AttemptEnd::Never { 1 } else { self.tracker.next_number(&kernel(), &self.id) };
        let report = JobReport::without_guest(kernel(), self.id.clone(), verdict);
        self.events.extend(self.tracker.take(JobReport { attempt, ..report }, end, over));
        self
    }

    fn made(&mut self, verdict: Verdict) -> &mut Self {
        self.take(verdict, AttemptEnd::Complete, false)
    }

    /// Makes the attempt that is due.
    fn made_due(&mut self, verdict: Verdict) -> &mut Self {
        let attempt = self.tracker.next_due(&kernel(), &self.id).unwrap();
        let report = JobReport::without_guest(kernel(), self.id.clone(), verdict);
        self.events.extend(self.tracker.take(JobReport { attempt, ..report }, AttemptEnd::Complete, false));
        self
    }

    fn is_due(&self) -> bool {
        let jobs = self.tracker.jobs.borrow();
        let attempted = &jobs[&(kernel(), self.id.clone())];
        attempted.due || !attempted.lost.is_empty()
    }

    /// The labels of all events, and the numbers of runs and failures in the final report.
    fn end(&mut self, stopped: Option<Stop>) -> (String, Option<(u32, u32)>) {
        assert!(!self.is_due());
        self.events.extend(self.tracker.close(stopped));
        let labels = self.events.iter().map(|event| match event {
            LabEvent::JobAttempted(report) => format!("{}:{}", report.attempt, report.verdict.label()),
            LabEvent::JobFinished(report) => format!("{}={}", report.attempt, report.verdict.label()),
            LabEvent::Notice { .. } => "note".to_owned(),
            other => panic!("{other:?}"),
        });
        let labels = labels.collect::<Vec<_>>().join(" ");
        let attempts = self.last().attempts.as_ref().map(|attempts| (attempts.runs, attempts.failures));
        assert_eq!(labels.matches('=').count(), 1, "one final verdict: {labels}");
        (labels, attempts)
    }

    fn last(&self) -> &JobReport {
        match self.events.last() {
            Some(LabEvent::JobFinished(report)) => report,
            other => panic!("{other:?}"),
        }
    }
}

fn labels(labels: &str, attempts: Option<(u32, u32)>) -> (String, Option<(u32, u32)>) {
    (labels.to_owned(), attempts)
}

const TWO: Repetition = Repetition::Retries { at_most: 2 };
const THREE_RUNS: Repetition = Repetition::Runs { count: 3 };
const SEARCH: Repetition = Repetition::UntilFailure { at_most: None };

#[test]
fn without_repetition_there_is_one_attempt() {
    for (verdict, end, label) in [
        (Verdict::Passed, AttemptEnd::Complete, "1=PASS"),
        (failed(), AttemptEnd::Complete, "1=FAIL"),
        (run_limit(), AttemptEnd::Cut, "1=TIMEOUT"),
        (not_run(), AttemptEnd::Never, "1=NOT-RUN"),
    ] {
        assert_eq!(Case::new(Repetition::Once).take(verdict, end, false).end(None), labels(label, None));
    }
}

#[test]
fn a_retry_is_due_only_after_a_failure_and_up_to_the_limit() {
    for good in [Verdict::Passed, skipped()] {
        let mut case = Case::new(TWO);
        assert!(!case.made(good.clone()).is_due());
        assert_eq!(case.end(None), labels(&format!("1={}", good.label()), None));
    }
    let mut case = Case::new(TWO);
    assert!(case.made(failed()).is_due());
    assert!(case.made(crashed()).is_due());
    assert!(!case.made(failed()).is_due());
    assert_eq!(case.end(None), labels("1:FAIL 2:CRASH 3:FAIL 1=FAIL", Some((3, 3))));
}

#[test]
fn what_fails_and_then_does_not_is_flaky_and_never_passed() {
    for good in [Verdict::Passed, skipped(), Verdict::Leaks { seen: Seen::Finding("it shows".to_owned()) }] {
        let mut case = Case::new(TWO);
        case.made(crashed()).made(good.clone());
        assert_eq!(case.end(None), labels(&format!("1:CRASH 2:{} 1=FLAKY", good.label()), Some((2, 1))));
        assert_eq!(case.last().verdict.detail(), "1 of 2 attempts failed, first with CRASH: Oops");
        assert_eq!(case.last().verdict.class(), Class::Flaky);
    }
}

#[test]
fn the_end_of_the_run_ends_the_retries_and_the_first_verdict_stands() {
    // No retry follows, so the first attempt's report is the final one.
    assert_eq!(Case::new(TWO).take(failed(), AttemptEnd::Complete, true).end(None), labels("1=FAIL", None));
    // The retry was cut short.
    let mut case = Case::new(TWO);
    case.made(failed()).take(run_limit(), AttemptEnd::Cut, true);
    assert_eq!(case.end(None), labels("1:FAIL 2:NOT-RUN 1=FAIL", Some((1, 1))));
    // The retry never began.
    let mut case = Case::new(TWO);
    case.made(crashed()).take(not_run(), AttemptEnd::Never, true);
    assert_eq!(case.end(Some(Stop::Interrupted)), labels("1:CRASH 1=CRASH", Some((1, 1))));
}

#[test]
fn equal_runs_keep_their_verdict_and_different_runs_are_flaky() {
    let end = |verdicts: [Verdict; 3]| {
        let mut case = Case::new(THREE_RUNS);
        for verdict in verdicts {
            case.made(verdict);
        }
        let ended = case.end(None);
        (ended, case.last().verdict.detail())
    };
    let passed = || Verdict::Passed;
    assert_eq!(end([passed(), passed(), passed()]).0, labels("1:PASS 2:PASS 3:PASS 1=PASS", Some((3, 0))));
    assert_eq!(end([skipped(), skipped(), skipped()]).0, labels("1:SKIP 2:SKIP 3:SKIP 1=SKIP", Some((3, 0))));
    assert_eq!(end([failed(), crashed(), failed()]).0, labels("1:FAIL 2:CRASH 3:FAIL 1=FAIL", Some((3, 3))));
    let (ended, detail) = end([passed(), crashed(), failed()]);
    assert_eq!(ended, labels("1:PASS 2:CRASH 3:FAIL 2=FLAKY", Some((3, 2))));
    assert_eq!(detail, "2 of 3 attempts failed, first with CRASH after 1 good one: Oops");
    let (ended, detail) = end([passed(), skipped(), passed()]);
    assert_eq!(ended, labels("1:PASS 2:SKIP 3:PASS 2=FLAKY", Some((3, 0))));
    assert_eq!(
        detail,
        "skipped in some of 3 attempts and not in others: needs CONFIG_UTS_NS (not set in this kernel): ENOSYS"
    );
}

#[test]
fn fewer_runs_than_requested_are_no_pass() {
    let mut case = Case::new(THREE_RUNS);
    case.made(Verdict::Passed).take(not_run(), AttemptEnd::Cut, true).take(not_run(), AttemptEnd::Never, true);
    assert_eq!(case.end(Some(Stop::Interrupted)), labels("1:PASS 2:NOT-RUN 1=NOT-RUN", Some((1, 0))));
    let reason = "only 1 of 3 attempts were made, none of which failed: the run was interrupted";
    assert_eq!(case.last().verdict.detail(), reason);
    // A failure counts even if later runs were not made.
    let mut case = Case::new(THREE_RUNS);
    case.made(Verdict::Passed).made(failed()).take(not_run(), AttemptEnd::Never, true);
    assert_eq!(case.end(Some(Stop::Interrupted)), labels("1:PASS 2:FAIL 2=FLAKY", Some((2, 1))));
    // No run was made.
    let mut case = Case::new(THREE_RUNS);
    case.take(not_run(), AttemptEnd::Never, true);
    assert_eq!(case.end(Some(Stop::Interrupted)), labels("1=NOT-RUN", None));
    let (step, error) = (StartFailure::Process, "no QEMU".to_owned());
    let no_boot = Verdict::LaunchFailed { reason: LaunchFailure::NotStarted { step, error } };
    let mut case = Case::new(THREE_RUNS);
    case.take(no_boot.clone(), AttemptEnd::Never, false).take(no_boot, AttemptEnd::Never, false);
    assert_eq!(case.end(None), labels("1=NO-BOOT", None));
}

#[test]
fn runs_that_the_end_of_the_run_prevents_have_that_reason() {
    for (stopped, reason) in [
        (Some(Stop::Interrupted), "interrupted"),
        (Some(Stop::RunLimit(std::time::Duration::from_secs(4))), "4 s"),
        (None, "a fault in vmlab itself"),
    ] {
        let mut case = Case::new(THREE_RUNS);
        case.made(Verdict::Passed);
        assert_eq!(case.end(stopped), labels("1:PASS 1=NOT-RUN", Some((1, 0))));
        let detail = case.last().verdict.detail();
        assert!(detail.starts_with("only 1 of 3") && detail.contains(reason), "{detail}");
    }
}

#[test]
fn a_search_passes_with_any_number_of_runs_and_ends_with_the_first_failure() {
    let mut case = Case::new(SEARCH);
    case.made(Verdict::Passed).made(Verdict::Passed).take(not_run(), AttemptEnd::Cut, true);
    assert_eq!(case.tracker.has_found(), None);
    assert_eq!(case.end(Some(Stop::Interrupted)), labels("1:PASS 2:PASS 3:NOT-RUN 1=PASS", Some((2, 0))));
    let mut case = Case::new(SEARCH);
    case.made(Verdict::Passed).made(failed());
    assert_eq!(case.tracker.has_found(), Some(failure_found(case.id.clone(), kernel())));
    assert_eq!(case.end(None), labels("1:PASS 2:FAIL 2=FLAKY", Some((2, 1))));
    assert_eq!(
        case.last().verdict.detail(),
        "1 of 2 attempts failed, first with FAIL after 1 good one: not isolated: it showed"
    );
    // What fails at once and is not run again has failed.
    let mut case = Case::new(SEARCH);
    case.made(failed());
    assert_eq!(case.end(None), labels("1:FAIL 1=FAIL", Some((1, 1))));
}

#[test]
fn a_job_without_any_report_is_not_run() {
    for repetition in [Repetition::Once, TWO, THREE_RUNS, SEARCH] {
        let mut case = Case::new(repetition);
        assert_eq!(case.end(None), labels("1=NOT-RUN", None));
        assert!(case.last().verdict.detail().contains("a fault in vmlab itself"), "{:?}", case.last());
        let mut case = Case::new(repetition);
        case.end(Some(Stop::Interrupted));
        assert_eq!(case.last().verdict, not_run());
    }
}

fn lost() -> Verdict {
    let (step, error) = (StartFailure::Process, "fork: EAGAIN".to_owned());
    Verdict::LaunchFailed { reason: LaunchFailure::NotStarted { step, error } }
}

#[test]
fn an_attempt_that_the_host_lost_is_made_again_and_does_not_count() {
    let mut case = Case::new(TWO);
    case.made(lost()).made_due(Verdict::Passed);
    assert_eq!(case.end(None), labels("note 1=PASS", None));
    // A retry that the host lost keeps its number, so no retry is used up.
    let mut case = Case::new(Repetition::Retries { at_most: 1 });
    case.made(failed()).made_due(lost()).made_due(Verdict::Passed);
    assert_eq!(case.end(None), labels("1:FAIL note 2:PASS 1=FLAKY", Some((2, 1))));
    let mut case = Case::new(THREE_RUNS);
    case.made(Verdict::Passed).made(lost()).made(Verdict::Passed).made_due(Verdict::Passed);
    assert_eq!(case.end(None), labels("1:PASS note 3:PASS 2:PASS 1=PASS", Some((3, 0))));
    // Two attempts that are each lost once: each is made again.
    let mut case = Case::new(Repetition::Runs { count: 2 });
    case.made(lost()).made(lost()).made_due(Verdict::Passed).made_due(Verdict::Passed);
    assert_eq!(case.end(None), labels("note note 2:PASS 1:PASS 2=PASS", Some((2, 0))));
}

#[test]
fn an_attempt_that_the_host_lost_twice_makes_the_verdict_the_labs() {
    let mut case = Case::new(TWO);
    case.made(lost()).made_due(lost());
    assert_eq!(case.end(None), labels("note 1=NO-BOOT", None));
    let mut case = Case::new(TWO);
    case.made(failed()).made_due(lost()).made_due(lost());
    assert_eq!(case.end(None), labels("1:FAIL note 2=NO-BOOT", Some((1, 1))));
    let mut case = Case::new(THREE_RUNS);
    case.made(lost()).made_due(lost()).made(Verdict::Passed).made(failed());
    assert_eq!(case.end(None), labels("note 2:PASS 3:FAIL 1=NO-BOOT", Some((2, 1))));
    let mut case = Case::new(SEARCH);
    case.made(lost()).made_due(lost());
    assert!(case.tracker.has_found().is_some(), "a search ends");
    assert_eq!(case.end(None), labels("note 1=NO-BOOT", None));
    // Without repetition the verdict is the lab's at once.
    assert_eq!(Case::new(Repetition::Once).made(lost()).end(None), labels("1=NO-BOOT", None));
}
