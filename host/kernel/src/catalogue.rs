//! The known kernels and the config symbols that matter here: kernel-configs/kernels.toml, which is part of the program.

use serde::Deserialize;

use super::KernelSource;

const TEXT: &str = include_str!("../../../kernel-configs/kernels.toml");

/// The catalogue.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// In the order of the file, the oldest first.
    pub kernels: Vec<Known>,
    /// Config symbols by what they are about.
    pub symbols: Vec<SymbolGroup>,
}

/// A kernel of the catalogue.
#[derive(Debug, Clone)]
pub struct Known {
    /// How it is named.
    pub source: KernelSource,
    /// As `6.12`.
    pub series: String,
    /// One line.
    pub description: String,
    /// Whether it is the one that is taken where none is named; true of exactly one.
    pub default: bool,
}

/// Config symbols that belong together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SymbolGroup {
    /// What they are about.
    pub area: String,
    /// With their prefix, `CONFIG_TIME_NS`.
    pub names: Vec<String>,
}

/// The catalogue is malformed: a fault of vmlab's own, which its tests rule out.
#[derive(Debug, thiserror::Error)]
#[error("vmlab's own catalogue of kernels is malformed: {0}; this is a fault of vmlab's")]
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
    /// The one that vmlab carries.
    ///
    /// # Errors
    /// [`BadCatalogue`]
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
            return Err(BadCatalogue(format!("{defaults} kernels are marked as the default, not one")));
        }
        for symbol in raw.symbols.iter().flat_map(|group| &group.names) {
            if !symbol.starts_with("CONFIG_") {
                return Err(BadCatalogue(format!("`{symbol}` does not begin with CONFIG_")));
            }
        }
        Ok(Self { kernels, symbols: raw.symbols })
    }

    /// The kernel that is taken where none is named.
    ///
    /// # Errors
    /// [`BadCatalogue`]
    pub fn default_source() -> Result<KernelSource, BadCatalogue> {
        let default = Self::embedded()?.kernels.into_iter().find(|kernel| kernel.default);
        default.map(|kernel| kernel.source).ok_or_else(|| BadCatalogue("it has no default".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_embedded_one_is_sound() {
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
    fn a_malformed_one_is_refused() {
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
