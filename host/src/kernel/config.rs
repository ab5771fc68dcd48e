//! A kernel's `.config`.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The symbols of a `.config` that are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelConfig {
    symbols: BTreeMap<String, String>,
    /// Of the text, hexadecimal.
    pub sha256: String,
}

impl KernelConfig {
    /// Reads the text of a `.config`: `CONFIG_X=value` sets a symbol, all other lines set none.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let symbols = text
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .filter(|(name, _)| name.starts_with("CONFIG_"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { symbols, sha256: crate::store::hex(&Sha256::digest(text)) }
    }

    /// The value of a symbol, named with its prefix: `y`, `m`, a number or a quoted string; `None` where it is not set.
    #[must_use]
    pub fn get(&self, symbol: &str) -> Option<&str> {
        self.symbols.get(symbol).map(String::as_str)
    }

    /// Whether a symbol is `y` or `m`.
    #[must_use]
    pub fn enabled(&self, symbol: &str) -> bool {
        matches!(self.get(symbol), Some("y" | "m"))
    }
}
