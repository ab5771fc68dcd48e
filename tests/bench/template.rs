//! The cost of a template beyond the cold boot that it begins with.

use vmlab_store::dirs::Dirs;

use crate::fork::SCENARIO;
use crate::series::{Bar, Series, against, heading, line};
use crate::vmlab::{Outcome, Vmlab, failed};

/// Makes templates in caches of their own.
pub fn measure(lab: &Vmlab, rounds: u32) -> Outcome<()> {
    heading("a template");
    let kernels = Dirs::from_env()?.cache.join("kernels");
    let (mut boots, mut extras) = (Series::default(), Series::default());
    for _ in 0..rounds {
        let cache = tempfile::tempdir()?;
        std::fs::create_dir(cache.path().join("vmlab"))?;
        // Fetching the kernel is not measured.
        std::os::unix::fs::symlink(&kernels, cache.path().join("vmlab/kernels"))?;
        let run = lab.with_cache(cache.path()).run([SCENARIO])?;
        let of = |names: &[&str]| -> f64 {
            let phases = run.phases("template").filter(|phase| names.contains(&phase.name.as_str()));
            phases.map(|phase| f64::from(u32::try_from(phase.us).unwrap_or(u32::MAX)) / 1e3).sum()
        };
        let extra = of(&["save", "keep"]);
        if extra == 0.0 {
            return Err(failed("no template was made"));
        }
        boots.figure(of(&["spawn", "qemu", "boot"]));
        extras.figure(extra);
    }
    line("the boot, to the guest's hello", "ms", &boots);
    line("saving and keeping", "ms", &extras);
    against("saving and keeping to the boot", "percent", 100.0 * extras.median() / boots.median(), Bar::AtMost(5.0));
    Ok(())
}
