//! The catalogue of known kernels and of config symbols for scenarios: kernel-configs/kernels.toml, compiled into
//! vmlab.

use serde::Deserialize;

use super::KernelSource;

const TEXT: &str = include_str!("../../../kernel-configs/kernels.toml");

/// The contents of kernels.toml.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The kernels in the order of the file, oldest first.
    pub kernels: Vec<Known>,
    /// The config symbols, grouped by area.
    pub symbols: Vec<SymbolGroup>,
}

/// A kernel of the catalogue.
#[derive(Debug, Clone)]
pub struct Known {
    /// The kernel's name.
    pub source: KernelSource,
    /// The version series, for example `6.12`.
    pub series: String,
    /// A description in one line.
    pub description: String,
    /// Whether this is the default kernel. Exactly one kernel is.
    pub default: bool,
}

/// The config symbols of an area.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SymbolGroup {
    /// The name of the area.
    pub area: String,
    /// The symbols with their prefix, for example `CONFIG_TIME_NS`.
    pub names: Vec<String>,
}

/// The catalogue is malformed, which is a bug in vmlab. Tests rule this out.
#[derive(Debug, thiserror::Error)]
#[error("vmlab's catalogue of kernels is malformed: {0}; this is a bug in vmlab, please report it")]
pub struct BadCatalogue(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCatalogue {
    kernel: Vec<RawKnown>,
    symbols: Vec<SymbolGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKnown {
    source: String,
    series: String,
    description: String,
    #[serde(default)]
    default: bool,
}

impl Catalogue {
    /// The catalogue that is compiled into vmlab.
    ///
    /// # Errors
    /// [`BadCatalogue`] if the catalogue is malformed.
    pub fn embedded() -> Result<Self, BadCatalogue> {
        Self::parse(TEXT)
    }

    fn parse(text: &str) -> Result<Self, BadCatalogue> {
        let raw: RawCatalogue = toml::from_str(text).map_err(|error| BadCatalogue(error.to_string()))?;
        let known = |raw: RawKnown| {
            let source = raw.source.parse().map_err(|error| BadCatalogue(format!("{error}")))?;
            Ok(Known { source, series: raw.series, description: raw.description, default: raw.default })
        };
        let kernels: Vec<Known> = raw.kernel.into_iter().map(known).collect::<Result<_, _>>()?;
        let defaults = kernels.iter().filter(|kernel| kernel.default).count();
        if defaults != 1 {
            return Err(BadCatalogue(format!("{defaults} kernels are marked as the default; expected 1")));
        }
        for symbol in raw.symbols.iter().flat_map(|group| &group.names) {
            if !symbol.starts_with("CONFIG_") {
                return Err(BadCatalogue(format!("`{symbol}` does not begin with CONFIG_")));
            }
        }
        Ok(Self { kernels, symbols: raw.symbols })
    }

    /// The kernel that a command uses without `--kernel`.
    ///
    /// # Errors
    /// [`BadCatalogue`] if the catalogue is malformed.
    pub fn default_source() -> Result<KernelSource, BadCatalogue> {
        let default = Self::embedded()?.kernels.into_iter().find(|kernel| kernel.default);
        default.map(|kernel| kernel.source).ok_or_else(|| BadCatalogue("no kernel is marked as the default".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_embedded_catalogue_is_valid() {
        let catalogue = Catalogue::embedded().unwrap();
        let sources: Vec<String> = catalogue.kernels.iter().map(|kernel| kernel.source.to_string()).collect();
        assert_eq!(sources, ["debian:bullseye", "debian:bookworm", "debian:trixie", "debian:trixie-backports"]);
        assert_eq!(Catalogue::default_source().unwrap().to_string(), "debian:trixie");
        let symbols: Vec<&String> = catalogue.symbols.iter().flat_map(|group| &group.names).collect();
        assert_eq!(symbols.iter().collect::<BTreeSet<_>>().len(), symbols.len(), "a symbol is listed twice");
        for kernel in &catalogue.kernels {
            assert!(!kernel.description.contains('\n') && kernel.description.len() < 100, "{}", kernel.description);
        }
    }

    #[test]
    fn a_malformed_catalogue_is_refused() {
        let sound = TEXT;
        for (from, to) in [
            ("default = true", "default = false"),
            ("series = \"6.1\"", "series = \"6.1\"\ndefault = true"),
            ("series = \"6.1\"", "serie = \"6.1\""),
            ("\"debian:bookworm\"", "\"debian:../x\""),
            ("\"CONFIG_UTS_NS\"", "\"UTS_NS\""),
        ] {
            let text = sound.replacen(from, to, 1);
            assert_ne!(text, sound);
            assert!(Catalogue::parse(&text).is_err(), "{to}");
        }
    }
}
