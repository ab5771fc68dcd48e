//! Two vmlabs at the same time with one cache, and a suite that does not exist.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use vmlab_events::exit;
use vmlab_tests::outcome::Outcome;

use crate::{CACHE, ONLY_HOSTNAME, TRIXIE, arguments, env, events_file, with_cache};

#[test]
fn two_vmlabs_share_a_cache_without_images() {
    let warm = env();
    // The cache has the kernels, but neither images nor the answer of the accelerator probe.
    let shared = warm.home().join("cold");
    fs::create_dir_all(shared.join("vmlab")).unwrap();
    symlink(Path::new(CACHE).join("vmlab/kernels"), shared.join("vmlab/kernels")).unwrap();
    let envs = [with_cache(&shared), with_cache(&shared)];
    let running = envs.each_ref().map(|env| env.start(&arguments(env, &["--kernel", TRIXIE, ONLY_HOSTNAME])));
    for (env, running) in envs.iter().zip(running) {
        let outcome = Outcome::of(env, &events_file(env), running.wait());
        outcome.exits(exit::OK).has("uts.hostname", "PASS", "");
    }
    let of = |dir: &str, ending: &str| {
        let names = fs::read_dir(shared.join("vmlab").join(dir)).unwrap().flatten().map(|entry| entry.path());
        names.filter(|path| path.to_string_lossy().ends_with(ending)).collect::<Vec<_>>()
    };
    assert_eq!(of("images", ".cpio").len(), 1, "one image: {:?}", of("images", ""));
    assert_eq!(of("images", "").len(), 2, "and its usage mark: {:?}", of("images", ""));
    let templates: Vec<_> = of("templates", "").into_iter().filter(|path| path.is_dir()).collect();
    assert_eq!(templates.len(), 1, "one template, and no draft: {templates:?}");
}

#[test]
fn a_suite_that_the_mirror_lacks_is_refused() {
    let env = env();
    let ended = env.run(&["run", "--kernel", "debian:nosuchsuite", ONLY_HOSTNAME]);
    ended.exits(exit::USAGE);
    assert!(ended.stderr.contains("the mirror has no suite `nosuchsuite`; check its spelling"), "{ended}");
    assert_eq!(env.outliving(), []);
}
