//! The exit code of a command, and what is to be said about its end. Pure.

use vmlab_events::event::JobReport;
use vmlab_events::verdict::{Class, Failure, NotRunReason, Timeout, Verdict};
use vmlab_protocol::command::CommandEnd;

/// No result: the lab failed, or the kernel crashed or did not boot.
pub(super) const NO_RESULT: u8 = 125;
/// Ends `git bisect run`: the mistake is in the command line, and no commit is to be judged by it.
pub(super) const STOP_BISECT: u8 = 128;
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const TIMED_OUT: u8 = 124;
const FAILED: u8 = 1;
const INTERRUPTED: u8 = 130;

/// The exit code for the verdict on a command.
pub(super) fn code(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Passed => 0,
        Verdict::Failed { reason: Failure::Command(end) } => match end {
            CommandEnd::Exited { code } => *code,
            CommandEnd::Killed { signal } => 128_u8.saturating_add(u8::try_from(*signal).unwrap_or(127)),
            CommandEnd::NotFound { .. } => NOT_FOUND,
            CommandEnd::NotExecutable { .. } => NOT_EXECUTABLE,
        },
        Verdict::Failed { reason: Failure::KernelWarned { .. } } | Verdict::Flaky { .. } => FAILED,
        Verdict::TimedOut { reason: Timeout::Leg { .. } } => TIMED_OUT,
        Verdict::NotRun { reason: NotRunReason::Interrupted } => INTERRUPTED,
        _ => NO_RESULT,
    }
}

/// The exit code for `git bisect run`: 0 for good, 125 for a kernel that cannot be tested, 1 to 127 for bad; others end the search
/// (git-bisect(1)).
pub(super) fn bisect_code(verdict: &Verdict) -> u8 {
    match code(verdict) {
        NO_RESULT if matches!(verdict.class(), Class::Crashed | Class::TimedOut) => FAILED,
        code @ ..=127 => code,
        INTERRUPTED => INTERRUPTED,
        _ => FAILED,
    }
}

/// The gravest of several exit codes.
pub(super) fn worst(codes: impl IntoIterator<Item = u8>) -> u8 {
    let gravity = |code: &u8| match *code {
        0 => 0,
        INTERRUPTED => 5,
        NO_RESULT => 4,
        TIMED_OUT => 3,
        NOT_EXECUTABLE | NOT_FOUND => 2,
        _ => 1,
    };
    codes.into_iter().max_by_key(gravity).unwrap_or(NO_RESULT)
}

/// The sentence that goes with the verdict; empty for a pass.
pub(super) fn detail(verdict: &Verdict) -> String {
    match verdict {
        Verdict::TimedOut { reason: Timeout::Leg { limit_ms, .. } } => {
            format!("it did not end within --timeout, {} s", limit_ms / 1000)
        }
        // A command has no legs that the user knows of.
        Verdict::Failed { reason: Failure::LegFailed { detail, .. } } => detail.clone(),
        verdict => verdict.detail(),
    }
}

/// What the program itself could not say: why there is no exit code of its own, or why the exit code is not its own.
pub(super) fn explanation(report: &JobReport) -> Option<String> {
    let detail = detail(&report.verdict);
    match &report.verdict {
        Verdict::Passed | Verdict::Failed { reason: Failure::Command(CommandEnd::Exited { .. }) } => None,
        Verdict::Failed { reason: Failure::Command(end) } => match end {
            // Users send these signals themselves.
            CommandEnd::Killed { signal: 1 | 2 | 9 | 13 | 15 } => None,
            CommandEnd::Killed { signal: 4 } => Some(format!(
                "{detail}; a program that was compiled for this machine's CPU may use instructions that the guest's CPU does \
                 not have (AVX-512 under TCG)"
            )),
            _ => Some(detail),
        },
        verdict @ Verdict::KernelCrashed { trace, .. } => {
            let lines: String = trace.iter().flat_map(|line| ["\n  ", line]).collect();
            Some(format!("{}: {detail}{lines}", verdict.label()))
        }
        verdict => Some(format!("{}: {detail}", verdict.label())),
    }
}

/// A kernel warning that the verdict does not name: the program failed in another way, or warnings are allowed.
pub(super) fn warned(report: &JobReport) -> Option<String> {
    if matches!(report.verdict, Verdict::Failed { reason: Failure::KernelWarned { .. } }) {
        return None;
    }
    report.warnings.first().map(|warning| format!("the kernel warned while the program ran: {warning}"))
}

#[cfg(test)]
mod tests {
    use vmlab_events::job::{CommandId, Job};
    use vmlab_events::target::TargetId;
    use vmlab_events::verdict::Violation;
    use vmlab_protocol::message::Leg;

    use super::*;

    fn failed(end: CommandEnd) -> Verdict {
        Verdict::Failed { reason: Failure::Command(end) }
    }

    fn crash() -> Verdict {
        Verdict::KernelCrashed {
            what: "Kernel panic".to_owned(),
            trace: vec!["Call Trace:".to_owned()],
            kind: None,
            fingerprint: None,
            task: None,
            pvpanic: None,
            suite: None,
        }
    }

    #[test]
    fn each_verdict_has_an_exit_code() {
        let violation = Verdict::ProtocolViolation {
            reason: Violation::Undecided { subject: None, control: None },
            evidence: None,
        };
        for (verdict, expected, in_bisect) in [
            (Verdict::Passed, 0, 0),
            (failed(CommandEnd::Exited { code: 3 }), 3, 3),
            (failed(CommandEnd::Exited { code: 200 }), 200, 1),
            (failed(CommandEnd::Killed { signal: 11 }), 139, 1),
            (failed(CommandEnd::NotFound { detail: String::new() }), 127, 127),
            (failed(CommandEnd::NotExecutable { detail: String::new() }), 126, 126),
            (Verdict::TimedOut { reason: Timeout::Leg { leg: Leg::Subject, limit_ms: 1000 } }, 124, 124),
            (crash(), 125, 1),
            (violation, 125, 125),
            (Verdict::NotRun { reason: NotRunReason::Interrupted }, 130, 130),
        ] {
            assert_eq!((code(&verdict), bisect_code(&verdict)), (expected, in_bisect), "{verdict:?}");
        }
    }

    #[test]
    fn the_gravest_exit_code_counts() {
        assert_eq!(worst([0, 3, 0]), 3);
        assert_eq!(worst([3, 127, 139]), 127);
        assert_eq!(worst([124, 125, 1]), 125);
        assert_eq!(worst([]), NO_RESULT);
    }

    #[test]
    fn only_what_the_program_cannot_say_is_explained() {
        let job = Job::Command(CommandId::of_program("x".as_ref()));
        let said =
            |verdict| explanation(&JobReport::without_guest(TargetId::new("k".to_owned()), job.clone(), verdict));
        assert_eq!(said(failed(CommandEnd::Exited { code: 3 })), None);
        assert_eq!(said(failed(CommandEnd::Killed { signal: 15 })), None);
        assert!(said(failed(CommandEnd::Killed { signal: 4 })).is_some_and(|text| text.contains("AVX-512")));
        assert_eq!(said(crash()).as_deref(), Some("CRASH: Kernel panic\n  Call Trace:"));
    }
}
