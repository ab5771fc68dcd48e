//! What a job's legs and the kernel's own reports say.

use vmlab_console::{Finding, Severity};
use vmlab_protocol::command::CommandEnd;
use vmlab_protocol::message::LegOutcome;

use super::{count, duration};
use crate::clean;
use crate::event::LegReport;

/// What a leg found, on one clean line: `leaked: the name showed outside (0.4 ms)`.
#[must_use]
pub fn leg(report: &LegReport) -> String {
    let (outcome, detail) = match &report.outcome {
        LegOutcome::Available => ("available", String::new()),
        LegOutcome::Missing { evidence } => ("missing", clean::line(evidence)),
        LegOutcome::Isolated { detail } => ("isolated", clean::line(detail)),
        LegOutcome::Leaked { detail } => ("leaked", clean::line(detail)),
        LegOutcome::Reported => ("reported", String::new()),
        LegOutcome::Ended(end) => ("ended", clean::line(&command_end(end))),
        LegOutcome::Measured { figures, inconclusive } => ("measured", costs(figures.len(), inconclusive.len())),
        LegOutcome::Failed { detail } => ("failed", clean::line(detail)),
        LegOutcome::Died { how } => ("died", clean::line(how)),
        LegOutcome::TimedOut { limit_ms } => ("timed out", format!("killed after {}", duration(*limit_ms))),
    };
    let colon = if detail.is_empty() { "" } else { ": " };
    let us = report.duration_ns / 1000;
    format!("{outcome}{colon}{detail} ({}.{:03} ms)", us / 1000, us % 1000)
}

fn costs(measured: usize, inconclusive: usize) -> String {
    let gaps = if inconclusive == 0 { String::new() } else { format!(", {inconclusive} inconclusive") };
    format!("{}{gaps}", count(measured, "cost"))
}

/// How a command ended: `it exited with 3`.
#[must_use]
pub fn command_end(end: &CommandEnd) -> String {
    match end {
        CommandEnd::Exited { code } => format!("it exited with {code}"),
        CommandEnd::Killed { signal } => match signal_name(*signal) {
            Some(name) => format!("it was killed by {name} (signal {signal})"),
            None => format!("it was killed by signal {signal}"),
        },
        CommandEnd::NotFound { detail } => format!("not found: {detail}"),
        CommandEnd::NotExecutable { detail } => format!("it cannot be executed: {detail}"),
    }
}

/// The names of x86's signals that end a program by default (signal(7)).
const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        16 => "SIGSTKFLT",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        29 => "SIGIO",
        30 => "SIGPWR",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// The name of a kernel report that is no crash.
#[must_use]
pub const fn warning(found: &Finding) -> &'static str {
    match found.severity {
        Severity::Note => "kernel note",
        Severity::Warned | Severity::Broken | Severity::Fatal => "kernel warning",
    }
}

#[cfg(test)]
mod tests {
    use vmlab_protocol::message::Leg;

    use super::*;

    #[test]
    fn a_leg_is_one_line() {
        let outcome = LegOutcome::Leaked { detail: "a\nb\x1b".to_owned() };
        let report = LegReport { leg: Leg::Subject, outcome, duration_ns: 1_234_567 };
        assert_eq!(leg(&report), "leaked: a\\nb\\x1b (1.234 ms)");
    }
}
