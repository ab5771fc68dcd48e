//! Executes one row of the table on one target, and compares what was observed with what the row expects.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use vmlab_image::guest_init;

use super::env::EnvError;
use super::expect::{self, Observed, WITNESS};
use super::injection::Injection;
use super::launch::Launcher;
use super::module::FaultModules;
use super::record;
use super::table::{Row, Trigger};

/// The size of a state directory that is to be full, in KiB: large enough for the run's record to begin, too small for it
/// to be completed. The first event holds the command line and takes most of the space, because the line names the witness
/// [`WITNESS_TIMES`] times.
const SMALL_DISK_KIB: u32 = 8;
const WITNESS_TIMES: usize = 300;

/// What a row has come to.
#[derive(Debug)]
pub struct RowResult {
    /// What was observed, in one line; empty for a row that was not done.
    pub summary: String,
    /// Whether that is what the row expects.
    pub outcome: Outcome,
    /// How long the row took.
    pub duration: Duration,
}

/// Whether a row is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All is as expected.
    Right,
    /// All differences, each in a sentence.
    Wrong(Vec<String>),
    /// The row cannot be done here; the reason.
    NotDone(String),
}

/// Runs rows on one target.
#[derive(Debug)]
pub(crate) struct RowRunner<'a> {
    pub(crate) launcher: Launcher<'a>,
    /// The arguments of `vmlab run` that all rows have in common.
    pub(crate) arguments: Vec<OsString>,
    /// The fault modules of the target's kernel, or why there are none.
    pub(crate) modules: &'a Result<FaultModules, String>,
    /// Whether this machine's clock may be set.
    pub(crate) step_clock: bool,
}

