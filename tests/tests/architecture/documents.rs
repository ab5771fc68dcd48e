//! What the documents name exists: paths of the tree, linked pages, tests, and the example code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::{files, workspace};

/// A name of at least so many words in CONTRIBUTING.md is a test's name.
const WORDS_OF_A_TEST: usize = 3;

fn documents() -> Vec<PathBuf> {
    let top = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| workspace().join(name));
    let guide = files(&workspace().join("host/cli/guide"), |path| path.extension().is_some_and(|it| it == "md"));
    assert!(!guide.is_empty());
    top.into_iter().chain(guide).collect()
}

/// A document without its fenced blocks.
fn prose(document: &Path) -> String {
    let text = fs::read_to_string(document).unwrap();
    text.split("```").step_by(2).collect()
}

/// What stands in backticks, without spaces.
fn quoted(prose: &str) -> BTreeSet<String> {
    let quoted = Regex::new(r"`([^`\s]+)`").unwrap();
    quoted.captures_iter(prose).map(|found| found[1].to_owned()).collect()
}

/// The tree's files and directories, relative to the workspace.
fn tree() -> BTreeSet<PathBuf> {
    let is_wanted = |path: &Path| !["target", ".git"].iter().any(|name| path.ends_with(name));
    let files = files(workspace(), is_wanted);
    let relative = files.iter().map(|file| file.strip_prefix(workspace()).unwrap());
    relative.flat_map(Path::ancestors).map(Path::to_owned).collect()
}

/// Whether a quoted text is a path of the tree: it is relative and has a slash, or ends as sources do.
fn is_path(quoted: &str) -> bool {
    let characters = Regex::new(r"^[\w.][\w./-]*$").unwrap();
    characters.is_match(quoted) && (quoted.contains('/') || quoted.ends_with(".rs") || quoted.ends_with(".toml"))
}

/// Whether the tree has the path. Documents may leave out the first directories. Of a file with a placeholder, such as
/// `NAME.rs`, the directory has to exist.
fn has(tree: &BTreeSet<PathBuf>, path: &str) -> bool {
    let path = Path::new(path);
    let name = path.file_stem().unwrap().to_str().unwrap();
    let is_placeholder = path.extension().is_some() && name.chars().all(|c| c.is_ascii_uppercase() || c == '-');
    let path = if is_placeholder { path.parent().unwrap() } else { path };
    tree.iter().any(|known| known.ends_with(path))
}

#[test]
fn each_path_in_the_documents_exists() {
    let tree = tree();
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        for path in quoted(&prose(&document)).into_iter().filter(|quoted| is_path(quoted)) {
            count += 1;
            if !has(&tree, &path) {
                wrong.push(format!("{}: `{path}`", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "no such file or directory:\n{}", wrong.join("\n"));
    assert!(count > 50, "only {count} paths were found");
}

#[test]
fn a_path_that_does_not_exist_is_noticed() {
    let tree = tree();
    for path in ["host/lab/src/lab.rs", "dispatch/runner.rs", "Cargo.toml", "init/src/scenarios/AREA.rs", "host/lab/"] {
        assert!(is_path(path) && has(&tree, path), "{path}");
    }
    for path in ["host/lab/src/labs.rs", "no/such", "nosuch.rs", "init/src/nosuch/AREA.rs"] {
        assert!(is_path(path) && !has(&tree, path), "{path}");
    }
    for other in ["debian:SUITE/FLAVOUR", "/proc", "~/.cache/vmlab", "$XDG_STATE_HOME/vmlab", "uts.hostname"] {
        assert!(!is_path(other), "{other}");
    }
}

#[test]
fn each_linked_page_exists() {
    let link = Regex::new(r"\]\(([^)#:]+)\)").unwrap();
    for document in documents() {
        for found in link.captures_iter(&prose(&document)) {
            assert!(document.parent().unwrap().join(&found[1]).is_file(), "{}: {}", document.display(), &found[1]);
        }
    }
}

#[test]
fn each_test_that_contributing_names_exists() {
    let is_source =
        |path: &Path| path.is_dir() && !path.ends_with("target") || path.extension().is_some_and(|it| it == "rs");
    // An attribute that ends a test's line of attributes, further attributes, and the name.
    let test = Regex::new(r"#\[(?:tokio::)?test(?:\([^\]]*\))?\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)").unwrap();
    let mut tests = BTreeSet::new();
    for file in files(workspace(), is_source) {
        let text = fs::read_to_string(file).unwrap();
        tests.extend(test.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    let name = Regex::new(r"^[a-z][a-z0-9_]*$").unwrap();
    let named = quoted(&prose(&workspace().join("CONTRIBUTING.md")));
    let named: Vec<_> =
        named.iter().filter(|quoted| name.is_match(quoted) && quoted.split('_').count() >= WORDS_OF_A_TEST).collect();
    assert!(named.len() >= 10, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

/// Code without white space, and without what rustfmt adds where it breaks a line: pages have shorter lines than sources.
fn without_layout(code: &str) -> String {
    let dense: String = code.split_whitespace().collect();
    dense.replace(",)", ")").replace("|name|{", "|name|").replace("(2)\")})", "(2)\"))")
}

#[test]
fn the_example_of_the_guide_is_the_code_of_a_scenario() {
    let page = fs::read_to_string(workspace().join("host/cli/guide/scenarios.md")).unwrap();
    let source = fs::read_to_string(workspace().join("init/src/scenarios/uts.rs")).unwrap();
    let example = page.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    let source = without_layout(&source);
    for item in example.trim_end().split("\n\n") {
        assert!(source.contains(&without_layout(item)), "not in uts.rs:\n{item}");
    }
}
