//! Runs `vmlab run` with the fake QEMU, and checks what must hold after every run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vmlab_events::event::{GuestOutcome, JobReport, LabEvent, Stamped};
use vmlab_events::loss::LossReport;
use vmlab_events::verdict::Verdict;
use vmlab_image::guest_init;
use vmlab_protocol::message::Leg;

use crate::env::{Ended, Running, TestEnv, events_so_far};
use crate::fake::script::{self, Guest, Script};
use crate::kernel;

/// The file name of the default kernel.
pub const KERNEL: &str = "vmlinuz";

/// A vmlab with a fake QEMU, a script for its guests, and kernels.
#[derive(Debug)]
pub struct FakeLab {
    /// The directories and variables of the runs.
    pub env: TestEnv,
    qemu: PathBuf,
    script: Script,
    kernels: Vec<PathBuf>,
}

impl FakeLab {
    /// Makes a lab of these programs and guests, with one kernel whose configuration satisfies every scenario.
    #[must_use]
    pub fn new(vmlab: &str, qemu: &str, guests: Vec<Guest>) -> Self {
        let env = TestEnv::new(vmlab);
        let script = Script::new(guests);
        let dir = env.home().join("script");
        script.put(&dir);
        let env = env.env(script::VARIABLE, dir);
        let kernel = kernel::install(&env.home().join("kernels"), KERNEL, &full_config(&[]));
        Self { env, qemu: qemu.into(), script, kernels: vec![kernel] }
    }

    /// Changes what QEMU does when it is asked for its version.
    #[must_use]
    pub fn version(mut self, version: script::Version) -> Self {
        self.script.version = version;
        self.script.put(&self.dir());
        self
    }

    /// Removes these symbols from the kernels' configuration.
    #[must_use]
    pub fn without(self, symbols: &[&str]) -> Self {
        let dir = self.env.home().join("kernels");
        fs::write(dir.join(format!("config-{}", kernel::RELEASE)), full_config(symbols)).unwrap();
        self
    }

    /// Replaces the default kernel by one of this release.
    #[must_use]
    pub fn release(mut self, release: &str) -> Self {
        let dir = self.env.home().join("kernels");
        self.kernels = vec![kernel::install_release(&dir, KERNEL, release, &full_config(&[]))];
        self
    }

    /// Adds lines to the kernels' configuration.
    #[must_use]
    pub fn with_config(self, lines: &str) -> Self {
        let dir = self.env.home().join("kernels");
        fs::write(dir.join(format!("config-{}", kernel::RELEASE)), full_config(&[]) + lines).unwrap();
        self
    }

    /// Replaces the default kernel by kernels of these file names.
    #[must_use]
    pub fn kernels(mut self, names: &[&str]) -> Self {
        let dir = self.env.home().join("kernels");
        self.kernels = names.iter().map(|name| kernel::install(&dir, name, &full_config(&[]))).collect();
        self
    }

    /// Uses another program as QEMU.
    #[must_use]
    pub fn qemu(self, qemu: PathBuf) -> Self {
        Self { qemu, ..self }
    }

    /// The script's directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.env.home().join("script")
    }

    /// The guests that were never started, counted from 0.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<usize> {
        self.script.unclaimed(&self.dir())
    }

    /// Makes a shell script that can take the place of QEMU. A child process writes the file: if this process did, a child
    /// that another test's thread forks could have the file open for writing when the script is executed (ETXTBSY).
    #[must_use]
    pub fn script(&self, body: &str) -> PathBuf {
        let path = self.file("qemu.sh");
        let mut writer = self.env.command("sh");
        writer.args(["-c", "printf '%s\\n' '#!/bin/sh' \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"]);
        assert!(writer.arg(&path).arg(body).status().unwrap().success());
        path
    }

    /// The path of a file for a report.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.env.home().join(name)
    }

    /// The arguments that all runs have, followed by `more`.
    #[must_use]
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut all = ["run", "--accel", "tcg", "--report", "human", "--qemu"].map(str::to_owned).to_vec();
        all.push(text(&self.qemu));
        all.extend(["--report".to_owned(), format!("json={}", text(&self.events_file()))]);
        all.extend(self.kernels.iter().flat_map(|kernel| ["--kernel".to_owned(), text(kernel)]));
        // A frozen QEMU has no environment, and so no script.
        all.extend(["--fork-method", "restore"].map(str::to_owned));
        // With a template, every script would need one more guest.
        if !more.contains(&"--isolation") {
            all.extend(["--isolation", "shared"].map(str::to_owned));
        }
        all.extend(more.iter().map(|word| (*word).to_owned()));
        all
    }

    /// Runs vmlab to its end, and checks what must hold after every run.
    #[must_use]
    pub fn run(&self, more: &[&str]) -> Outcome {
        self.outcome(self.env.run(&self.arguments(more)))
    }

    /// Starts a run.
    #[must_use]
    pub fn start(&self, more: &[&str]) -> Running {
        self.env.start(&self.arguments(more))
    }

    /// Waits until the JSON report has an event.
    pub fn await_event(&self, running: &mut Running, what: &str, is_it: impl Fn(&LabEvent) -> bool) {
        running.until(what, || self.events().iter().any(|stamped| is_it(&stamped.event)).then_some(()));
    }

    /// The events of the JSON report so far.
    #[must_use]
    pub fn events(&self) -> Vec<Stamped> {
        events_so_far(&self.events_file())
    }

    fn events_file(&self) -> PathBuf {
        self.file("events.jsonl")
    }

    /// The outcome of a run that has ended.
    ///
    /// # Panics
    /// A condition that holds after every run does not hold.
    #[must_use]
    pub fn outcome(&self, ended: Ended) -> Outcome {
        let outcome = Outcome::of(&self.env, &self.events_file(), ended);
        let temporary: Vec<_> = self.env.cached_files().into_iter().filter(|name| !is_lasting(name)).collect();
        assert_eq!(temporary, [""; 0], "files were left in the cache");
        outcome
    }
}

