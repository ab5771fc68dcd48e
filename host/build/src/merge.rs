//! Merges fragments into the text of a config.

use std::collections::BTreeMap;

use vmlab_protocol::catalogue::KernelVersion;

use crate::config::KernelConfig;
use crate::fragment::Fragment;

/// The value that the fragments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As in [`crate::fragment::Request::value`].
    pub value: String,
    /// The fragment and line, for example `net.config:12`, or `+CONFIG_X=y` for a single symbol.
    pub by: String,
}

/// What a list of fragments asks for in one version of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    asked: BTreeMap<String, Asked>,
}

/// Two fragments ask for different values of a symbol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{earlier_by} asks for {symbol}={earlier}, and {later_by} for {symbol}={later}: leave out one of them{}",
    if is_symbol(.later_by) { "" } else { ", or write `# overrides` behind the line that should count" }
)]
pub struct Contradiction {
    symbol: String,
    earlier: String,
    earlier_by: String,
    later: String,
    later_by: String,
}

/// A request that the kernel's config does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The symbol with its prefix.
    pub symbol: String,
    /// What was asked for, and where.
    pub asked: Asked,
    /// The value in the config; `None` if the symbol is not set.
    pub is: Option<String>,
}

/// Whether a request comes from a single symbol of the kernel's name.
fn is_symbol(by: &str) -> bool {
    by.starts_with('+')
}

impl Merged {
    /// Merges fragments for a version of the kernel. Later fragments change the values of earlier ones only where they say so.
    ///
    /// # Errors
    /// [`Contradiction`]
    pub fn of(fragments: &[Fragment], version: KernelVersion) -> Result<Self, Contradiction> {
        let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
        for fragment in fragments {
            for request in fragment.requests.iter().filter(|request| request.is_for(version)) {
                let by = match request.line {
                    0 => fragment.name.clone(),
                    line => format!("{}:{line}", fragment.name),
                };
                let later = Asked { value: request.value.clone(), by };
                match asked.get(&request.symbol) {
                    Some(earlier)
                        if earlier.value != later.value
                            && (!request.overrides || is_symbol(&earlier.by) && is_symbol(&later.by)) =>
                    {
                        return Err(Contradiction {
                            symbol: request.symbol.clone(),
                            earlier: earlier.value.clone(),
                            earlier_by: earlier.by.clone(),
                            later: later.value,
                            later_by: later.by,
                        });
                    }
                    // The first fragment that asks for the value is its origin.
                    Some(earlier) if earlier.value == later.value => {}
                    _ => drop(asked.insert(request.symbol.clone(), later)),
                }
            }
        }
        Ok(Self { asked })
    }

    /// The requests, sorted by symbol.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &Asked)> {
        self.asked.iter().map(|(symbol, asked)| (symbol.as_str(), asked))
    }

    /// The symbols that the kernel's name asks to be off.
    #[must_use]
    pub fn off_by_name(&self) -> Vec<(String, Asked)> {
        let is_named = |(_, asked): &(&str, &Asked)| asked.value == "n" && is_symbol(&asked.by);
        self.requests().filter(is_named).map(|(symbol, asked)| (symbol.to_owned(), asked.clone())).collect()
    }

    /// What is asked of a symbol, if anything.
    #[must_use]
    pub fn get(&self, symbol: &str) -> Option<&Asked> {
        self.asked.get(symbol)
    }

    /// The requests in the form of a `.config`.
    #[must_use]
    pub fn text(&self) -> String {
        let line = |(symbol, asked): (&String, &Asked)| match asked.value.as_str() {
            "n" => format!("# {symbol} is not set\n"),
            value => format!("{symbol}={value}\n"),
        };
        self.asked.iter().map(line).collect()
    }

    /// The requests that a config does not meet, sorted by symbol.
    #[must_use]
    pub fn unmet(&self, config: &KernelConfig) -> Vec<Unmet> {
        let is_met = |symbol: &str, asked: &Asked| match asked.value.as_str() {
            "n" => matches!(config.get(symbol), None | Some("n")),
            value => config.get(symbol) == Some(value),
        };
        self.requests()
            .filter(|(symbol, asked)| !is_met(symbol, asked))
            .map(|(symbol, asked)| Unmet {
                symbol: symbol.to_owned(),
                asked: asked.clone(),
                is: config.get(symbol).map(str::to_owned),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::Request;

    fn merged(texts: &[&str]) -> Result<Merged, String> {
        let names = ["a.config", "b.config", "c.config"];
        let fragment = |(name, text): (&&str, &&str)| Fragment::parse(name, text).unwrap_or_else(|e| panic!("{e}"));
        let fragments: Vec<_> = names.iter().zip(texts).map(fragment).collect();
        Merged::of(&fragments, KernelVersion::new(6, 12, 0)).map_err(|error| error.to_string())
    }

    #[test]
    fn fragments_add_up() {
        let merged = merged(&["CONFIG_A=y\nCONFIG_N=n", "\nCONFIG_A=y\nCONFIG_S=\"x\"", "CONFIG_OLD=y # until 6.1"]);
        let merged = merged.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(merged.text(), "CONFIG_A=y\n# CONFIG_N is not set\nCONFIG_S=\"x\"\n");
        assert_eq!(merged.get("CONFIG_A").map(|asked| asked.by.as_str()), Some("a.config:1"));
    }

    #[test]
    fn a_contradiction_names_both_lines() {
        let error = merged(&["CONFIG_A=y", "\nCONFIG_A=n"]).err().unwrap_or_default();
        assert!(error.starts_with("a.config:1 asks for CONFIG_A=y, and b.config:2 for CONFIG_A=n: "), "{error}");
        let merged = merged(&["CONFIG_A=y", "CONFIG_A=n # overrides", "CONFIG_A=n"]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(merged.text(), "# CONFIG_A is not set\n");
    }

    #[test]
    fn two_single_symbols_contradict_each_other() {
        let single = |value: &str| Fragment {
            name: format!("+CONFIG_A={value}"),
            requests: vec![Request::always("CONFIG_A", value, true)],
        };
        let error = Merged::of(&[single("y"), single("n")], KernelVersion::new(6, 12, 0)).err().map(|e| e.to_string());
        assert_eq!(
            error.as_deref(),
            Some("+CONFIG_A=y asks for CONFIG_A=y, and +CONFIG_A=n for CONFIG_A=n: leave out one of them")
        );
    }

    #[test]
    fn a_config_is_compared_with_each_request() {
        let merged = merged(&["CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=n\nCONFIG_D=5\nCONFIG_E=m"]).unwrap_or_default();
        let config = KernelConfig::parse("CONFIG_A=m\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=5\n");
        let unmet: Vec<_> = merged.unmet(&config).into_iter().map(|unmet| (unmet.symbol, unmet.is)).collect();
        let expected = [("CONFIG_A", Some("m")), ("CONFIG_B", Some("y")), ("CONFIG_E", None)];
        assert_eq!(unmet, expected.map(|(symbol, is)| (symbol.to_owned(), is.map(str::to_owned))));
    }
}
