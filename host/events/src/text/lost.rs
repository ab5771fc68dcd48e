//! Guests that were lost, and guests that did not come up.

use std::fmt;

use nix::sys::signal::Signal;

use super::Join;
use crate::event::{GuestOutcome, NotNeeded};
use crate::loss::{Deadline, Phase, QemuEnd, ShutdownReason};
use crate::verdict::{
    BootConsole, GuestEnd, GuestState, HostFault, LaunchFailure, LossCause, LossEvidence, Mismatch, PassedDeadline,
    RefusedCommand, StartFailure, Timeout, Vanished,
};

impl Phase {
    /// In text, to follow what happened.
    #[must_use]
    pub(super) const fn when(self) -> &'static str {
        match self {
            Self::Boot => "before the guest's hello",
            Self::Prepare => "before the guest was ready for work",
            Self::Idle => "while the guest had nothing to do",
            Self::Asked => "before the guest announced the scenario that was asked for",
            Self::Running => "while the scenario ran",
            Self::Leaving => "before the guest's goodbye",
            Self::Over => "after the guest's last valid message",
        }
    }
}

impl fmt::Display for Vanished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { cause, evidence } => f.write_str(&lost(cause, evidence).finish()),
            Self::NothingAnnounced => f.write_str("the guest was lost before it announced anything"),
            Self::Recorded { text } => f.write_str(text),
        }
    }
}

impl fmt::Display for GuestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Lost { verdict } => f.write_str(&verdict.detail()),
            Self::NotStarted { reason } => reason.fmt(f),
            Self::NotNeeded { reason: NotNeeded::NoMoreWork } => {
                f.write_str("not needed: it was started ahead, and there was no more work")
            }
            Self::NotNeeded { reason: NotNeeded::TemplateGivenUp } => {
                f.write_str("not needed: it is a fork of a template that was given up")
            }
            Self::Recorded { text } => f.write_str(text),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leg { leg, limit_ms } => {
                write!(f, "leg {} did not end within its timeout of {}", leg.name(), seconds(*limit_ms))
            }
            Self::Guest { passed, evidence } => f.write_str(&timed_out(passed, evidence).finish()),
            Self::Recorded { text, .. } => f.write_str(text),
        }
    }
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { step: StartFailure::TemplateState, error } => {
                write!(f, "cannot open the template's state: {error}")
            }
            Self::NotStarted { step: StartFailure::Entropy, error } => write!(f, "no entropy for the guest: {error}"),
            Self::NotStarted { step: StartFailure::Files, error } => {
                write!(f, "the host's files cannot be served: {error}")
            }
            Self::NotStarted { step: StartFailure::Debugger, error } => {
                write!(f, "cannot make a socket for the debugger: {error}")
            }
            Self::NotStarted { step: StartFailure::Link, error } => {
                write!(f, "cannot make a socket for the link to another guest: {error}")
            }
            Self::NotStarted { step: StartFailure::Process, error } => f.write_str(error),
            Self::Lost { cause, evidence, console } => {
                let mut parts = lost(cause, evidence);
                parts.extend(console.iter().flat_map(|console| [boot(console), ADVICE.to_owned()]));
                f.write_str(&parts.finish())
            }
            Self::TimedOut { passed, evidence, console } => {
                let mut parts = timed_out(passed, evidence);
                parts.extend(console.iter().map(|console| boot(console)));
                parts.push(ADVICE.to_owned());
                f.write_str(&parts.finish())
            }
            Self::WrongMachine { mismatch, evidence, parameter } => {
                let mut parts = Join::new(mismatch.to_string());
                parts.extend(
                    parameter.as_ref().map(|parameter| format!("the cause is `{parameter}` in --append: leave it out")),
                );
                parts.extend(evidence.supplement());
                f.write_str(&parts.finish())
            }
            Self::ConsoleSilent { evidence } => {
                let mut parts = Join::new(format!(
                    "the guest's agent answered, but its kernel printed nothing on the serial console, which vmlab reads: \
                     {CONSOLE_OPTIONS}"
                ));
                parts.extend(evidence.supplement());
                f.write_str(&parts.finish())
            }
            Self::OutOfMemory { line, memory_mib, parameter } => {
                let remedy = more_memory(*memory_mib, parameter.as_deref());
                write!(f, "the guest ran out of memory while it booted ({line}); {remedy}")
            }
            Self::Recorded { text } => f.write_str(text),
        }
    }
}