/// A configuration with all symbols that the catalogue's scenarios require, except `without`.
fn full_config(without: &[&str]) -> String {
    let catalogue = guest_init::catalogue().unwrap();
    let mut symbols: Vec<_> = catalogue.iter().flat_map(|spec| &spec.requires.config).collect();
    symbols.sort();
    symbols.dedup();
    let set = symbols.into_iter().filter(|symbol| !without.contains(&symbol.as_str()));
    set.map(|symbol| format!("{symbol}=y\n")).collect()
}

/// Whether a file may remain in the cache after a run that fetches nothing.
#[must_use]
pub fn is_lasting(name: &str) -> bool {
    let whole = |dir: &str, ending: &str, length: usize| {
        let name = name.strip_prefix(dir).and_then(|name| name.strip_suffix(ending));
        name.is_some_and(|name| name.len() == length)
    };
    // Usage marks and lock files remain.
    let marks = name == "vmlab/changes.lock" || whole("vmlab/images/", ".used", 64);
    let template =
        ["ram", "state", "template.json"].iter().any(|file| whole("vmlab/templates/", &format!("/{file}"), 32));
    marks
        || template
        || whole("vmlab/templates/", ".lock", 32)
        || whole("vmlab/images/", ".cpio", 64)
        || whole("vmlab/stat-cache/", ".json", 32)
}

/// A run that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// vmlab's exit status and output.
    pub ended: Ended,
    /// The JSON report.
    pub events: Vec<Stamped>,
}

impl Outcome {
    /// The outcome of a run that has ended, with its JSON report in a file.
    ///
    /// # Panics
    /// A condition that holds after every run does not hold.
    #[must_use]
    pub fn of(env: &TestEnv, events_file: &Path, ended: Ended) -> Self {
        let outcome = Self { events: events_so_far(events_file), ended };
        assert!(!outcome.ended.stderr.contains("panicked"), "{}", outcome.ended);
        assert_eq!(env.outliving(), [], "processes outlive vmlab: {}", outcome.ended);
        outcome.check();
        outcome.check_consoles(env);
        outcome
    }

    /// Checks vmlab's exit code.
    ///
    /// # Panics
    /// The exit code is another.
    pub fn exits(&self, code: u8) -> &Self {
        self.ended.exits(code);
        self
    }

