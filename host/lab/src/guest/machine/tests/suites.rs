//! KUnit suites, which a kernel may have run before the guest's hello.

use vmlab_qemu::qmp::QmpEvent;

use super::super::{Outcome, Start};
use super::guest::{Play, suite};
use crate::attempts::AttemptEnd::Complete;
use crate::guest::input::Input;

const WARNING: &str = "WARNING: CPU: 0 PID: 1 at kernel/fork.c:2 f+0x1/0x2";

#[test]
fn a_warning_during_a_suite_at_boot_fails_that_suite() {
    let mut play = Play::new(Start::Fork, vec![suite("warned"), suite("other")]);
    play.give(Input::Start).qmp(QmpEvent::Resumed).prepares();
    play.obeys().passes_suite(1, "warned").obeys().passes_suite(2, "other").obeys().killed();
    assert_eq!(play.labels(), [("FAIL", Complete), ("PASS", Complete)]);
    let (report, _) = &play.reports[0];
    assert_eq!((report.warnings.len(), report.tests.len()), (1, 1));
    // A guest that boots reads the suite from its own console.
    let mut play = Play::new(Start::Boot, vec![suite("warned"), suite("other")]);
    play.give(Input::Start).prints("    # Subtest: other").prints(WARNING).prints("ok 1 other").boots().prepares();
    play.obeys().passes_suite(1, "warned").obeys().passes_suite(2, "other").obeys().killed();
    assert_eq!(play.labels(), [("PASS", Complete), ("FAIL", Complete)]);
}

#[test]
fn a_template_keeps_the_warnings_of_suites_for_its_forks() {
    let mut play = Play::new(Start::Template, Vec::new());
    play.give(Input::Start).prints("    # Subtest: other").prints(WARNING).prints("ok 1 other");
    play.boots().qmp(QmpEvent::Migration { status: "completed".to_owned() }).killed();
    let Outcome::Saved(boot) = play.outcome() else { panic!("it is saved") };
    let suites: Vec<_> = boot.suite_warnings.iter().map(|warning| warning.suite.as_deref()).collect();
    assert_eq!(suites, [Some("other")]);
}
