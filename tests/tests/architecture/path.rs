//! The path of one job in ARCHITECTURE.md is short, and each file on it is used by a file before it.

use std::fs;
use std::path::Path;

use crate::source::code;
use crate::workspace;

/// The line before the path in ARCHITECTURE.md.
const FENCE: &str = "```text path";
/// More files than this, and nobody follows a job any more.
const MOST_FILES: usize = 20;

fn documented() -> Vec<String> {
    let page = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let lines = page.lines().skip_while(|line| *line != FENCE).skip(1).take_while(|line| *line != "```");
    lines.map(str::to_owned).collect()
}

/// The name of a file's module: `run` of `host/cli/src/run/mod.rs`; the crate's name for its root.
fn module(file: &str) -> String {
    let path = Path::new(file);
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    match stem(path).as_str() {
        "mod" => stem(path.parent().unwrap()),
        "lib" => "vmlab".to_owned(),
        name => name.to_owned(),
    }
}

#[test]
fn a_job_passes_few_files_from_main_to_the_exit_code() {
    let files = documented();
    assert!((2..=MOST_FILES).contains(&files.len()), "{} files", files.len());
    assert_eq!(
        (files[0].as_str(), files.last().unwrap().as_str()),
        ("host/cli/src/main.rs", "host/lab/src/exit_code.rs")
    );
    let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(workspace().join(file)).unwrap()).collect();
    for (at, file) in files.iter().enumerate().skip(1) {
        let name = module(file);
        let uses = regex::Regex::new(&format!(r"\b{name}\b")).unwrap();
        let is_used = texts[..at].iter().any(|text| uses.is_match(&code(text)));
        assert!(is_used, "no file before {file} uses `{name}`");
    }
}
