//! The titles of kernel reports, as an ordered table of rules.
//!
//! A rule is tried only where a kernel message begins, so no pattern matches in the middle of a message. The first
//! matching rule counts. The rules cover Linux 5.10 to 7.3 on x86-64, and older versions and other architectures where
//! they print the same text.

mod broken;
mod fatal;
mod harmless;
mod messages;
mod task_first;
mod warned;

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::bytes::{Regex, RegexBuilder, RegexSet};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, meta};
use vmlab_protocol::CONSOLE_MARK;

use super::finding::Finding;
use super::kind::Kind;

/// The form of a report's title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    kind: Kind,
    /// A text in every line that the pattern matches. The bulk search looks for anchors.
    anchor: &'static str,
    /// A regular expression for the beginning of a message. The group `what` distinguishes reports of this kind and is
    /// part of the fingerprint; `func` is the failing function; `comm` and `pid` are the task.
    pattern: &'static str,
    /// A line that the rule matches.
    pub(super) example: &'static str,
    /// A similar line that no rule matches.
    pub(super) near_miss: &'static str,
}

pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    [task_first::RULES, fatal::RULES, broken::RULES, messages::RULES, warned::RULES].into_iter().flatten()
}

/// The first line that a kernel prints (init/version.c).
const BANNER: &str = "Linux version ";
/// The line before a `WARN()` or `BUG()` (kernel/panic.c).
const CUT_HERE: &str = "------------[ cut here ]";

/// The meaning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The kernel has begun to run.
    Banner,
    /// A message of vmlab's PID 1, whose text begins at this offset in bytes.
    InitSays(usize),
    /// A title may follow.
    CutHere,
    /// The line begins like a report, but is not one.
    Harmless,
    /// A title, by the number of its rule.
    Title(usize),
}

/// The compiled rules.
pub(super) struct Rules {
    /// Finds every line that may have a meaning, and some others.
    pub(super) prefilter: AhoCorasick,
    /// Compiled for the first line that may be a title: this takes a millisecond or two, and most consoles have none.
    titles: OnceLock<Result<Titles, String>>,
}

/// The compiled patterns of titles.
struct Titles {
    /// Finds the first matching rule, in one pass.
    first: meta::Regex,
    parts: Vec<(&'static Rule, Regex)>,
    harmless: RegexSet,
}

/// The compiled rules, or the error of their compilation. A test makes sure that they compile; an error would be a
/// finding on each console ([`unread`]).
pub(super) static RULES: LazyLock<Result<Rules, String>> =
    LazyLock::new(|| Rules::compile().map_err(|error| error.to_string()));

/// An unreadable console counts as a warning, so that no scenario passes on it.
pub(super) fn unread(rules: &Result<Rules, String>) -> Option<Finding> {
    let why = match rules {
        Ok(rules) => rules.titles.get()?.as_ref().err()?,
        Err(why) => why,
    };
    let title = format!("vmlab cannot read this console: its table of kernel reports does not compile: {why}");
    Some(Finding::of_title(Kind::Warning, &title))
}

impl Rules {
    fn compile() -> Result<Self, aho_corasick::BuildError> {
        let mut anchors: Vec<&str> = all().map(|rule| rule.anchor).chain([BANNER, CUT_HERE, CONSOLE_MARK]).collect();
        anchors.sort_unstable();
        anchors.dedup();
        // An anchor that contains another anchor is redundant.
        let alone: Vec<_> = anchors.iter().filter(|a| !anchors.iter().any(|b| a != &b && a.contains(b))).collect();
        // With leftmost matches the search uses vector instructions.
        let prefilter = AhoCorasickBuilder::new().match_kind(MatchKind::LeftmostFirst).build(alone)?;
        Ok(Self { prefilter, titles: OnceLock::new() })
    }

    fn titles(&self) -> Option<&Titles> {
        self.titles.get_or_init(|| Titles::compile().map_err(|error| error.to_string())).as_ref().ok()
    }

