//! A bounded fuzz test: every input that the fuzzers of `tests/fuzz` have found, and seeded mutations of each.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step of a test is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;
use vmlab_tests::fuzz::mutate::Mutator;
use vmlab_tests::fuzz::{TARGETS, Target};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Mutated inputs for each target.
const MUTATED: usize = 4000;

/// Targets run one at a time, so that the measured memory is the target's.
static TURN: Mutex<()> = Mutex::new(());

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = home().join("corpus").join(name);
    names(&dir).iter().map(|name| fs::read(dir.join(name)).unwrap()).collect()
}

/// Runs a target with one input. If a property does not hold, the input is written to a file that cargo-fuzz can run.
fn try_input(target: &Target, input: &[u8]) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let fine = catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok();
    let held = MEMORY.peak_usage().saturating_sub(before);
    let (base, times) = target.memory;
    let limit = base + times * input.len();
    if !fine || held > limit {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        fs::write(&file, input).unwrap();
        let words =
            if fine { format!("{held} bytes were in use, {limit} are allowed") } else { "see above".to_owned() };
        panic!("{}: the input in {} fails: {words}", target.name, file.display());
    }
}

fn fuzz(name: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(name);
    assert!(corpus.len() > 3, "{name} has almost no corpus");
    corpus.iter().for_each(|input| try_input(target, input));
    let mut mutator = Mutator::new(corpus.len() as u64);
    for (_, input) in (0..MUTATED).zip(corpus.iter().cycle()) {
        try_input(target, &mutator.change(input, &corpus, target.words));
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name));
        })*

        /// Targets, programs, corpora and these tests have the same names.
        #[test]
        fn every_target_has_a_program_a_corpus_and_a_test() {
            let tests: BTreeSet<_> = [$(stringify!($name)),*].map(str::to_owned).into();
            let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
            let programs: BTreeSet<_> =
                names(&home().join("fuzz_targets")).iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect();
            assert_eq!(tests, targets);
            assert_eq!(programs, targets);
            assert_eq!(names(&home().join("corpus")), targets);
        }
    };
}

targets! { apt config console event_log files frame kernel_file ktap message modules newc session }