impl RowRunner<'_> {
    /// Runs a row.
    pub(crate) fn run<'a>(&'a self, row: &'a Row) -> LocalBoxFuture<'a, Result<RowResult, EnvError>> {
        Box::pin(async move {
            let began = Instant::now();
            let (summary, outcome) = match self.obstacle(row) {
                Some(why) => (String::new(), Outcome::NotDone(why)),
                None => self.observe_and_compare(row).await?,
            };
            Ok(RowResult { summary, outcome, duration: began.elapsed() })
        })
    }

    /// Why a row cannot be done here.
    fn obstacle(&self, row: &Row) -> Option<String> {
        match (row.trigger, self.modules) {
            (Trigger::Host(Injection::StepClock), _) if !self.step_clock => {
                Some("it sets this machine's wall clock; as root, --step-clock allows it".to_owned())
            }
            (Trigger::Module, Err(why)) => Some(why.clone()),
            (Trigger::Module, Ok(modules)) => match modules.get(row.name) {
                Some(Ok(_)) => None,
                Some(Err(why)) => Some(why.to_string()),
                None => Some("there is no recipe for its module".to_owned()),
            },
            _ => None,
        }
    }

    async fn observe_and_compare(&self, row: &Row) -> Result<(String, Outcome), EnvError> {
        let faults = faults_of(row);
        let observed = match row.trigger {
            Trigger::RecordFull => match self.run_with_small_disk().await? {
                Some(observed) => observed,
                None => {
                    let why = "unshare(1) cannot make a mount namespace for this user".to_owned();
                    return Ok((String::new(), Outcome::NotDone(why)));
                }
            },
            Trigger::Host(injection) => self.run_with_injection(injection, &faults).await?,
            Trigger::Boot(parameters) => {
                let mut more = filters(&faults);
                more.extend(["--append".into(), parameters.into()]);
                self.run_plain(&more).await?
            }
            Trigger::Guest | Trigger::GuestAll | Trigger::Module => self.run_plain(&filters(&faults)).await?,
        };
        let outcome = match observed.refused_module() {
            Some(refusal) => Outcome::NotDone(format!("the kernel accepts no unsigned modules: {refusal}")),
            None => {
                let reported: &[&str] = if row.trigger == Trigger::Host(Injection::KillVmlab) { &[] } else { &faults };
                let wrong = expect::compare(&row.expected, reported, &observed);
                if wrong.is_empty() { Outcome::Right } else { Outcome::Wrong(wrong) }
            }
        };
        Ok((observed.summary(&row.expected), outcome))
    }

    async fn run_plain(&self, more: &[OsString]) -> Result<Observed, EnvError> {
        let running = self.launcher.start(self.launcher.env.program(), &self.all_arguments(more))?;
        Ok(self.launcher.observe_end(running, Vec::new()).await)
    }

    async fn run_with_injection(&self, injection: Injection, faults: &[&str]) -> Result<Observed, EnvError> {
        let fault = faults.first().copied().unwrap_or_default();
        let arguments = self.all_arguments(&filters(faults));
        let mut running = self.launcher.start(self.launcher.env.program(), &arguments)?;
        let events_so_far = || self.launcher.events_so_far();
        let (set_back, failed) = match injection.inject(self.launcher.env, &mut running, fault, events_so_far).await {
            Ok(set_back) => (set_back, None),
            Err(why) => (None, Some(why)),
        };
        let mut observed = self.launcher.observe_end(running, failed.into_iter().collect()).await;
        observed.wrong.extend(set_back.and_then(|set_back| set_back.undo().err()));
        if injection == Injection::KillVmlab {
            record::observe_after_kill(&self.launcher, fault, &mut observed).await?;
            // A killed vmlab has reported no verdict. What counts is its record.
            observed.events.clear();
        }
        Ok(observed)
    }

    /// Runs vmlab in a mount namespace in which the state directory is a small disk of its own. None: this user may make no
    /// mount namespace.
    async fn run_with_small_disk(&self) -> Result<Option<Observed>, EnvError> {
        let unshare = Path::new("unshare");
        let root = nix::unistd::geteuid().is_root();
        let options: &[&str] = if root { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mount = format!("mount -t tmpfs -o size={SMALL_DISK_KIB}k vmlab \"$0\"");
        let state = self.launcher.env.state().into_os_string();
        let probe = [words(options), words(&["sh", "-c", &mount]), vec![state.clone()]].concat();
        let Ok(probe) = self.launcher.start(unshare, &probe) else { return Ok(None) };
        if self.launcher.observe_end(probe, Vec::new()).await.exit != Some(0) {
            return Ok(None);
        }
        let script = words(&["sh", "-c", &format!("{mount} && exec \"$@\"")]);
        let program = vec![state, self.launcher.env.program().into()];
        let many = filters(&[WITNESS; WITNESS_TIMES]);
        let arguments = [words(options), script, program, self.all_arguments(&many)].concat();
        let mut observed = self.launcher.observe_end(self.launcher.start(unshare, &arguments)?, Vec::new()).await;
        for text in ["No space left on device", "the run goes on without a record"] {
            if !observed.stderr.contains(text) {
                observed.wrong.push(format!("vmlab does not print `{text}`: {}", observed.stderr.trim()));
            }
        }
        Ok(Some(observed))
    }

    fn all_arguments(&self, more: &[OsString]) -> Vec<OsString> {
        let mut json = OsString::from("json=");
        json.push(self.launcher.events_file());
        let own = ["run".into(), "--report".into(), json, "--report".into(), "human".into()];
        own.into_iter().chain(self.arguments.iter().cloned()).chain(more.iter().cloned()).collect()
    }
}

/// The names of the faults of the guest that belong to a row.
fn faults_of(row: &Row) -> Vec<&'static str> {
    let all = guest_init::faults().unwrap_or_default().iter().map(|spec| spec.id.as_str());
    all.filter(|fault| row.has_fault(fault)).collect()
}

/// The filters that pick these faults and the witness.
fn filters(faults: &[&str]) -> Vec<OsString> {
    faults.iter().chain([&WITNESS]).map(|name| format!("={name}").into()).collect()
}