    /// The meaning of a line with this text.
    pub(super) fn meaning(&self, words: &[u8]) -> Option<Meaning> {
        let own = Self::own_meaning(words);
        // A task's name, which may have any text, may begin a title; no title is without an anchor.
        if let Some((length, meaning)) = own
            && !self.prefilter.is_match(&words[length..])
        {
            return Some(meaning);
        }
        let titles = self.titles()?;
        let title = Input::new(words).anchored(Anchored::Yes);
        let Some(found) = titles.first.search_half(&title) else { return own.map(|(_, meaning)| meaning) };
        let rule = found.pattern().as_usize();
        let is_harmless = self.is_any(rule) && titles.harmless.is_match(words);
        Some(if is_harmless { Meaning::Harmless } else { Meaning::Title(rule) })
    }

    /// What a line means that begins like no title, and the length of that beginning in bytes.
    fn own_meaning(words: &[u8]) -> Option<(usize, Meaning)> {
        let said = Meaning::InitSays(CONSOLE_MARK.len());
        let all = [(BANNER, Meaning::Banner), (CUT_HERE, Meaning::CutHere), (CONSOLE_MARK, said)];
        let found = all.into_iter().find(|(text, _)| words.starts_with(text.as_bytes()));
        found.map(|(text, meaning)| (text.len(), meaning))
    }

    fn part(&self, number: usize) -> Option<&(&'static Rule, Regex)> {
        self.titles()?.parts.get(number)
    }

    /// The kind of a rule.
    pub(super) fn kind(&self, number: usize) -> Option<Kind> {
        self.part(number).map(|(rule, _)| rule.kind)
    }

    /// Whether the titles of a rule are those of a panic.
    pub(super) fn is_panic(&self, number: usize) -> bool {
        self.part(number).is_some_and(|(rule, _)| rule.anchor == fatal::ANCHOR)
    }

    /// Whether a rule matches any text behind `WARNING: ` or `BUG: `. Programs print such lines, too.
    pub(super) fn is_any(&self, number: usize) -> bool {
        self.part(number).is_some_and(|(rule, _)| warned::IS_ANY.contains(&rule.pattern))
    }

    /// The parts of a title. A task's name may have any bytes but NUL, so that patterns see bytes and parts are decoded.
    pub(super) fn title(&self, number: usize, words: &[u8], line: Option<u64>) -> Option<Title> {
        let (rule, pattern) = self.part(number)?;
        let found = pattern.captures(words)?;
        let group = |name| found.name(name).map(|part| String::from_utf8_lossy(part.as_bytes()).into_owned());
        Some(Title {
            rule: number,
            kind: rule.kind,
            what: group("what"),
            func: group("func"),
            comm: group("comm"),
            pid: group("pid"),
            named: found.name("comm").map_or(0..0, |name| name.range()),
            line,
            is_any: self.is_any(number),
        })
    }
}

impl Titles {
    fn compile() -> Result<Self, Box<dyn std::error::Error>> {
        let anchored = |rule: &Rule| format!("^(?:{})", rule.pattern);
        let part = |rule: &'static Rule| Ok((rule, RegexBuilder::new(&anchored(rule)).unicode(false).build()?));
        let harmless = harmless::LINES.iter().map(|line| format!("^(?:{})", line.pattern));
        Ok(Self {
            first: meta::Builder::new()
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .build_many(&all().map(|rule| rule.pattern).collect::<Vec<_>>())?,
            harmless: RegexSet::new(harmless)?,
            parts: all().map(part).collect::<Result<_, regex::Error>>()?,
        })
    }
}

/// The parts of a title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Title {
    /// The number of the title's rule.
    pub(super) rule: usize,
    pub(super) kind: Kind,
    pub(super) what: Option<String>,
    pub(super) func: Option<String>,
    pub(super) comm: Option<String>,
    pub(super) pid: Option<String>,
    /// The range of the task's name in the title, in bytes; empty without a name.
    pub(super) named: Range<usize>,
    /// The number of the title's line in the input, from 1, if lines are counted.
    pub(super) line: Option<u64>,
    /// Whether the rule matches any text behind `WARNING: ` or `BUG: `.
    pub(super) is_any: bool,
}

#[cfg(test)]
mod names;
#[cfg(test)]
mod tests;
