//! Finds the machine's mirrors of the Debian archive and composes apt sources from them. vmlab contains no host names:
//! it uses the mirrors of the system's apt or of the user's environment.

use std::fmt::Write as _;

use super::sources::SourceEntry;

/// Names of suites of the Debian archive. Unknown suites are recognised by their keyring.
const SUITES: [&str; 14] = [
    "stable",
    "oldstable",
    "oldoldstable",
    "testing",
    "unstable",
    "experimental",
    "sid",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "rc-buggy",
];

/// Suffixes of suites that mirrors of the main archive list beside the suite itself; other repositories rarely do.
const COMPANIONS: [&str; 4] = ["-updates", "-backports", "-proposed-updates", "-backports-sloppy"];

/// A mirror of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    /// Any URI that apt accepts.
    pub(super) uri: String,
    /// The mirror's own keyring or key; `None` stands for the distribution's.
    pub(super) signed_by: Option<String>,
}

/// The mirrors of the main and security archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirrors {
    /// Contains `SUITE` and `SUITE-backports`.
    pub(super) main: Mirror,
    /// Contains `SUITE-security`.
    pub(super) security: Option<Mirror>,
}

/// The signer of an entry.
#[derive(PartialEq, Eq)]
enum Keyring {
    Debian,
    Unnamed,
    Own,
}

impl Mirrors {
    /// Finds the mirrors among the system's entries. `None` if no entry is for Debian's main archive.
    ///
    /// An entry is for the security archive if it names `SUITE-security`, and for the main archive if it names a suite
    /// of Debian. Other repositories use Debian's suite names, too. Entries are therefore ranked: first those that
    /// Debian's keyring signs, then those whose URI also has `SUITE-updates` or `SUITE-backports`, then others. An
    /// entry without these suites and with its own keyring belongs to a third party.
    #[must_use]
    pub(super) fn find(entries: &[SourceEntry]) -> Option<Self> {
        let best = |security: bool| {
            let ranked = entries.iter().filter_map(|entry| Some((rank(entry, entries, security)?, entry)));
            // The first entry of the best rank: apt also prefers the entry that it reads first.
            let (_, entry) = ranked.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
            let signed_by = entry.signed_by.clone().filter(|_| keyring(entry) == Keyring::Own);
            Some(Mirror { uri: entry.uris.first()?.clone(), signed_by })
        };
        Some(Self { main: best(false)?, security: best(true) })
    }
}

fn keyring(entry: &SourceEntry) -> Keyring {
    match &entry.signed_by {
        None => Keyring::Unnamed,
        Some(value) if value.split([',', ' ', '\n']).any(|path| path.contains("/debian-archive-")) => Keyring::Debian,
        Some(_) => Keyring::Own,
    }
}

/// The rank of an entry for a Debian archive; `None` if the entry is for something else.
fn rank(entry: &SourceEntry, all: &[SourceEntry], security: bool) -> Option<u8> {
    let usable = entry.components.iter().any(|component| component == "main")
        && entry.uris.first().is_some_and(|uri| is_uri(uri) && !uri.starts_with("cdrom:"));
    let is_debian = |suite: &str| keyring(entry) == Keyring::Debian || SUITES.contains(&suite);
    let named = entry.suites.iter().any(|suite| match suite.strip_suffix("-security") {
        Some(base) => security && is_debian(base),
        None => !security && is_debian(without_companion(suite)),
    });
    if !usable || !named {
        return None;
    }
    let companions = || {
        let same_mirror = |other: &&SourceEntry| other.uris == entry.uris;
        all.iter().filter(same_mirror).flat_map(|other| &other.suites).any(|suite| without_companion(suite) != suite)
    };
    match keyring(entry) {
        Keyring::Debian => Some(2),
        _ if security || companions() => Some(1),
        Keyring::Unnamed => Some(0),
        Keyring::Own => None,
    }
}

fn without_companion(suite: &str) -> &str {
    COMPANIONS.iter().find_map(|companion| suite.strip_suffix(companion)).unwrap_or(suite)
}

/// Whether a text is valid as a URI in a source list.
#[must_use]
pub(super) fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+')
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The archive's suites for a kernel source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suites {
    /// The suites of the main mirror, at least one.
    pub(super) main: Vec<String>,
    /// `SUITE-security`, if the suite has security updates.
    pub(super) security: Option<String>,
    /// The suite with priority over the others. Backports need this, because apt gives them a low priority.
    pub(super) preferred: Option<String>,
}

impl Suites {
    /// `X` uses `X` and `X-security`; `X-backports` uses `X` and `X-backports`; sid and experimental have no security
    /// updates.
    #[must_use]
    pub(super) fn of(suite: &str) -> Self {
        let base = suite.strip_suffix("-sloppy").unwrap_or(suite);
        if let Some(base) = base.strip_suffix("-backports") {
            let main = vec![base.to_owned(), suite.to_owned()];
            return Self { main, security: None, preferred: Some(suite.to_owned()) };
        }
        match suite {
            "experimental" | "rc-buggy" => {
                let main = vec!["sid".to_owned(), suite.to_owned()];
                Self { main, security: None, preferred: Some(suite.to_owned()) }
            }
            "sid" | "unstable" => Self { main: vec![suite.to_owned()], security: None, preferred: None },
            _ => Self { main: vec![suite.to_owned()], security: Some(format!("{suite}-security")), preferred: None },
        }
    }
}

