//! Faults that a scenario's process commits.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::thread::sleep;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{close, getpid, setsid};
use vmlab_protocol::message::{self, Envelope, GuestMessage, Leg, LegOutcome};

use super::{Fault, unharmed, write};
use crate::sandbox::{During, Sandbox};
use crate::scenarios::{Finding, Trouble};
use crate::sys::process::{default_action, fork_with};

const FLOOD_BYTES: u64 = 1 << 30;
/// More than the open descriptors of any leg's process.
const DESCRIPTORS: i32 = 1024;
const FLOOD_MS: u64 = 60_000;
const SHORT_MS: u64 = 500;

pub(super) const ALL: &[Fault] = &[
    Fault::new("fault.closes-all", "The scenario's process closes all its descriptors", |_| {
        for fd in 0..DESCRIPTORS {
            // Most of these descriptors are not open.
            let _ = close(fd);
        }
        Ok(unharmed())
    }),
    Fault::new("fault.daemon", "The scenario's process leaves a daemon behind and exits without a result", daemon),
    Fault::new("fault.escapes", "A scenario prints NULs, escape sequences and characters that XML forbids", escapes),
    Fault::new("fault.exits-silently", "The scenario's process exits with 0 without a result", |_| {
        std::process::exit(0)
    }),
    Fault::new("fault.floods", "The scenario's process writes 1 GiB to its output", floods).within(FLOOD_MS),
    Fault::new("fault.forges", "A failing scenario prints reports and frames of a pass", forges),
    Fault::new("fault.hushes", "The scenario's process lowers the console log level", |_| {
        write("/proc/sys/kernel/printk", "1")?;
        Ok(unharmed())
    }),
    Fault::new("fault.stops", "The scenario's process stops itself", |_| {
        kill(getpid(), Signal::SIGSTOP).during("stopping")?;
        Ok(unharmed())
    })
    .within(SHORT_MS),
    killed("fault.signal-abrt", raise::<{ libc::SIGABRT }>),
    killed("fault.signal-alrm", raise::<{ libc::SIGALRM }>),
    killed("fault.signal-bus", raise::<{ libc::SIGBUS }>),
    killed("fault.signal-fpe", raise::<{ libc::SIGFPE }>),
    killed("fault.signal-hup", raise::<{ libc::SIGHUP }>),
    killed("fault.signal-ill", raise::<{ libc::SIGILL }>),
    killed("fault.signal-int", raise::<{ libc::SIGINT }>),
    killed("fault.signal-io", raise::<{ libc::SIGIO }>),
    killed("fault.signal-kill", raise::<{ libc::SIGKILL }>),
    killed("fault.signal-pipe", raise::<{ libc::SIGPIPE }>),
    killed("fault.signal-prof", raise::<{ libc::SIGPROF }>),
    killed("fault.signal-pwr", raise::<{ libc::SIGPWR }>),
    killed("fault.signal-quit", raise::<{ libc::SIGQUIT }>),
    killed("fault.signal-segv", raise::<{ libc::SIGSEGV }>),
    killed("fault.signal-stkflt", raise::<{ libc::SIGSTKFLT }>),
    killed("fault.signal-sys", raise::<{ libc::SIGSYS }>),
    killed("fault.signal-term", raise::<{ libc::SIGTERM }>),
    killed("fault.signal-trap", raise::<{ libc::SIGTRAP }>),
    killed("fault.signal-usr1", raise::<{ libc::SIGUSR1 }>),
    killed("fault.signal-usr2", raise::<{ libc::SIGUSR2 }>),
    killed("fault.signal-vtalrm", raise::<{ libc::SIGVTALRM }>),
    killed("fault.signal-xcpu", raise::<{ libc::SIGXCPU }>),
    killed("fault.signal-xfsz", raise::<{ libc::SIGXFSZ }>),
];

const fn killed(id: &'static str, trial: fn(&Sandbox) -> Result<Finding, Trouble>) -> Fault {
    Fault::new(id, "The scenario's process is killed by a signal", trial)
}

/// Dies of the signal, whose default action is restored first: Rust's runtime ignores SIGPIPE and handles SIGSEGV and
/// SIGBUS.
fn raise<const SIGNAL: i32>(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    die_of(SIGNAL)
}

fn die_of(number: i32) -> Result<Finding, Trouble> {
    let signal = Signal::try_from(number).during("the signal's number")?;
    if signal != Signal::SIGKILL {
        default_action(signal).during("sigaction(2)")?;
    }
    kill(getpid(), signal).during("kill(2)")?;
    Ok(unharmed())
}

fn daemon(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    fork_with(|| {
        // The daemon keeps the leg's pipes open and writes to them as long as it lives.
        let alone = setsid().is_ok();
        loop {
            println!("the daemon is still there ({alone})");
            sleep(Duration::from_millis(10));
        }
    })
    .during("fork(2)")?;
    std::process::exit(0)
}

fn escapes(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let harm = b"\0\0\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b5n\xff\xfe]]><script>alert(1)</script>\r\x08\x7f\n";
    io::stdout().write_all(harm).during("writing to the output")?;
    io::stderr().write_all(harm).during("writing to the output")?;
    let words = String::from_utf8_lossy(harm);
    Ok(Finding::Isolated(format!("this finding holds {words}")))
}

fn floods(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let block = [b'x'; 64 * 1024];
    let mut left = FLOOD_BYTES;
    while left > 0 {
        io::stdout().write_all(&block).during("writing to the output")?;
        left -= block.len() as u64;
    }
    Ok(unharmed())
}

/// Prints the reports of a pass and frames with the agent's messages, as a scenario would that forges a pass.
fn forges(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let mut lie = b"\nTAP version 14\n1..1\nok 1 - fault.forges\nvmlab-init: all is well\n".to_vec();
    let detail = "forged".to_owned();
    let words = [
        GuestMessage::LegFinished {
            run: 1,
            leg: Leg::Subject,
            outcome: LegOutcome::Isolated { detail },
            duration_ns: 1,
            output_dropped: 0,
        },
        GuestMessage::JobFinished { run: 1 },
        GuestMessage::RunFinished { started: 1 },
    ];
    for (seq, message) in (3..).zip(words) {
        let envelope = Envelope { seq, boottime_ns: 1, message };
        message::encode(&envelope, &mut lie).during("making a frame")?;
    }
    io::stdout().write_all(&lie).during("writing to the output")?;
    for console in ["/dev/console", "/dev/ttyS0", "/dev/kmsg"] {
        let mut console = OpenOptions::new().write(true).open(console).during(console)?;
        console.write_all(&lie).during("writing to the console")?;
    }
    Ok(Finding::Leaked("this scenario fails".to_owned()))
}
