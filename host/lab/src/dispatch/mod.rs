//! Order and concurrency: runs each target's jobs in guests, with at most one guest per slot. Each job gets exactly one
//! final report on each target, even after a fault.

mod pair;
mod runner;
mod source;

use std::rc::Rc;

use tokio::task::{JoinSet, LocalSet};
use vmlab_events::event::NotNeeded;
use vmlab_events::job::JobSpec;
use vmlab_events::schedule::{Isolation, Repetition};

use crate::context::RunContext;
use crate::target::{BootableTarget, ids};
use runner::TargetRunner;

/// Runs the jobs on each target, with repetitions; returns when each has its final report.
pub(crate) async fn run(run: &Rc<RunContext>, targets: Vec<BootableTarget>, jobs: &[JobSpec]) {
    run.attempts.open(&ids(&targets), jobs);
    let runners: Vec<_> =
        targets.into_iter().map(|bootable| Rc::new(TargetRunner::new(Rc::clone(run), bootable))).collect();
    LocalSet::new().run_until(run_rounds(run, &runners, jobs)).await;
    for runner in &runners {
        runner.dismiss_standbys(NotNeeded::NoMoreWork).await;
    }
    run.attempts.close(run.stopped()).into_iter().for_each(|event| run.emitter.emit(event));
}

/// Runs all rounds. The next round begins when no job of the earlier rounds waits for a guest.
async fn run_rounds(run: &RunContext, runners: &[Rc<TargetRunner>], jobs: &[JobSpec]) {
    let (isolation, machines) = (run.options.isolation, run.options.machines);
    // Each job runs on the one of a target's machines that it needs.
    let guests: Vec<_> = runners
        .iter()
        .map(|runner| {
            let own = jobs.iter().filter(|spec| machines.of_job(spec) == runner.variant()).cloned().collect();
            (runner, jobs_by_guest(isolation, own))
        })
        .collect();
    let at_once = rounds_at_once(run.options.isolation, run.options.repetition, jobs);
    let mut tasks = JoinSet::new();
    let mut rounds = 0..run.options.repetition.rounds();
    loop {
        // A target that failed in an earlier round is not reported again in each round.
        let is_first = rounds.start == 0;
        let alive = || guests.iter().filter(|(runner, _)| is_first || runner.over().is_none());
        let waiting: usize = runners.iter().map(|runner| runner.waiting()).sum();
        if waiting < run.options.guests_at_once && alive().next().is_some() && !rounds.is_empty() {
            let taken = rounds.by_ref().take(at_once).count();
            for (runner, jobs) in alive().flat_map(|(runner, guests)| guests.iter().map(move |jobs| (runner, jobs))) {
                runner.expect_guest();
                let jobs = std::iter::repeat_n(jobs, taken).flatten().cloned().collect();
                tasks.spawn_local(Rc::clone(runner).run(jobs));
            }
            continue;
        }
        match tasks.join_next().await {
            Some(Ok(())) => {}
            // A task has panicked. The message is on standard error, and the task's missing reports become NOT-RUN.
            Some(Err(error)) => run.emitter.notice(format!("a fault in vmlab itself: {error}")),
            None => return,
        }
    }
}

/// The number of rounds that one guest runs. In a guest that they share, commands run again and again; a scenario would find what
/// its last run has left behind.
fn rounds_at_once(isolation: Isolation, repetition: Repetition, jobs: &[JobSpec]) -> usize {
    /// The most, so that a round of many is not held in memory.
    const AT_MOST: usize = 1000;
    let are_commands = jobs.iter().all(|spec| matches!(spec, JobSpec::Command(_)));
    match (isolation, repetition) {
        (Isolation::Shared, Repetition::Runs { .. }) if are_commands => AT_MOST,
        _ => 1,
    }
}

/// The jobs, grouped by guest.
fn jobs_by_guest(isolation: Isolation, jobs: Vec<JobSpec>) -> Vec<Vec<JobSpec>> {
    match isolation {
        Isolation::Shared if jobs.is_empty() => Vec::new(),
        Isolation::Shared => vec![jobs],
        Isolation::Fork | Isolation::Boot => jobs.into_iter().map(|spec| vec![spec]).collect(),
    }
}