/// The text of a `.sources` file. `keyring` is for mirrors without their own keyring.
#[must_use]
pub(super) fn compose(mirrors: &Mirrors, suites: &Suites, keyring: &str) -> String {
    let mut text = String::new();
    let mut add = |mirror: &Mirror, suites: &str| {
        let signed_by = mirror.signed_by.as_deref().unwrap_or(keyring).trim();
        // A multi-line key begins on the line after the field's name (sources.list(5)).
        let separator = if signed_by.contains('\n') { "\n " } else { " " };
        let signed_by = signed_by.replace('\n', "\n ");
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "Types: deb\nURIs: {}\nSuites: {suites}\nComponents: main\nSigned-By:{separator}{signed_by}\n\n",
            mirror.uri
        );
    };
    add(&mirrors.main, &suites.main.join(" "));
    if let (Some(mirror), Some(suite)) = (&mirrors.security, &suites.security) {
        add(mirror, suite);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::sources::{parse_deb822, parse_one_line};
    use super::*;

    fn mirror(uri: &str) -> Mirror {
        Mirror { uri: uri.to_owned(), signed_by: None }
    }

    const DEB822: &str = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
        Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
        Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\n\
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";

    #[test]
    fn main_and_security_mirrors_are_distinguished() {
        let both = Mirrors {
            main: mirror("http://mirror.example/debian"),
            security: Some(mirror("http://mirror.example/security")),
        };
        assert_eq!(Mirrors::find(&parse_deb822(DEB822)), Some(both.clone()));
        let lines = "deb http://mirror.example/debian bookworm main\n\
            deb http://mirror.example/security stable-security main\n";
        assert_eq!(Mirrors::find(&parse_one_line(lines)), Some(both));
        let only_main = Mirrors { main: mirror("http://m.example/d"), security: None };
        assert_eq!(Mirrors::find(&parse_one_line("deb http://m.example/d sid main")), Some(only_main));
        assert_eq!(Mirrors::find(&parse_one_line("deb http://m.example/s bookworm-security main")), None);
    }

    #[test]
    fn third_party_repositories_are_ignored() {
        let thirds = "deb [signed-by=/etc/apt/keyrings/a.gpg] http://a.example/linux/debian bookworm stable\n\
            deb [signed-by=/etc/apt/keyrings/b.gpg] http://b.example bookworm main\n\
            deb [signed-by=/etc/apt/keyrings/c.gpg] http://c.example stable main\n\
            deb http://d.example bookworm-pgdg main\n\
            deb http://e.example nodistro main\n\
            deb http://f.example noble main universe\n\
            deb http://f.example noble-updates main\n\
            deb http://f.example noble-security main\n\
            deb cdrom:[Debian]/ bookworm main\n";
        assert_eq!(Mirrors::find(&parse_one_line(thirds)), None);
        // A third party without a keyring does not hide the mirror, even if its entry is first.
        let mixed = format!(
            "deb http://g.example stable main\n{thirds}deb http://m.example/d bookworm main\n\
            deb http://m.example/d bookworm-updates main\n"
        );
        assert_eq!(Mirrors::find(&parse_one_line(&mixed)).unwrap().main, mirror("http://m.example/d"));
        let mut entries = parse_one_line(&mixed);
        entries.extend(parse_deb822(DEB822));
        assert_eq!(Mirrors::find(&entries).unwrap().main, mirror("http://mirror.example/debian"));
    }

    #[test]
    fn a_mirrors_own_keyring_is_kept() {
        let text = "Types: deb\nURIs: https://own.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\
            Signed-By:\n -----BEGIN\n .\n key\n -----END\n";
        let found = Mirrors::find(&parse_deb822(text)).unwrap();
        let composed = compose(&found, &Suites::of("bookworm"), "/k.gpg");
        assert!(composed.contains("Suites: bookworm\n"), "{composed}");
        assert!(composed.contains("Signed-By:\n -----BEGIN\n .\n key\n -----END\n"), "{composed}");
        assert_eq!(parse_deb822(&composed)[0].signed_by, found.main.signed_by);
    }

    #[test]
    fn an_unknown_suite_is_recognised_by_its_keyring() {
        let text = DEB822.replace("bookworm", "buzz-lightyear");
        assert_eq!(Mirrors::find(&parse_deb822(&text)).unwrap().main, mirror("http://mirror.example/debian"));
    }

    #[test]
    fn a_suite_includes_its_security_or_base_suite() {
        let mirrors = Mirrors::find(&parse_deb822(DEB822)).unwrap();
        let suites = |suite: &str| -> Vec<String> {
            let text = compose(&mirrors, &Suites::of(suite), "/k.gpg");
            parse_deb822(&text).into_iter().flat_map(|entry| entry.suites).collect()
        };
        assert_eq!(suites("bookworm"), ["bookworm", "bookworm-security"]);
        assert_eq!(suites("trixie-backports"), ["trixie", "trixie-backports"]);
        assert_eq!(suites("bullseye-backports-sloppy"), ["bullseye", "bullseye-backports-sloppy"]);
        assert_eq!(suites("sid"), ["sid"]);
        assert_eq!(suites("experimental"), ["sid", "experimental"]);
        assert_eq!(Suites::of("trixie-backports").preferred.as_deref(), Some("trixie-backports"));
        assert_eq!(Suites::of("trixie").preferred, None);
    }

    #[test]
    fn invalid_uris_are_refused() {
        for good in ["http://m.example/d", "mirror+file:/etc/apt/mirrors/debian.list", "file:///srv/debian"] {
            assert!(is_uri(good), "{good}");
        }
        for bad in ["", "m.example", "http://m.example/d\nTypes: x", "http://m example", "-o:x", ":x"] {
            assert!(!is_uri(bad), "{bad}");
        }
    }
}
