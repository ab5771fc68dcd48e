//! A kernel that is built to order: small, with namespaces, from the source of Debian's 6.12.

use std::time::Duration;

use super::*;

const ORDER: &str = "source:trixie+namespaces";

/// The maximum size of the kernel's file, in bytes: `base` is for small kernels.
const SIZE: u64 = 4 << 20;

/// A build takes four minutes on two idle processors; tests and other builds may share them.
const LIMIT: Duration = Duration::from_secs(40 * 60);

#[test]
fn a_small_kernel_is_built_once_and_passes_the_whole_catalogue() {
    let env = env();
    let built = env.start(&["kernel", "build", ORDER]).wait_within(LIMIT);
    let built = built.exits(exit::OK).stdout.clone();
    let path = built.split_whitespace().last().unwrap();
    assert!(fs::metadata(path).unwrap().len() <= SIZE, "{built}");
    let again = env.run(&["kernel", "build", ORDER]);
    again.exits(exit::OK);
    assert_eq!(again.stdout, built);
    assert!(!again.stderr.contains("compiling"), "{}", again.stderr);
    let outcome = run(&env, &["--isolation", "shared", "--kernel", ORDER]);
    outcome.exits(exit::OK);
    assert!(outcome.reports().all(|report| matches!(report.verdict.label(), "PASS" | "LEAK")), "{}", outcome.ended);
}

#[test]
fn a_symbol_that_cannot_be_had_is_explained_by_the_trees_kconfig() {
    let env = env();
    let ended = env.run(&["kernel", "config", &format!("{ORDER}+CONFIG_USERNS=y+CONFIG_SND=y")]);
    ended.exits(exit::USAGE);
    for line in [
        "CONFIG_SND=y was asked for by +CONFIG_SND=y; it is not set, because it depends on CONFIG_SOUND, which is n",
        "CONFIG_USERNS=y was asked for by +CONFIG_USERNS=y; it is not set, because this kernel has no such symbol; the nearest",
    ] {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
}
