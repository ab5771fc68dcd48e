//! Selects jobs by filters. Pure.

use std::collections::BTreeSet;
use std::str::FromStr;

use vmlab_events::job::{JobSpec, SuiteId};
use vmlab_protocol::catalogue::ScenarioSpec;

/// A filter for jobs: a part of their names, or `=` and a whole name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// A part of the name, for example `uts`, `host`, `uts.hostname`.
    Part(String),
    /// The whole name, for example `=uts.hostname`.
    Exact(String),
}

/// A filter that cannot match any job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot match any name: names consist of letters, digits, hyphens, underscores, blanks \
     and points, and a part of a name is enough"
)]
pub struct BadFilter(String);

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (exact, name) = text.strip_prefix('=').map_or((false, text), |name| (true, name));
        // The names of KUnit suites have all of these.
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            return Err(BadFilter(text.to_owned()));
        }
        Ok(if exact { Self::Exact(name.to_owned()) } else { Self::Part(name.to_owned()) })
    }
}

impl Filter {
    fn matches(&self, job: &str) -> bool {
        match self {
            Self::Part(part) => job.contains(part),
            Self::Exact(name) => job == name,
        }
    }

    /// What may have been meant, if no scenario matches.
    fn hint(&self) -> &'static str {
        let (Self::Part(name) | Self::Exact(name)) = self;
        match name.split('.').next() {
            Some("kunit") => "KUnit suites run with `vmlab run --kunit`; ",
            Some("measure") => "measuring scenarios run with `vmlab run --measure`; ",
            _ => "",
        }
    }

    /// What no `kind` is, if none matches.
    fn problem(&self, kind: &str) -> String {
        match self {
            Self::Part(part) => format!("no {kind}'s name contains `{part}`"),
            Self::Exact(name) => format!("no {kind} is named `{name}`"),
        }
    }
}

fn is_picked(filters: &[Filter], job: &str) -> bool {
    filters.is_empty() || filters.iter().any(|filter| filter.matches(job))
}

/// Nothing that can be run is selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMatch {
    /// A filter matched no scenario.
    #[error("{problem}; {hint}`vmlab list` shows them all (areas: {areas})")]
    Scenarios {
        /// Which filter.
        problem: String,
        /// What may have been meant; empty, or a sentence with a semicolon.
        hint: &'static str,
        /// The known areas.
        areas: String,
    },
    /// A filter matched neither a scenario nor a KUnit suite of the kernels.
    #[error("{problem}; `vmlab list` shows all scenarios, and these kernels have the suites: {suites}")]
    Suites {
        /// Which filter.
        problem: String,
        /// The known suites.
        suites: String,
    },
    /// No kernel has KUnit suites that vmlab knows.
    #[error(
        "--kunit: no KUnit suites are known in these kernels: name a kernel that vmlab builds with them, such as \
         `-k tree:PATH+kunit` or `-k source:trixie+kunit`"
    )]
    NoSuites,
}

/// The scenarios that match any of the filters, or all scenarios without filters; sorted by name.
///
/// # Errors
/// [`NoMatch`] for the first filter without a match, so that a mistyped name is not ignored.
pub fn select(catalogue: &[ScenarioSpec], filters: &[Filter]) -> Result<Vec<ScenarioSpec>, NoMatch> {
    let (chosen, unmatched) = scenarios(catalogue, filters);
    let Some(filter) = unmatched.first() else { return Ok(chosen) };
    let mut areas: Vec<_> = catalogue.iter().map(|spec| spec.id.area()).collect();
    areas.dedup();
    Err(NoMatch::Scenarios { problem: filter.problem("scenario"), hint: filter.hint(), areas: areas.join(" ") })
}

/// As [`select`], with the filters that match no scenario.
fn scenarios(catalogue: &[ScenarioSpec], filters: &[Filter]) -> (Vec<ScenarioSpec>, Vec<Filter>) {
    let is_unmatched = |filter: &&Filter| !catalogue.iter().any(|spec| filter.matches(spec.id.as_str()));
    let mut chosen: Vec<_> = catalogue.iter().filter(|spec| is_picked(filters, spec.id.as_str())).cloned().collect();
    chosen.sort_by(|a, b| a.id.cmp(&b.id));
    (chosen, filters.iter().filter(is_unmatched).cloned().collect())
}

/// Which KUnit suites are to run beside the scenarios. They are known when the kernels are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suites {
    filters: Vec<Filter>,
    /// The filters that match no scenario.
    unmatched: Vec<Filter>,
}

impl Suites {
    /// The scenarios that match any of the filters, and the suites that will.
    #[must_use]
    pub fn beside(catalogue: &[ScenarioSpec], filters: &[Filter]) -> (Vec<ScenarioSpec>, Self) {
        let (chosen, unmatched) = scenarios(catalogue, filters);
        (chosen, Self { filters: filters.to_vec(), unmatched })
    }

    /// The suites of kernels that match any of the filters, or all of them without filters; sorted by name.
    ///
    /// # Errors
    /// [`NoMatch`] if a filter has matched nothing, or there are no suites.
    pub fn select(&self, known: &BTreeSet<&SuiteId>) -> Result<Vec<JobSpec>, NoMatch> {
        if known.is_empty() {
            return Err(NoMatch::NoSuites);
        }
        if let Some(filter) = self.unmatched.iter().find(|filter| !known.iter().any(|id| filter.matches(id.as_str()))) {
            let suites = known.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
            return Err(NoMatch::Suites { problem: filter.problem("scenario or KUnit suite"), suites });
        }
        let picked = known.iter().filter(|id| is_picked(&self.filters, id.as_str()));
        Ok(picked.map(|&id| JobSpec::Kunit(id.clone())).collect())
    }
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
        assert!(error("kunit.").contains("; KUnit suites run with `vmlab run --kunit`; "));
        assert!(error("=measure.enter").contains("; measuring scenarios run with `vmlab run --measure`; "));
        assert_eq!(select(&scenarios, &["=uts.hostname".parse().unwrap()]).unwrap().len(), 1);
    }

    #[test]
    fn suites_are_selected_beside_scenarios() {
        let known = ["list-kunit-test", "rtc_lib_test_cases"].map(|name| SuiteId::new(name).unwrap());
        let select = |filters: &[&str]| {
            let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
            let (scenarios, suites) = Suites::beside(&fixture::scenarios(), &filters);
            let suites = suites.select(&known.iter().collect()).map_err(|error| error.to_string())?;
            Ok::<_, String>((scenarios.len(), suites.iter().map(|spec| spec.name().to_owned()).collect::<Vec<_>>()))
        };
        let (list, rtc) = ("kunit.list-kunit-test".to_owned(), "kunit.rtc_lib_test_cases".to_owned());
        assert_eq!(select(&[]), Ok((fixture::scenarios().len(), vec![list.clone(), rtc.clone()])));
        assert_eq!(select(&["kunit."]), Ok((0, vec![list, rtc.clone()])));
        assert_eq!(select(&["rtc_lib", "=uts.hostname"]), Ok((1, vec![rtc])));
        let error = select(&["list_"]).unwrap_err();
        assert!(error.starts_with("no scenario or KUnit suite's name contains `list_`; "), "{error}");
        assert!(error.ends_with("the suites: kunit.list-kunit-test, kunit.rtc_lib_test_cases"), "{error}");
        let (_, suites) = Suites::beside(&[], &[]);
        assert_eq!(suites.select(&BTreeSet::new()), Err(NoMatch::NoSuites));
    }
}
