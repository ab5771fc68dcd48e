//! What the lines look like by which kernels report on themselves: one table, in order.
//!
//! A rule is tried where the kernel begins to print, so no pattern matches in the middle of a line. The first rule that
//! matches counts. The forms are those of Linux 5.10 to 7.3 on x86-64, and where they are the same words, older ones and
//! other architectures'.

mod broken;
mod fatal;
mod warned;

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::bytes::{Regex, RegexBuilder};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, meta};
use vmlab_protocol::CONSOLE_MARK;

use super::finding::Finding;
use super::kind::Kind;

/// A form of a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it is.
    pub kind: Kind,
    /// Words that are in every line which the pattern matches: what is looked for in bulk.
    pub anchor: &'static str,
    /// A regular expression for the beginning of the kernel's words. Its group `what` tells reports of this kind apart
    /// and goes into their fingerprint; `func` is the function that broke; `comm` and `pid` are the task.
    pub pattern: &'static str,
    /// A line that it matches.
    pub example: &'static str,
    /// A line that looks like it and is no report at all, by no rule.
    pub near_miss: &'static str,
}

/// All rules, in order.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    fatal::RULES.iter().chain(broken::RULES).chain(warned::RULES)
}

/// The first line that a kernel prints (init/version.c).
const BANNER: &str = "Linux version ";
/// The line before a `WARN()` or `BUG()`, see kernel/panic.c.
const CUT_HERE: &str = "------------[ cut here ]";

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The kernel has begun to run.
    Banner,
    /// Words of our own PID 1 begin so many bytes on.
    InitSays(usize),
    /// A title may follow.
    CutHere,
    /// A title, by the number of its rule.
    Title(usize),
}

/// The rules, ready for use.
pub(super) struct Rules {
    /// Finds every line that may mean something, and a few others.
    pub(super) prefilter: AhoCorasick,
    /// Finds the first rule that matches, in one pass.
    titles: meta::Regex,
    parts: Vec<(Kind, Regex)>,
}

/// The error where the table does not compile. A test rules that out; should it happen all the same, each console says so
/// ([`unread`]).
pub(super) static RULES: LazyLock<Result<Rules, String>> =
    LazyLock::new(|| Rules::compile().map_err(|error| error.to_string()));

/// A console that nobody can read is a warning, so that nothing passes on it.
pub(super) fn unread(rules: &Result<Rules, String>) -> Option<Finding> {
    let why = rules.as_ref().err()?;
    let title = format!("vmlab cannot read this console: its table of kernel reports does not compile: {why}");
    Some(Finding::of_title(Kind::Warning, &title))
}

impl Rules {
    fn compile() -> Result<Self, Box<dyn std::error::Error>> {
        let mut anchors: Vec<&str> = all().map(|rule| rule.anchor).chain([BANNER, CUT_HERE, CONSOLE_MARK]).collect();
        anchors.sort_unstable();
        anchors.dedup();
        // One that has another within it finds nothing that the other does not.
        let alone: Vec<_> = anchors.iter().filter(|a| !anchors.iter().any(|b| a != &b && a.contains(b))).collect();
        let anchored = |rule: &Rule| format!("^(?:{})", rule.pattern);
        let part = |rule: &Rule| Ok((rule.kind, RegexBuilder::new(&anchored(rule)).unicode(false).build()?));
        Ok(Self {
            // With leftmost matches the search is one by vector instructions.
            prefilter: AhoCorasickBuilder::new().match_kind(MatchKind::LeftmostFirst).build(alone)?,
            titles: meta::Builder::new()
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .build_many(&all().map(|rule| rule.pattern).collect::<Vec<_>>())?,
            parts: all().map(part).collect::<Result<_, regex::Error>>()?,
        })
    }

    /// What a line says that begins with these words.
    pub(super) fn meaning(&self, words: &[u8]) -> Option<Meaning> {
        let title = Input::new(words).anchored(Anchored::Yes);
        if let Some(found) = self.titles.search_half(&title) {
            return Some(Meaning::Title(found.pattern().as_usize()));
        }
        let starts = |text: &str| words.starts_with(text.as_bytes());
        if starts(BANNER) {
            Some(Meaning::Banner)
        } else if starts(CUT_HERE) {
            Some(Meaning::CutHere)
        } else if starts(CONSOLE_MARK) {
            Some(Meaning::InitSays(CONSOLE_MARK.len()))
        } else {
            None
        }
    }

    /// What a rule is for.
    pub(super) fn kind(&self, number: usize) -> Option<Kind> {
        self.parts.get(number).map(|(kind, _)| *kind)
    }

    /// A title's parts.
    pub(super) fn title(&self, number: usize, words: &str) -> Option<Title> {
        let (kind, pattern) = self.parts.get(number)?;
        let found = pattern.captures(words.as_bytes())?;
        let group = |name| found.name(name).and_then(|part| words.get(part.range())).map(str::to_owned);
        Some(Title {
            rule: number,
            kind: *kind,
            what: group("what"),
            func: group("func"),
            comm: group("comm"),
            pid: group("pid"),
        })
    }
}

/// A title's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Title {
    /// The number of its rule.
    pub(super) rule: usize,
    pub(super) kind: Kind,
    pub(super) what: Option<String>,
    pub(super) func: Option<String>,
    pub(super) comm: Option<String>,
    pub(super) pid: Option<String>,
}

#[cfg(test)]
mod tests;
