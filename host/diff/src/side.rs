//! The results on one target of one run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vmlab_events::event::{GuestOptions, JobReport, LabEvent, Stamped};
use vmlab_events::job::JobSpec;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::Verdict;

/// What is compared with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// What the results are of.
    pub about: About,
    /// The final report on each job, by its name. A job without a verdict has [`Verdict::missing`].
    pub jobs: BTreeMap<String, JobReport>,
}

/// What results are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The run's name.
    pub run: String,
    /// The target.
    pub target: TargetId,
    /// `uname -r`; None if the kernel was never ready.
    pub release: Option<String>,
    /// Of the kernel's file, in hexadecimal.
    pub kernel_sha256: Option<String>,
    /// Of its configuration, where that is known.
    pub config_sha256: Option<String>,
    /// vmlab's version.
    pub vmlab_version: String,
    /// What guests were to be like.
    pub guests: GuestOptions,
    /// How jobs were kept apart.
    pub isolation: String,
}

/// The results of a run, one for each of its targets, in the run's order. Empty without a [`LabEvent::RunStarted`].
#[must_use]
pub fn sides(events: &[Stamped]) -> Vec<Side> {
    let mut sides: Vec<Side> = Vec::new();
    let mut expected: Vec<JobSpec> = Vec::new();
    let mut interrupted = false;
    for Stamped { event, .. } in events {
        match event {
            LabEvent::RunStarted { run_id, vmlab_version, guests, targets, jobs, isolation, .. } => {
                expected.clone_from(jobs);
                let about = |target: &TargetId| About {
                    run: run_id.clone(),
                    target: target.clone(),
                    release: None,
                    kernel_sha256: None,
                    config_sha256: None,
                    vmlab_version: vmlab_version.clone(),
                    guests: guests.clone(),
                    isolation: isolation.clone(),
                };
                sides = targets.iter().map(|target| Side { about: about(target), jobs: BTreeMap::new() }).collect();
            }
            LabEvent::KernelReady { target, release, kernel_sha256, config_sha256, .. } => {
                if let Some(Side { about, .. }) = of(&mut sides, target) {
                    about.release = Some(release.clone());
                    about.kernel_sha256 = Some(kernel_sha256.clone());
                    about.config_sha256.clone_from(config_sha256);
                }
            }
            LabEvent::JobFinished(report) => {
                if let Some(side) = of(&mut sides, &report.target) {
                    side.jobs.insert(report.job.name().to_owned(), (**report).clone());
                }
            }
            LabEvent::Interrupted => interrupted = true,
            _ => {}
        }
    }
    for Side { about, jobs } in &mut sides {
        for spec in &expected {
            let missing = || JobReport::without_guest(about.target.clone(), spec.job(), Verdict::missing(interrupted));
            jobs.entry(spec.name().to_owned()).or_insert_with(missing);
        }
    }
    sides
}

fn of<'a>(sides: &'a mut [Side], target: &TargetId) -> Option<&'a mut Side> {
    sides.iter_mut().find(|side| side.about.target == *target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::run;

    #[test]
    fn each_target_has_its_results_and_a_job_without_one_is_not_run() {
        let mut events = run("a", &["k1", "k2"], &[("k1", "uts.a", Verdict::Passed), ("k2", "uts.a", Verdict::Passed)]);
        let LabEvent::RunStarted { jobs, .. } = &mut events[0].event else { panic!() };
        jobs.push(JobSpec::Scenario(Box::new(crate::fixture::spec("uts.b"))));
        let sides = sides(&events);
        let [first, second] = sides.as_slice() else { panic!("{sides:?}") };
        assert_eq!((first.about.target.as_str(), first.about.release.as_deref()), ("k1", Some("release of k1")));
        assert_eq!(second.jobs["uts.a"].verdict, Verdict::Passed);
        assert_eq!(second.jobs["uts.b"].verdict, Verdict::missing(false));
        assert_eq!(super::sides(&[]), []);
    }
}
