//! The list of features: data/*.toml, one file for each group.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use vmlab_protocol::catalogue::KernelVersion;

use super::BadData;

/// The groups in the order of the table: name of the file, and contents.
const FILES: [(&str, &str); 13] = [
    ("0-options", include_str!("data/0-options.toml")),
    ("1-core", include_str!("data/1-core.toml")),
    ("2-isolation", include_str!("data/2-isolation.toml")),
    ("3-virtualisation", include_str!("data/3-virtualisation.toml")),
    ("4-tracking", include_str!("data/4-tracking.toml")),
    ("5-sharing", include_str!("data/5-sharing.toml")),
    ("6-limits", include_str!("data/6-limits.toml")),
    ("7-checkpoint", include_str!("data/7-checkpoint.toml")),
    ("biederman", include_str!("data/biederman.toml")),
    ("network", include_str!("data/network.toml")),
    ("thread", include_str!("data/thread.toml")),
    ("later", include_str!("data/later.toml")),
    ("version", include_str!("data/version.toml")),
];

/// Features that belong together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The heading.
    pub title: String,
    /// A sentence on the group.
    pub about: String,
    /// In the order of the discussion.
    #[serde(rename = "feature")]
    pub features: Vec<Feature>,
}

/// A feature that was asked for, or that Linux has today.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// The item's code, as in [`vmlab_protocol::catalogue::ScenarioSpec::items`].
    pub code: String,
    /// What was asked for, in plain words.
    pub words: String,
    /// Who asked for it; empty for what came later.
    #[serde(default)]
    pub asked: Vec<Request>,
    /// What Linux has today; None if there is no mechanism upstream, and in the rows of versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// The first mainline version with the mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<KernelVersion>,
    /// What exists instead, where there is no mechanism upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// A note on the change, in the rows of versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// In the rows of versions: the value that each series is expected to have, by series (`6.12`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expected: BTreeMap<String, String>,
    /// Texts of findings that stand for an expected value, where the value is no part of the finding.
    #[serde(default, skip_serializing)]
    pub seen: BTreeMap<String, Vec<String>>,
    /// In the rows of versions: whether the expected values are those of Debian's own kernels, and of no other.
    #[serde(default, skip_serializing)]
    pub of_debian: bool,
}

impl Feature {
    /// Whether this is a row of the table of versions.
    #[must_use]
    pub fn is_of_versions(&self) -> bool {
        !self.expected.is_empty()
    }

    /// Who asked for it, in one line: `Sam Vilain, 7 February 2006 and 18 May 2006 (item 3a); Serge Hallyn, 18 May 2006`.
    #[must_use]
    pub fn asked_by(&self) -> String {
        let mut people: Vec<(&str, Vec<&Request>)> = Vec::new();
        for request in &self.asked {
            match people.iter_mut().find(|(who, _)| *who == request.by.who) {
                Some((_, requests)) => requests.push(request),
                None => people.push((request.by.who, vec![request])),
            }
        }
        let item = |request: &Request| request.item.as_ref().map(|item| format!(" (item {item})")).unwrap_or_default();
        let of_person = |(who, requests): &(&str, Vec<&Request>)| {
            let last = requests.last().map(|request| item(request)).unwrap_or_default();
            let is_one_item = requests.iter().all(|request| item(request) == last);
            let dates = requests.iter().map(|request| {
                let item = if is_one_item { String::new() } else { item(request) };
                format!("{}{item}", request.by.when)
            });
            let item = if is_one_item { last.as_str() } else { "" };
            format!("{who}, {}{item}", dates.collect::<Vec<_>>().join(" and "))
        };
        people.iter().map(of_person).collect::<Vec<_>>().join("; ")
    }

    /// Today's mechanism with its first version, or what exists instead, in one line.
    #[must_use]
    pub fn today(&self) -> String {
        let since = self.since.map(|since| format!("since Linux {since}"));
        match (&self.mechanism, &self.instead) {
            (Some(mechanism), _) => format!("{}: {mechanism}", since.unwrap_or_default()),
            (None, Some(instead)) => format!("no such mechanism upstream; instead: {instead}"),
            (None, None) => [since, self.change.clone()].into_iter().flatten().collect::<Vec<_>>().join("; "),
        }
    }

