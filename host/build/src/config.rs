//! A kernel's `.config`.

use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The symbols that a `.config` sets. There are thousands of them, so they are kept as parts of the text, and clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelConfig {
    text: Arc<str>,
    /// Each name once, in the order of [`key`].
    symbols: Arc<[Symbol]>,
    /// The SHA-256 of the text, in hexadecimal.
    pub sha256: String,
}

/// A symbol that is set: `NAME=VALUE` at an offset of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Symbol {
    at: usize,
    /// The lengths of the name and of the value, in bytes.
    name: usize,
    value: usize,
}

impl Symbol {
    fn name(self, text: &str) -> &str {
        text.get(self.at..self.at + self.name).unwrap_or_default()
    }

    fn value(self, text: &str) -> &str {
        let from = self.at + self.name + 1;
        text.get(from..from + self.value).unwrap_or_default()
    }
}

/// Names of one length have few others to be compared with: all of them begin alike.
const fn key(name: &str) -> (usize, &str) {
    (name.len(), name)
}

impl KernelConfig {
    /// Reads the text of a `.config`: `CONFIG_X=value` sets a symbol, `# CONFIG_X is not set` clears it, and other
    /// lines are ignored. The last line on a symbol counts, as in the kernel's build (scripts/kconfig/confdata.c,
    /// `conf_read_simple`).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        // The symbol of each line, with its name; None if the line clears it.
        let mut said: Vec<(&str, Option<Symbol>)> = Vec::new();
        let mut next = 0;
        for whole in text.split_inclusive('\n') {
            let line = whole.trim();
            let at = next + whole.len() - whole.trim_start().len();
            next += whole.len();
            let unset = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"));
            match (unset, line.split_once('=')) {
                (Some(name), _) => said.push((name, None)),
                (None, Some((name, value))) if name.starts_with("CONFIG_") => {
                    said.push((name, Some(Symbol { at, name: name.len(), value: value.len() })));
                }
                _ => {}
            }
        }
        said.sort_by_key(|(name, _)| key(name));
        let last = said.chunk_by(|(a, _), (b, _)| a == b).filter_map(<[_]>::last);
        let symbols = last.filter_map(|(_, symbol)| *symbol).collect();
        Self { text: text.into(), symbols, sha256: vmlab_store::hex(&Sha256::digest(text)) }
    }

    /// The value of a symbol (with prefix): `y`, `m`, a number or a quoted string; `None` if the symbol is not set.
    #[must_use]
    pub fn get(&self, symbol: &str) -> Option<&str> {
        let found = self.symbols.binary_search_by_key(&key(symbol), |known| key(known.name(&self.text))).ok()?;
        self.symbols.get(found).map(|known| known.value(&self.text))
    }

    /// The symbols that are set, with their values, sorted.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut all: Vec<_> =
            self.symbols.iter().map(|symbol| (symbol.name(&self.text), symbol.value(&self.text))).collect();
        all.sort_unstable();
        all.into_iter()
    }

    /// Whether a symbol is `y` or `m`.
    #[must_use]
    pub fn enabled(&self, symbol: &str) -> bool {
        matches!(self.get(symbol), Some("y" | "m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_unchanged() {
        let config = KernelConfig::parse("# Linux\nCONFIG_A=y\r\nCONFIG_B=m\nCONFIG_C=n\nCONFIG_D=\"x=y # z\"\nD=y\n");
        assert_eq!(
            ["A", "B", "C", "E"].map(|name| config.enabled(&format!("CONFIG_{name}"))),
            [true, true, false, false]
        );
        assert_eq!(config.get("CONFIG_D"), Some("\"x=y # z\""));
        assert_eq!(config.get("D"), None);
    }

    #[test]
    fn the_last_line_on_a_symbol_counts() {
        let config = KernelConfig::parse("CONFIG_A=y\n# CONFIG_A is not set\n# CONFIG_B is not set\nCONFIG_B=m\n");
        assert_eq!((config.get("CONFIG_A"), config.get("CONFIG_B")), (None, Some("m")));
        let config = KernelConfig::parse("  CONFIG_B=1\n# CONFIG_A is not set\nCONFIG_AB=\nCONFIG_A=y");
        let symbols: Vec<_> = config.symbols().collect();
        assert_eq!(symbols, [("CONFIG_A", "y"), ("CONFIG_AB", ""), ("CONFIG_B", "1")]);
    }
}
