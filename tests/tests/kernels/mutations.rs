//! Every scenario can fail: with the two faults of `vmlab selftest scenarios`, none stays green.

use std::time::Duration;

use super::*;

/// Three runs of all scenarios; other tests may share the processors.
const LIMIT: Duration = Duration::from_secs(20 * 60);

#[test]
fn no_scenario_stays_green_without_its_sandbox_or_with_a_control_that_cannot_leak() {
    let env = env();
    let ended = env.start(&["selftest", "scenarios", "--kernel", TRIXIE]).wait_within(LIMIT);
    ended.exits(exit::OK);
    let rows = |word: &str| ended.stdout.lines().filter(|line| line.ends_with(word)).count();
    let count = guest_init::catalogue().unwrap().len();
    assert_eq!(rows("  right") + rows("  not done"), count, "{ended}");
    assert!(rows("  right") > count / 2, "most of it runs: {ended}");
}
