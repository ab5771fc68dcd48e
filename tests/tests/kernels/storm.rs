//! Guests that thaw, beside signals at random.

use vmlab_tests::storm::Storm;

use super::*;

#[test]
fn verdicts_are_right_beside_signals_and_nothing_is_left() {
    let env = env();
    let arguments = ["--offline", "--kernel", TRIXIE, "--fork-method", "thaw", ONLY_HOSTNAME];
    // The template, before a run could be killed while it makes it.
    run(&env, &arguments[1..]).exits(exit::OK);
    let storm = Storm { arguments: &arguments, at_once: 4, attempts: 15, total: 150, seed: 1 };
    let counts = storm.rage(&env);
    assert!(counts.lost > 0 && counts.starts["thaw"] > 150, "{counts}");
    assert!(counts.signals.iter().all(|of| of.values().sum::<u32>() > 0), "{counts}");
    let cut: Vec<_> = counts.starts.keys().filter(|start| !["thaw", "fork"].contains(&start.as_str())).collect();
    assert_eq!(cut, [""; 0], "no template is made again, and nothing boots: {counts}");
}
