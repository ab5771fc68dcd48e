//! The results of one or more runs, by kernel and scenario. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use vmlab_events::clean;
use vmlab_events::event::{GuestOptions, JobReport, LabEvent, Stamped};
use vmlab_events::job::{Job, JobSpec};
use vmlab_events::text;
use vmlab_events::verdict::Verdict;
use vmlab_protocol::catalogue::{KernelVersion, ScenarioId, ScenarioSpec};

use super::outcome::{MAX_TEXT, of_report};
pub use super::outcome::{Outcome, State};

/// The most characters of [`Kernel::machine`] in a heading.
const MAX_MACHINE: usize = 32;

/// A kernel on a machine: a column of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// The target's name, clean.
    pub target: String,
    /// `uname -r`, clean; empty if no guest told it.
    pub release: String,
    /// The options by which the machine or the kernel's command line differs from the default, clean: `--cpus 2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub machine: String,
    /// A short name that no other column has: `6.12`.
    pub short: String,
}

impl Kernel {
    /// The release as a number, if it is known.
    #[must_use]
    pub fn version(&self) -> Option<KernelVersion> {
        self.release.parse().ok()
    }

    /// The short name, and what differs from the default: `6.12b (--cpus 2)`.
    #[must_use]
    pub fn heading(&self) -> String {
        if self.machine.is_empty() {
            return self.short.clone();
        }
        format!("{} ({})", self.short, self.machine_in_short(MAX_MACHINE))
    }

    /// What differs from the default, cut to this number of characters.
    #[must_use]
    pub fn machine_in_short(&self, limit: usize) -> String {
        if self.machine.chars().count() <= limit {
            return self.machine.clone();
        }
        self.machine.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
    }
}

/// A run in which jobs have no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// The run's name.
    pub run: String,
    /// Whether it was interrupted, or cut off.
    pub interrupted: bool,
    /// The number of jobs without a result.
    pub without_result: usize,
    /// The number of jobs; a job on two kernels counts twice.
    pub jobs: usize,
}

impl Unfinished {
    /// `run 20261129-01 was interrupted: 54 of 66 jobs have no result`
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { run, interrupted, without_result, jobs } = self;
        let how = if *interrupted { "was interrupted" } else { "ended early" };
        let have = if *without_result == 1 { "has" } else { "have" };
        format!("run {run} {how}: {without_result} of {} {have} no result", text::count(*jobs, "job"))
    }
}

/// The results of runs.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// The names of the runs, in the order in which they were added.
    pub runs: Vec<String>,
    /// Those of them in which jobs have no result.
    pub unfinished: Vec<Unfinished>,
    /// The columns, in the order in which they were added.
    pub kernels: Vec<Kernel>,
    /// The scenarios as the runs knew them.
    pub specs: BTreeMap<ScenarioId, ScenarioSpec>,
    outcomes: BTreeMap<(usize, ScenarioId), Outcome>,
}

/// What a run announced, and how it ended.
#[derive(Default)]
struct Announced {
    run: String,
    machine: String,
    targets: Vec<vmlab_events::target::TargetId>,
    releases: BTreeMap<vmlab_events::target::TargetId, String>,
    jobs: usize,
    specs: BTreeMap<ScenarioId, ScenarioSpec>,
    interrupted: bool,
    finished: bool,
}

impl Announced {
    fn of(events: &[Stamped]) -> Self {
        let mut all = Self::default();
        for stamped in events {
            match &stamped.event {
                LabEvent::RunStarted { run_id, targets, jobs, guests, .. } => {
                    all.run = clean::line(run_id);
                    all.machine = machine(guests);
                    all.targets.clone_from(targets);
                    all.jobs = jobs.len() * targets.len();
                    all.specs.extend(jobs.iter().filter_map(|job| match job {
                        JobSpec::Scenario(spec) => Some((spec.id.clone(), (**spec).clone())),
                        JobSpec::Kunit(_) | JobSpec::Command(_) => None,
                    }));
                }
                LabEvent::KernelReady { target, release, .. } => {
                    all.releases.insert(target.clone(), clean::line(release));
                }
                LabEvent::Interrupted => all.interrupted = true,
                LabEvent::RunFinished { .. } => all.finished = true,
                _ => {}
            }
        }
        all
    }
}

/// The options that make a machine or a kernel's command line other than the default, as one would type them.
fn machine(options: &GuestOptions) -> String {
    let GuestOptions { cpus, memory_mib, append } = options;
    let default = GuestOptions::default();
    let differs = [
        (*cpus != default.cpus).then(|| format!("--cpus {cpus}")),
        (*memory_mib != default.memory_mib).then(|| format!("--memory {memory_mib}")),
        append.as_ref().map(|append| format!("--append {append}")),
    ];
    clean::cut(&clean::line(&differs.into_iter().flatten().collect::<Vec<_>>().join(" ")), MAX_TEXT)
}

