//! Reads config fragments.
//!
//! A line asks for the value of a symbol: `CONFIG_X=y`, `CONFIG_X=n` or `# CONFIG_X is not set`. A remark may follow each. It
//! restricts the line to some versions of the kernel if it begins with `since` or `until` (both ends belong to the range), and it
//! allows the line to change the value of an earlier fragment if it begins with `overrides`:
//!
//! ```text
//! CONFIG_A=y    # since 5.15, until 6.8: renamed to CONFIG_B
//! CONFIG_B=y    # since 6.9
//! CONFIG_C=n    # overrides, since 6.11
//! ```

use std::fmt;

use vmlab_protocol::catalogue::KernelVersion;

/// A config fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The name in messages: `net.config`, or the path of a file.
    pub name: String,
    /// The requests in the order of the text.
    pub requests: Vec<Request>,
}

/// A line of a fragment: the value of a symbol that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The symbol with its prefix, for example `CONFIG_UTS_NS`.
    pub symbol: String,
    /// `y`, `m`, `n`, a number, or a string with its quotation marks.
    pub value: String,
    /// The number of the line, from 1; 0 for a request that is in no text.
    pub line: usize,
    /// The first version of the kernel that the line is for.
    since: Option<KernelVersion>,
    /// The last version of the kernel that the line is for.
    until: Option<KernelVersion>,
    /// Whether the line may change the value that an earlier fragment asks for.
    pub overrides: bool,
}

impl Request {
    /// A request for all versions of the kernel.
    #[must_use]
    pub fn always(symbol: &str, value: &str, overrides: bool) -> Self {
        let (symbol, value) = (symbol.to_owned(), value.to_owned());
        Self { symbol, value, line: 0, since: None, until: None, overrides }
    }

    /// Whether the line is for this version. Only major and minor numbers count.
    #[must_use]
    pub fn is_for(&self, version: KernelVersion) -> bool {
        let number = |version: KernelVersion| (version.major, version.minor);
        self.since.is_none_or(|since| number(since) <= number(version))
            && self.until.is_none_or(|until| number(version) <= number(until))
    }
}

/// A line of a fragment is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fragment}:{line}: {what}")]
pub struct BadLine {
    fragment: String,
    line: usize,
    what: Bad,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Bad {
    #[error("`{0}` is no request; expected CONFIG_X=y, CONFIG_X=n, CONFIG_X=\"text\", CONFIG_X=5 or a comment")]
    Form(String),
    #[error("`{0}` is no name of a config symbol; expected CONFIG_ and letters, digits or underscores")]
    Symbol(String),
    #[error("`{0}` is no value; expected y, m, n, a number, or a text in quotation marks")]
    Value(String),
    #[error(
        "`{0}` is no condition; expected for example `# since 6.7`, `# since 5.15, until 6.8` or `# overrides, until 6.3`"
    )]
    Condition(String),
    #[error("{0} was asked for in line {1} already, with another value")]
    Twice(String, usize),
}

impl Fragment {
    /// Reads the text of a fragment.
    ///
    /// # Errors
    /// [`BadLine`]
    pub fn parse(name: &str, text: &str) -> Result<Self, BadLine> {
        let mut requests: Vec<Request> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let bad = |what| BadLine { fragment: name.to_owned(), line: number, what };
            let Some(request) = request(line.trim(), number).map_err(bad)? else { continue };
            let same = |earlier: &&Request| earlier.symbol == request.symbol && earlier.overlaps(&request);
            match requests.iter().find(same) {
                Some(earlier) if earlier.value != request.value => {
                    return Err(bad(Bad::Twice(request.symbol, earlier.line)));
                }
                _ => requests.push(request),
            }
        }
        Ok(Self { name: name.to_owned(), requests })
    }
}

impl Request {
    /// Whether both lines are for the same version.
    fn overlaps(&self, other: &Self) -> bool {
        [self.since, other.since, self.until, other.until]
            .into_iter()
            .flatten()
            .chain([KernelVersion::new(u32::MAX, 0, 0)])
            .any(|version| self.is_for(version) && other.is_for(version))
    }
}

