//! Compares whole runs of one scenario: in a guest that thaws, in a fork that is restored, and cold.

use crate::series::{Bar, Series, against, heading, line};
use crate::vmlab::{Outcome, Vmlab};

/// The scenario of all sections. Two of its three legs enter a namespace.
pub const SCENARIO: &str = "=uts.hostname";

/// Has forks thaw.
pub const THAW: [&str; 2] = ["--fork-method", "thaw"];

/// Has forks start by loading a saved state.
pub const RESTORE: [&str; 2] = ["--fork-method", "restore"];

/// Measures all alternately: a cold run after every few runs in forks.
pub fn measure(lab: &Vmlab, rounds: u32, few: u32) -> Outcome<()> {
    heading("vmlab run =uts.hostname, process start to exit");
    let (mut thaws, mut forks, mut ratios, mut boots) =
        (Series::default(), Series::default(), Series::default(), Series::default());
    for round in 0..rounds {
        let thaw = lab.run([&[SCENARIO], &THAW[..]].concat())?.taken;
        let fork = lab.run([&[SCENARIO], &RESTORE[..]].concat())?.taken;
        thaws.time(thaw);
        forks.time(fork);
        ratios.figure(thaw.as_secs_f64() / fork.as_secs_f64());
        if round % rounds.div_ceil(few) == 0 {
            boots.time(lab.run([SCENARIO, "--isolation", "boot"])?.taken);
        }
    }
    line("in a guest that thaws", "ms", &thaws);
    line("in a fork that is restored", "ms", &forks);
    line("in a guest that boots (--isolation boot)", "ms", &boots);
    against("in a guest that thaws", "ms", thaws.median(), Bar::AtMost(70.0));
    against("thaw to restore, of each pair", "times", ratios.median(), Bar::AtMost(0.45));
    against("boot to restore", "times", boots.median() / forks.median(), Bar::AtLeast(30.0));
    Ok(())
}
