//! Compares whole runs of one scenario: in a fork, and cold.

use crate::series::{Bar, Series, against, heading, line};
use crate::vmlab::{Outcome, Vmlab};

/// The scenario of all sections. Two of its three legs enter a namespace.
pub const SCENARIO: &str = "=uts.hostname";

/// Measures both alternately: a cold run after every few runs in forks.
pub fn measure(lab: &Vmlab, rounds: u32, few: u32) -> Outcome<()> {
    heading("vmlab run =uts.hostname, process start to exit");
    let (mut forks, mut boots) = (Series::default(), Series::default());
    for round in 0..rounds {
        forks.time(lab.run([SCENARIO])?.taken);
        if round % rounds.div_ceil(few) == 0 {
            boots.time(lab.run([SCENARIO, "--isolation", "boot"])?.taken);
        }
    }
    line("in a fork", "ms", &forks);
    line("in a guest that boots (--isolation boot)", "ms", &boots);
    against("in a fork", "ms", forks.median(), Bar::AtMost(100.0));
    against("boot to fork", "times", boots.median() / forks.median(), Bar::AtLeast(30.0));
    Ok(())
}