/// Reads a line; `None` for a blank line and for a comment.
fn request(line: &str, number: usize) -> Result<Option<Request>, Bad> {
    if let Some(comment) = line.strip_prefix('#') {
        let Some((symbol, remark)) = comment.trim().split_once(" is not set").filter(|(text, _)| is_symbol(text))
        else {
            return Ok(None);
        };
        // Other words make a sentence of it.
        return match remark.trim().strip_prefix('#') {
            Some(remark) => checked(symbol, "n", remark.trim(), number).map(Some),
            None if remark.is_empty() => checked(symbol, "n", "", number).map(Some),
            None => Ok(None),
        };
    }
    if line.is_empty() {
        return Ok(None);
    }
    let (symbol, rest) = line.split_once('=').ok_or_else(|| Bad::Form(line.to_owned()))?;
    let (value, remark) = split_remark(rest);
    checked(symbol.trim_end(), value, remark, number).map(Some)
}

fn checked(symbol: &str, value: &str, remark: &str, line: usize) -> Result<Request, Bad> {
    if !is_symbol(symbol) {
        return Err(Bad::Symbol(symbol.to_owned()));
    }
    if !is_value(value) {
        return Err(Bad::Value(value.to_owned()));
    }
    let mut request = Request { line, ..Request::always(symbol, value, false) };
    let conditions = remark.split_once(':').map_or(remark, |(conditions, _)| conditions).trim();
    let first = conditions.split([' ', ',']).next().unwrap_or_default();
    // Other remarks are comments, and one with a typing error would change what the line asks for.
    if ["overrides", "since", "until"].iter().all(|word| strsim::osa_distance(word, first) > 1) {
        return Ok(request);
    }
    let bad = || Bad::Condition(conditions.to_owned());
    for condition in conditions.split(',') {
        match condition.trim().split_once(' ') {
            None if condition.trim() == "overrides" => request.overrides = true,
            Some(("since", version)) => request.since = Some(minor_version(version).ok_or_else(bad)?),
            Some(("until", version)) => request.until = Some(minor_version(version).ok_or_else(bad)?),
            _ => return Err(bad()),
        }
    }
    Ok(request)
}

/// Reads a version such as `6.7`.
fn minor_version(text: &str) -> Option<KernelVersion> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_number)
}

/// Divides the text after `=` into the value and the remark. A `#` within quotation marks belongs to the value.
fn split_remark(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'#' if !quoted => return (text[..at].trim_end(), text[at + 1..].trim()),
            b'"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    (text.trim_end(), "")
}

/// Whether a text is the name of a config symbol, with its prefix.
#[must_use]
pub fn is_symbol(text: &str) -> bool {
    let name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text.strip_prefix("CONFIG_").is_some_and(name)
}

