//! All evidence on a guest that was lost, fused into one [`Verdict`] on what it was to run. Pure.
//!
//! The order in which the evidence counts:
//!
//! 1. The user's interruption: nothing is said of what was cut off.
//! 2. A crash on the console. Whatever else was seen is its consequence.
//! 3. A panic that the kernel told QEMU of while its console was silent.
//! 4. The end of the whole run, and what the guest said: another machine than was asked for, a violation of the protocol.
//! 5. Somebody on the host: QEMU ended by a signal or through its monitor, or stopped. That is the lab's doing, even where
//!    a limit passed because of it.
//! 6. A goodbye that its console did not come to.
//! 7. The end of the guest or of QEMU; else the limit that passed.

use super::evidence::{Evidence, GuestLoss};
use vmlab_console::{ConsoleReader, Kind};
use vmlab_events::loss::{LastWord, Phase, QemuEnd, Watchdog};
use vmlab_events::verdict::Verdict;
use vmlab_qemu::qmp::ShutdownReason;

/// What came of what a lost guest was to run. It is never good, and never a skip.
#[must_use]
pub fn of(evidence: &Evidence<'_>) -> Verdict {
    let Evidence { loss, console, monitor, .. } = evidence;
    if **loss == GuestLoss::Interrupted {
        return Verdict::NotRun { reason: "the run was interrupted".to_owned() };
    }
    if let Some(crash) = console.crash {
        return Verdict::crashed(crash);
    }
    if monitor.knows_of_panic() {
        let last = match console.last_line {
            Some(line) => format!("its console says nothing of it, and ends with: {line}"),
            None => "its console was silent".to_owned(),
        };
        let what = format!("the kernel told QEMU of a panic (pvpanic) {}; {last}", evidence.link.phase.when());
        let trace = console.last_line.map(str::to_owned).into_iter().collect();
        return Verdict::KernelCrashed { what, trace, kind: Some(Kind::Panic), fingerprint: None, task: None };
    }
    let detail = |first: &str| join([first.to_owned(), supplement(evidence)]);
    match loss {
        GuestLoss::Interrupted => Verdict::NotRun { reason: "the run was interrupted".to_owned() },
        GuestLoss::RunLimit { limit_ms } => {
            timed_out(evidence, Watchdog::Run, detail(&format!("the run limit of {limit_ms} ms passed")))
        }
        GuestLoss::WrongMachine(words) => Verdict::LaunchFailed { detail: detail(words) },
        GuestLoss::Violation(words) => Verdict::ProtocolViolation { detail: detail(words) },
        GuestLoss::Unheard if the_hosts(evidence).is_none() && !has_ended_early(evidence) => {
            Verdict::ProtocolViolation { detail: detail(UNHEARD) }
        }
        GuestLoss::Ended | GuestLoss::Unheard | GuestLoss::Watchdog { .. } | GuestLoss::Broken | GuestLoss::Host(_) => {
            the_hosts(evidence).map_or_else(|| the_guests(evidence), |cause| gone(evidence, detail(&cause)))
        }
    }
}

const UNHEARD: &str = "the console was cut: what the guest had its kernel print did not come out on it";

/// Whether the guest ended before it had said goodbye, which its console could not outlive.
fn has_ended_early(evidence: &Evidence<'_>) -> bool {
    evidence.link.phase != Phase::Over && has_ended(evidence)
}

/// What came of a guest that nobody on the host did anything to.
fn the_guests(evidence: &Evidence<'_>) -> Verdict {
    let detail = |first: &str| join([first.to_owned(), supplement(evidence)]);
    match evidence.loss {
        // That the last of several signs of the end did not come is of no interest: the end is.
        GuestLoss::Watchdog { which, limit_ms, stretched_ms } if !has_ended(evidence) => {
            timed_out(evidence, *which, detail(&limit_passed(*which, *limit_ms, *stretched_ms, evidence)))
        }
        GuestLoss::Broken => gone(evidence, detail("the kernel broke, and went on")),
        GuestLoss::Host(words) => gone(evidence, detail(words)),
        _ => gone(evidence, detail(&the_end(evidence))),
    }
}

