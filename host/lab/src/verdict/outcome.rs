//! All evidence on a lost guest, merged into one [`Verdict`] on what it was to run. Pure.
//!
//! The order in which the evidence counts:
//!
//! 1. The user's interruption: nothing is known of what was cut off.
//! 2. A crash on the console. All other evidence is its consequence.
//! 3. A panic that the kernel reported to QEMU while its console was silent.
//! 4. The end of the whole run, and what the guest sent: another machine than was asked for, a violation of the protocol.
//! 5. The host: QEMU ended by a signal or through its monitor, or stopped. That is the lab's doing, even where a deadline
//!    passed because of it.
//! 6. A console that was cut before the guest's marker.
//! 7. The end of the guest or of QEMU; else the deadline that passed.

use vmlab_console::{ConsoleReader, Kind};
use vmlab_events::loss::{Phase, QemuEnd, ShutdownLine};
use vmlab_events::verdict::{
    BootConsole, GuestEnd, LackingDrivers, LaunchFailure, LossCause, Mismatch, NotRunReason, PassedDeadline, Timeout,
    Vanished, Verdict, Violation,
};
use vmlab_qemu::parameters;
use vmlab_qemu::qmp::ShutdownReason;

use super::evidence::{Evidence, GuestLoss};
use super::judge::crashed;

/// The title of a panic that only QEMU knows of.
const PVPANIC: &str = "the kernel reported a panic to QEMU (pvpanic)";

/// The verdict on what a lost guest was to run. It is never good, and never a skip.
#[must_use]
pub fn of(evidence: &Evidence<'_>) -> Verdict {
    let Evidence { loss, console, monitor, .. } = evidence;
    if **loss == GuestLoss::Interrupted {
        return Verdict::NotRun { reason: NotRunReason::Interrupted };
    }
    if let Some(crash) = console.crash {
        return crashed(crash, console.suite);
    }
    if monitor.knows_of_panic() {
        return Verdict::KernelCrashed {
            what: PVPANIC.to_owned(),
            trace: console.last_line.map(str::to_owned).into_iter().collect(),
            kind: Some(Kind::Panic),
            fingerprint: None,
            task: None,
            pvpanic: Some(evidence.link.phase),
            suite: console.suite.map(str::to_owned),
        };
    }
    match (loss, evidence.passed_deadline()) {
        (GuestLoss::RunLimit { .. }, Some(passed)) => timed_out(evidence, passed),
        (GuestLoss::WrongMachine(mismatch), _) => Verdict::LaunchFailed {
            reason: LaunchFailure::WrongMachine {
                mismatch: mismatch.clone(),
                evidence: evidence.for_verdict(),
                parameter: None,
            },
        },
        (GuestLoss::Violation(violation), _) => violated(evidence, violation.clone()),
        (GuestLoss::ConsoleCut, _) if by_host(evidence).is_none() && !has_ended_early(evidence) => {
            violated(evidence, Violation::ConsoleCut)
        }
        (_, passed) => match (by_host(evidence), passed) {
            (Some(cause), _) => lost(evidence, cause),
            // The end of the guest counts more than one sign of the end that did not come.
            (None, Some(passed)) if !has_ended(evidence) => timed_out(evidence, passed),
            (None, _) => lost(evidence, by_itself(evidence)),
        },
    }
}

/// What is known of a target before it boots.
#[derive(Debug, Clone, Copy)]
pub struct Booted<'a> {
    /// The guest's memory, in MiB.
    pub memory_mib: u32,
    /// The user's part of the command line.
    pub append: Option<&'a str>,
    /// Why the kernel probably has no driver for the control port.
    pub lacking: Option<&'a LackingDrivers>,
}

/// As [`of`], for a guest that never said hello, with what follows from its console, its memory and its modules. A kernel
/// that had too little memory to boot is the lab's doing, or that of a parameter in `append`. A boot that ended without an
/// explanation is described by the console's last line.
#[must_use]
pub fn at_boot(evidence: &Evidence<'_>, console: &ConsoleReader, booted: Booted<'_>) -> Verdict {
    let Booted { memory_mib, append, lacking } = booted;
    let limiting_memory = || append.and_then(parameters::limiting_memory).map(str::to_owned);
    match of(evidence) {
        crash @ Verdict::KernelCrashed { .. } => match out_of_memory(&crash.detail(), console) {
            None => crash,
            Some(line) => {
                let line = line.to_owned();
                let parameter = limiting_memory();
                Verdict::LaunchFailed { reason: LaunchFailure::OutOfMemory { line, memory_mib, parameter } }
            }
        },
        Verdict::ProtocolViolation { reason: Violation::ConsoleCut, evidence: Some(known) }
            if !console.kernel_spoke() =>
        {
            Verdict::LaunchFailed { reason: LaunchFailure::ConsoleSilent { evidence: known } }
        }
        Verdict::LaunchFailed { reason: LaunchFailure::WrongMachine { mismatch, evidence, .. } } => {
            let parameter = match mismatch {
                Mismatch::Memory { .. } => limiting_memory(),
                Mismatch::Cpus { .. } => append.and_then(parameters::limiting_cpus).map(str::to_owned),
                _ => None,
            };
            Verdict::LaunchFailed { reason: LaunchFailure::WrongMachine { mismatch, evidence, parameter } }
        }
        Verdict::LaunchFailed { mut reason } => {
            if let LaunchFailure::Lost { console: seen, evidence: known, .. }
            | LaunchFailure::TimedOut { console: seen, evidence: known, .. } = &mut reason
                && matches!(evidence.loss, GuestLoss::Ended | GuestLoss::Deadline { .. })
                && by_host(evidence).is_none()
            {
                if console.said_by_init().is_empty() {
                    *seen = end_of_boot(console, memory_mib, limiting_memory());
                }
                known.lacking = lacking.filter(|lacking| explains(lacking, console)).cloned();
            }
            Verdict::LaunchFailed { reason }
        }
        other => other,
    }
}