/// Whether a text is the value of a config symbol, as it is in a `.config`; `n` stands for a symbol that is not set.
#[must_use]
pub fn is_value(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let hex = text.strip_prefix("0x").is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    let string = text.len() >= 2 && text.starts_with('"') && text.ends_with('"') && !text.ends_with("\\\"");
    matches!(text, "y" | "m" | "n") || number || hex || string
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.symbol, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fragment, String> {
        Fragment::parse("net.config", text).map_err(|error| error.to_string())
    }

    fn asked(text: &str, version: &str) -> Vec<String> {
        let fragment = parse(text).unwrap_or_else(|error| panic!("{error}"));
        let version = version.parse().unwrap_or_else(|error| panic!("{error}"));
        fragment.requests.iter().filter(|request| request.is_for(version)).map(ToString::to_string).collect()
    }

    #[test]
    fn a_symbol_that_is_not_set_may_have_a_remark() {
        let parse = |text: &str| Fragment::parse("x", text);
        let plain = parse("# CONFIG_A is not set\n").unwrap().requests;
        assert_eq!((plain[0].value.as_str(), plain[0].overrides), ("n", false));
        let overrides = parse("# CONFIG_A is not set  # overrides, since 6.7\n").unwrap().requests;
        assert_eq!((overrides[0].value.as_str(), overrides[0].overrides), ("n", true));
        assert!(!overrides[0].is_for(KernelVersion::new(6, 6, 0)));
        assert!(parse("# CONFIG_A is not set # since never\n").is_err());
        // Sentences.
        assert!(parse("# CONFIG_A is not set here, because\n# it is not set\n").unwrap().requests.is_empty());
    }

    #[test]
    fn a_line_asks_for_a_value() {
        let text = "# what it is for\n\nCONFIG_A=y\r\nCONFIG_B=m # a remark\n# CONFIG_C is not set\nCONFIG_D=\"a # b\" # c\n\
                    CONFIG_E=0x10\nCONFIG_F=-5\n CONFIG_G=n\n";
        let all = [
            "CONFIG_A=y",
            "CONFIG_B=m",
            "CONFIG_C=n",
            "CONFIG_D=\"a # b\"",
            "CONFIG_E=0x10",
            "CONFIG_F=-5",
            "CONFIG_G=n",
        ];
        assert_eq!(asked(text, "6.12"), all);
        let lines: Vec<_> = parse(text).unwrap_or_else(|e| panic!("{e}")).requests.iter().map(|r| r.line).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_range_of_versions_includes_both_ends() {
        let text = "CONFIG_A=y # since 5.15, until 6.8: renamed\nCONFIG_B=y # since 6.9\nCONFIG_C=y # until 5.14\n";
        for (version, symbols) in [
            ("5.10.46", vec!["CONFIG_C=y"]),
            ("5.14.21", vec!["CONFIG_C=y"]),
            ("5.15", vec!["CONFIG_A=y"]),
            ("6.8.12", vec!["CONFIG_A=y"]),
            ("6.9.0", vec!["CONFIG_B=y"]),
            ("7.0-rc1", vec!["CONFIG_B=y"]),
        ] {
            assert_eq!(asked(text, version), symbols, "{version}");
        }
    }

    #[test]
    fn other_lines_are_errors_with_their_number() {
        for (text, error) in [
            ("\nCONFIG_A", "net.config:2: `CONFIG_A` is no request; "),
            ("A=y", "net.config:1: `A` is no name of a config symbol; "),
            ("CONFIG_A B=y", "net.config:1: `CONFIG_A B` is no name"),
            ("CONFIG_A=yes", "net.config:1: `yes` is no value; "),
            ("CONFIG_A=", "net.config:1: `` is no value; "),
            ("CONFIG_A=\"x", "net.config:1: `\"x` is no value; "),
            ("CONFIG_A=y # since", "net.config:1: `since` is no condition; "),
            ("CONFIG_A=y # since six", "net.config:1: `since six` is no condition; "),
            ("CONFIG_A=y # since 6.7 until 6.8", "net.config:1: `since 6.7 until 6.8` is no condition; "),
            ("CONFIG_A=y # overrides, sinc 6.7", "net.config:1: `overrides, sinc 6.7` is no condition; "),
            ("CONFIG_A=y # sinse 6.7", "net.config:1: `sinse 6.7` is no condition; "),
            ("# CONFIG_A is not set # override", "net.config:1: `override` is no condition; "),
            ("CONFIG_A=y # until 6.7,", "net.config:1: `until 6.7,` is no condition; "),
            ("CONFIG_A=y\nCONFIG_A=n", "net.config:2: CONFIG_A was asked for in line 1 already"),
        ] {
            let found = parse(text).err().unwrap_or_default();
            assert!(found.starts_with(error), "{text}: {found}");
        }
    }

    #[test]
    fn a_symbol_may_have_another_value_in_another_version() {
        assert_eq!(asked("CONFIG_A=y # until 6.1\nCONFIG_A=n # since 6.2\n", "6.12"), ["CONFIG_A=n"]);
        assert!(parse("CONFIG_A=y # until 6.2\nCONFIG_A=n # since 6.2\n").is_err());
    }
}
