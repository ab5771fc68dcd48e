//! What the table of features names besides scenarios: features and findings.

use serde::Serialize;
use vmlab_features::findings::Finding;
use vmlab_features::list::Feature;
use vmlab_protocol::catalogue::ScenarioSpec;

use super::{Section, asked, sections};

/// A feature with the scenarios and findings on it.
#[derive(Debug, Serialize)]
pub(super) struct OfFeature<'a> {
    feature: &'a Feature,
    scenarios: Vec<&'a ScenarioSpec>,
    findings: Vec<&'a Finding>,
}

impl<'a> OfFeature<'a> {
    pub(super) fn new(feature: &'a Feature, specs: &[&'a ScenarioSpec], findings: &'a [Finding]) -> Self {
        Self {
            feature,
            scenarios: specs.iter().copied().filter(|spec| spec.items.contains(&feature.code)).collect(),
            findings: findings.iter().filter(|finding| finding.features.contains(&feature.code)).collect(),
        }
    }

    pub(super) fn text(&self, columns: usize) -> String {
        // Below a heading of their own the lines need no further indent.
        let about = asked(self.feature).into_iter().skip(1).map(|(head, text)| (head.trim_start().to_owned(), text));
        let expected = self.feature.expected.iter().map(|(series, value)| (format!("{series}: "), value.clone()));
        let scenarios = self.scenarios.iter().map(|spec| (format!("{}: ", spec.id), spec.title.clone()));
        let findings = self.findings.iter().map(|finding| (format!("{}: ", finding.name), finding.does.clone()));
        sections(
            &self.feature.code,
            &self.feature.words,
            [
                Section("Feature", about.collect()),
                Section("Expected values", expected.collect()),
                Section("Scenarios", scenarios.collect()),
                Section("Findings", findings.collect()),
                Section("See its results", vec![(String::new(), "vmlab report --features".to_owned())]),
            ],
            columns,
        )
    }
}

/// The text on a finding.
pub(super) fn finding_text(finding: &Finding, columns: usize) -> String {
    let line = |text: &str| vec![(String::new(), text.to_owned())];
    let source = vec![(format!("{}: ", finding.source), finding.because.clone())];
    sections(
        &finding.name,
        &finding.does,
        [
            Section("Kernels", line(&finding.kernels)),
            Section("Against", line(&finding.says)),
            Section("Right is", line(&finding.right)),
            Section("Decided in", source),
            Section("Features", line(&finding.features.join(" "))),
            Section("Reproduce it", line(&finding.reproduce)),
            Section("It prints", line(&finding.prints)),
        ],
        columns,
    )
}
