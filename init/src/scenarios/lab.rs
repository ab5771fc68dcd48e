//! Tests vmlab itself: a guest has no state of an earlier guest.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use nix::sched::sched_getcpu;
use nix::sys::signal::{Signal, kill};
use nix::sys::utsname::uname;
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, gethostname, sethostname, sysconf};
use vmlab_protocol::catalogue::Namespace;

use super::support::{LOG, decide, log_has, note, open_log, pin_to, read, require, write};
use super::{Finding, Scenario, Trouble, Undo};
use crate::modules;
use crate::sandbox::{During, Probe, Sandbox, WAIT_LIMIT};
use crate::sys::process::fork_with;
use crate::sys::random;
use crate::sys::shared::Shared;

const FILE: &str = "/tmp/vmlab-mark";
const SYSCTL: &str = "/proc/sys/vm/swappiness";
/// Differs from the default, which is 60.
const SETTING: &str = "57";
const LINE: &str = "vmlab: the mark of a used guest";
const MODULE: &str = "dummy";

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&FRESH, &TWO_CPUS];

/// The guest itself is the sandbox: nothing has used it before the subject, and the control uses it first.
const FRESH: Scenario =
    Scenario::new("lab.fresh-guest", "A new guest has no file, sysctl, module or log line of an earlier guest", fresh)
        .shows(&["lab"], "ARCHITECTURE.md, section One guest")
        .steps(&[
            "The control first leaves four marks: a file, a sysctl, a line in the kernel's log, and a loaded module.",
            "Looks for the four marks: none is there in a guest that nothing has used.",
        ])
        .by_means_of("a guest that no job has used")
        .needs(&["CONFIG_PRINTK", "CONFIG_SYSCTL"], 3, 17, 0);

fn fresh(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let drawn: [u8; 16] = random::draw().during("getrandom(2)")?;
    let hex: String = drawn.iter().map(|byte| format!("{byte:02x}")).collect();
    note(format_args!("getrandom: {hex}"));
    for (name, clock) in [("realtime", ClockId::CLOCK_REALTIME), ("monotonic", ClockId::CLOCK_MONOTONIC)] {
        note(format_args!("{name}: {}", clock_gettime(clock).during("clock_gettime(2)")?));
    }
    if !sandbox.applies() {
        leave_marks()?;
    }
    let loaded = Path::new("/sys/module").join(MODULE).exists();
    let marks = [
        ("file", Path::new(FILE).exists()),
        ("sysctl", read(SYSCTL)? == SETTING),
        ("log", log_has(&mut open_log()?, LINE)?),
        ("module", loaded),
    ];
    let none = marks.iter().all(|(_, there)| !there);
    // A kernel may have no such module.
    let all = marks.iter().all(|(name, there)| *there || *name == "module");
    decide("marks of an earlier guest", &marks, (none, all), "all or none")
}

fn leave_marks() -> Result<(), Trouble> {
    write(FILE, "used\n")?;
    write(SYSCTL, SETTING)?;
    // Level 7, which the console shows only if it shows everything.
    write(LOG, &format!("<7>{LINE}\n"))?;
    let (_, problems) = modules::load_list(&Path::new("/modules/for").join(format!("{MODULE}.list")));
    problems.first().map_or(Ok(()), |problem| Err(Trouble::new(problem)))
}

/// The names that the two processes set.
const OUTSIDE: &str = "vmlab-outside";
const INSIDE: &str = "vmlab-inside";
/// How often the process outside sets its name while the process inside looks at its own.
const ROUNDS: u64 = 1000;

const TWO_CPUS: Scenario = Scenario::new(
    "lab.two-cpus",
    "Processes on two CPUs name their UTS namespaces at once and see only their own names",
    two_cpus,
)
.shows(&["smp"], "uts_namespaces(7); sched_setaffinity(2)")
.steps(&[
    "Outside, on CPU 0: a process sets the host name again and again, and counts.",
    "Inside, on CPU 1: sets another name and reads it back, until the process outside has set its own 1000 times.",
    "Inside: each name read back is the name set inside.",
    "Control: both processes are in one UTS namespace, and the process on CPU 1 reads the name of the other.",
])
.inside(&[Namespace::Uts])
.needs(&["CONFIG_UTS_NS", "CONFIG_SMP"], 2, 6, 19)
.on_cpus(2)
.probed_by(probe_two_cpus);

fn probe_two_cpus() -> Result<Probe, Trouble> {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).during("sysconf(_SC_NPROCESSORS_ONLN)")?.unwrap_or_default();
    Ok(match online {
        0 | 1 => Probe::Missing(format!("sysconf(_SC_NPROCESSORS_ONLN): {online}")),
        _ => Probe::Available,
    })
}

fn two_cpus(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let before = uname().during("uname(2)")?.nodename().to_string_lossy().into_owned();
    let shared = Shared::new().during("mmap(2)")?;
    let [rounds, cpu, ..] = shared.counters();
    let _back = Undo::new("the host name", || sethostname(&before).during("sethostname(2)"));
    let outside = fork_with(|| u8::from(set_for_ever(rounds, cpu).is_err())).during("fork(2)")?;
    let _end = Undo::new("the process on CPU 0", || {
        kill(outside, Signal::SIGKILL).during("kill(2)")?;
        waitpid(outside, None).map(drop).during("waitpid(2)")
    });
    let (own_cpu, foreign, others) = sandbox.run(|| {
        pin_to(1)?;
        await_rounds(rounds, 1, || Ok(()))?;
        let mut foreign = 0;
        let mut look = || -> Result<(), Trouble> {
            let name = gethostname().during("gethostname(2)")?;
            foreign += u32::from(name != INSIDE);
            Ok(())
        };
        await_rounds(rounds, ROUNDS, || {
            sethostname(INSIDE).during("sethostname(2)")?;
            look()
        })?;
        // The process outside sets its name once more after the last name was set inside.
        await_rounds(rounds, 2, || Ok(()))?;
        look()?;
        Ok((sched_getcpu().during("getcpu(2)")?, foreign, foreign > 0))
    })?;
    require("the CPU of the process inside", &own_cpu, &1)?;
    require("the CPU of the process outside", &cpu.load(Ordering::Relaxed), &0)?;
    note(format_args!("reads of the other name: {foreign}"));
    decide("the process on CPU 1 read the name of the process on CPU 0", &others, (!others, others), "true or false")
}

/// Sets the host name on CPU 0 until it is killed.
fn set_for_ever(rounds: &AtomicU64, cpu: &AtomicU64) -> Result<(), Trouble> {
    pin_to(0)?;
    loop {
        sethostname(OUTSIDE).during("sethostname(2)")?;
        let now = sched_getcpu().during("getcpu(2)")?;
        cpu.fetch_max(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Acts until the process outside has set its name so many times more.
fn await_rounds(rounds: &AtomicU64, more: u64, mut act: impl FnMut() -> Result<(), Trouble>) -> Result<(), Trouble> {
    let (until, began) = (rounds.load(Ordering::Relaxed) + more, Instant::now());
    while rounds.load(Ordering::Relaxed) < until {
        if began.elapsed() > WAIT_LIMIT {
            return Err(Trouble::new("the process on CPU 0 does not run"));
        }
        act()?;
    }
    Ok(())
}
