//! Starts vmlab in the suite's test environment, and observes how it ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use vmlab_events::event::{LabEvent, Stamped};

use super::env::{self, EnvError, Running, TestEnv};
use super::expect::Observed;
use super::injection::POLL_INTERVAL;

/// A vmlab that runs for longer hangs: every fault ends far below this by limits of vmlab's own.
const HANG_TIMEOUT: Duration = Duration::from_secs(900);

/// Starts programs one after the other.
#[derive(Debug)]
pub(crate) struct Launcher<'a> {
    pub(crate) env: &'a TestEnv,
}

impl Launcher<'_> {
    /// The JSON report of the latest run.
    pub(crate) fn events_file(&self) -> PathBuf {
        self.env.home().join("events.jsonl")
    }

    /// The events of the latest run so far.
    pub(crate) fn events_so_far(&self) -> Vec<Stamped> {
        env::events_so_far(&self.events_file())
    }

    /// Starts a program whose JSON report, if it writes one, holds no event of an earlier run.
    pub(crate) fn start(&self, program: &Path, arguments: &[OsString]) -> Result<Running, EnvError> {
        // A file that is not there has no events, and one that cannot be removed is opened by vmlab, which reports that.
        let _ = std::fs::remove_file(self.events_file());
        let mut command = self.env.command(program);
        command.args(arguments);
        self.env.start(command)
    }

    /// Waits for the program's end, and checks what must hold after every run.
    pub(crate) async fn observe_end(&self, mut running: Running, mut wrong: Vec<String>) -> Observed {
        let began = Instant::now();
        let ended = loop {
            match running.ended() {
                Ok(None) if began.elapsed() < HANG_TIMEOUT => sleep(POLL_INTERVAL).await,
                other => break other,
            }
        };
        let (exit, stdout, stderr) = match ended {
            Ok(Some(ended)) => (ended.status.code(), ended.stdout, ended.stderr),
            Ok(None) => {
                wrong.push(format!("vmlab hung, and was killed after {} s", HANG_TIMEOUT.as_secs()));
                let (stdout, stderr) = running.output().unwrap_or_default();
                (None, stdout, stderr)
            }
            Err(error) => {
                wrong.push(format!("cannot wait for vmlab: {error}"));
                (None, String::new(), String::new())
            }
        };
        drop(running);
        if stderr.contains("panicked at") {
            wrong.push(format!("vmlab itself panicked: {}", stderr.trim()));
        }
        let events = self.events_so_far();
        let reported = events.iter().rev().find_map(|stamped| match stamped.event {
            LabEvent::RunFinished { exit_code, .. } => Some(i32::from(exit_code)),
            _ => None,
        });
        if let (Some(reported), Some(exit)) = (reported, exit)
            && reported != exit
            && reported != i32::from(vmlab_events::exit::OK)
        {
            wrong.push(format!("vmlab reported exit code {reported}, and exited with {exit}"));
        }
        Observed { exit, events, stdout, stderr, wrong, record: None }
    }
}
