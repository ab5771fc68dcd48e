//! Tests vmlab itself: a guest has no state of an earlier guest.

use std::path::Path;

use nix::time::{ClockId, clock_gettime};

use super::support::{LOG, decide, log_has, note, open_log, read, write};
use super::{Finding, Scenario, Trouble};
use crate::modules;
use crate::sandbox::{During, Sandbox};
use crate::sys::random;

const FILE: &str = "/tmp/vmlab-mark";
const SYSCTL: &str = "/proc/sys/vm/swappiness";
/// Differs from the default, which is 60.
const SETTING: &str = "57";
const LINE: &str = "vmlab: the mark of a used guest";
const MODULE: &str = "dummy";

/// The scenarios of this area, sorted by name.
pub(super) const ALL: &[&Scenario] = &[&FRESH];

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
