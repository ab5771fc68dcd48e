//! The memory that each further fork needs.

use std::fs;

use crate::restore::{Recipe, runtime};
use crate::series::{Bar, Series, against, heading, line};
use crate::vmlab::{Outcome, Vmlab, failed};

/// The number of forks at the same time.
const FORKS: u32 = 10;

/// Measures forks that thaw, and forks that load a saved state.
pub fn measure(lab: &Vmlab) -> Outcome<()> {
    heading("memory (PSS) of forks that were prepared and wait for work");
    of_forks("thawed", &Recipe::thawed(lab)?, 10.0)?;
    of_forks("restored", &Recipe::restored(lab)?, 40.0)
}

/// Starts forks one after the other, and keeps all of them running.
fn of_forks(way: &str, recipe: &Recipe, most_mib: f64) -> Outcome<()> {
    let runtime = runtime()?;
    let mut forks = Vec::new();
    let (mut further, mut before) = (Series::default(), 0.0);
    for number in 1..=FORKS {
        forks.push(runtime.block_on(recipe.start())?);
        let ids: Option<Vec<u32>> = forks.iter().map(|fork| fork.qemu.process.child.id()).collect();
        let ids = ids.ok_or_else(|| failed("a fork has ended"))?;
        let all = ids.iter().map(|id| pss_mib(*id)).sum::<Outcome<f64>>()?;
        if number == 1 {
            println!("  {:<44} {:>8} {all:9.1}", format!("{way}: the first"), "MiB");
        } else {
            further.figure(all - before);
        }
        before = all;
    }
    line(&format!("{way}: each further one, to the tenth"), "MiB", &further);
    against(&format!("{way}: each further one"), "MiB", further.median(), Bar::AtMost(most_mib));
    Ok(())
}

/// The proportional set size, in which a page counts in equal parts for all processes that map it (proc(5),
/// `smaps_rollup`).
fn pss_mib(process: u32) -> Outcome<f64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")).ok_or_else(|| failed("no Pss in smaps_rollup"))?;
    Ok(kib.trim().parse::<f64>()? / 1024.0)
}
