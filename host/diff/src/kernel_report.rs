//! What the kernel reported about itself: new reports, and those that are gone, by fingerprint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vmlab_console::{Finding, Severity};
use vmlab_events::clean;
use vmlab_events::event::JobReport;
use vmlab_events::verdict::Verdict;

use crate::side::Side;

/// A report of the kernel that only one of two sides has: a crash or a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelReport {
    /// The same for the same report on every run and kernel.
    pub fingerprint: String,
    /// Its title line, of the first job that has it.
    pub title: String,
    /// The jobs during which it came, sorted.
    pub jobs: Vec<String>,
}

/// The reports that `side` has and `other` does not have, by fingerprint. Reports that a scenario causes on purpose do not count,
/// such as an OOM kill in its own cgroup.
pub(crate) fn only_in(side: &Side, other: &Side) -> Vec<KernelReport> {
    let (mut found, there) = (reports(side), reports(other));
    found.retain(|fingerprint, _| !there.contains_key(fingerprint));
    found.into_values().collect()
}

fn reports(side: &Side) -> BTreeMap<String, KernelReport> {
    let mut found: BTreeMap<String, KernelReport> = BTreeMap::new();
    for (job, report) in &side.jobs {
        for (fingerprint, title) in of_job(report) {
            let new = || KernelReport { fingerprint: fingerprint.clone(), title, jobs: Vec::new() };
            let known = found.entry(fingerprint.clone()).or_insert_with(new);
            if known.jobs.last() != Some(job) {
                known.jobs.push(job.clone());
            }
        }
    }
    found
}

/// Fingerprint and title of the crash and of the warnings. Records of vmlab's first version have no fingerprints: the title has to do.
fn of_job(report: &JobReport) -> Vec<(String, String)> {
    let named = |fingerprint: &str, title: &str| {
        let name = if fingerprint.is_empty() { title } else { fingerprint };
        (clean::line(name), clean::line(title))
    };
    let crash = match &report.verdict {
        Verdict::KernelCrashed { what, fingerprint, .. } => {
            Some(named(fingerprint.as_deref().unwrap_or_default(), what))
        }
        _ => None,
    };
    let is_one = |finding: &&Finding| finding.severity != Severity::Note;
    let of = |finding: &Finding| named(&finding.fingerprint, &finding.title);
    let peer = report.peer.iter().flat_map(|peer| of_job(peer));
    crash.into_iter().chain(report.warnings.iter().filter(is_one).map(of)).chain(peer).collect()
}

#[cfg(test)]
mod tests {
    use vmlab_console::Kind;

    use super::*;
    use crate::fixture::{report, side};

    #[test]
    fn reports_are_compared_by_their_fingerprints() {
        let warned = |job: &str, kind: Kind, title: &str| {
            let mut report = report("k", job, Verdict::Passed);
            report.warnings.push(Finding::of_title(kind, title));
            report
        };
        let warning = "WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 copy_process";
        let old = side("old", vec![warned("a", Kind::Warning, warning), warned("b", Kind::MemcgOom, "Out of memory")]);
        let new = side("new", vec![report("k", "a", Verdict::Passed), warned("c", Kind::MemcgOom, "Out of memory")]);
        let gone = only_in(&old, &new);
        assert_eq!(gone.len(), 1, "{gone:?}");
        assert_eq!((&gone[0].title[..], &gone[0].jobs[..]), (warning, &["a".to_owned()][..]));
        assert_eq!(only_in(&new, &old), []);
        assert_eq!(only_in(&old, &old), []);
    }

    #[test]
    fn a_crash_is_a_report_and_each_job_with_it_is_named_once() {
        let crash = || Verdict::KernelCrashed {
            what: "Oops: 0002".to_owned(),
            trace: Vec::new(),
            kind: Some(Kind::Warning),
            fingerprint: Some("oops:f-1".to_owned()),
            task: None,
            pvpanic: None,
            suite: None,
        };
        let new = side("new", vec![report("k", "a", crash()), report("k", "b", crash())]);
        let found = only_in(&new, &side("old", vec![]));
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].fingerprint[..], found[0].jobs.len()), ("oops:f-1", 2));
    }
}