    /// Whether the feature's own texts have a word, or one that begins with it, in any case of letters.
    #[must_use]
    pub fn mentions(&self, word: &str) -> bool {
        let texts = [Some(&self.words), self.mechanism.as_ref(), self.instead.as_ref(), self.change.as_ref()];
        self.code.eq_ignore_ascii_case(word)
            || self.asked.iter().any(|request| has_beginning(request.by.who, word))
            || texts.into_iter().flatten().any(|text| has_beginning(text, word))
    }
}

/// Whether a word of a text begins like this, in any case of letters. A commit's number is one word.
#[must_use]
pub fn has_beginning(text: &str, word: &str) -> bool {
    let (text, word) = (text.to_lowercase(), word.to_lowercase());
    text.match_indices(&word).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(char::is_alphanumeric)
    })
}

/// A letter of 2006, and the item's code in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Request {
    by: &'static Letter,
    item: Option<String>,
}

/// A letter of the discussion.
#[derive(Debug, PartialEq, Eq)]
struct Letter {
    /// The name in the files.
    name: &'static str,
    who: &'static str,
    when: &'static str,
}

const LETTERS: [Letter; 9] = [
    Letter { name: "biederman", who: "Eric Biederman", when: "7 February 2006" },
    Letter { name: "hallyn", who: "Serge Hallyn", when: "18 May 2006" },
    Letter { name: "kuznetsov", who: "Alexey Kuznetsov", when: "May 2006" },
    Letter { name: "morton", who: "Andrew Morton", when: "May 2006" },
    Letter { name: "poetzl", who: "Herbert Poetzl", when: "May 2006" },
    Letter { name: "savochkin", who: "Andrey Savochkin", when: "May 2006" },
    Letter { name: "thread", who: "the discussion on linux-kernel", when: "May 2006" },
    Letter { name: "vilain-february", who: "Sam Vilain", when: "7 February 2006" },
    Letter { name: "vilain-may", who: "Sam Vilain", when: "18 May 2006" },
];

impl FromStr for Request {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, item) = text.split_once(' ').map_or((text, None), |(name, item)| (name, Some(item.to_owned())));
        let by = LETTERS.iter().find(|letter| letter.name == name).ok_or_else(|| format!("`{name}` is no letter"))?;
        Ok(Self { by, item })
    }
}

impl TryFrom<String> for Request {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            who: &'a str,
            when: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            item: Option<&'a str>,
        }
        Whole { who: self.by.who, when: self.by.when, item: self.item.as_deref() }.serialize(serializer)
    }
}

/// All groups, in the order of the table.
///
/// # Errors
/// [`BadData`] if a file is malformed, or a feature is listed twice or says neither what Linux has nor what exists instead.
pub fn embedded() -> Result<Vec<Group>, BadData> {
    parse(&FILES)
}

fn parse(files: &[(&str, &str)]) -> Result<Vec<Group>, BadData> {
    const WHAT: &str = "list of features";
    let group = |(name, text): &(&str, &str)| -> Result<Group, BadData> {
        toml::from_str(text).map_err(|error| BadData::new(WHAT, &format!("{name}: {error}")))
    };
    let groups: Vec<Group> = files.iter().map(group).collect::<Result<_, _>>()?;
    let mut codes = Vec::new();
    for feature in groups.iter().flat_map(|group| &group.features) {
        let bad = |why: &str| Err(BadData::new(WHAT, &format!("{}: {why}", feature.code)));
        if codes.contains(&&feature.code) {
            return bad("it is listed twice");
        }
        codes.push(&feature.code);
        let is_whole = match (&feature.mechanism, &feature.instead) {
            (Some(_), None) => feature.since.is_some() && !feature.is_of_versions(),
            (None, Some(_)) => feature.since.is_none() && !feature.is_of_versions(),
            (None, None) => feature.is_of_versions(),
            (Some(_), Some(_)) => false,
        };
        if !is_whole {
            return bad("expected a mechanism with its first version, or what exists instead, or expected values");
        }
        if let Some(value) = feature.seen.keys().find(|value| !feature.expected.values().any(|known| known == *value)) {
            return bad(&format!("`seen` has the value `{value}`, which no series is expected to have"));
        }
        if feature.of_debian && !feature.is_of_versions() {
            return bad("`of_debian` is about expected values");
        }
    }
    Ok(groups)
}

