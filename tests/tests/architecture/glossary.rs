//! Words for which the tree has a plainer word are not used any more: in identifiers, or, if a word has no other
//! meaning here, in all text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

use crate::source::code;
use crate::{files, workspace};

/// Where a word must not occur.
enum Scope {
    /// In Rust code without comments and literals, below these paths. `ALL` is the whole tree.
    Code(&'static [&'static str]),
    /// In all Rust, Markdown and TOML files.
    Text,
}
use Scope::{Code, Text};

const ALL: &[&str] = &[""];

/// A word, where it must not occur, its pattern, and the word to use instead.
type Word = (&'static str, Scope, &'static str, &'static str);

/// Every replaced word. In the patterns, `(\b|_)` finds a word within a name in snake case.
const WORDS: &[Word] = &[
    ("autopsy", Text, r"(?i-u)autops(y|ies)", "postmortem"),
    ("await_word", Code(ALL), r"\bawait_word\b", "await_marker"),
    ("batch", Code(ALL), r"(\b|_)batch(es)?(\b|_)|\bBatch", "jobs of one guest"),
    ("Bench", Code(ALL), r"\bBench\b", "TestEnv"),
    ("book", Code(ALL), r"\bBook\b|(\b|_)books?(\b|_)", "AttemptTracker"),
    ("Came", Code(ALL), r"\b[Cc]ame\b", "AttemptEnd, Observed"),
    ("Column", Code(&["host/lab", "host/cli"]), r"\bColumn\b", "Target, TargetRunner"),
    ("Drive", Code(&["host/lab"]), r"\bDrive\b", "GuestDriver"),
    ("farewell", Code(ALL), r"(?i-u)farewell", "exit deadline"),
    ("had", Code(ALL), r"\.had\b|\bhad\s*:", "CpuUsage"),
    ("heard", Code(ALL), r"\bHeard|(\b|_)(heard|hearing)(\b|_)", "SessionEvent, handle_message"),
    ("heed", Code(ALL), r"(\b|_)heed(s|ed)?(\b|_)", "handle_message"),
    ("hold", Code(&["host"]), r"\bHold(Error)?\b|\b(mod|fn) hold\b|\.hold\b|\bhold\s*:|::hold\b", "lease"),
    ("journal", Code(ALL), r"(?i-u)(\b|_)journal(\b|_)", "event log"),
    ("keeping", Code(ALL), r"\b[Kk]eeping\b", "cache warnings"),
    ("kept", Code(&["host/store"]), r"\bKept\b|\b(mod|fn) kept\b|::kept\b", "Blob"),
    ("last word", Text, r"(?i-u)last[ _]words?\b|LastWord", "shutdown line, final verdict"),
    ("ledger", Text, r"(?i-u)\bledgers?\b", "ScenarioTracker, JobTracker"),
    ("memo", Text, r"(?i-u)(\b|_)memos?(\b|_)", "stat cache"),
    ("place", Code(&["host/store"]), r"\bPlace\b|\bmod place\b|::place\b", "BlobPath"),
    ("plain", Code(&["host/store", "host/qemu"]), r"\bmod plain\b|\bplain::|::plain\b", "regular file"),
    ("Prepared", Code(&["host"]), r"\b(struct|enum|type) Prepared\b|\bmod prepared\b", "PreparedTarget"),
    ("sabotage", Text, r"(?i-u)sabotag|misdeed", "fault injection"),
    ("sealed", Code(ALL), r"\bSealed|(\b|_)sealed(\b|_)", "checksummed JSON"),
    ("sequence", Code(ALL), r"\b(struct|enum|mod) [Ss]equence\b", "order of events"),
    ("settle", Code(&["host/lab"]), r"(?i-u)(\b|_)settled?(\b|_)", "teardown"),
    ("shelf", Text, r"(?i-u)\b(shelf|shelves)\b", "BlobDir"),
    ("spare", Code(ALL), r"\bSpare|(\b|_)spares?(\b|_)", "standby"),
    ("starved", Code(ALL), r"(\b|_)starved(\b|_)", "runqueue_wait"),
    ("told", Code(ALL), r"\b[Tt]old\b", "TimedQmpEvent, reported"),
    ("Tries", Code(ALL), r"\bTries\b", "Attempts"),
    ("vitals", Code(ALL), r"(?i-u)(\b|_)vitals(\b|_)", "CpuUsage"),
    ("Watch", Code(&["host/lab"]), r"\bWatch\b|\bmod watch\b", "Deadlines"),
    ("word()", Code(ALL), r"\bfn word\b|\.word\(\)", "label(), marker"),
];

/// Where a word is a name in files of older versions: the word, and the beginnings of paths. The test fails if an entry
/// is not needed any more, and prints the list without such entries.
const IN_OLDER_FILES: &[(&str, &[&str])] =
    &[("last word", &["host/events/src/log/old.rs"]), ("memo", &["host/store/src/cache/leftovers.rs"])];

/// The tree's Rust, Markdown and TOML files: path, text, and code. This file and samples of foreign text are left out.
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

/// The paths of the tree that use a word.
fn uses<'a>((_, scope, pattern, _): &Word, tree: &'a [(String, String, String)]) -> Vec<&'a str> {
    let pattern = Regex::new(pattern).unwrap();
    let is_used = |(path, text, code): &&(String, String, String)| match scope {
        Code(paths) => paths.iter().any(|beginning| path.starts_with(beginning)) && pattern.is_match(code),
        Text => pattern.is_match(text),
    };
    tree.iter().filter(is_used).map(|(path, ..)| path.as_str()).collect()
}

#[test]
fn replaced_words_are_used_only_where_the_list_says_so() {
    let tree = tree();
    let in_older_files: BTreeMap<_, _> = IN_OLDER_FILES.iter().copied().collect();
    let (mut wrong, mut needed) = (Vec::new(), String::new());
    for word in WORDS {
        let (name, _, _, instead) = word;
        let uses = uses(word, &tree);
        let listed = in_older_files.get(name).copied().unwrap_or_default();
        let is_listed = |path: &&str| listed.iter().any(|beginning| path.starts_with(beginning));
        let unlisted = uses.iter().filter(|path| !is_listed(path));
        wrong.extend(unlisted.map(|path| format!("{path} uses `{name}`: use {instead}")));
        let (in_use, gone): (Vec<&str>, Vec<&str>) =
            listed.iter().partition(|beginning| uses.iter().any(|path| path.starts_with(**beginning)));
        wrong.extend(gone.iter().map(|beginning| format!("{beginning} does not use `{name}` any more")));
        if !in_use.is_empty() {
            needed.push_str(&format!("    ({name:?}, &{in_use:?}),\n"));
        }
    }
    assert!(wrong.is_empty(), "{}\n\nthe entries that are needed:\n{needed}", wrong.join("\n"));
}

#[test]
fn words_are_listed_once_in_alphabetical_order() {
    let names: Vec<_> = WORDS.iter().map(|(name, ..)| name.to_lowercase()).collect();
    let sorted: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(names, sorted.into_iter().collect::<Vec<_>>());
    assert!(IN_OLDER_FILES.iter().all(|(name, _)| WORDS.iter().any(|(word, ..)| word == name)), "an unknown word");
}
