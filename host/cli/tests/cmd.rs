//! What users read: help texts, error messages, and the transcripts in README and guide that need no kernel.
//!
//! `TRYCMD=overwrite cargo test -p vmlab --test cmd` writes what vmlab prints today into the files of tests/cmd; review the
//! difference before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use trycmd::TestCases;

/// Cases whose output depends on neither the machine nor its user.
fn cases() -> TestCases {
    let cases = TestCases::new();
    for (variable, value) in [
        ("COLUMNS", "100"),
        // A directory that nobody can make, root included.
        ("HOME", "/proc/nowhere"),
        // Relative paths count as unset.
        ("XDG_CACHE_HOME", "unset"),
        ("XDG_STATE_HOME", "unset"),
        ("VMLAB_QEMU", "/nonexistent/qemu"),
        ("VMLAB_CACHE_LIMIT", "10G"),
        ("NO_COLOR", "1"),
        ("TERM", "dumb"),
        ("LC_ALL", "C"),
    ] {
        cases.env(variable, value);
    }
    // For the shell, which has what no argument can say: redirections and bytes that are not UTF-8.
    let vmlab = Path::new(env!("CARGO_BIN_EXE_vmlab"));
    let bin_dir = vmlab.parent().map(Path::display).map(|dir| dir.to_string()).unwrap_or_default();
    cases.env("PATH", format!("{bin_dir}:/usr/bin:/bin")).register_bin("sh", Path::new("/bin/sh"));
    cases
}

#[test]
fn help_texts() {
    cases().case("tests/cmd/help/*.trycmd");
}

#[test]
fn error_messages() {
    cases().case("tests/cmd/errors/*.trycmd");
}

#[test]
fn transcripts_in_the_documentation() {
    cases().case("../../README.md").case("guide/*.md");
}

/// The program called by the documentation's transcripts is vmlab, and the blocks are marked so that they are tested.
#[test]
fn every_transcript_is_tested_or_says_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = vec![root.join("../../README.md")];
    pages.extend(fs::read_dir(root.join("guide")).unwrap().map(|entry| entry.unwrap().path()));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("\n```").skip(1).step_by(2);
        for block in blocks {
            let (kind, body) = block.split_once('\n').unwrap_or((block, ""));
            let is_transcript = body.lines().any(|line| line.starts_with("$ "));
            assert!(!is_transcript || kind.starts_with("console"), "{}: {block}", page.display());
        }
    }
}