/// What to do about a guest that does not boot.
const ADVICE: &str = "see NO-BOOT in `vmlab help troubleshooting`";

/// What to do about a guest with too little memory.
fn more_memory(memory_mib: u32, parameter: Option<&str>) -> String {
    match parameter {
        None => format!("it has {memory_mib} MiB, give it more with --memory"),
        Some(parameter) => {
            format!("of its {memory_mib} MiB it may use what `{parameter}` in --append leaves: leave that out")
        }
    }
}

/// How far a boot got that ended in silence.
fn boot(console: &BootConsole) -> String {
    let BootConsole { last_line, kernel_spoke, memory_mib, parameter } = console;
    if *kernel_spoke {
        return format!("the console's last line: {last_line}");
    }
    let remedy = more_memory(*memory_mib, parameter.as_deref());
    format!(
        "the kernel itself said nothing (the console's last line: {last_line}), perhaps because it has too little memory: \
         {remedy}"
    )
}

/// The cause first, then all that is known besides.
fn lost(cause: &LossCause, evidence: &LossEvidence) -> Join {
    let when = evidence.phase.when();
    let mut parts = match cause {
        LossCause::HostEndedQemu => Join::new(ended_by_host(evidence)),
        LossCause::QemuKilled => Join::new(qemu_end(&evidence.qemu, "")),
        LossCause::QemuStopped => {
            Join::new(format!("QEMU did not run: a signal had stopped it (its state is T) {when}"))
        }
        LossCause::KernelBroke => Join::new("the kernel broke, and went on".to_owned()),
        LossCause::HostFault { fault } => Join::new(fault.to_string()),
        LossCause::Ended { guest } => {
            let mut parts = Join::new(guest.map(|end| guest_end(end, evidence)).unwrap_or_default());
            parts.extend(evidence.shutdown.iter().map(|reason| format!("QEMU shut down ({})", reason.name())));
            match (&evidence.qemu, guest) {
                // vmlab ends the QEMU of a guest that has ended.
                (QemuEnd::Lived { .. }, Some(_)) => {}
                (end, Some(_)) => parts.push(qemu_end(end, "")),
                (end, None) => parts.push(qemu_end(end, when)),
            }
            parts
        }
    };
    parts.extend(evidence.supplement());
    parts
}

fn timed_out(passed: &PassedDeadline, evidence: &LossEvidence) -> Join {
    let limit = passed.limit();
    let mut parts = Join::new(match passed.deadline {
        Deadline::Boot => format!("no line from the kernel within {limit}"),
        Deadline::Handshake if evidence.phase == Phase::Boot => format!("no hello from the guest within {limit}"),
        Deadline::Handshake => format!("the fork was not ready within {limit}"),
        Deadline::Start => format!("the guest did not start the scenario within {limit}"),
        Deadline::Scenario => format!("the scenario did not end within {limit}"),
        Deadline::Leg => format!("a leg did not end within {limit}"),
        Deadline::Silence => format!("the guest sent nothing and used no CPU time for {limit}"),
        Deadline::Command => format!("the guest hangs: it has not ended the program, which has run for {limit}"),
        Deadline::Alive => format!("the guest hangs: its agent has not answered for {limit}"),
        Deadline::Goodbye => format!("no goodbye from the guest within {limit}"),
        Deadline::Exit if evidence.port_closed => {
            format!("the guest closed its control port and did not end within {limit}")
        }
        Deadline::Exit => format!("the guest did not end within {limit} of the first sign of its end"),
        Deadline::Run => format!("the run did not end within {limit}"),
    });
    parts.extend(passed.guest_state.iter().filter_map(guest_state));
    parts.extend(evidence.supplement());
    parts
}

impl PassedDeadline {
    /// `120 s (--handshake-timeout), 15 s more because the host was busy`.
    fn limit(&self) -> String {
        let option = self.deadline.option().map(|option| format!(" ({option})")).unwrap_or_default();
        let more = match self.stretched_ms {
            0 => String::new(),
            ms => format!(", {} more because the host was busy", seconds(ms)),
        };
        format!("{}{option}{more}", seconds(self.limit_ms))
    }
}

