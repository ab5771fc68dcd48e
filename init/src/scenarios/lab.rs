//! Tests vmlab itself: a guest has no state of an earlier guest.

use std::fs;
use std::path::Path;

use nix::time::{ClockId, clock_gettime};

use super::support::{LOG, decide, log_has, note, open_log, write};
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

/// The guest itself is the sandbox: the subject looks for marks and leaves marks; the control must find them.
pub(crate) const FRESH: Scenario =
    Scenario::new("lab.fresh-guest", "A new guest has no file, sysctl, module or log line of an earlier guest", fresh)
        .shows("lab", "ARCHITECTURE.md, A guest's life")
        .needs(&["CONFIG_PRINTK", "CONFIG_SYSCTL"], 3, 17, 0);

fn fresh(_sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let drawn: [u8; 16] = random::draw().during("getrandom(2)")?;
    let hex: String = drawn.iter().map(|byte| format!("{byte:02x}")).collect();
    note(format_args!("getrandom: {hex}"));
    for (name, clock) in [("realtime", ClockId::CLOCK_REALTIME), ("monotonic", ClockId::CLOCK_MONOTONIC)] {
        note(format_args!("{name}: {}", clock_gettime(clock).during("clock_gettime(2)")?));
    }
    let carried = Path::new("/modules/for").join(format!("{MODULE}.list"));
    let loaded = Path::new("/sys/module").join(MODULE);
    let marks = [
        ("file", Path::new(FILE).exists()),
        ("sysctl", fs::read_to_string(SYSCTL).during(SYSCTL)?.trim() == SETTING),
        ("log", log_has(&mut open_log()?, LINE)?),
        ("module", loaded.exists()),
    ];
    write(FILE, "used\n")?;
    write(SYSCTL, SETTING)?;
    // Level 7, which the console shows only if it shows everything.
    write(LOG, &format!("<7>{LINE}\n"))?;
    let (_, problems) = modules::load_list(&carried);
    if let Some(problem) = problems.first() {
        return Err(Trouble::new(problem.as_str()));
    }
    let module_can_be_seen = loaded.exists();
    let none = marks.iter().all(|(_, there)| !there);
    let all = marks.iter().all(|(name, there)| *there || *name == "module" && !module_can_be_seen);
    decide("marks of an earlier guest", &marks, (none, all), "all or none")
}
