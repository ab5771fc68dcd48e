use vmlab_console::{Finding, Kind as ReportKind};
use vmlab_events::fixture::HOSTILE;
use vmlab_events::verdict::{SkipReason, Verdict};
use vmlab_protocol::figure::Unit;

use super::*;
use crate::cost::Cost;
use crate::fixture::{failed, report, side};

fn comparison() -> Comparison {
    let skipped = Verdict::Skipped {
        reason: SkipReason::ConfigNotSet { symbols: vec!["CONFIG_TIME_NS".to_owned()], evidence: "EINVAL".to_owned() },
    };
    let mut warned = report("k", "net.b", failed(HOSTILE));
    warned.warnings.push(Finding {
        fingerprint: "warning:copy_process-1a2b3c4d".to_owned(),
        ..Finding::of_title(ReportKind::Warning, "WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 copy_process")
    });
    let old = side(
        "20261128-110203-4f2a",
        vec![
            report("k", "uts.a", failed("the host's name was seen")),
            report("k", "net.b", Verdict::Passed),
            report("k", "time.c", Verdict::Passed),
            report("k", "pid.d", Verdict::Passed),
        ],
    );
    let mut new = side(
        "20261129-110203-4f2a",
        vec![
            report("k", "uts.a", Verdict::Passed),
            warned,
            report("k", "time.c", skipped),
            report("k", "pid.e", Verdict::Passed),
        ],
    );
    new.about.guests.memory_mib = 512;
    let mut difference = Difference::between(&old, &new);
    let cost = |operation: &str, new_milli, change_permille| Cost {
        job: "measure.create".to_owned(),
        operation: operation.to_owned(),
        unit: Unit::Instructions,
        old_milli: 100_000,
        new_milli,
        change_permille,
    };
    difference.costs = vec![cost("unshare: a new net namespace", 150_000, 500), cost("a|b", 90_000, -100)];
    Comparison { pairs: vec![difference], only_old: vec!["debian:bullseye".to_owned()], only_new: Vec::new() }
}

#[test]
fn all_kinds_of_differences_have_a_place() {
    insta::assert_snapshot!("text", render(&comparison(), Form::Text));
    insta::assert_snapshot!("markdown", render(&comparison(), Form::Markdown));
}

#[test]
fn the_object_has_everything_and_can_be_read() {
    let object: serde_json::Value = serde_json::from_str(&render(&comparison(), Form::Json)).unwrap();
    assert_eq!((&object["regression"], &object["only_old"][0]), (&true.into(), &"debian:bullseye".into()));
    let pairs: Vec<Difference> = serde_json::from_value(object["pairs"].clone()).unwrap();
    assert_eq!(pairs, comparison().pairs);
}

#[test]
fn nothing_different_is_said() {
    let same = side("a", vec![report("k", "uts.a", Verdict::Passed)]);
    let comparison =
        Comparison { pairs: vec![Difference::between(&same, &same)], only_old: Vec::new(), only_new: Vec::new() };
    assert!(render(&comparison, Form::Text).ends_with("1 job compared: no difference\n"));
    assert!(!comparison.is_regression());
}

#[test]
fn forms_have_names() {
    for (name, _) in Form::described() {
        assert_eq!(name.parse::<Form>().unwrap().to_string(), name);
    }
    assert!("html".parse::<Form>().unwrap_err().to_string().contains("text, markdown, json"));
}
