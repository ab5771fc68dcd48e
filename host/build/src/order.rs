//! The names of kernels to order: `source:SUITE[+FRAGMENT]...` and `tree:PATH[+FRAGMENT]...`.

use std::fmt;
use std::path::PathBuf;

use crate::fragment::{is_symbol, is_value};
use crate::library;

/// A kernel to order. Its text is the kernel's label; parsing the text gives the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Where the source code comes from.
    pub code: Code,
    /// The fragments in the order in which they are merged, without `base`, which always comes first.
    pub fragments: Vec<FragmentName>,
}

/// Where the source code of a kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// The package `linux-source` of a Debian suite.
    Suite(String),
    /// A source tree of this machine.
    Tree(PathBuf),
}

/// The name of a config fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FragmentName {
    /// A fragment that comes with vmlab, for example `namespaces`.
    Known(String),
    /// A file; the text contains a slash.
    File(PathBuf),
    /// A single symbol, for example `CONFIG_KASAN=y`. It overrides what fragments ask for.
    Symbol {
        /// The symbol with its prefix.
        symbol: String,
        /// As in [`crate::fragment::Request::value`].
        value: String,
    },
}

/// Why a text is no kernel to order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOrder {
    /// The text after `source:` is no suite.
    #[error(
        "`{0}` is not a Debian suite's name: expected for example source:trixie or source:trixie-backports+namespaces"
    )]
    Suite(String),
    /// There is no path after `tree:`.
    #[error("a source tree has no path: expected for example tree:. or tree:../linux+namespaces")]
    NoPath,
    /// A fragment's name is empty.
    #[error(
        "a fragment's name in `{0}` is empty: expected a name that `vmlab kernel fragments` lists, a path with a slash as in \
         +./my.config, or a symbol as in +CONFIG_KASAN=y; a plus in a path is written as ++"
    )]
    Empty(String),
    /// No fragment has this name.
    #[error("there is no fragment `{name}`{}: `vmlab kernel fragments` lists them; a file is written with a slash, as in +./{name}", meant(.nearest))]
    Unknown {
        /// The name.
        name: String,
        /// The known fragment with the most similar name.
        nearest: Option<&'static str>,
    },
    /// The text begins like a single symbol, and has no valid name or value.
    #[error(
        "`{0}` is no config symbol with a value: expected for example CONFIG_KASAN=y, CONFIG_NR_CPUS=4 or CONFIG_X=n"
    )]
    Symbol(String),
    /// An `@` that is not doubled.
    #[error("`{0}` has a single @, which is kept for the machine of a kernel: an @ in a path is written as @@")]
    At(String),
}

fn meant(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!("; `{name}` is the most similar")).unwrap_or_default()
}

impl Order {
    /// Reads the name of a kernel to order; `None` if the text is the name of another kernel.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self, BadOrder>> {
        if let Some(rest) = text.strip_prefix("source:") {
            return Some(Self::read(text, rest, |suite| {
                let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                let plain = !suite.is_empty() && suite.bytes().all(inner) && !suite.starts_with('-');
                if plain { Ok(Code::Suite(suite.to_owned())) } else { Err(BadOrder::Suite(suite.to_owned())) }
            }));
        }
        let rest = text.strip_prefix("tree:")?;
        Some(Self::read(
            text,
            rest,
            |path| if path.is_empty() { Err(BadOrder::NoPath) } else { Ok(Code::Tree(path.into())) },
        ))
    }

    fn read(text: &str, rest: &str, code: impl Fn(&str) -> Result<Code, BadOrder>) -> Result<Self, BadOrder> {
        let mut parts = parts(rest).ok_or_else(|| BadOrder::At(text.to_owned()))?.into_iter();
        let code = code(&parts.next().unwrap_or_default())?;
        let fragments =
            parts.map(|part| if part.is_empty() { Err(BadOrder::Empty(text.to_owned())) } else { part.parse() });
        Ok(Self { code, fragments: fragments.collect::<Result<_, _>>()? })
    }
}

/// Divides a name at its pluses and undoes the doubling of `+` and `@`; `None` if there is a single `@`.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '+' | '@' if rest.next_if_eq(&char).is_some() => parts.last_mut()?.push(char),
            '@' => return None,
            '+' => parts.push(String::new()),
            _ => parts.last_mut()?.push(char),
        }
    }
    Some(parts)
}

impl std::str::FromStr for FragmentName {
    type Err = BadOrder;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("CONFIG_") {
            let (symbol, value) = text.split_once('=').ok_or_else(|| BadOrder::Symbol(text.to_owned()))?;
            if !is_symbol(symbol) || !is_value(value) {
                return Err(BadOrder::Symbol(text.to_owned()));
            }
            return Ok(Self::Symbol { symbol: symbol.to_owned(), value: value.to_owned() });
        }
        if text.contains('/') {
            return Ok(Self::File(PathBuf::from(text)));
        }
        match library::text(text) {
            Some(_) => Ok(Self::Known(text.to_owned())),
            None => Err(BadOrder::Unknown { name: text.to_owned(), nearest: library::nearest(text) }),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Code::Suite(suite) => write!(f, "source:{suite}")?,
            Code::Tree(path) => write!(f, "tree:{}", doubled(&path.to_string_lossy()))?,
        }
        self.fragments.iter().try_for_each(|fragment| write!(f, "+{}", doubled(&fragment.to_string())))
    }
}

impl fmt::Display for FragmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Symbol { symbol, value } => write!(f, "{symbol}={value}"),
        }
    }
}

fn doubled(text: &str) -> String {
    text.replace('+', "++").replace('@', "@@")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Order, BadOrder> {
        Order::parse(text).unwrap_or_else(|| panic!("{text} is no order"))
    }

    #[test]
    fn the_text_of_an_order_parses_to_the_same_order() {
        for text in [
            "source:trixie",
            "source:trixie-backports+namespaces",
            "tree:.+base+namespaces",
            "tree:../linux+./my.config+CONFIG_KASAN=y",
            "tree:/src/c++++/a@@b+/x++y.config",
            "tree:.+CONFIG_CMDLINE=\"a++b@@c\"",
        ] {
            let order = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(order.to_string(), text);
        }
        assert_eq!(parse("tree:/src/c++++/a@@b").map(|order| order.code), Ok(Code::Tree("/src/c++/a@b".into())));
        assert!(["debian:trixie", "./tree:x", "source", "bzImage"].iter().all(|text| Order::parse(text).is_none()));
    }

    #[test]
    fn what_is_no_order_is_refused_with_the_reason() {
        for (text, error) in [
            ("source:", BadOrder::Suite(String::new())),
            ("source:../x", BadOrder::Suite("../x".into())),
            ("tree:", BadOrder::NoPath),
            ("tree:+base", BadOrder::NoPath),
            ("tree:.+", BadOrder::Empty("tree:.+".into())),
            ("tree:.+CONFIG_X", BadOrder::Symbol("CONFIG_X".into())),
            ("tree:.+CONFIG_X=yes", BadOrder::Symbol("CONFIG_X=yes".into())),
            ("tree:a@b", BadOrder::At("tree:a@b".into())),
            ("tree:.+namespace", BadOrder::Unknown { name: "namespace".into(), nearest: Some("namespaces") }),
            ("tree:.+zzz", BadOrder::Unknown { name: "zzz".into(), nearest: None }),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