    /// The final verdict of each scenario, in the order of the events.
    pub fn reports(&self) -> impl Iterator<Item = &JobReport> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::JobFinished(report) => Some(&**report),
            _ => None,
        })
    }

    /// The final verdict of a scenario that ran on one kernel.
    ///
    /// # Panics
    /// The scenario has no verdict.
    #[must_use]
    pub fn report(&self, scenario: &str) -> &JobReport {
        let found = self.reports().find(|report| report.job.name() == scenario);
        found.unwrap_or_else(|| panic!("no report on {scenario}: {}", self.ended))
    }

    /// The verdict's label and detail.
    #[must_use]
    pub fn verdict(&self, scenario: &str) -> (&'static str, String) {
        let verdict = &self.report(scenario).verdict;
        (verdict.label(), verdict.detail())
    }

    /// Checks that a scenario's verdict has this label, and that its detail contains this text.
    ///
    /// # Panics
    /// The verdict differs.
    pub fn has(&self, scenario: &str, label: &str, text: &str) -> &Self {
        let (is, detail) = self.verdict(scenario);
        assert!(is == label && detail.contains(text), "{scenario}: {is}: {detail}\n{}", self.ended);
        self
    }

    /// The label of each verdict, by the kernel's file name and the scenario.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<(String, String), &'static str> {
        let name = |kernel: &str| kernel.rsplit('/').next().unwrap_or_default().to_owned();
        self.reports().map(|r| ((name(r.target.as_str()), r.job.to_string()), r.verdict.label())).collect()
    }

    /// The reports on lost guests, in order.
    pub fn losses(&self) -> impl Iterator<Item = &LossReport> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::GuestLost(loss) => Some(&**loss),
            _ => None,
        })
    }

    /// The report on the only lost guest.
    ///
    /// # Panics
    /// The number of lost guests is not one.
    #[must_use]
    pub fn loss(&self) -> &LossReport {
        let losses: Vec<_> = self.losses().collect();
        assert_eq!(losses.len(), 1, "{}", self.ended);
        losses[0]
    }

    /// The texts of all notices.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::Notice { text } => Some(text.as_str()),
            _ => None,
        })
    }

    /// How many guests were started.
    #[must_use]
    pub fn guests(&self) -> usize {
        self.events.iter().filter(|stamped| matches!(stamped.event, LabEvent::GuestStarting { .. })).count()
    }

    /// Checks the events of a run: all that was announced has ended, and the reported exit code is vmlab's.
    fn check(&self) {
        let (Some(first), Some(last)) = (self.events.first(), self.events.last()) else {
            panic!("no events: {}", self.ended);
        };
        let LabEvent::RunStarted { targets, jobs, .. } = &first.event else { panic!("{first:?} came first") };
        let LabEvent::RunFinished { counts, exit_code } = &last.event else { panic!("{last:?} came last") };
        self.ended.exits(*exit_code);
        let mut due: Vec<_> =
            targets.iter().flat_map(|target| jobs.iter().map(move |spec| (target.as_str(), spec.name()))).collect();
        let mut reported: Vec<_> = self.reports().map(|r| (r.target.as_str(), r.job.name())).collect();
        due.sort_unstable();
        reported.sort_unstable();
        assert_eq!(reported, due, "each scenario has one report for each kernel: {}", self.ended);
        assert_eq!(counts.total() as usize, due.len());
        let numbers = |pick: fn(&LabEvent) -> Option<u32>| -> Vec<u32> {
            let mut numbers: Vec<_> = self.events.iter().filter_map(|stamped| pick(&stamped.event)).collect();
            numbers.sort_unstable();
            numbers
        };
        let starting =
            numbers(|event| if let LabEvent::GuestStarting { guest, .. } = event { Some(*guest) } else { None });
        let ended = numbers(|event| if let LabEvent::GuestEnded { guest, .. } = event { Some(*guest) } else { None });
        assert_eq!(starting, ended, "each guest that was started has ended");
        self.check_timings(&ended);
        assert!(self.events.is_sorted_by_key(|stamped| stamped.elapsed_ms));
        for report in self.reports() {
            assert!(
                report.verdict == Verdict::Passed || !report.verdict.detail().is_empty(),
                "{report:?} says nothing"
            );
        }
    }

    /// Checks the timings: one report for each guest that ended well, one for the run, and phases that add up to the total.
    fn check_timings(&self, ended: &[u32]) {
        let mut timed = Vec::new();
        let mut runs = 0;
        for stamped in &self.events {
            let phases = match &stamped.event {
                LabEvent::GuestTimings { guest, phases, .. } => {
                    timed.push(*guest);
                    phases
                }
                LabEvent::RunTimings { phases } => {
                    runs += 1;
                    phases
                }
                _ => continue,
            };
            let Some((total, parts)) = phases.split_last() else { panic!("{stamped:?} has no phases") };
            assert_eq!(total.name, "total");
            let legs = [Leg::Probe, Leg::Subject, Leg::Control].map(Leg::name);
            let sum: u64 =
                parts.iter().filter(|phase| !legs.contains(&phase.name.as_str())).map(|phase| phase.us).sum();
            let cut = parts.len() as u64;
            assert!((sum..=sum + cut).contains(&total.us), "{stamped:?}: the sum is {sum}");
        }
        timed.sort_unstable();
        assert!(timed.is_sorted_by(|a, b| a < b) && timed.iter().all(|guest| ended.contains(guest)), "{timed:?}");
        let done = |stamped: &&Stamped| matches!(&stamped.event, LabEvent::GuestEnded { how, .. } if *how == GuestOutcome::Done);
        assert!(timed.len() >= self.events.iter().filter(done).count(), "{timed:?} of {ended:?}");
        assert_eq!(runs, 1);
    }

    /// Checks that the record has every guest's console, with the reported length.
    fn check_consoles(&self, env: &TestEnv) {
        let Some(record) = record_dir(env) else { return };
        let mut names = BTreeMap::new();
        for stamped in &self.events {
            match &stamped.event {
                LabEvent::GuestStarting { guest, console, .. } => drop(names.insert(*guest, console.clone())),
                LabEvent::GuestEnded { guest, console_bytes, .. } => {
                    let kept = fs::read(record.join(&names[guest])).unwrap_or_default().len() as u64;
                    let more = format!("the guest wrote {} more", console_bytes - kept);
                    assert!(
                        kept == *console_bytes || self.notices().any(|text| text.contains(&more)),
                        "console of guest {guest}"
                    );
                }
                _ => {}
            }
        }
    }
}

/// The directory of the latest run's record.
#[must_use]
pub fn record_dir(env: &TestEnv) -> Option<PathBuf> {
    fs::canonicalize(env.state().join("vmlab/runs/latest")).ok()
}
