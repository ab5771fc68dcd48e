//! Runs the vmlab command and reads its events.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vmlab_events::event::{LabEvent, Phase, Stamped};
use vmlab_events::exit;

use crate::fork::SCENARIO;

/// The result of a step.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// vmlab on one kernel.
#[derive(Debug)]
pub struct Vmlab {
    kernel: String,
    accel: String,
    cache: Option<PathBuf>,
}

/// A run that succeeded.
#[derive(Debug)]
pub struct Run {
    /// The time from the process's start to its exit.
    pub taken: Duration,
    /// The run's events.
    pub events: Vec<LabEvent>,
}

/// A step that failed, with the reason.
#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// An error with this text.
pub fn failed(text: impl Into<String>) -> Box<dyn std::error::Error> {
    Box::new(Failed(text.into()))
}

impl Vmlab {
    /// A vmlab with the user's own cache.
    pub fn new(kernel: &str, accel: &str) -> Self {
        Self { kernel: kernel.to_owned(), accel: accel.to_owned(), cache: None }
    }

    /// The same vmlab with another cache directory.
    pub fn with_cache(&self, cache: &Path) -> Self {
        Self { kernel: self.kernel.clone(), accel: self.accel.clone(), cache: Some(cache.to_owned()) }
    }

    /// Makes kernel, image and template, and returns a line about what is measured.
    pub fn warm_up(&self) -> Outcome<String> {
        let run = self.run([SCENARIO])?;
        let ready = run.events.iter().find_map(|event| match event {
            LabEvent::KernelReady { release, .. } => Some(release.clone()),
            _ => None,
        });
        let accelerator = run.events.iter().find_map(|event| match event {
            LabEvent::GuestStarting { accelerator, .. } => Some(accelerator.clone()),
            _ => None,
        });
        let processors = std::thread::available_parallelism()?;
        Ok(format!(
            "{} {} with {}, {processors} processors; medians (least to most)",
            self.kernel,
            ready.unwrap_or_default(),
            accelerator.unwrap_or_default()
        ))
    }

    /// Runs `vmlab run` with these further arguments. Fails unless every scenario passes.
    pub fn run<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Outcome<Run> {
        self.run_until(&[exit::OK], words)
    }

    /// The same, but scenarios may fail.
    pub fn run_to_the_end<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Outcome<Run> {
        self.run_until(&[exit::OK, exit::FAILED], words)
    }

    fn run_until<A: AsRef<OsStr>>(&self, codes: &[u8], words: impl IntoIterator<Item = A>) -> Outcome<Run> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmlab-under-test"));
        command.args(["run", "--no-record", "--report", "json", "--kernel", &self.kernel, "--accel", &self.accel]);
        command.args(words).stdin(Stdio::null());
        if let Some(cache) = &self.cache {
            command.env("XDG_CACHE_HOME", cache);
        }
        let began = Instant::now();
        let output = command.output()?;
        let taken = began.elapsed();
        if !codes.iter().any(|&code| output.status.code() == Some(i32::from(code))) {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(format!("{command:?} ended with {}: {said}", output.status)));
        }
        let lines = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let events: Result<Vec<_>, _> = lines.map(serde_json::from_slice::<Stamped>).collect();
        Ok(Run { taken, events: events?.into_iter().map(|stamped| stamped.event).collect() })
    }
}

impl Run {
    /// The command line of the first guest that was started in this way: `boot`, `template` or `fork`.
    pub fn argv(&self, way: &str) -> Outcome<Vec<String>> {
        let argv = self.events.iter().find_map(|event| match event {
            LabEvent::GuestStarting { start, argv, .. } if start == way => Some(argv.clone()),
            _ => None,
        });
        argv.ok_or_else(|| failed(format!("no guest was started as {way}")))
    }

    /// The phases of all guests that were started in this way.
    pub fn phases(&self, way: &str) -> impl Iterator<Item = &Phase> {
        self.events.iter().flat_map(move |event| match event {
            LabEvent::GuestTimings { start, phases, .. } if start == way => phases.as_slice(),
            _ => &[],
        })
    }
}
