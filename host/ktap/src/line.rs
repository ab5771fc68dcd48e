//! Parses single lines.

use std::fmt;

/// A format and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `KTAP version N`
    Ktap(u32),
    /// `TAP version N`
    Tap(u32),
}

impl Flavour {
    /// Whether this reader knows the version.
    #[must_use]
    pub const fn is_known(self) -> bool {
        matches!(self, Self::Ktap(1 | 2) | Self::Tap(13 | 14))
    }

    pub(super) const fn is_tap(self) -> bool {
        matches!(self, Self::Tap(_))
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ktap(version) => write!(f, "KTAP version {version}"),
            Self::Tap(version) => write!(f, "TAP version {version}"),
        }
    }
}

/// A keyword behind the `#` of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// Not run.
    Skip,
    /// Not expected to pass yet.
    Todo,
    /// Expected to fail.
    Xfail,
    /// A time limit ended the test.
    Timeout,
    /// The test could not be run correctly.
    Error,
}

impl Directive {
    /// All directives with their keywords.
    pub const ALL: [(&'static str, Self); 5] = [
        ("SKIP", Self::Skip),
        ("TODO", Self::Todo),
        ("XFAIL", Self::Xfail),
        ("TIMEOUT", Self::Timeout),
        ("ERROR", Self::Error),
    ];

    /// Splits the text after a `#` into a directive and the rest. KTAP has its keywords in capitals. TAP has SKIP and TODO in
    /// any case, and allows more letters after SKIP.
    fn split(words: &str, tap: bool) -> (Option<Self>, &str) {
        let (word, rest) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
        let word = word.strip_suffix(':').unwrap_or(word);
        let in_tap = || {
            let begins = |keyword: &str| word.get(..keyword.len()).is_some_and(|it| it.eq_ignore_ascii_case(keyword));
            if begins("SKIP") { Some(Self::Skip) } else { word.eq_ignore_ascii_case("TODO").then_some(Self::Todo) }
        };
        let exact = Self::ALL.iter().find(|(keyword, _)| *keyword == word).map(|(_, directive)| *directive);
        match exact.or_else(|| tap.then(in_tap).flatten()) {
            Some(directive) => (Some(directive), rest.trim()),
            None => (None, words),
        }
    }
}

/// A line, without its indentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Version(Flavour),
    Plan {
        count: u64,
        skipped: Option<&'a str>,
    },
    Result {
        ok: bool,
        number: Option<u64>,
        rest: &'a str,
    },
    Subtest(&'a str),
    Diagnostic(&'a str),
    BailOut(&'a str),
    Pragma,
    /// A plan, version or result whose number has too many digits.
    TooLarge,
    Unknown,
}

/// The part of a result after its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) name: String,
    pub(super) directive: Option<Directive>,
    pub(super) data: String,
}

impl<'a> Line<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let text = text.trim();
        let start = |word: &str| text.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        if let Some(rest) = text.strip_prefix('#') {
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            return rest.strip_prefix("Subtest:").map_or(Self::Diagnostic(rest), |name| Self::Subtest(name.trim()));
        }
        if let Some(rest) = text.strip_prefix("1..") {
            return plan(rest);
        }
        for (word, make) in [("KTAP version ", Flavour::Ktap as fn(u32) -> Flavour), ("TAP version ", Flavour::Tap)] {
            if let Some(number) = text.strip_prefix(word) {
                return if is_number(number) {
                    number.parse().map_or(Self::TooLarge, |number| Self::Version(make(number)))
                } else {
                    Self::Unknown
                };
            }
        }
        for (word, ok) in [("ok", true), ("not ok", false)] {
            if let Some(rest) = text.strip_prefix(word)
                && (rest.is_empty() || rest.starts_with(char::is_whitespace))
            {
                return result(ok, rest.trim_start());
            }
        }
        if start("bail out!") {
            return Self::BailOut(text["bail out!".len()..].trim());
        }
        if text.starts_with("pragma +") || text.starts_with("pragma -") { Self::Pragma } else { Self::Unknown }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn plan(rest: &str) -> Line<'_> {
    let (count, words) = rest.split_once('#').map_or((rest, None), |(count, words)| (count, Some(words.trim())));
    let count = count.trim_end();
    if !is_number(count) {
        return Line::Unknown;
    }
    let Ok(count) = count.parse() else { return Line::TooLarge };
    let skipped = words.and_then(|words| match Directive::split(words, true) {
        (Some(Directive::Skip), reason) => Some(reason),
        _ => None,
    });
    Line::Plan { count, skipped }
}

fn result(ok: bool, rest: &str) -> Line<'_> {
    let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if !is_number(word) {
        return Line::Result { ok, number: None, rest };
    }
    word.parse().map_or(Line::TooLarge, |number| Line::Result { ok, number: Some(number), rest: after.trim_start() })
}

impl Words {
    /// Parses the part of a result after its number. TAP 14 escapes `#` and `\` in a description by a `\`.
    pub(super) fn of(rest: &str, flavour: Flavour) -> Self {
        let rest = match rest.strip_prefix('-') {
            Some("") => "",
            Some(after) if after.starts_with(char::is_whitespace) => after.trim_start(),
            _ => rest,
        };
        let (name, words) = match hash_at(rest) {
            Some(at) => (rest[..at].trim_end(), rest[at + 1..].trim()),
            None => (rest, ""),
        };
        let (directive, data) = Directive::split(words, flavour.is_tap());
        let name = if flavour == Flavour::Tap(14) { unescaped(name) } else { name.to_owned() };
        Self { name, directive, data: data.to_owned() }
    }
}

/// The position of the `#` that ends the description. It is at the beginning or follows a space, so that `C#` is a name.
fn hash_at(text: &str) -> Option<usize> {
    text.match_indices('#').map(|(at, _)| at).find(|&at| at == 0 || text[..at].ends_with(char::is_whitespace))
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&next @ ('\\' | '#'))) => {
                out.push(next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// Removes the kernel log's prefix: a log level such as `<6>`, the time `[   12.345678] `, and the caller `[    T1] ` of
/// `CONFIG_PRINTK_CALLER`. One space after each bracket belongs to the prefix; further spaces are indentation.
pub(super) fn without_stamp(line: &str) -> &str {
    let level = |rest: &str| {
        let (digits, after) = rest.strip_prefix('<')?.split_once('>')?;
        is_number(digits).then_some(after.len())
    };
    let bare = level(line).map_or(line, |length| &line[line.len() - length..]);
    let bracket = |rest: &str, is_it: fn(&str) -> bool| {
        let (inner, after) = rest.strip_prefix('[')?.split_once(']')?;
        is_it(inner.trim()).then_some(after.len())
    };
    let is_time = |inner: &str| inner.split_once('.').is_some_and(|(a, b)| is_number(a) && is_number(b));
    let is_caller = |inner: &str| inner.strip_prefix(['T', 'C']).is_some_and(is_number);
    let Some(length) = bracket(bare, is_time) else { return line };
    let mut rest = &bare[bare.len() - length..];
    if let Some(length) = bracket(rest, is_caller) {
        rest = &rest[rest.len() - length..];
    }
    rest.strip_prefix(' ').unwrap_or(rest)
}
