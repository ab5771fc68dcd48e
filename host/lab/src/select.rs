//! Selects scenarios by filters. Pure.

use std::str::FromStr;

use vmlab_protocol::catalogue::ScenarioSpec;

/// A filter for scenarios: a part of their names, or `=` and a whole name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// A part of the name, for example `uts`, `host`, `uts.hostname`.
    Part(String),
    /// The whole name, for example `=uts.hostname`.
    Exact(String),
}

/// A filter that cannot match any scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot match any scenario: names consist of lower-case letters, digits, hyphens and a point")]
pub struct BadFilter(String);

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (exact, name) = text.strip_prefix('=').map_or((false, text), |name| (true, name));
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(BadFilter(text.to_owned()));
        }
        Ok(if exact { Self::Exact(name.to_owned()) } else { Self::Part(name.to_owned()) })
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

/// A filter that matched no scenario, and the known areas.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; `vmlab list` shows them all (areas: {areas})")]
pub struct NoMatch {
    problem: String,
    areas: String,
}

/// The scenarios that match any of the filters, or all scenarios without filters; sorted by name.
///
/// # Errors
/// [`NoMatch`] for the first filter without a match, so that a mistyped name is not ignored.
pub fn select(catalogue: &[ScenarioSpec], filters: &[Filter]) -> Result<Vec<ScenarioSpec>, NoMatch> {
    if let Some(filter) = filters.iter().find(|filter| !catalogue.iter().any(|spec| filter.matches(spec))) {
        let problem = match filter {
            Filter::Part(part) => format!("no scenario's name contains `{part}`"),
            Filter::Exact(name) => format!("no scenario is named `{name}`"),
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
    fn the_error_for_a_filter_without_a_match_quotes_it() {
        let scenarios = fixture::scenarios();
        let error = |text: &str| select(&scenarios, &[text.parse().unwrap()]).unwrap_err().to_string();
        assert!(error("=uts").starts_with("no scenario is named `uts`; `vmlab list` shows them all (areas: cgroup "));
        assert!(error("utx").starts_with("no scenario's name contains `utx`; "));
        assert_eq!(select(&scenarios, &["=uts.hostname".parse().unwrap()]).unwrap().len(), 1);
    }
}
