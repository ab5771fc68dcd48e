//! Runs for this crate's tests.

use vmlab_events::event::{FORMAT, GuestOptions, JobReport, LabEvent, Stamped};
use vmlab_events::fixture;
pub(crate) use vmlab_events::fixture::failed;
use vmlab_events::job::{Job, JobSpec};
use vmlab_events::schedule::Repetition;
use vmlab_events::target::TargetId;
use vmlab_events::verdict::Verdict;
use vmlab_protocol::catalogue::ScenarioSpec;

use crate::side::{About, Side};

pub(crate) fn spec(id: &str) -> ScenarioSpec {
    ScenarioSpec { id: id.parse().unwrap(), ..fixture::scenarios().remove(0) }
}

pub(crate) fn report(target: &str, job: &str, verdict: Verdict) -> JobReport {
    // Names of tests may be too short for a scenario.
    let job = job.parse().map_or_else(|_| Job::Scenario(format!("x.{job}").parse().unwrap()), Job::Scenario);
    JobReport::without_guest(TargetId::new(target), job, verdict)
}

/// A side with these reports, whose names are the jobs' without the area `x`.
pub(crate) fn side(run: &str, reports: Vec<JobReport>) -> Side {
    let name = |report: &JobReport| report.job.name().trim_start_matches("x.").to_owned();
    let about = About {
        run: run.to_owned(),
        target: TargetId::new("k"),
        release: Some(format!("release of {run}")),
        kernel_sha256: None,
        config_sha256: None,
        vmlab_version: "0.1.0".to_owned(),
        guests: GuestOptions::default(),
        isolation: "fork".to_owned(),
    };
    Side { about, jobs: reports.into_iter().map(|report| (name(&report), report)).collect() }
}

/// The events of a run on these targets, with these verdicts.
pub(crate) fn run(id: &str, targets: &[&str], verdicts: &[(&str, &str, Verdict)]) -> Vec<Stamped> {
    let jobs: std::collections::BTreeSet<_> = verdicts.iter().map(|(_, job, _)| *job).collect();
    let started = LabEvent::RunStarted {
        format: FORMAT,
        run_id: id.to_owned(),
        vmlab_version: "0.1.0".to_owned(),
        started_at_unix_ms: 0,
        argv: Vec::new(),
        guests: GuestOptions::default(),
        targets: targets.iter().map(|target| TargetId::new(*target)).collect(),
        jobs: jobs.into_iter().map(|job| JobSpec::Scenario(Box::new(spec(job)))).collect(),
        isolation: "fork".to_owned(),
        repetition: Repetition::default(),
    };
    let ready = targets.iter().map(|target| LabEvent::KernelReady {
        target: TargetId::new(*target),
        release: format!("release of {target}"),
        kernel_sha256: "00".to_owned(),
        config_sha256: None,
        image_sha256: "00".to_owned(),
        image_bytes: 1,
    });
    let finished = verdicts
        .iter()
        .map(|(target, job, verdict)| LabEvent::JobFinished(Box::new(report(target, job, verdict.clone()))));
    let events = std::iter::once(started).chain(ready).chain(finished);
    events.map(|event| Stamped { elapsed_ms: 0, event }).collect()
}
