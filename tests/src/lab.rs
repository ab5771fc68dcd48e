//! `vmlab run` with a fake QEMU, and what every such run must leave behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vmlab_events::event::{GuestOutcome, JobReport, LabEvent, Stamped};
use vmlab_events::log;
use vmlab_events::loss::LossReport;
use vmlab_events::verdict::Verdict;
use vmlab_image::guest_init;
use vmlab_protocol::message::Leg;

use crate::bench::{Bench, Ended, Running};
use crate::fake::script::{self, Guest, Script};
use crate::kernel;

/// The name of the usual kernel's file.
pub const KERNEL: &str = "vmlinuz";

/// A vmlab, a fake QEMU, a script and kernels.
#[derive(Debug)]
pub struct FakeLab {
    /// Where it runs.
    pub bench: Bench,
    qemu: PathBuf,
    script: Script,
    kernels: Vec<PathBuf>,
}

impl FakeLab {
    /// Of these programs, with guests by this script, on one kernel whose configuration has all that any scenario needs.
    #[must_use]
    pub fn new(vmlab: &str, qemu: &str, guests: Vec<Guest>) -> Self {
        let bench = Bench::new(vmlab);
        let script = Script::new(guests);
        let dir = bench.home().join("script");
        script.put(&dir);
        let bench = bench.env(script::VARIABLE, dir);
        let kernel = kernel::install(&bench.home().join("kernels"), KERNEL, &full_config(&[]));
        Self { bench, qemu: qemu.into(), script, kernels: vec![kernel] }
    }

    /// With a QEMU that answers otherwise when it is asked for its version.
    #[must_use]
    pub fn version(mut self, version: script::Version) -> Self {
        self.script.version = version;
        self.script.put(&self.dir());
        self
    }

    /// With a kernel whose configuration lacks these symbols.
    #[must_use]
    pub fn without(self, symbols: &[&str]) -> Self {
        let dir = self.bench.home().join("kernels");
        fs::write(dir.join(format!("config-{}", kernel::RELEASE)), full_config(symbols)).unwrap();
        self
    }

    /// On kernels of these names instead.
    #[must_use]
    pub fn kernels(mut self, names: &[&str]) -> Self {
        let dir = self.bench.home().join("kernels");
        self.kernels = names.iter().map(|name| kernel::install(&dir, name, &full_config(&[]))).collect();
        self
    }

    /// With another program as QEMU.
    #[must_use]
    pub fn qemu(self, qemu: PathBuf) -> Self {
        Self { qemu, ..self }
    }

    /// The script's directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.bench.home().join("script")
    }

    /// The guests, from 0, that were never started.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<usize> {
        self.script.unclaimed(&self.dir())
    }

    /// Makes a shell script that can stand in place of QEMU. Another process writes it: were it this one, a fork in
    /// another test's thread could hold the file open for writing when it is to be executed (ETXTBSY).
    #[must_use]
    pub fn script(&self, body: &str) -> PathBuf {
        let path = self.file("qemu.sh");
        let mut writer = self.bench.command("sh");
        writer.args(["-c", "printf '%s\\n' '#!/bin/sh' \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"]);
        assert!(writer.arg(&path).arg(body).status().unwrap().success());
        path
    }

    /// A file for a report.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.bench.home().join(name)
    }

    /// The arguments of a run: those given, after those that all runs have.
    #[must_use]
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut all = ["run", "--accel", "tcg", "--report", "human", "--qemu"].map(str::to_owned).to_vec();
        all.push(text(&self.qemu));
        all.extend(["--report".to_owned(), format!("json={}", text(&self.events_file()))]);
        all.extend(self.kernels.iter().flat_map(|kernel| ["--kernel".to_owned(), text(kernel)]));
        // A template would be one guest more in every script.
        if !more.contains(&"--isolation") {
            all.extend(["--isolation", "shared"].map(str::to_owned));
        }
        all.extend(more.iter().map(|word| (*word).to_owned()));
        all
    }

    /// Runs vmlab to its end, and sees to it that all is as after any run.
    #[must_use]
    pub fn run(&self, more: &[&str]) -> Outcome {
        self.outcome(self.bench.run(&self.arguments(more)))
    }

    /// Starts vmlab.
    #[must_use]
    pub fn start(&self, more: &[&str]) -> Running {
        self.bench.start(&self.arguments(more))
    }

    /// Waits until a running vmlab has told of an event.
    pub fn await_event(&self, running: &mut Running, what: &str, is_it: impl Fn(&LabEvent) -> bool) {
        running.until(what, || self.events().iter().any(|stamped| is_it(&stamped.event)).then_some(()));
    }

    /// The events that were told so far.
    #[must_use]
    pub fn events(&self) -> Vec<Stamped> {
        events(&self.events_file())
    }

    fn events_file(&self) -> PathBuf {
        self.file("events.jsonl")
    }

    /// What came of a run that has ended.
    ///
    /// # Panics
    /// Something is not as it must be after any run.
    #[must_use]
    pub fn outcome(&self, ended: Ended) -> Outcome {
        let outcome = Outcome::of(&self.bench, &self.events_file(), ended);
        let temporary: Vec<_> = self.bench.cached_files().into_iter().filter(|name| !is_lasting(name)).collect();
        assert_eq!(temporary, [""; 0], "files were left in the cache");
        outcome
    }
}

