//! Runs `vmlab run` with the fake QEMU.

use std::fs;
use std::path::{Path, PathBuf};

use vmlab_events::event::{LabEvent, Stamped};
use vmlab_image::guest_init;

use crate::env::{Ended, Running, TestEnv, events_so_far};
use crate::fake::script::{self, Guest, Script};
use crate::kernel;
use crate::outcome::Outcome;

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
        // A frozen QEMU has no environment, and so no script.
        let first = ["run", "--accel", "tcg", "--fork-method", "restore", "--report", "human", "--qemu"];
        let mut all = first.map(str::to_owned).to_vec();
        all.push(text(&self.qemu));
        all.extend(["--report".to_owned(), format!("json={}", text(&self.events_file()))]);
        all.extend(self.kernels.iter().flat_map(|kernel| ["--kernel".to_owned(), text(kernel)]));
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
