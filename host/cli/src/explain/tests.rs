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

#[test]
fn a_part_is_enough_where_one_name_has_it() {
    let catalogue = guest_init::catalogue().unwrap();
    for name in ["uts.hostname", "=uts.hostname", "s.hostname"] {
        assert_eq!(find(catalogue, name).unwrap().id.as_str(), "uts.hostname", "{name}");
    }
    let several = find(catalogue, "uts.").unwrap_err();
    assert_eq!(several.code, exit::USAGE);
    assert!(several.to_string().contains("\n  uts.domainname\n  uts.domainname-denied\n  uts.hostname"), "{several}");
}

#[test]
fn a_misspelt_name_is_answered_with_similar_ones() {
    let catalogue = guest_init::catalogue().unwrap();
    for name in ["uts.hosname", "hosntame", "uts.hostnam3"] {
        let error = find(catalogue, name).unwrap_err();
        assert_eq!(error.code, exit::NOTHING_RAN);
        assert!(error.to_string().contains("did you mean `uts.hostname`"), "{error}");
    }
    let error = find(catalogue, "zzz").unwrap_err().to_string();
    assert!(!error.contains("did you mean"), "{error}");
}

#[test]
fn every_scenario_is_explained_whole() {
    let (catalogue, groups) = (guest_init::catalogue().unwrap(), list::embedded().unwrap());
    for scenario in catalogue {
        let text = Explanation { scenario, features: features(scenario, &groups), last: None }.text(1000);
        for part in [&scenario.title, &scenario.source, "subject: ", "control: ", "no record has one", "vmlab run ="] {
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