impl Results {
    /// Adds a run. A kernel that is known already, by target, release and machine, keeps its column, and results of this run
    /// replace earlier ones.
    pub fn add(&mut self, events: &[Stamped]) {
        let mut run = Announced::of(events);
        let mut columns = BTreeMap::new();
        for target in &run.targets {
            let release = run.releases.remove(target).unwrap_or_default();
            columns.insert(target, self.column(&clean::line(target.as_str()), release, &run.machine));
        }
        let mut finished = BTreeSet::new();
        let mut with_result = 0;
        for stamped in events {
            let LabEvent::JobFinished(report) = &stamped.event else { continue };
            with_result += usize::from(!matches!(report.verdict, Verdict::NotRun { .. }));
            let Job::Scenario(id) = &report.job else { continue };
            if let (Some(column), Some(spec)) = (columns.get(&report.target), run.specs.get(id)) {
                finished.insert((*column, id));
                self.put(*column, id, of_report(report, spec));
            }
        }
        for (target, column) in &columns {
            for (id, spec) in run.specs.iter().filter(|(id, _)| !finished.contains(&(*column, *id))) {
                let verdict = Verdict::missing(run.interrupted);
                let report = JobReport::without_guest((*target).clone(), Job::Scenario(id.clone()), verdict);
                self.put(*column, id, of_report(&report, spec));
            }
        }
        if with_result < run.jobs {
            self.unfinished.push(Unfinished {
                run: run.run.clone(),
                interrupted: run.interrupted || !run.finished,
                without_result: run.jobs - with_result,
                jobs: run.jobs,
            });
        }
        self.runs.push(run.run);
        self.specs.extend(run.specs);
        name_columns(&mut self.kernels);
    }

    /// A job without a result does not replace the result of an earlier run.
    fn put(&mut self, kernel: usize, scenario: &ScenarioId, outcome: Outcome) {
        if outcome.is_result() || !self.outcome(kernel, scenario).is_result() {
            self.outcomes.insert((kernel, scenario.clone()), outcome);
        }
    }

    fn column(&mut self, target: &str, release: String, machine: &str) -> usize {
        let new = Kernel { target: target.to_owned(), release, machine: machine.to_owned(), short: String::new() };
        let is_same = |kernel: &Kernel| Kernel { short: String::new(), ..kernel.clone() } == new;
        self.kernels.iter().position(is_same).unwrap_or_else(|| {
            self.kernels.push(new);
            self.kernels.len() - 1
        })
    }

    /// What a scenario came to on the kernel of a column.
    #[must_use]
    pub fn outcome(&self, kernel: usize, scenario: &ScenarioId) -> &Outcome {
        const NOT_IN_THESE_RUNS: &Outcome = &Outcome::NOT_IN_THESE_RUNS;
        self.outcomes.get(&(kernel, scenario.clone())).unwrap_or(NOT_IN_THESE_RUNS)
    }

    /// Whether any kernel has a result of the scenario.
    #[must_use]
    pub fn has(&self, scenario: &ScenarioId) -> bool {
        (0..self.kernels.len()).any(|kernel| self.outcome(kernel, scenario).is_result())
    }
}

