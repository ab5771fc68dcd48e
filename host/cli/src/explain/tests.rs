//! Tests of `vmlab explain` on the catalogue, and on a record of the fixture.

use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use vmlab_events::fixture;
use vmlab_protocol::catalogue::{KernelVersion, Since};
use vmlab_store::dirs::Dirs;
use vmlab_store::record::RunRecord;

use super::*;

fn context(home: &TempDir) -> Context {
    Context { dirs: Dirs { cache: home.path().join("cache"), state: home.path().join("state") } }
}

/// What a name stands for: a kind and its own name.
fn found(name: &str) -> Result<String, Failure> {
    let (groups, findings) = (list::embedded().unwrap(), findings::embedded().unwrap());
    Ok(match find(&specs().unwrap(), &groups, &findings, name)? {
        Named::Scenario(spec) => format!("scenario {}", spec.id),
        Named::Feature(feature) => format!("feature {}", feature.code),
        Named::Finding(finding) => format!("finding {}", finding.name),
    })
}

#[test]
fn a_part_is_enough_where_one_name_has_it() {
    for name in ["uts.hostname", "=uts.hostname", "s.hostname"] {
        assert_eq!(found(name).unwrap(), "scenario uts.hostname", "{name}");
    }
    let several = found("uts.").unwrap_err();
    assert_eq!(several.code, exit::USAGE);
    assert!(several.to_string().contains("\n  uts.domainname\n  uts.domainname-denied\n  uts.hostname"), "{several}");
}

#[test]
fn all_names_of_the_table_of_features_are_known() {
    for (name, expected) in [
        ("3a", "feature 3a"),
        ("3A", "feature 3a"),
        ("version-4", "feature version-4"),
        ("biederman-6", "feature biederman-6"),
        ("msgmni-of-root-outside", "finding msgmni-of-root-outside"),
        ("measure.create", "scenario measure.create"),
    ] {
        assert_eq!(found(name).unwrap(), expected);
    }
}

#[test]
fn a_feature_is_explained_with_its_scenarios_and_findings() {
    let (groups, findings, specs) = (list::embedded().unwrap(), findings::embedded().unwrap(), specs().unwrap());
    let text = |code| OfFeature::new(list::find(&groups, code).unwrap(), &specs, &findings).text(1000);
    for part in ["\nFeature\n    by Sam Vilain", "today: since Linux", "\n    uts.hostname: "] {
        assert!(text("3a").contains(part), "{}", text("3a"));
    }
    for part in ["Expected values\n    5.10: ", "\n    msgmni-of-root-outside: "] {
        assert!(text("version-8").contains(part), "{}", text("version-8"));
    }
    assert!(text("biederman-6").contains("\n    measure.create: "));
    for finding in &findings {
        let text = named::finding_text(finding, 1000);
        for part in [&finding.says, &finding.does, &finding.because, &finding.reproduce] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn a_misspelt_name_is_answered_with_similar_ones() {
    for name in ["uts.hosname", "hosntame", "uts.hostnam3"] {
        let error = found(name).unwrap_err();
        assert_eq!(error.code, exit::NOTHING_RAN);
        assert!(error.to_string().contains("did you mean `uts.hostname`"), "{error}");
    }
    let error = found("zzz").unwrap_err().to_string();
    assert!(!error.contains("did you mean"), "{error}");
}

#[test]
fn every_scenario_is_explained_whole() {
    let groups = list::embedded().unwrap();
    for scenario in specs().unwrap() {
        let text = Explanation { scenario, features: features(scenario, &groups), last: None }.text(1000);
        for part in [&scenario.title, &scenario.source, "subject: ", "control: ", "no record has one", "vmlab run "] {
            assert!(text.contains(part), "{}: {part}\n{text}", scenario.id);
        }
        assert!(scenario.steps.iter().all(|step| text.contains(step)), "{text}");
        assert!(text.contains("\nFeature\n") || scenario.id.area() == "lab", "{text}");
    }
}

#[test]
fn the_control_says_what_it_lacks() {
    let mut spec = fixture::scenarios().swap_remove(5);
    assert_eq!(control(&spec), "the same without the UTS namespace");
    assert_eq!(subject(&spec), "in a UTS namespace");
    spec.namespaces = vec![Namespace::User, Namespace::Pid];
    spec.control_namespaces = vec![Namespace::User];
    assert_eq!(subject(&spec), "in new namespaces: user, PID");
    assert_eq!(control(&spec), "the same without the PID namespace, in the user namespace only");
    spec.mechanism = Some("MS_NOSYMFOLLOW".to_owned());
    assert_eq!(
        control(&spec),
        "the same without the PID namespace, without MS_NOSYMFOLLOW, in the user namespace only"
    );
    (spec.namespaces, spec.control_namespaces) = (Vec::new(), Vec::new());
    assert_eq!(subject(&spec), "with MS_NOSYMFOLLOW");
    spec.steps.push("Control: the flag is set on another mount.".to_owned());
    assert_eq!(control(&spec), format!("step {}", spec.steps.len()));
    spec.steps.pop();
    assert_eq!(control(&spec), "the same without MS_NOSYMFOLLOW");
    spec.mechanism = None;
    assert_eq!(
        (subject(&spec).as_str(), control(&spec).as_str()),
        ("in a cgroup with the limit", "the same without the limit")
    );
    let init = &fixture::scenarios()[2];
    assert!(control(init).starts_with("none: an init that dies"), "{}", control(init));
}

#[test]
fn an_expected_leak_says_until_when() {
    let mut spec = fixture::scenarios().swap_remove(3);
    assert_eq!(expected(&spec), "LEAK: Linux does not isolate this, by design");
    let version = KernelVersion::new;
    spec.isolates_since = Some(Since { mainline: version(6, 14, 0), backports: vec![version(6, 1, 120)] });
    assert_eq!(expected(&spec), "PASS since Linux 6.14 and 6.1.120; LEAK before");
}

#[test]
fn the_last_result_is_that_of_the_latest_record_that_has_one() {
    let home = TempDir::new().unwrap();
    let context = context(&home);
    let id = "uts.hostname".parse().unwrap();
    assert!(last_result(&id, &context).is_none());
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for (seconds, length) in [(1_795_345_323, usize::MAX), (1_795_345_400, 3)] {
        let mut record = RunRecord::create(&context.dirs, at(seconds)).unwrap();
        // The second run was cut off before its first result.
        fixture::run().iter().take(length).for_each(|event| record.append(event).unwrap());
        record.finish().unwrap();
    }
    let last = last_result(&id, &context).unwrap();
    let lines = last.lines();
    assert!(lines[1].0.starts_with("debian:bullseye") && lines[1].0.contains("PASS"), "{lines:?}");
    assert_eq!(lines[2].1, "the host's name is the same");
    assert!(lines.iter().any(|(head, _)| head.starts_with("debian:trixie") && head.contains("not run")), "{lines:?}");
    assert!(last_result(&"no.such".parse().unwrap(), &context).is_none());
}
