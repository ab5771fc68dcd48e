//! Reads apt's source lists in both formats (sources.list(5)). Pure. Invalid entries are ignored, because apt itself
//! reports them to the user.

/// An entry for binary packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceEntry {
    /// URIs without a trailing slash, for example `https://mirror.example/debian`.
    pub uris: Vec<String>,
    /// Suites, for example `bookworm` and `bookworm-updates`.
    pub suites: Vec<String>,
    /// Components, for example `main`.
    pub components: Vec<String>,
    /// The value of `Signed-By`: paths, fingerprints, or a multi-line key.
    pub signed_by: Option<String>,
}

/// Reads a `.list` file with an entry per line: `deb [OPTION=VALUE…] URI SUITE COMPONENT…`.
#[must_use]
pub fn parse_one_line(text: &str) -> Vec<SourceEntry> {
    text.lines().filter_map(one_line).collect()
}

fn one_line(line: &str) -> Option<SourceEntry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    Some(SourceEntry {
        uris: vec![trimmed(uri)],
        suites: vec![suite.to_owned()],
        components: words.map(str::to_owned).collect(),
        signed_by: signed_by.map(str::to_owned),
    })
}

/// Reads a `.sources` file in deb822 format: stanzas of fields, separated by empty lines.
#[must_use]
pub fn parse_deb822(text: &str) -> Vec<SourceEntry> {
    let uncommented: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    super::stanza::parse(&uncommented.join("\n")).iter().filter_map(deb822).collect()
}

fn deb822(stanza: &super::stanza::Stanza) -> Option<SourceEntry> {
    let words = |field: &str| -> Vec<String> {
        stanza.get(field).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let enabled = stanza.get("Enabled").is_none_or(|value| !matches!(value.trim(), "no" | "false" | "0" | "off"));
    let binary = words("Types").iter().any(|kind| kind == "deb");
    let signed_by = stanza.get("Signed-By").map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned);
    (enabled && binary).then(|| SourceEntry {
        uris: words("URIs").iter().map(|uri| trimmed(uri)).collect(),
        suites: words("Suites"),
        components: words("Components"),
        signed_by,
    })
}

fn trimmed(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_entries_are_read() {
        let text = "# deb http://mirror.example/debian sid main\n\
            deb http://mirror.example/debian/ bookworm main contrib # the mirror\n\
            deb-src http://mirror.example/debian bookworm main\n\
            \tdeb [ arch=amd64 signed-by=/etc/apt/keyrings/x.gpg ] https://x.example/apt  stable main\n\
            deb [arch=amd64 http://broken.example/ bookworm main\n\
            debian http://odd.example bookworm main\n\
            deb http://short.example\n";
        let entries = parse_one_line(text);
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!(entries[0].uris, ["http://mirror.example/debian"]);
        assert_eq!(entries[0].components, ["main", "contrib"]);
        assert_eq!(entries[0].signed_by, None);
        assert_eq!(entries[1].suites, ["stable"]);
        assert_eq!(entries[1].signed_by.as_deref(), Some("/etc/apt/keyrings/x.gpg"));
    }

    #[test]
    fn deb822_entries_are_read() {
        let text = "Types: deb deb-src\n# an older mirror\nURIs: http://mirror.example/debian/\n\
            Suites: bookworm bookworm-updates\nComponents: main\n\
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
            types: deb\nuris: http://key.example/apt\nsuites: trixie\ncomponents: main\nSigned-By:\n \
            -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n\n\
            Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: sid\nComponents: main\n\n\
            Types: deb-src\nURIs: http://src.example\nSuites: sid\nComponents: main\n";
        let entries = parse_deb822(text);
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!(entries[0].uris, ["http://mirror.example/debian"]);
        assert_eq!(entries[0].suites, ["bookworm", "bookworm-updates"]);
        let key = entries[1].signed_by.as_deref().unwrap();
        assert_eq!(key.lines().count(), 4, "{key}");
    }
}
