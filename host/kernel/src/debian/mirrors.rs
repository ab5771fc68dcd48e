//! Which mirrors of the Debian archive this machine uses, and the sources that are made of them. No host is named in
//! vmlab: what the system's apt uses is used, or what the user's environment says.

use std::fmt::Write as _;

use super::sources::SourceEntry;

/// Suites of the Debian archive by name. One that is not here is still known by its keyring.
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

/// What a mirror of the main archive names beside a suite, and hardly anybody else does.
const COMPANIONS: [&str; 4] = ["-updates", "-backports", "-proposed-updates", "-backports-sloppy"];

/// Where to get one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Any URI that apt takes.
    pub uri: String,
    /// A keyring or key of the mirror's own; `None` where the distribution's is meant.
    pub signed_by: Option<String>,
}

/// The mirrors of both archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// With `SUITE` and `SUITE-backports`.
    pub main: Mirror,
    /// With `SUITE-security`, where one is known.
    pub security: Option<Mirror>,
}

/// Who vouches for an entry.
#[derive(PartialEq, Eq)]
enum Keyring {
    Debian,
    Unnamed,
    Own,
}

impl Mirrors {
    /// Finds the mirrors among the system's entries. `None` where no entry is for Debian's main archive.
    ///
    /// An entry is for the security archive if it names `SUITE-security`, for the main archive if it names a suite of
    /// Debian's. Others use Debian's suite names too: an entry that Debian's keyring signs goes before one whose URI
    /// also carries `SUITE-updates` or `SUITE-backports`, and that one before any other. One that names neither and is
    /// signed by a keyring of its own is a third party's.
    #[must_use]
    pub fn find(entries: &[SourceEntry]) -> Option<Self> {
        let best = |security: bool| {
            let ranked = entries.iter().filter_map(|entry| Some((rank(entry, entries, security)?, entry)));
            // The first of the best, as apt itself prefers what it reads first.
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

/// How surely an entry is for an archive of Debian's; `None` where it is not.
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

/// Whether a text can stand as a URI in a source list.
#[must_use]
pub fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+')
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The suites that make up a source: from the main mirror, and from the security mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suites {
    /// At least one.
    pub main: Vec<String>,
    /// `SUITE-security`, where such a thing can be.
    pub security: Option<String>,
    /// The one whose packages go before the others, as those of backports do not by themselves.
    pub preferred: Option<String>,
}

impl Suites {
    /// `X` is `X` and `X-security`; `X-backports` is `X` and `X-backports`; sid and experimental have no security part.
    #[must_use]
    pub fn of(suite: &str) -> Self {
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

/// The text of a `.sources` file. `keyring` signs what the mirrors say nothing about.
#[must_use]
pub fn compose(mirrors: &Mirrors, suites: &Suites, keyring: &str) -> String {
    let mut text = String::new();
    let mut add = |mirror: &Mirror, suites: &str| {
        let signed_by = mirror.signed_by.as_deref().unwrap_or(keyring).trim();
        // A key in several lines begins on the line after the field's name, sources.list(5).
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
    fn main_and_security_are_told_apart() {
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
    fn third_parties_are_passed_over() {
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
        // Neither does a third party without a keyring, read first, hide the mirror.
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
    fn a_mirror_with_a_keyring_of_its_own_keeps_it() {
        let text = "Types: deb\nURIs: https://own.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\
            Signed-By:\n -----BEGIN\n .\n key\n -----END\n";
        let found = Mirrors::find(&parse_deb822(text)).unwrap();
        let composed = compose(&found, &Suites::of("bookworm"), "/k.gpg");
        assert!(composed.contains("Suites: bookworm\n"), "{composed}");
        assert!(composed.contains("Signed-By:\n -----BEGIN\n .\n key\n -----END\n"), "{composed}");
        assert_eq!(parse_deb822(&composed)[0].signed_by, found.main.signed_by);
    }

    #[test]
    fn a_suite_not_known_by_name_is_known_by_its_keyring() {
        let text = DEB822.replace("bookworm", "buzz-lightyear");
        assert_eq!(Mirrors::find(&parse_deb822(&text)).unwrap().main, mirror("http://mirror.example/debian"));
    }

    #[test]
    fn suites_bring_what_belongs_to_them() {
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
    fn what_is_no_uri_is_refused() {
        for good in ["http://m.example/d", "mirror+file:/etc/apt/mirrors/debian.list", "file:///srv/debian"] {
            assert!(is_uri(good), "{good}");
        }
        for bad in ["", "m.example", "http://m.example/d\nTypes: x", "http://m example", "-o:x", ":x"] {
            assert!(!is_uri(bad), "{bad}");
        }
    }
}
