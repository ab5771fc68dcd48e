//! Where a kernel, a man page and the plan of the catalogue disagree: data/findings.toml.

use serde::{Deserialize, Serialize};

use super::results::Kernel;
use super::{BadData, list};
use vmlab_protocol::catalogue::KernelVersion;

const TEXT: &str = include_str!("data/findings.toml");

/// A disagreement, and who is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// A name for links.
    pub name: String,
    /// The codes of the features that it is about.
    pub features: Vec<String>,
    /// The kernels on which it was seen.
    pub kernels: String,
    /// Which text says what.
    pub says: String,
    /// What the kernels do.
    pub does: String,
    /// Who is right.
    pub right: String,
    /// The file of the kernel's source and the function that decide it.
    pub source: String,
    /// What stands there.
    pub because: String,
    /// A command that shows it.
    pub reproduce: String,
    /// What the command prints where the finding holds.
    pub prints: String,
}

impl Finding {
    /// Whether it was seen on a kernel of the same series as one of these.
    #[must_use]
    pub fn concerns(&self, kernels: &[Kernel]) -> bool {
        let named: Vec<_> = series(&self.kernels).collect();
        kernels.iter().filter_map(Kernel::version).any(|version| named.contains(&(version.major, version.minor)))
    }
}

/// The series of the versions in a text: (6, 12) of `6.12.118 (Debian trixie)`.
fn series(text: &str) -> impl Iterator<Item = (u32, u32)> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    words.filter_map(|word| word.parse().ok()).map(|version: KernelVersion| (version.major, version.minor))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    finding: Vec<Finding>,
}

/// All findings, in the order of the file.
///
/// # Errors
/// [`BadData`] if the file is malformed.
pub fn embedded() -> Result<Vec<Finding>, BadData> {
    parse(TEXT)
}

fn parse(text: &str) -> Result<Vec<Finding>, BadData> {
    const WHAT: &str = "list of findings";
    let raw: Raw = toml::from_str(text).map_err(|error| BadData::new(WHAT, &error))?;
    let groups = list::embedded()?;
    for Finding { name, features, kernels, source, reproduce, .. } in &raw.finding {
        let bad = |why: &str| Err(BadData::new(WHAT, &format!("{name}: {why}")));
        if raw.finding.iter().filter(|other| other.name == *name).count() > 1 {
            return bad("it is listed twice");
        }
        if let Some(code) = features.iter().find(|code| list::find(&groups, code).is_none()) {
            return bad(&format!("`{code}` is not in the list of features"));
        }
        if series(kernels).next().is_none() {
            return bad("`kernels` must have the versions of kernels: `6.12.118 (Debian trixie)`");
        }
        if !source.contains(".c, ") && !source.contains(".h, ") && !source.contains(".S, ") {
            return bad("`source` must name a file of the kernel and a function: `kernel/sys.c, override_release`");
        }
        if !["vmlab run ", "vmlab exec "].iter().any(|start| reproduce.starts_with(start)) {
            return bad("`reproduce` must begin with `vmlab run` or `vmlab exec`");
        }
    }
    Ok(raw.finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_findings_are_valid() {
        let findings = embedded().unwrap();
        assert!(findings.len() >= 2);
        for finding in findings {
            let Finding { name, kernels, says, does, right, because, prints, .. } = &finding;
            for text in [name, kernels, says, does, right, because, prints] {
                assert!(!text.is_empty() && !text.contains('\n') && !text.ends_with('.'), "{name}: {text}");
            }
        }
    }

    #[test]
    fn a_finding_concerns_kernels_of_the_series_that_it_names() {
        let findings = embedded().unwrap();
        let of_bullseye = findings.iter().find(|finding| finding.name == "msgmni-of-root-outside").unwrap();
        let kernel = |release: &str| Kernel { release: release.to_owned(), ..Kernel::default() };
        assert!(of_bullseye.concerns(&[kernel("6.12.1"), kernel("5.10.0-36-cloud-amd64")]));
        assert!(!of_bullseye.concerns(&[kernel("6.12.1"), kernel("5.1.0"), kernel("")]));
    }

    #[test]
    fn a_malformed_finding_is_refused() {
        for (from, to) in [
            ("[\"version-8\"]", "[\"version-99\"]"),
            ("reproduce = \"vmlab exec", "reproduce = \"echo"),
            ("source = \"fs/proc/proc_sysctl.c, test_perm\"", "source = \"the kernel\""),
            ("right =", "wrong ="),
            ("kernels = \"5.10.262 (Debian bullseye)\"", "kernels = \"all\""),
            ("rmem-max-only-in-the-initial-namespace", "msgmni-of-root-outside"),
        ] {
            let text = TEXT.replacen(from, to, 1);
            assert_ne!(text, TEXT, "{from}");
            assert!(parse(&text).is_err(), "{to}");
        }
        assert_eq!(parse(""), Ok(Vec::new()));
    }
}