/// The text of a configuration that has all symbols of the catalogue but some.
fn full_config(without: &[&str]) -> String {
    let catalogue = guest_init::catalogue().unwrap();
    let mut symbols: Vec<_> = catalogue.iter().flat_map(|spec| &spec.requires.config).collect();
    symbols.sort();
    symbols.dedup();
    let set = symbols.into_iter().filter(|symbol| !without.contains(&symbol.as_str()));
    set.map(|symbol| format!("{symbol}=y\n")).collect()
}

/// Whether a file belongs into the cache of a run that fetches nothing.
#[must_use]
pub fn is_lasting(name: &str) -> bool {
    let whole = |dir: &str, ending: &str, length: usize| {
        let name = name.strip_prefix(dir).and_then(|name| name.strip_suffix(ending));
        name.is_some_and(|name| name.len() == length)
    };
    // A mark of what is used stays, as a lock's file does.
    let marks = name == "vmlab/changes.lock" || whole("vmlab/images/", ".used", 64);
    let template =
        ["ram", "state", "template.json"].iter().any(|file| whole("vmlab/templates/", &format!("/{file}"), 32));
    marks
        || template
        || whole("vmlab/templates/", ".lock", 32)
        || whole("vmlab/images/", ".cpio", 64)
        || whole("vmlab/memo/", ".json", 32)
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How vmlab ended.
    pub ended: Ended,
    /// The JSON report.
    pub events: Vec<Stamped>,
}

/// The whole lines of a JSON report that may still be written.
#[must_use]
pub fn events(file: &Path) -> Vec<Stamped> {
    let text = fs::read(file).unwrap_or_default();
    text.split_inclusive(|&byte| byte == b'\n').filter_map(log::decode_line).collect()
}

impl Outcome {
    /// Of a run that has ended, whose JSON report is in a file.
    ///
    /// # Panics
    /// Something is not as it must be after any run.
    #[must_use]
    pub fn of(bench: &Bench, events_file: &Path, ended: Ended) -> Self {
        let outcome = Self { events: events(events_file), ended };
        assert!(!outcome.ended.stderr.contains("panicked"), "{}", outcome.ended);
        assert_eq!(bench.outliving(), [], "processes outlive vmlab: {}", outcome.ended);
        outcome.check();
        outcome.check_consoles(bench);
        outcome
    }

    /// Sees to it that it exited with a code.
    ///
    /// # Panics
    /// It did not.
    pub fn exits(&self, code: u8) -> &Self {
        self.ended.exits(code);
        self
    }

    /// The last word on each scenario, in the order in which it came.
    pub fn reports(&self) -> impl Iterator<Item = &JobReport> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::JobFinished(report) => Some(&**report),
            _ => None,
        })
    }

    /// The last word on a scenario that ran on one kernel only.
    ///
    /// # Panics
    /// There is none.
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

    /// Sees to it that a scenario has a verdict, whose sentence has some words in it.
    ///
    /// # Panics
    /// It has another.
    pub fn has(&self, scenario: &str, word: &str, words: &str) -> &Self {
        let (is, detail) = self.verdict(scenario);
        assert!(is == word && detail.contains(words), "{scenario}: {is}: {detail}\n{}", self.ended);
        self
    }

    /// Scenario by scenario, the verdict's word on each kernel, by the file's name.
    #[must_use]
    pub fn words(&self) -> BTreeMap<(String, String), &'static str> {
        let name = |kernel: &str| kernel.rsplit('/').next().unwrap_or_default().to_owned();
        self.reports().map(|r| ((name(r.target.as_str()), r.job.to_string()), r.verdict.label())).collect()
    }

    /// What is known of the guests that were lost, in order.
    pub fn losses(&self) -> impl Iterator<Item = &LossReport> {
        self.events.iter().filter_map(|stamped| match &stamped.event {
            LabEvent::GuestLost(loss) => Some(&**loss),
            _ => None,
        })
    }

    /// What is known of the guest that was lost.
    ///
    /// # Panics
    /// None was, or several.
    #[must_use]
    pub fn loss(&self) -> &LossReport {
        let losses: Vec<_> = self.losses().collect();
        assert_eq!(losses.len(), 1, "{}", self.ended);
        losses[0]
    }

    /// The lines for the user.
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

    /// The invariants of every run that was begun: announced and ended match, and the exit code is the one told.
    fn check(&self) {
        let (Some(first), Some(last)) = (self.events.first(), self.events.last()) else {
            panic!("no events: {}", self.ended);
        };
        let LabEvent::RunStarted { targets, jobs, .. } = &first.event else { panic!("{first:?} came first") };
        let LabEvent::RunFinished { counts, exit_code } = &last.event else { panic!("{last:?} came last") };
        self.ended.exits(*exit_code);
        let mut due: Vec<_> =
            targets.iter().flat_map(|target| jobs.iter().map(move |spec| (target.as_str(), spec.name()))).collect();
        let mut told: Vec<_> = self.reports().map(|r| (r.target.as_str(), r.job.name())).collect();
        due.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, due, "each scenario has one report for each kernel: {}", self.ended);
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

    /// The timings are those of the guests that ended, once each, and of the run; no time is missing in them.
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

    /// Every console is in the record, and as long as was told.
    fn check_consoles(&self, bench: &Bench) {
        let Some(record) = record_dir(bench) else { return };
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

/// The latest run's record.
#[must_use]
pub fn record_dir(bench: &Bench) -> Option<PathBuf> {
    fs::canonicalize(bench.state().join("vmlab/runs/latest")).ok()
}
