//! Order and concurrency: each target's jobs run in guests, no more guests at once than there are slots, and each job on
//! each target gets exactly one final report, whatever happens.

mod runner;
mod source;

use std::rc::Rc;

use tokio::task::{JoinSet, LocalSet};
use vmlab_events::event::NotNeeded;
use vmlab_events::job::JobSpec;
use vmlab_events::schedule::Isolation;

use crate::context::RunContext;
use crate::target::BootableTarget;
use runner::TargetRunner;

/// Runs the jobs on each target, as often as is wanted; returns when each has its report.
pub(crate) async fn run(run: &Rc<RunContext>, targets: Vec<BootableTarget>, jobs: &[JobSpec]) {
    let ids: Vec<_> = targets.iter().map(|bootable| bootable.target.id.clone()).collect();
    run.attempts.open(&ids, jobs);
    let runners: Vec<_> =
        targets.into_iter().map(|bootable| Rc::new(TargetRunner::new(Rc::clone(run), bootable))).collect();
    LocalSet::new().run_until(run_rounds(run, &runners, jobs)).await;
    for runner in &runners {
        runner.dismiss_standbys(NotNeeded::NoMoreWork).await;
    }
    run.attempts.close(run.stopped()).into_iter().for_each(|event| run.emitter.emit(event));
}

/// Round after round. The next round begins when no job of the rounds before waits for a guest.
async fn run_rounds(run: &RunContext, runners: &[Rc<TargetRunner>], jobs: &[JobSpec]) {
    let guests = jobs_by_guest(run.options.isolation, jobs);
    let mut tasks = JoinSet::new();
    let mut rounds = 0..run.options.repetition.rounds();
    loop {
        // A target that is known to fail is reported once, in the first round, and not again in each.
        let alive = || runners.iter().filter(|runner| rounds.start == 0 || runner.over().is_none());
        let waiting: usize = runners.iter().map(|runner| runner.waiting()).sum();
        if waiting < run.options.guests_at_once && alive().next().is_some() && !rounds.is_empty() {
            for (runner, jobs) in alive().flat_map(|runner| guests.iter().map(move |jobs| (runner, jobs))) {
                runner.expect_guest();
                tasks.spawn_local(Rc::clone(runner).run(jobs.clone()));
            }
            rounds.next();
            continue;
        }
        match tasks.join_next().await {
            Some(Ok(())) => {}
            // A task that panicked has lost reports; the panic's own message is on standard error, and the lost reports
            // become NOT-RUN.
            Some(Err(error)) => run.emitter.notice(format!("a fault in vmlab itself: {error}")),
            None => return,
        }
    }
}

/// The jobs of each guest that is to be started.
fn jobs_by_guest(isolation: Isolation, jobs: &[JobSpec]) -> Vec<Vec<JobSpec>> {
    match isolation {
        Isolation::Shared if jobs.is_empty() => Vec::new(),
        Isolation::Shared => vec![jobs.to_vec()],
        Isolation::Fork | Isolation::Boot => jobs.iter().map(|spec| vec![spec.clone()]).collect(),
    }
}