/// Gives each column its short name: the series, with a letter where several columns are of one series.
fn name_columns(kernels: &mut [Kernel]) {
    let base = |kernel: &Kernel| kernel.version().map(|version| format!("{}.{}", version.major, version.minor));
    let bases: Vec<_> = kernels.iter().map(|kernel| base(kernel).unwrap_or_else(|| "?".to_owned())).collect();
    for (at, kernel) in kernels.iter_mut().enumerate() {
        let same = |range: &[String]| range.iter().filter(|other| **other == bases[at]).count();
        let letter = char::from(b'a' + u8::try_from(same(&bases[..at]) % 26).unwrap_or(0));
        kernel.short = if same(&bases) > 1 { format!("{}{letter}", bases[at]) } else { bases[at].clone() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::fixture;

    fn results() -> Results {
        let mut results = Results::default();
        results.add(&fixture::run());
        results
    }

    fn of<'a>(results: &'a Results, kernel: usize, name: &str) -> &'a Outcome {
        results.outcome(kernel, &name.parse().unwrap())
    }

    #[test]
    fn each_verdict_has_its_state() {
        let results = results();
        assert_eq!(
            results.kernels.iter().map(|kernel| kernel.short.as_str()).collect::<Vec<_>>(),
            ["5.10", "6.1", "6.12", "?"]
        );
        for (kernel, name, state) in [
            (0, "uts.hostname", State::Works),
            (0, "proc.loadavg", State::Leaks),
            (0, "time.boottime", State::Skipped),
            (1, "cgroup.path", State::Failed),
            (1, "ipc.shm", State::Failed),
            (1, "uts.hostname", State::Failed),
            (2, "time.boottime", State::Failed),
            (2, "pid.init", State::NoResult),
            (2, "uts.hostname", State::NotRun),
            (3, "uts.hostname", State::NoResult),
            (0, "no.such", State::NotInTheseRuns),
        ] {
            assert_eq!(of(&results, kernel, name).state, state, "{name} on {kernel}");
        }
        assert_eq!(of(&results, 0, "time.boottime").lacks, "needs CONFIG_TIME_NS");
        assert_eq!(of(&results, 0, "uts.hostname").observed, "the host's name is the same");
    }

    #[test]
    fn texts_of_guests_are_clean_and_short() {
        let results = results();
        let all = results.outcomes.values().flat_map(|outcome| [&outcome.observed, &outcome.lacks]);
        let kernels = results.kernels.iter().flat_map(|kernel| [&kernel.target, &kernel.release, &kernel.short]);
        for text in all.chain(kernels) {
            assert!(!text.chars().any(clean::is_hostile) && text.chars().count() < MAX_TEXT + 40, "{text:?}");
        }
    }

    #[test]
    fn a_kernel_of_two_runs_has_one_column_and_the_later_results() {
        let mut results = results();
        let only_first_kernel = |stamped: &Stamped| match &stamped.event {
            LabEvent::JobFinished(report) => {
                let mut report = report.clone();
                report.verdict = fixture::failed("changed");
                Stamped { event: LabEvent::JobFinished(report), ..stamped.clone() }
            }
            _ => stamped.clone(),
        };
        let again: Vec<_> = fixture::run().iter().map(only_first_kernel).collect();
        results.add(&again);
        assert_eq!((results.kernels.len(), results.runs.len()), (4, 2));
        assert_eq!(of(&results, 0, "uts.hostname").state, State::Failed);
    }

    #[test]
    fn kernels_of_one_series_are_told_apart() {
        let kernel = |release: &str| Kernel { release: release.to_owned(), ..Kernel::default() };
        let mut kernels = ["6.12.1", "6.12.2-rt", "7.3.4", ""].map(kernel);
        name_columns(&mut kernels);
        assert_eq!(kernels.map(|kernel| kernel.short), ["6.12a", "6.12b", "7.3", "?"]);
    }

    /// The fixture as a run with these options, without the events that `is_left_out` names.
    fn run_with(options: &GuestOptions, is_left_out: impl Fn(&LabEvent) -> bool) -> Vec<Stamped> {
        let mut events = fixture::run();
        events.retain(|stamped| !is_left_out(&stamped.event));
        for stamped in &mut events {
            if let LabEvent::RunStarted { guests, .. } = &mut stamped.event {
                *guests = options.clone();
            }
        }
        events
    }

    #[test]
    fn runs_on_other_machines_have_columns_of_their_own() {
        let mut results = results();
        let append = Some("lsm=capability".to_owned());
        results.add(&run_with(&GuestOptions { cpus: 3, append, ..GuestOptions::default() }, |_| false));
        results.add(&run_with(&GuestOptions::default(), |_| false));
        assert_eq!(results.kernels.len(), 8);
        let kernel = &results.kernels[4];
        assert_eq!(kernel.machine, "--cpus 3 --append lsm=capability");
        assert_eq!(kernel.heading(), "5.10b (--cpus 3 --append lsm=capability)");
        assert_eq!(results.kernels[0].heading(), "5.10a");
        assert_eq!(machine(&GuestOptions { memory_mib: 512, ..GuestOptions::default() }), "--memory 512");
    }

    #[test]
    fn an_interrupted_run_says_how_many_jobs_have_no_result() {
        let results = results();
        let [unfinished] = results.unfinished.as_slice() else { panic!("{:?}", results.unfinished) };
        assert!(unfinished.sentence().ends_with(" was interrupted: 1 of 24 jobs has no result"), "{unfinished:?}");
        let job = of(&results, 2, "uts.hostname");
        assert_eq!((job.state, job.verdict), (State::NotRun, "NOT-RUN"));
        assert!(!job.observed.is_empty(), "the reason is missing");
    }

    #[test]
    fn a_run_that_was_cut_off_has_no_result_of_the_jobs_without_a_verdict() {
        let is_left_out = |event: &LabEvent| {
            matches!(event, LabEvent::RunFinished { .. } | LabEvent::JobFinished(_) | LabEvent::Interrupted)
        };
        let mut cut_off = Results::default();
        cut_off.add(&run_with(&GuestOptions::default(), is_left_out));
        assert!(cut_off.unfinished[0].sentence().ends_with(" was interrupted: 24 of 24 jobs have no result"));
        assert_eq!(of(&cut_off, 0, "uts.hostname").state, State::NotRun);
        let mut both = results();
        both.add(&run_with(&GuestOptions::default(), is_left_out));
        assert_eq!(of(&both, 0, "uts.hostname").state, State::Works, "a job without a result replaced one");
    }
}
