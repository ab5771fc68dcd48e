//! Words that were replaced are not used any more: in identifiers, or, where a word has no other meaning here, anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

use crate::source::code;
use crate::{files, workspace};

/// Where a word must not occur.
enum Scope {
    /// In Rust code without comments and literals.
    Code,
    /// In all Rust, Markdown and TOML files.
    Anywhere,
}
use Scope::{Anywhere, Code};

/// A word that was replaced.
struct Word {
    name: &'static str,
    scope: Scope,
    pattern: &'static str,
    instead: &'static str,
    /// The beginnings of paths where the word is still there. The lists may only shrink.
    still_in: &'static [&'static str],
}

/// Every word. In the patterns, `(\b|_)` finds a word within a name in snake case.
const WORDS: &[Word] = &[
    word("autopsy", Anywhere, r"(?i-u)autops(y|ies)", "postmortem", &[]),
    word("await_word", Code, r"\bawait_word\b", "await_marker", &[]),
    word("batch", Code, r"(\b|_)batch(es)?(\b|_)|\bBatch", "jobs of one guest", &[]),
    word("Bench", Code, r"\bBench\b", "TestEnv", &[]),
    word("book", Code, r"\bBook\b|(\b|_)book(s)?(\b|_)", "AttemptTracker", &[]),
    word("Came", Code, r"\bCame\b|\bcame\b", "AttemptEnd, Observed", &[]),
    word("Column", Code, r"\bColumn\b", "Target, TargetRunner", &[]),
    word("Drive", Code, r"\bDrive\b", "GuestDriver", &[]),
    word("farewell", Code, r"(?i-u)farewell", "exit deadline", &[]),
    word("had", Code, r"\.had\b|\bhad\s*:", "CpuUsage", &[]),
    word("heard", Code, r"\bHeard|(\b|_)heard(\b|_)|(\b|_)hearing(\b|_)", "SessionEvent, handle_message", &[]),
    word("heed", Code, r"(\b|_)heed(s|ed)?(\b|_)", "handle_message", &[]),
    word("hold", Code, r"\bHold\b|\bHoldError\b|\b(mod|fn) hold\b|\.hold\b|\bhold\s*:|::hold\b", "lease", &[]),
    word("journal", Code, r"(?i-u)(\b|_)journal(\b|_)", "event log", &[]),
    word("keeping", Code, r"\bKeeping|\bkeeping\b", "cache warnings", &[]),
    word("kept", Code, r"\bKept\b|\b(mod|fn) kept\b|::kept\b", "Blob", &[]),
    word("last word", Anywhere, r"(?i-u)last[ _]words?\b|LastWord", "shutdown line, final verdict", &[]),
    word("ledger", Anywhere, r"(?i-u)\bledgers?\b", "ScenarioTracker, JobTracker", &[]),
    word("memo", Anywhere, r"(?i-u)(\b|_)memos?(\b|_)", "stat cache", &[]),
    word("place", Code, r"\b(struct|enum|mod) (Place|place)\b|::place\b", "blob path", &[]),
    word("plain", Code, r"\b(struct|enum|mod) (Plain|plain)\b|::plain\b", "regular file", &[]),
    word("Prepared", Code, r"\b(struct|enum|type) Prepared\b|\bmod prepared\b", "PreparedTarget", &[]),
    word("sabotage", Anywhere, r"(?i-u)sabotag|misdeed", "fault injection", &[]),
    word("sealed", Code, r"\bSealed|(\b|_)sealed(\b|_)", "checksummed JSON", &[]),
    word("sequence", Code, r"\b(struct|enum|mod) (Sequence|sequence)\b", "order of events", &[]),
    word("settle", Code, r"(?i-u)(\b|_)settled?(\b|_)", "teardown", &[]),
    word("shelf", Anywhere, r"(?i-u)\b(shelf|shelves)\b", "blob directory", &[]),
    word("spare", Code, r"\bSpare|(\b|_)spare(s)?(\b|_)", "standby", &[]),
    word("starved", Code, r"(\b|_)starved(\b|_)", "runqueue_wait", &[]),
    word("told", Code, r"\bTold\b|\btold\b", "TimedQmpEvent, or what was reported", &[]),
    word("Tries", Code, r"\bTries\b", "Attempts", &[]),
    word("vitals", Code, r"(?i-u)(\b|_)vitals(\b|_)", "CpuUsage", &[]),
    word("Watch", Code, r"\bWatch\b|\b(mod|fn) watch\b", "Deadlines", &[]),
    word("word()", Code, r"\bfn word\b|\.word\(\)", "label(), marker", &[]),
];

const fn word(
    name: &'static str,
    scope: Scope,
    pattern: &'static str,
    instead: &'static str,
    still_in: &'static [&'static str],
) -> Word {
    Word { name, scope, pattern, instead, still_in }
}

/// The tree's Rust, Markdown and TOML files: path, text, and code. Samples of foreign text are left out, and so is this file.
fn tree() -> Vec<(String, String, String)> {
    let is_wanted = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_dir_of_the_tree = path.is_dir() && !name.starts_with('.') && name != "target" && name != "corpus";
        let is_text = ["rs", "md", "toml"].iter().any(|ending| path.extension().is_some_and(|it| it == *ending));
        is_dir_of_the_tree || is_text && !path.ends_with(file!())
    };
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
        let code = if name.ends_with(".rs") { code(&text) } else { String::new() };
        (name, text, code)
    };
    files(workspace(), is_wanted).into_iter().map(read).collect()
}

#[test]
fn replaced_words_are_not_used() {
    let tree = tree();
    let mut wrong = Vec::new();
    for word in WORDS {
        let pattern = Regex::new(word.pattern).unwrap();
        let uses: Vec<(&str, &str)> = tree
            .iter()
            .filter_map(|(path, text, code)| {
                let text = if matches!(word.scope, Code) { code } else { text };
                pattern.find(text).map(|found| (path.as_str(), found.as_str()))
            })
            .collect();
        let is_listed = |path: &str| word.still_in.iter().any(|beginning| path.starts_with(beginning));
        for (path, found) in uses.iter().filter(|(path, _)| !is_listed(path)) {
            wrong.push(format!("{path}: `{found}` ({}): use: {}", word.name, word.instead));
        }
        let gone = |beginning: &&&str| !uses.iter().any(|(path, _)| path.starts_with(**beginning));
        for beginning in word.still_in.iter().filter(gone) {
            wrong.push(format!("take {beginning} off the list of {}", word.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn words_are_listed_once_in_alphabetical_order() {
    let names: Vec<_> = WORDS.iter().map(|word| word.name.to_lowercase()).collect();
    let sorted: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(names, sorted.into_iter().collect::<Vec<_>>());
}
