//! Proves what scenarios need: on a kernel without a feature, exactly the scenarios that need it are skipped, with its symbol as
//! the reason, and all others have the verdict that they have on the kernel with the feature.

use std::collections::BTreeMap;

use vmlab_events::verdict::{SkipReason, Verdict};
use vmlab_kernel::config::KernelConfig;
use vmlab_protocol::catalogue::ScenarioSpec;

/// The verdicts on a kernel, by scenario.
pub type Verdicts = BTreeMap<String, Verdict>;

/// A kernel and what ran on it.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    /// The kernel's config.
    pub config: &'a KernelConfig,
    /// What came of each scenario.
    pub verdicts: &'a Verdicts,
}

/// The result of comparing a kernel with the same kernel without a feature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The scenarios that need what is missing, and are skipped for it.
    pub skipped: Vec<String>,
    /// The number of scenarios whose verdict is the same.
    pub unchanged: usize,
    /// A sentence for each scenario that is not as it should be.
    pub wrong: Vec<String>,
}

/// Compares the verdicts on a kernel with those on the same kernel without a feature.
#[must_use]
pub fn compare(catalogue: &[ScenarioSpec], with: Tried<'_>, without: Tried<'_>) -> Comparison {
    let mut comparison = Comparison::default();
    for spec in catalogue {
        let name = spec.id.as_str();
        let (Some(before), Some(after)) = (with.verdicts.get(name), without.verdicts.get(name)) else {
            comparison.wrong.push(format!("{name}: there is no verdict on one of the kernels"));
            continue;
        };
        let gone = |symbol: &&String| with.config.enabled(symbol) && !without.config.enabled(symbol);
        let missing: Vec<&String> = spec.requires.config.iter().filter(gone).collect();
        let (label, detail) = (after.label(), after.detail());
        match missing.as_slice() {
            [] if before.label() == label => comparison.unchanged += 1,
            [] => comparison.wrong.push(format!(
                "{name}: {} becomes {label} ({detail}), although the scenario needs nothing that is missing",
                before.label()
            )),
            missing if is_skip_for(after, missing) => comparison.skipped.push(name.to_owned()),
            missing => {
                let needs: Vec<_> = missing.iter().map(|symbol| symbol.as_str()).collect();
                let needs = needs.join(", ");
                comparison.wrong.push(format!(
                    "{name}: {label} ({detail}), although it needs {needs}: expected SKIP with that reason"
                ));
            }
        }
    }
    comparison
}

/// Whether a scenario was skipped because all these symbols are not set.
fn is_skip_for(verdict: &Verdict, missing: &[&String]) -> bool {
    match verdict {
        Verdict::Skipped { reason: SkipReason::ConfigNotSet { symbols, .. } } => {
            missing.iter().all(|symbol| symbols.contains(symbol))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "CONFIG_UTS_NS=y\nCONFIG_USER_NS=y\n";
    const NO_UTS: &str = "CONFIG_USER_NS=y\n";

    fn specs() -> Vec<ScenarioSpec> {
        let all = vmlab_image::guest_init::catalogue().unwrap();
        all.iter().filter(|spec| ["uts.hostname", "user.signal"].contains(&spec.id.as_str())).cloned().collect()
    }

    fn skip(symbol: &str) -> Verdict {
        let symbols = vec![symbol.to_owned()];
        Verdict::Skipped { reason: SkipReason::ConfigNotSet { symbols, evidence: String::new() } }
    }

    fn compared(uts: Verdict, user: Verdict) -> Comparison {
        let verdicts = |uts, user| Verdicts::from([("uts.hostname".to_owned(), uts), ("user.signal".to_owned(), user)]);
        let (with, without) = (verdicts(Verdict::Passed, Verdict::Passed), verdicts(uts, user));
        let configs = [BOTH, NO_UTS].map(KernelConfig::parse);
        let tried = |config, verdicts| Tried { config, verdicts };
        compare(&specs(), tried(&configs[0], &with), tried(&configs[1], &without))
    }

    #[test]
    fn what_needs_the_feature_is_skipped_and_the_rest_is_as_before() {
        let comparison = compared(skip("CONFIG_UTS_NS"), Verdict::Passed);
        let right = Comparison { skipped: vec!["uts.hostname".to_owned()], unchanged: 1, wrong: Vec::new() };
        assert_eq!(comparison, right);
    }

    #[test]
    fn everything_else_is_wrong() {
        for (uts, user, part) in [
            (Verdict::Passed, Verdict::Passed, "uts.hostname: PASS"),
            (skip("CONFIG_USER_NS"), Verdict::Passed, "uts.hostname: SKIP"),
            (skip("CONFIG_UTS_NS"), skip("CONFIG_UTS_NS"), "user.signal: PASS becomes SKIP"),
        ] {
            let comparison = compared(uts, user);
            assert!(comparison.wrong.iter().any(|text| text.starts_with(part)), "{comparison:?}");
        }
        let (config, none) = (KernelConfig::parse(BOTH), Verdicts::new());
        let tried = Tried { config: &config, verdicts: &none };
        assert_eq!(compare(&specs(), tried, tried).wrong.len(), 2);
    }
}
