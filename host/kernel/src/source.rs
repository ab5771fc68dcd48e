//! Parses the names of kernels.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use vmlab_build::order::{BadOrder, Order};

use super::release::is_release;

/// The default flavour: small, quick to boot, made for virtual machines.
const DEFAULT_FLAVOUR: &str = "cloud-amd64";

/// The maximum length of a suite or flavour, in bytes. The longest in use has about half of it.
const NAME_LIMIT: usize = 48;

/// What kernel names that are no paths begin with.
const PREFIXES: [&str; 5] = ["debian:", "installed:", "source:", "tree:", "path:"];

/// The source of a kernel. Its text is the kernel's label; parsing the text gives the same source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelSource {
    /// A package of the Debian archive: `debian:SUITE[/FLAVOUR]`.
    Debian(DebianSource),
    /// An installed kernel: `installed` is the newest, `installed:RELEASE` a specific one.
    Installed(Option<String>),
    /// A kernel built from source: `source:SUITE[+FRAGMENT]...` or `tree:PATH[+FRAGMENT]...`.
    Order(Order),
    /// A bzImage or vmlinux: `path:P`, or any text that is no other source.
    Path(PathBuf),
}

/// A kernel package of the Debian archive. Suite and flavour consist of `a-z`, `0-9`, `-` and (flavour only) `.`, and
/// begin with a letter or digit, so that they are safe in file names and arguments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DebianSource {
    suite: String,
    flavour: String,
}

impl DebianSource {
    /// The suite, for example `trixie` or `trixie-backports`.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The text after `linux-image-` in the name of the metapackage, for example `cloud-amd64`.
    #[must_use]
    pub fn flavour(&self) -> &str {
        &self.flavour
    }

    /// The base name of this source's files, for example `debian_trixie_cloud-amd64`.
    #[must_use]
    pub fn file_stem(&self) -> String {
        format!("debian_{}_{}", self.suite, self.flavour)
    }

    /// The source with this [`Self::file_stem`].
    #[must_use]
    pub(crate) fn from_file_stem(stem: &str) -> Option<Self> {
        stem.strip_prefix("debian_")?.replacen('_', "/", 1).parse().ok()
    }
}

impl fmt::Display for DebianSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flavour == DEFAULT_FLAVOUR {
            write!(f, "debian:{}", self.suite)
        } else {
            write!(f, "debian:{}/{}", self.suite, self.flavour)
        }
    }
}

impl fmt::Display for KernelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(source) => source.fmt(f),
            Self::Order(order) => order.fmt(f),
            Self::Installed(None) => f.write_str("installed"),
            Self::Installed(Some(release)) => write!(f, "installed:{release}"),
            Self::Path(path) => {
                let text = path.to_string_lossy();
                let ambiguous = PREFIXES.iter().any(|prefix| text.starts_with(prefix));
                let prefix = if ambiguous || text == "installed" { "path:" } else { "" };
                write!(f, "{prefix}{text}")
            }
        }
    }
}

/// Why a text is no kernel name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// The text is no kernel to build.
    #[error(transparent)]
    Order(#[from] BadOrder),
    /// The text is empty.
    #[error(
        "a kernel's name is empty: expected debian:SUITE[/FLAVOUR], installed, installed:RELEASE, source:SUITE, tree:PATH, or the \
         path of a bzImage or vmlinux"
    )]
    Empty,
    /// The text after `debian:` is no suite.
    #[error(
        "`{0}` is not a Debian suite's name: expected lower-case letters, digits and hyphens, as in debian:trixie or \
         debian:trixie-backports/amd64"
    )]
    Suite(String),
    /// The suite contains the security updates of another suite.
    #[error("the kernels of `{0}` belong to another suite: use debian:{1}, which includes its security updates")]
    SecuritySuite(String, String),
    /// The text after the slash is no flavour.
    #[error(
        "`{0}` is not the name of a kernel's flavour: expected lower-case letters, digits, dots and hyphens, as in \
         cloud-amd64, amd64 or rt-amd64"
    )]
    Flavour(String),
    /// The flavour is for another architecture.
    #[error("`{0}` is not a flavour for amd64, the only architecture that vmlab boots: try cloud-amd64 or amd64")]
    Architecture(String),
    /// The text after `installed:` is no release.
    #[error("`{0}` is not a kernel release as printed by `uname -r`: expected for example 6.1.0-38-amd64")]
    Release(String),
}

