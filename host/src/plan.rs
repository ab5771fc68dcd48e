//! What is to run: kernels times scenarios. Pure.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vmlab_protocol::catalogue::ScenarioSpec;

/// How scenarios are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A guest of its own for each scenario, forked from a booted one.
    Fork,
    /// One guest for all scenarios of a kernel; a fresh one after a crash.
    Shared,
    /// A freshly booted guest for each scenario.
    Boot,
}

impl Isolation {
    /// As typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Shared => "shared",
            Self::Boot => "boot",
        }
    }

    /// The scenarios of each guest to be started.
    #[must_use]
    pub fn batches(self, scenarios: &[ScenarioSpec]) -> Vec<Vec<ScenarioSpec>> {
        match self {
            Self::Shared if scenarios.is_empty() => Vec::new(),
            Self::Shared => vec![scenarios.to_vec()],
            Self::Fork | Self::Boot => scenarios.iter().map(|spec| vec![spec.clone()]).collect(),
        }
    }
}

/// How often each scenario runs on each kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Repetition {
    /// Once.
    #[default]
    Once,
    /// Until it does not fail, at most so many times more.
    Retries {
        /// How many times more.
        at_most: u32,
    },
    /// So many times, whatever comes of it.
    Runs {
        /// How many times.
        count: u32,
    },
    /// Round after round, until a scenario fails on a kernel.
    UntilFailure {
        /// No more rounds than these; none is no limit.
        at_most: Option<u32>,
    },
}

impl Repetition {
    /// How many rounds there are at most, in each of which all scenarios run once on all kernels.
    #[must_use]
    pub const fn rounds(self) -> u32 {
        match self {
            Self::Once | Self::Retries { .. } => 1,
            Self::Runs { count } => count,
            Self::UntilFailure { at_most: Some(count) } => count,
            Self::UntilFailure { at_most: None } => u32::MAX,
        }
    }

    /// Whether it is to be found out how often scenarios fail.
    #[must_use]
    pub const fn measures(self) -> bool {
        matches!(self, Self::Runs { .. } | Self::UntilFailure { .. })
    }

    /// What one of several is called.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        if self.measures() { "run" } else { "attempt" }
    }
}

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
    use crate::event::LabEvent;
    use crate::report::fixture;

    #[test]
    fn what_matches_nothing_is_said_as_it_was_asked() {
        let LabEvent::RunStarted { scenarios, .. } = fixture::run().swap_remove(0).event else { panic!("no start") };
        let error = |text: &str| select(&scenarios, &[text.parse().unwrap()]).unwrap_err().to_string();
        assert!(error("=uts").starts_with("no scenario is named `uts`; `vmlab list` shows them all (areas: cgroup "));
        assert!(error("utx").starts_with("no scenario's name contains `utx`; "));
        assert_eq!(select(&scenarios, &["=uts.hostname".parse().unwrap()]).unwrap().len(), 1);
    }
}
