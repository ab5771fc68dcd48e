//! What is to run: kernels times scenarios. Pure.

use std::str::FromStr;

use vmlab_protocol::catalogue::ScenarioSpec;

/// A word that picks scenarios: a part of their names, or all of a name with `=` before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// `uts`, `host`, `uts.hostname`: wherever the name contains it.
    Part(String),
    /// `=uts.hostname`: that name only.
    Exact(String),
}

/// A filter that could never match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` can match no scenario: names are made of lower-case letters, digits, hyphens and one point")]
pub struct BadFilter(String);

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (exact, word) = text.strip_prefix('=').map_or((false, text), |word| (true, word));
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if word.is_empty() || !word.bytes().all(fits) {
            return Err(BadFilter(text.to_owned()));
        }
        Ok(if exact { Self::Exact(word.to_owned()) } else { Self::Part(word.to_owned()) })
    }
}

impl Filter {
    fn matches(&self, spec: &ScenarioSpec) -> bool {
        match self {
            Self::Part(part) => spec.id.as_str().contains(part),
            Self::Exact(name) => spec.id.as_str() == name,
        }
    }
}

/// A filter that matched nothing, and what could have been meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; `vmlab list` shows them all (areas: {areas})")]
pub struct NoMatch {
    problem: String,
    areas: String,
}

/// The scenarios that any of the filters picks, all where there is none; sorted by name.
///
/// # Errors
/// [`NoMatch`] for the first filter that picks nothing: a name that was mistyped must not pass as fewer scenarios.
pub fn select(catalogue: &[ScenarioSpec], filters: &[Filter]) -> Result<Vec<ScenarioSpec>, NoMatch> {
    if let Some(filter) = filters.iter().find(|filter| !catalogue.iter().any(|spec| filter.matches(spec))) {
        let problem = match filter {
            Filter::Part(word) => format!("no scenario's name contains `{word}`"),
            Filter::Exact(word) => format!("no scenario is named `{word}`"),
        };
        let mut areas: Vec<_> = catalogue.iter().map(|spec| spec.id.area()).collect();
        areas.dedup();
        return Err(NoMatch { problem, areas: areas.join(" ") });
    }
    let picked = |spec: &&ScenarioSpec| filters.is_empty() || filters.iter().any(|filter| filter.matches(spec));
    let mut chosen: Vec<_> = catalogue.iter().filter(picked).cloned().collect();
    chosen.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::fixture;

    #[test]
    fn what_matches_nothing_is_said_as_it_was_asked() {
        let scenarios = fixture::scenarios();
        let error = |text: &str| select(&scenarios, &[text.parse().unwrap()]).unwrap_err().to_string();
        assert!(error("=uts").starts_with("no scenario is named `uts`; `vmlab list` shows them all (areas: cgroup "));
        assert!(error("utx").starts_with("no scenario's name contains `utx`; "));
        assert_eq!(select(&scenarios, &["=uts.hostname".parse().unwrap()]).unwrap().len(), 1);
    }
}