/// [`of`], for a guest that never said hello: with what follows from its console and its memory. A kernel that had too
/// little to boot is the lab's doing, and one that ended without a word needs all words there are.
#[must_use]
pub fn at_boot(evidence: &Evidence<'_>, console: &ConsoleReader, memory_mib: u32) -> Verdict {
    match (of(evidence), evidence.loss) {
        (crashed @ Verdict::KernelCrashed { .. }, _) => match out_of_memory(crashed.detail(), console) {
            None => crashed,
            Some(words) => Verdict::LaunchFailed {
                detail: format!(
                    "the guest ran out of memory while it booted ({words}); it has {memory_mib} MiB, give it more with --memory"
                ),
            },
        },
        (Verdict::LaunchFailed { detail }, GuestLoss::Ended | GuestLoss::Watchdog { .. })
            if console.said_by_init().is_empty() && the_hosts(evidence).is_none() =>
        {
            Verdict::LaunchFailed { detail: format!("{detail}{}", last_words(console, memory_mib)) }
        }
        (other, _) => other,
    }
}

/// What somebody on the host did to QEMU, where somebody did.
fn the_hosts(evidence: &Evidence<'_>) -> Option<String> {
    let when = evidence.link.phase.when();
    match (&evidence.monitor.shutdown, evidence.qemu) {
        (Some(reason @ ShutdownReason::HostSignal), _) => {
            Some(format!("a signal told QEMU to end ({}) {when}", reason.name()))
        }
        (Some(reason @ ShutdownReason::HostMonitor(_)), _) => {
            Some(format!("QEMU was told to end through its monitor ({}) {when}", reason.name()))
        }
        (Some(reason @ ShutdownReason::HostError), _) => {
            Some(format!("QEMU met an error that it cannot go on with ({}) {when}", reason.name()))
        }
        (_, QemuEnd::Killed(signal)) => Some(format!("QEMU was killed by signal {}", signal_words(*signal))),
        (_, QemuEnd::Lived { stopped: true }) => {
            Some(format!("QEMU did not run: a signal had stopped it (its state is T) {when}"))
        }
        _ => None,
    }
}

/// Whether the guest or its QEMU has come to an end that explains the rest.
fn has_ended(evidence: &Evidence<'_>) -> bool {
    let by_itself = matches!(evidence.qemu, QemuEnd::Exited(_) | QemuEnd::Killed(_));
    by_itself || evidence.monitor.shutdown.is_some() || evidence.console.last_word.is_some()
}

/// How the guest or QEMU ended.
fn the_end(evidence: &Evidence<'_>) -> String {
    let when = evidence.link.phase.when();
    let word = evidence.console.last_word;
    let guest = match (&evidence.monitor.shutdown, word) {
        (_, Some(LastWord::Halted)) => Some(format!("the guest halted {when}")),
        (Some(ShutdownReason::GuestShutdown), _) | (None, Some(LastWord::PowerDown)) => {
            Some(format!("the guest powered itself off {when}"))
        }
        (_, Some(LastWord::Restarting)) => Some(format!("the guest rebooted itself {when}")),
        (Some(ShutdownReason::GuestReset), _) => Some(format!(
            "the guest's machine was reset {when}, and its kernel did not say that it reboots: a triple fault, or a reset \
             through the hardware"
        )),
        (Some(reason), _) => Some(format!("the guest ended {when} ({})", reason.name())),
        (None, None) => evidence.monitor.reset.as_ref().map(|_| format!("the guest's machine was reset {when}")),
    };
    let shut_down = evidence.monitor.shutdown.as_ref().map(|reason| format!("QEMU shut down ({})", reason.name()));
    let qemu = match evidence.qemu {
        QemuEnd::Exited(code) if guest.is_some() => format!("QEMU exited with {code}"),
        QemuEnd::Exited(code) => format!("QEMU exited with {code} by itself {when}"),
        QemuEnd::Killed(signal) => format!("QEMU was killed by signal {}", signal_words(*signal)),
        QemuEnd::Unknown(why) => format!("it is not known how QEMU ended: {why}"),
        QemuEnd::Lived { .. } if guest.is_none() => format!("QEMU closed its sockets {when}, and lived on"),
        QemuEnd::Lived { .. } => String::new(),
    };
    join([guest.unwrap_or_default(), shut_down.unwrap_or_default(), qemu])
}