impl FromStr for KernelSource {
    type Err = BadSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("debian:") {
            return rest.parse().map(Self::Debian);
        }
        if let Some(order) = Order::parse(text) {
            return Ok(Self::Order(order?));
        }
        if let Some(release) = text.strip_prefix("installed:") {
            return if is_release(release) {
                Ok(Self::Installed(Some(release.to_owned())))
            } else {
                Err(BadSource::Release(release.to_owned()))
            };
        }
        match text.strip_prefix("path:").unwrap_or(text) {
            "" => Err(BadSource::Empty),
            "installed" if text == "installed" => Ok(Self::Installed(None)),
            path => Ok(Self::Path(PathBuf::from(path))),
        }
    }
}

impl FromStr for DebianSource {
    type Err = BadSource;

    /// Reads `SUITE[/FLAVOUR]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (suite, flavour) = text.split_once('/').unwrap_or((text, DEFAULT_FLAVOUR));
        if !is_word(suite) || suite.contains('.') {
            return Err(BadSource::Suite(suite.to_owned()));
        }
        if let Some(base) = suite.strip_suffix("-security") {
            return Err(BadSource::SecuritySuite(suite.to_owned(), base.to_owned()));
        }
        if !is_word(flavour) {
            return Err(BadSource::Flavour(flavour.to_owned()));
        }
        if flavour != "amd64" && !flavour.ends_with("-amd64") {
            return Err(BadSource::Architecture(flavour.to_owned()));
        }
        Ok(Self { suite: suite.to_owned(), flavour: flavour.to_owned() })
    }
}

fn is_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let outer = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= NAME_LIMIT
        && text.bytes().all(inner)
        && text.as_bytes().first().is_some_and(outer)
        && text.as_bytes().last().is_some_and(outer)
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> KernelSource {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_cloud_flavour_is_the_default() {
        let KernelSource::Debian(source) = parse("debian:bookworm") else { panic!("not a Debian source") };
        assert_eq!((source.suite(), source.flavour()), ("bookworm", "cloud-amd64"));
        assert_eq!(source.file_stem(), "debian_bookworm_cloud-amd64");
        assert_eq!(DebianSource::from_file_stem(&source.file_stem()), Some(source));
        assert_eq!(DebianSource::from_file_stem("6.1.0-56-cloud-amd64-6109dc625e70a4c7"), None);
        assert_eq!(parse("debian:bookworm/cloud-amd64").to_string(), "debian:bookworm");
    }

    #[test]
    fn the_text_of_a_source_parses_to_the_same_source() {
        for text in [
            "debian:trixie-backports",
            "debian:sid/rt-amd64",
            "debian:bookworm/6.12-cloud-amd64",
            "installed",
            "installed:6.12.117+deb13-cloud-amd64",
            "installed:6.12.117-it works+1_1",
            "/boot/vmlinuz",
            "./arch/x86/boot/bzImage",
            "bzImage",
            "path:installed",
            "path:debian:odd",
            "path:tree:.",
            "tree:.+base",
            "path:path:x",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("path:./x"), KernelSource::Path(PathBuf::from("./x")));
    }

    #[test]
    fn names_that_are_paths_or_options_are_refused() {
        for suite in ["", "..", "../etc", "-o", "trixie ", "Trixie", "a\nb", "trixie.", "x.y", "trixie-", "tríxie"] {
            let text = format!("debian:{suite}");
            assert!(matches!(text.parse::<KernelSource>(), Err(BadSource::Suite(_))), "{text}");
        }
        for flavour in ["", "..", "-o=x", "cloud amd64", "a/../amd64", "amd64;id", "x..-amd64"] {
            let text = format!("debian:trixie/{flavour}");
            assert!(matches!(text.parse::<KernelSource>(), Err(BadSource::Flavour(_))), "{text}");
        }
        for release in ["", "..", "../../etc", "-x", " 6.1", "6.1/x", "6.1 (x", "6.1\n", &"6".repeat(65)] {
            let text = format!("installed:{release}");
            assert!(matches!(text.parse::<KernelSource>(), Err(BadSource::Release(_))), "{text}");
        }
        let long = format!("debian:{}", "a".repeat(NAME_LIMIT + 1));
        assert!(matches!(long.parse::<KernelSource>(), Err(BadSource::Suite(_))));
    }

    #[test]
    fn errors_for_near_misses_name_the_intended_source() {
        assert_eq!(
            "debian:bookworm-security".parse::<KernelSource>(),
            Err(BadSource::SecuritySuite("bookworm-security".into(), "bookworm".into()))
        );
        assert_eq!("debian:trixie/arm64".parse::<KernelSource>(), Err(BadSource::Architecture("arm64".into())));
        assert_eq!("".parse::<KernelSource>(), Err(BadSource::Empty));
        assert_eq!("path:".parse::<KernelSource>(), Err(BadSource::Empty));
    }
}