impl Deadline {
    /// The option of `vmlab run` that sets it.
    const fn option(self) -> Option<&'static str> {
        match self {
            Self::Boot => Some("--boot-timeout"),
            Self::Handshake => Some("--handshake-timeout"),
            Self::Scenario | Self::Leg => Some("--scenario-timeout"),
            Self::Silence => Some("--silence-timeout"),
            Self::Run => Some("--timeout"),
            Self::Command | Self::Alive | Self::Start | Self::Goodbye | Self::Exit => None,
        }
    }
}

/// A timeout as options give it, in seconds; in ms where it is no whole number of seconds.
pub(super) fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{} s", ms / 1000) } else { format!("{ms} ms") }
}

/// QEMU's state, unless it is the ordinary one.
fn guest_state(state: &GuestState) -> Option<String> {
    match state {
        GuestState::Known(state) if state == "running" => None,
        GuestState::Known(state) => Some(format!("QEMU says of the guest: {state}")),
        GuestState::Unknown(why) => Some(format!("QEMU does not say whether the guest runs: {why}")),
    }
}

fn ended_by_host(evidence: &LossEvidence) -> String {
    let when = evidence.phase.when();
    match &evidence.shutdown {
        Some(reason @ ShutdownReason::HostError) => {
            format!("QEMU met an error that it cannot go on with ({}) {when}", reason.name())
        }
        Some(reason @ ShutdownReason::HostSignal) => format!("a signal told QEMU to end ({}) {when}", reason.name()),
        Some(reason) => format!("QEMU was told to end through its monitor ({}) {when}", reason.name()),
        None => format!("something on the host ended QEMU {when}"),
    }
}

fn guest_end(end: GuestEnd, evidence: &LossEvidence) -> String {
    let when = evidence.phase.when();
    match end {
        GuestEnd::Halted => format!("the guest halted {when}"),
        GuestEnd::PoweredOff => format!("the guest powered itself off {when}"),
        GuestEnd::Rebooted => format!("the guest rebooted itself {when}"),
        GuestEnd::Reset => format!(
            "the guest's machine was reset {when}, and its kernel did not say that it reboots: a triple fault, or a reset \
             through the hardware"
        ),
        GuestEnd::ShutDown => format!("the guest ended {when}"),
        GuestEnd::MachineReset => format!("the guest's machine was reset {when}"),
    }
}

/// QEMU's end; `when` is empty where the guest's end explains it.
fn qemu_end(end: &QemuEnd, when: &str) -> String {
    let by_itself = if when.is_empty() { String::new() } else { format!(" by itself {when}") };
    match end {
        QemuEnd::Exited(code) => format!("QEMU exited with {code}{by_itself}"),
        QemuEnd::Killed(signal) => format!("QEMU was killed by signal {}", signal_name(*signal)),
        QemuEnd::Unknown(why) => format!("it is not known how QEMU ended: {why}"),
        QemuEnd::Lived { .. } => format!("QEMU closed its sockets {when}, and lived on"),
    }
}

/// `9 (SIGKILL)`.
fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| number.to_string(), |name| format!("{number} ({name})"))
}

/// How PID 1's message begins where the control port is missing.
const NO_PORT: &str = "no virtio-serial port named ";

/// PID 1's message about the missing control port, explained. After the first semicolon it lists the devices and ports that
/// were found instead.
fn no_port(message: &str) -> String {
    let found = message.split_once("; ").map(|(_, found)| format!(" ({found})")).unwrap_or_default();
    format!("the guest has no control port: its kernel has no working virtio-console driver{found}")
}

