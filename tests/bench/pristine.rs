//! Fresh guests per second: one scenario often, and all scenarios several times.

use vmlab_events::event::LabEvent;

use crate::fork::SCENARIO;
use crate::series::{Bar, against, heading};
use crate::vmlab::{Outcome, Run, Vmlab};

/// Runs as many scenarios as guests are asked for.
pub fn measure(lab: &Vmlab, guests: u32) -> Outcome<()> {
    heading("pristine guests a second, on all processors, the whole command's time counted");
    let often = lab.run([SCENARIO, "--repeat", &guests.to_string()])?;
    rate("one scenario, three legs", &often);
    let all = u32::try_from(catalogue_size()?)?;
    let times = guests.div_ceil(all);
    rate(&format!("all {all} scenarios, {times} times"), &lab.run(["--repeat", &times.to_string()])?);
    Ok(())
}

fn catalogue_size() -> Outcome<usize> {
    Ok(vmlab_image::guest_init::catalogue()?.len())
}

fn rate(what: &str, run: &Run) {
    let forks = run.events.iter().filter(|event| matches!(event, LabEvent::GuestReady { boot_id: Some(_), .. }));
    let count = f64::from(u32::try_from(forks.count()).unwrap_or(u32::MAX));
    against(&format!("{what} ({count} guests)"), "a second", count / run.taken.as_secs_f64(), Bar::AtLeast(20.0));
}
