//! Says why a symbol of a kernel's configuration is not as it was asked for, by the tree's Kconfig files.
//!
//! nom-kconfig parses; this module collects declarations, evaluates conditions, and puts reasons in words. The macros of
//! Kconfig files (`$(cc-option,...)`) are not evaluated: their results are in the configuration wherever they matter, as
//! values of symbols without prompt.

mod declare;
mod error;
mod explain;
mod expr;
mod files;
mod lower;
mod reason;
mod text;
mod unmet;
mod value;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::thread;

pub use error::KconfigError;
pub use reason::Why;

use crate::config::KernelConfig;
use crate::merge::Merged;
use declare::Declared;
use files::Reader;
use reason::Reason;
use value::Values;

/// The parser calls itself for each nested block and parenthesis: the limits in `files` need less than 64 MiB in a debug
/// build with nom-kconfig optimised. Pages that are not used cost nothing.
const STACK_BYTES: usize = 256 << 20;
const NEAREST_MAX: usize = 3;

/// The symbols that a kernel's source tree declares for x86.
#[derive(Debug)]
pub struct Kconfig {
    declared: Declared,
}

impl Kconfig {
    /// Reads the Kconfig files of a tree: 1 to 3 seconds of work in a release build.
    pub fn read(tree: &Path) -> Result<Self, KconfigError> {
        if !tree.join("Kconfig").is_file() {
            return Err(KconfigError::NoKconfig { tree: tree.to_owned() });
        }
        thread::scope(|scope| {
            let reading = thread::Builder::new()
                .name("kconfig".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || declare::read(&mut Reader::new(tree)))
                .map_err(KconfigError::Thread)?;
            let declared = reading.join().map_err(|_| KconfigError::Parser { tree: tree.to_owned() })??;
            Ok(Self { declared })
        })
    }

    /// Whether the tree declares the symbol (with the prefix `CONFIG_`).
    #[must_use]
    pub fn has(&self, symbol: &str) -> bool {
        symbol.strip_prefix("CONFIG_").is_some_and(|name| self.declared.symbols.contains_key(name))
    }

    /// The declared symbols whose names are most like this one: at most three, best first; none if no name is near.
    #[must_use]
    pub fn nearest(&self, symbol: &str) -> Vec<String> {
        let asked = symbol.strip_prefix("CONFIG_").unwrap_or(symbol);
        let limit = 1 + asked.len() / 6;
        let near = |name: &&String| name.len().abs_diff(asked.len()) <= limit;
        let mut ranked: Vec<(usize, &String)> = self
            .declared
            .symbols
            .keys()
            .filter(near)
            .map(|name| (strsim::osa_distance(asked, name), name))
            .filter(|(distance, _)| *distance <= limit)
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(NEAREST_MAX).map(|(_, name)| format!("CONFIG_{name}")).collect()
    }

    /// Why the symbol (with the prefix `CONFIG_`) does not have the value that was asked for. `asked` is written as in a
    /// `.config`: `y`, `m`, `n`, a number, or a text in quotes. `requests` is everything that was asked for.
    #[must_use]
    pub fn why(&self, symbol: &str, asked: &str, config: &KernelConfig, requests: &Merged) -> Why {
        let values = Values { declared: &self.declared, config, requests };
        let name = symbol.strip_prefix("CONFIG_").unwrap_or(symbol);
        if !values.is_declared(name) {
            return Why(Reason::NoSuchSymbol { nearest: self.nearest(symbol) });
        }
        Why(explain::why(values, name, asked))
    }
}
