//! The arrows between the crates are those that ARCHITECTURE.md shows, and all of them point down.

use std::collections::BTreeMap;
use std::fs;

use crate::{manifest, workspace};

/// The line before the arrows in ARCHITECTURE.md.
const FENCE: &str = "```text crates";

/// Crates that are not part of the product and may depend on every crate.
const TESTS: [&str; 1] = ["tests"];

/// A crate and the workspace's crates that it depends on, in the order of the page.
type Arrows = Vec<(String, Vec<String>)>;

fn documented() -> Arrows {
    let page = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let lines = page.lines().skip_while(|line| *line != FENCE).skip(1).take_while(|line| *line != "```");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    lines.map(|line| line.split_once(" ->").unwrap()).map(|(from, to)| (from.to_owned(), words(to))).collect()
}

/// From the manifests: the normal dependencies of each crate of the product on other crates of the workspace.
fn actual() -> BTreeMap<String, Vec<String>> {
    let root = manifest(workspace());
    let members = root["workspace"]["members"].as_array().unwrap();
    let members = members.iter().map(|member| member.as_str().unwrap()).filter(|member| !TESTS.contains(member));
    let arrows = members.map(|member| {
        let manifest = manifest(&workspace().join(member));
        let dependencies = manifest.get("dependencies").and_then(|table| table.as_table());
        let names = dependencies.into_iter().flatten().map(|(name, _)| name.clone());
        let mut ours: Vec<_> = names.filter(|name| name == "vmlab" || name.starts_with("vmlab-")).collect();
        ours.sort();
        (manifest["package"]["name"].as_str().unwrap().to_owned(), ours)
    });
    arrows.collect()
}

#[test]
fn crates_depend_on_exactly_the_crates_that_architecture_md_shows() {
    let documented: BTreeMap<_, _> = documented().into_iter().collect();
    let (documented, actual) = (text(&documented), text(&actual()));
    assert_eq!(documented, actual, "left: ARCHITECTURE.md, right: the manifests");
}

#[test]
fn crates_depend_only_on_crates_below_them() {
    let arrows = documented();
    assert!(!arrows.is_empty(), "ARCHITECTURE.md has no block that begins with `{FENCE}`");
    for (place, (from, to)) in arrows.iter().enumerate() {
        for name in to {
            let below = arrows[place + 1..].iter().any(|(lower, _)| lower == name);
            assert!(below, "{from} depends on {name}, which is not below it in ARCHITECTURE.md");
        }
    }
}

/// One line for each crate, sorted, with sorted dependencies.
fn text(arrows: &BTreeMap<String, Vec<String>>) -> String {
    let line = |(from, to): (&String, &Vec<String>)| {
        let mut to = to.clone();
        to.sort();
        format!("{from} -> {}\n", to.join(" "))
    };
    arrows.iter().map(line).collect()
}