/// Whether the want of drivers may have ended a boot: the kernel ran, and, where the drivers may be there after all, PID 1
/// says what it misses.
fn explains(lacking: &LackingDrivers, console: &ConsoleReader) -> bool {
    let is_certain = matches!(lacking, LackingDrivers::Modules { .. });
    !console.said_by_init().is_empty() || is_certain && console.kernel_spoke()
}

/// Whether the guest ended before it had said goodbye: the console cannot survive that.
fn has_ended_early(evidence: &Evidence<'_>) -> bool {
    evidence.link.phase != Phase::Over && has_ended(evidence)
}

/// What something on the host did to QEMU, where it did something.
fn by_host(evidence: &Evidence<'_>) -> Option<LossCause> {
    match (&evidence.monitor.shutdown, evidence.qemu) {
        (Some(reason), _) if reason.is_by_host() => Some(LossCause::HostEndedQemu),
        (_, QemuEnd::Killed(_)) => Some(LossCause::QemuKilled),
        (_, QemuEnd::Lived { stopped: true }) => Some(LossCause::QemuStopped),
        _ => None,
    }
}

/// Whether the guest or its QEMU has come to an end that explains the rest.
fn has_ended(evidence: &Evidence<'_>) -> bool {
    let by_itself = matches!(evidence.qemu, QemuEnd::Exited(_) | QemuEnd::Killed(_));
    by_itself || evidence.monitor.shutdown.is_some() || evidence.console.shutdown_line.is_some()
}

/// The cause of a loss that the host did not bring about.
fn by_itself(evidence: &Evidence<'_>) -> LossCause {
    match evidence.loss {
        GuestLoss::Broken => LossCause::KernelBroke,
        GuestLoss::Host(fault) => LossCause::HostFault { fault: fault.clone() },
        _ => LossCause::Ended { guest: guest_end(evidence) },
    }
}

/// How the guest ended; none where only QEMU's end is known.
fn guest_end(evidence: &Evidence<'_>) -> Option<GuestEnd> {
    match (&evidence.monitor.shutdown, evidence.console.shutdown_line) {
        (_, Some(ShutdownLine::Halted)) => Some(GuestEnd::Halted),
        (Some(ShutdownReason::GuestShutdown), _) | (None, Some(ShutdownLine::PowerDown)) => Some(GuestEnd::PoweredOff),
        (_, Some(ShutdownLine::Restarting)) => Some(GuestEnd::Rebooted),
        (Some(ShutdownReason::GuestReset), _) => Some(GuestEnd::Reset),
        (Some(_), _) => Some(GuestEnd::ShutDown),
        (None, None) => evidence.monitor.reset.as_ref().map(|_| GuestEnd::MachineReset),
    }
}

fn lost(evidence: &Evidence<'_>, cause: LossCause) -> Verdict {
    let known = evidence.for_verdict();
    if evidence.link.booted {
        Verdict::GuestVanished { reason: Vanished::Lost { cause, evidence: known } }
    } else {
        Verdict::LaunchFailed { reason: LaunchFailure::Lost { cause, evidence: known, console: None } }
    }
}

fn timed_out(evidence: &Evidence<'_>, passed: PassedDeadline) -> Verdict {
    let known = evidence.for_verdict();
    if evidence.link.booted {
        Verdict::TimedOut { reason: Timeout::Guest { passed, evidence: known } }
    } else {
        Verdict::LaunchFailed { reason: LaunchFailure::TimedOut { passed, evidence: known, console: None } }
    }
}

fn violated(evidence: &Evidence<'_>, reason: Violation) -> Verdict {
    Verdict::ProtocolViolation { reason, evidence: Some(evidence.for_verdict()) }
}

/// The line that says that a crash while booting is for want of memory.
fn out_of_memory<'a>(crash: &'a str, console: &'a ConsoleReader) -> Option<&'a str> {
    const TITLES: &[&str] =
        &["Out of memory", "out of memory", "deadlocked on memory", "System is deadlocked", "can not alloc memory"];
    // The unpacked image lies in memory beside the kernel, and does not fit where there is little.
    const NO_IMAGE: &str = "Initramfs unpacking failed";
    if TITLES.iter().any(|title| crash.contains(title)) {
        return Some(crash);
    }
    let no_root = crash.contains("Unable to mount root fs");
    console.last_lines().find(|line| no_root && line.contains(NO_IMAGE)).map(str::trim)
}

/// How far a boot got; nothing where not even the console was opened.
fn end_of_boot(console: &ConsoleReader, memory_mib: u32, parameter: Option<String>) -> Option<Box<BootConsole>> {
    let last_line = console.last_lines().map(str::trim).rfind(|line| !line.is_empty())?.to_owned();
    Some(Box::new(BootConsole { last_line, kernel_spoke: console.kernel_spoke(), memory_mib, parameter }))
}

#[cfg(test)]
mod tests;