/// The feature with this code.
#[must_use]
pub fn find<'a>(groups: &'a [Group], code: &str) -> Option<&'a Feature> {
    groups.iter().flat_map(|group| &group.features).find(|feature| feature.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_list_is_valid_and_its_texts_are_short() {
        let groups = embedded().unwrap();
        let features: Vec<_> = groups.iter().flat_map(|group| &group.features).collect();
        assert!(features.len() > 110, "{}", features.len());
        for feature in features {
            assert!(feature.words.chars().count() <= 90, "{}: the words are long", feature.code);
            assert!(!feature.today().is_empty(), "{}", feature.code);
            for text in [&feature.words, &feature.today()] {
                assert!(!text.contains('\n') && !text.ends_with('.'), "{}: {text}", feature.code);
            }
        }
    }

    #[test]
    fn each_letter_is_named_and_the_seven_questions_are_there() {
        let groups = embedded().unwrap();
        for letter in &LETTERS {
            let mut features = groups.iter().flat_map(|group| &group.features);
            assert!(features.any(|feature| feature.asked.iter().any(|asked| asked.by == letter)), "{}", letter.name);
        }
        assert!((1..=7).all(|n| find(&groups, &format!("biederman-{n}")).is_some()));
        assert!((1..=35).all(|n| find(&groups, &format!("version-{n}")).is_some_and(Feature::is_of_versions)));
    }

    #[test]
    fn each_row_of_versions_has_a_value_for_each_series() {
        for feature in embedded().unwrap().iter().flat_map(|group| &group.features) {
            if feature.is_of_versions() {
                let series: Vec<_> = feature.expected.keys().map(String::as_str).collect();
                assert_eq!(series, ["5.10", "6.1", "6.12", "7.2", "7.3"], "{}", feature.code);
            }
        }
    }

    #[test]
    fn a_request_tells_who_and_when() {
        let groups = embedded().unwrap();
        let feature = find(&groups, "0b").unwrap();
        assert_eq!(feature.asked_by(), "Sam Vilain, 7 February 2006 (item 5b) and 18 May 2006 (item 0b)");
        let hostname = find(&groups, "3a").unwrap().asked_by();
        assert!(hostname.starts_with("Sam Vilain, 7 February 2006 and 18 May 2006 (item 3a); Eric"), "{hostname}");
        assert!(feature.today().starts_with("no such mechanism upstream; instead: fs-verity"), "{}", feature.today());
        assert!(feature.mentions("IMMULINK") && feature.mentions("0B") && !feature.mentions("0"));
    }

    #[test]
    fn a_malformed_list_is_refused() {
        let sound = FILES[0].1;
        assert!(parse(&[("x", sound)]).is_ok());
        for (from, to) in [
            ("code = \"0b\"", "code = \"0a\""),
            ("since = \"2.6.26\"\n", ""),
            ("since = \"2.6.26\"", "since = \"old\""),
            ("vilain-may 0a", "vilain-june 0a"),
            ("words =", "word ="),
            ("instead = \"fs", "mechanism = \"fs"),
        ] {
            let text = sound.replacen(from, to, 1);
            assert_ne!(text, sound, "{from}");
            assert!(parse(&[("x", &text)]).is_err(), "{to}");
        }
        let version =
            "title = \"t\"\nabout = \"a\"\n[[feature]]\ncode = \"v\"\nwords = \"w\"\nexpected = { \"6.1\" = \"ok\" }\n";
        assert!(parse(&[("x", version)]).is_ok());
        assert!(parse(&[("x", &format!("{version}seen = {{ no = [\"x\"] }}\n"))]).is_err());
        assert!(parse(&[("x", &format!("{version}of_debian = true\n"))]).is_ok());
        assert!(parse(&[("x", &format!("{sound}of_debian = true\n"))]).is_err());
    }
}