/// `SIGKILL` and the like, after the number.
fn signal_words(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number).map_or_else(|_| number.to_string(), |name| format!("{number} ({name})"))
}

fn limit_passed(which: Watchdog, limit_ms: u64, stretched_ms: u64, evidence: &Evidence<'_>) -> String {
    let stretched = match stretched_ms {
        0 => String::new(),
        ms => format!(", stretched by {ms} ms as the host kept QEMU waiting for a processor,"),
    };
    let state = match &evidence.monitor.state {
        Some(Ok(state)) => format!(" (QEMU says of the guest: {state})"),
        Some(Err(why)) => format!(" (QEMU says of the guest: unknown: {why})"),
        None => String::new(),
    };
    let meaning = match which {
        Watchdog::Boot => "; the kernel's first line did not come",
        Watchdog::Handshake if evidence.link.phase == Phase::Boot => {
            "; the kernel spoke, and the guest's hello did not come"
        }
        Watchdog::Handshake => "; the fork did not become a guest of its own",
        Watchdog::Farewell if evidence.link.closed => "; the control port was closed, and the guest did not end",
        Watchdog::Silence => "; the guest said nothing on any channel, and did nothing, while a scenario ran",
        _ => "",
    };
    format!("the {} limit of {limit_ms} ms{stretched} passed{state}{meaning}", which.name())
}

/// What else is known, after the first cause.
fn supplement(evidence: &Evidence<'_>) -> String {
    let monitor = evidence.monitor;
    let init = match evidence.console.said_by_init {
        [] => String::new(),
        words => format!("the guest's PID 1 said on the console: {}", words.join("; ")),
    };
    let closed = matches!(evidence.qemu, QemuEnd::Lived { .. }) && monitor.closed;
    join([
        evidence.link.cut.clone().unwrap_or_default(),
        monitor.refused.as_ref().map(|what| format!("QEMU refused {what}")).unwrap_or_default(),
        monitor
            .watchdog
            .as_ref()
            .map(|what| format!("a watchdog device of the guest's ran out ({what})"))
            .unwrap_or_default(),
        monitor.reset.as_ref().map(|why| format!("the machine was reset ({})", why.name())).unwrap_or_default(),
        if closed { "QEMU had closed its QMP socket and lived on".to_owned() } else { String::new() },
        if evidence.stderr.is_empty() { String::new() } else { format!("QEMU said: {}", evidence.stderr) },
        init,
    ])
}

fn join<const N: usize>(words: [String; N]) -> String {
    words.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ")
}

fn gone(evidence: &Evidence<'_>, detail: String) -> Verdict {
    if evidence.link.booted { Verdict::GuestVanished { detail } } else { Verdict::LaunchFailed { detail } }
}

fn timed_out(evidence: &Evidence<'_>, which: Watchdog, detail: String) -> Verdict {
    if evidence.link.booted {
        Verdict::TimedOut { detail, which: Some(which) }
    } else {
        Verdict::LaunchFailed { detail }
    }
}

/// The line that says that a crash while booting is for want of memory.
fn out_of_memory<'a>(crash: &'a str, console: &'a ConsoleReader) -> Option<&'a str> {
    const TITLES: &[&str] = &["Out of memory", "out of memory", "deadlocked on memory", "System is deadlocked"];
    // The image lies in memory beside the kernel, uncompressed, and its place is not free where there is little.
    const NO_IMAGE: &str = "Initramfs unpacking failed";
    if TITLES.iter().any(|words| crash.contains(words)) {
        return Some(crash);
    }
    let no_root = crash.contains("Unable to mount root fs");
    console.last_lines().find(|line| no_root && line.contains(NO_IMAGE)).map(str::trim)
}

/// How far a boot got that ended in silence; nothing where not even the console was opened.
fn last_words(console: &ConsoleReader, memory_mib: u32) -> String {
    match console.last_lines().map(str::trim).rfind(|line| !line.is_empty()) {
        None => String::new(),
        Some(line) if console.kernel_spoke() => format!("; the console's last line: {line}"),
        Some(line) => format!(
            "; the kernel itself said nothing (the console's last line: {line}); one with too little memory ends like this: \
             it has {memory_mib} MiB, give it more with --memory"
        ),
    }
}

#[cfg(test)]
mod tests;
