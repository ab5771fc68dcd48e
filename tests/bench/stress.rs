//! Many guests that thaw: in a row, and several at a time beside signals. Each verdict is checked.

use vmlab_events::event::LabEvent;
use vmlab_store::dirs::Dirs;
use vmlab_tests::env::TestEnv;
use vmlab_tests::storm::Storm;

use crate::fork::SCENARIO;
use crate::series::heading;
use crate::vmlab::{Outcome, Vmlab, failed};

/// The runs at the same time, and the guests of each.
const AT_ONCE: usize = 4;
const IN_A_RUN: u32 = 50;

/// Starts this number of guests in a row, and then as many beside signals.
pub fn measure(lab: &Vmlab, kernel: &str, guests: u32, seed: u64) -> Outcome<()> {
    heading("guests that thaw, in a row");
    let options = [SCENARIO, "--fork-method", "thaw"];
    let run = lab.run([&options[..], &["--jobs", "1", "--repeat", &guests.to_string()]].concat())?;
    let thawed =
        run.events.iter().filter(|event| matches!(event, LabEvent::GuestStarting { start, .. } if start == "thaw"));
    let (thawed, seconds) = (thawed.count(), run.taken.as_secs_f64());
    if thawed != guests as usize {
        return Err(failed(format!("{thawed} of {guests} guests thawed")));
    }
    println!("  {thawed} guests in {seconds:.1} s, every one passed");
    heading("guests that thaw, four at a time, beside SIGKILL, SIGSTOP and SIGCONT to them and to vmlab");
    let dirs = Dirs::from_env()?;
    let cache = dirs.cache.parent().ok_or_else(|| failed("the cache has no parent directory"))?;
    let env = TestEnv::new(env!("CARGO_BIN_EXE_vmlab-under-test")).env("XDG_CACHE_HOME", cache);
    let arguments = [&["--offline", "--kernel", kernel][..], &options].concat();
    let storm = Storm { arguments: &arguments, at_once: AT_ONCE, attempts: IN_A_RUN, total: guests, seed };
    println!("{}", storm.rage(&env));
    Ok(())
}