impl LossEvidence {
    /// What is known besides the cause, each in a sentence.
    pub(super) fn supplement(&self) -> Vec<String> {
        let mut parts = Vec::new();
        parts.extend(self.cut_frame.map(|cut| format!("the link was cut: {cut}")));
        parts.extend(self.refused.as_ref().map(ToString::to_string));
        let device = self.watchdog_device.as_ref();
        parts.extend(device.map(|action| format!("a watchdog device of the guest's ran out ({action})")));
        parts.extend(self.reset.as_ref().map(|reason| format!("the machine was reset ({})", reason.name())));
        if self.qmp_closed && matches!(self.qemu, QemuEnd::Lived { .. }) {
            parts.push("QEMU had closed its QMP socket and lived on".to_owned());
        }
        if !self.qemu_stderr.is_empty() {
            parts.push(format!("QEMU said: {}", self.qemu_stderr));
        }
        let (ports, others): (Vec<_>, Vec<_>) = self.init_messages.iter().partition(|line| line.starts_with(NO_PORT));
        parts.extend(ports.into_iter().map(|line| no_port(line)));
        parts.extend(self.lacking.as_ref().map(ToString::to_string));
        if !others.is_empty() {
            let others: Vec<_> = others.into_iter().map(String::as_str).collect();
            parts.push(format!("the guest's PID 1 said on the console: {}", others.join("; ")));
        }
        parts
    }
}

impl fmt::Display for RefusedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QEMU refused {}: {}", self.command, self.error)
    }
}

impl fmt::Display for HostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { error } => write!(f, "the host cannot read from QEMU: {error}"),
            Self::Write { error } => write!(f, "the host cannot write to the guest: {error}"),
            Self::Entropy { error } => write!(f, "the host has no entropy for the guest: {error}"),
            Self::Refused(command) => command.fmt(f),
        }
    }
}

/// The config options that take a kernel's messages away from the serial console.
const CONSOLE_OPTIONS: &str = "it needs CONFIG_PRINTK, CONFIG_SERIAL_8250 and CONFIG_SERIAL_8250_CONSOLE, all built in, \
                               and no CONFIG_CMDLINE_OVERRIDE";

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { guest, asked } => write!(f, "the guest runs Linux {guest} instead of {asked}"),
            Self::Cpus { guest, asked } => {
                write!(f, "the guest has {guest} processors online instead of {asked}")
            }
            Self::Memory { guest_mib, asked_mib } => {
                write!(f, "the guest has {guest_mib} MiB of memory instead of {asked_mib} MiB")
            }
            Self::Consoles { count } => write!(f, "the guest has {count} virtio consoles instead of 1"),
            Self::NoDriver { device, status } => write!(f, "{device} has no working driver (status {status:#x})"),
            Self::DeviceFailed { device, status } => write!(f, "{device} has failed (status {status:#x})"),
            Self::LegacyDevice { device } => {
                write!(f, "{device} was negotiated as a legacy device instead of a modern one")
            }
            Self::ConsoleLevel { level, needed } => write!(
                f,
                "the guest's kernel does not print its warnings on the console (kernel.printk is {level}), and a verdict \
                 needs them: it takes {needed} or more"
            ),
            Self::OtherConsole { needed, used } => {
                let used = if used.is_empty() { "on no console".to_owned() } else { format!("on {}", used.join(", ")) };
                write!(
                    f,
                    "the guest's kernel does not print on {needed}, which vmlab reads, but {used}; {CONSOLE_OPTIONS}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_control_port_is_explained() {
        let explained = "the guest has no control port: its kernel has no working virtio-console driver";
        for why in ["appeared within 9 ms", "can appear, because its driver is not loaded"] {
            assert_eq!(no_port(&format!("no virtio-serial port named p {why}")), explained);
        }
        let found = "no virtio-serial port named p appeared within 9 ms; virtio devices: virtio0; ports: none";
        assert_eq!(no_port(found), format!("{explained} (virtio devices: virtio0; ports: none)"));
    }

    #[test]
    fn only_an_unusual_state_of_qemu_is_told() {
        assert_eq!(guest_state(&GuestState::Known("running".to_owned())), None);
        let paused = guest_state(&GuestState::Known("paused".to_owned()));
        assert_eq!(paused.as_deref(), Some("QEMU says of the guest: paused"));
    }

    #[test]
    fn timeouts_are_in_seconds_and_name_their_option() {
        let (deadline, guest_state) = (Deadline::Handshake, None);
        let passed = PassedDeadline { deadline, limit_ms: 120_000, stretched_ms: 15_000, guest_state };
        assert_eq!(passed.limit(), "120 s (--handshake-timeout), 15 s more because the host was busy");
        assert_eq!(seconds(1500), "1500 ms");
    }
}
