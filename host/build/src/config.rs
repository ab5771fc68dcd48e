//! A kernel's `.config`.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The symbols that a `.config` sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelConfig {
    symbols: BTreeMap<String, String>,
    /// The SHA-256 of the text, in hexadecimal.
    pub sha256: String,
}

impl KernelConfig {
    /// Reads the text of a `.config`: `CONFIG_X=value` sets a symbol, `# CONFIG_X is not set` clears it, and other
    /// lines are ignored. The last line on a symbol counts, as in the kernel's build (scripts/kconfig/confdata.c,
    /// `conf_read_simple`).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut symbols = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            let unset = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"));
            match (unset, line.split_once('=')) {
                (Some(name), _) => drop(symbols.remove(name)),
                (None, Some((name, value))) if name.starts_with("CONFIG_") => {
                    symbols.insert(name.to_owned(), value.to_owned());
                }
                _ => {}
            }
        }
        Self { symbols, sha256: vmlab_store::hex(&Sha256::digest(text)) }
    }

    /// The value of a symbol (with prefix): `y`, `m`, a number or a quoted string; `None` if the symbol is not set.
    #[must_use]
    pub fn get(&self, symbol: &str) -> Option<&str> {
        self.symbols.get(symbol).map(String::as_str)
    }

    /// The symbols that are set, with their values, sorted.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, &str)> {
        self.symbols.iter().map(|(name, value)| (name.as_str(), value.as_str()))
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
    }
}
