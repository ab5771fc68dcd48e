//! One row of the table on one kernel: run, sabotaged where that is the fault, compared.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::bench::{Bench, BenchError, Ended, Running};
use super::expect::{self, Came, WITNESS};
use super::module::Made;
use super::record;
use super::sabotage::Sabotage;
use super::table::{How, Row};
use vmlab_events::event::LabEvent;
use vmlab_image::guest_init;

/// What came of a row.
#[derive(Debug)]
pub struct Done {
    /// In one line.
    pub came: String,
    /// Whether that is right.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// Whether a row is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All is as expected.
    Right,
    /// What is not, each in a sentence.
    Wrong(Vec<String>),
    /// It was not tried; why.
    NotDone(String),
}

/// A suite on one kernel.
#[derive(Debug)]
pub struct Suite<'a> {
    /// Where it runs.
    pub bench: &'a Bench,
    /// The arguments of `vmlab run` that all rows have in common, behind the word `run`.
    pub arguments: Vec<OsString>,
    /// The modules that were made for the kernel; or why there are none.
    pub modules: &'a Result<Made, String>,
    /// Whether this machine's clock may be set.
    pub step_clock: bool,
}

/// The state directory's size where it is to be full, in KiB: the run begins, and does not get far. Its first event tells
/// the command line, and takes most of it, as that names the witness so many times.
const SMALL_DISK_KIB: u32 = 8;
const WITNESS_TIMES: usize = 300;

impl Suite<'_> {
    /// Does a row.
    ///
    /// # Errors
    /// [`BenchError`]
    pub async fn run(&self, row: &Row) -> Result<Done, BenchError> {
        let began = Instant::now();
        if let Some(why) = self.cannot(row) {
            return Ok(Done { came: String::new(), outcome: Outcome::NotDone(why), took: began.elapsed() });
        }
        let faults = faults_of(row);
        let came = match row.how {
            How::RecordFull => match self.with_small_disk().await? {
                None => {
                    let why = "unshare(1) cannot make a mount namespace for this user".to_owned();
                    return Ok(Done { came: String::new(), outcome: Outcome::NotDone(why), took: began.elapsed() });
                }
                Some(came) => came,
            },
            How::Host(sabotage) => self.with_sabotage(sabotage, &faults).await?,
            How::Boot(words) => {
                let mut more = picked(&faults);
                more.extend(["--append".into(), words.into()]);
                self.plain(&more).await?
            }
            How::Guest | How::GuestAll | How::Module => self.plain(&picked(&faults)).await?,
        };
        let outcome = match came.refused_module() {
            Some(refusal) => Outcome::NotDone(format!("the kernel takes no unsigned modules: {refusal}")),
            None => {
                let reported: &[&str] = if row.how == How::Host(Sabotage::KillVmlab) { &[] } else { &faults };
                let wrong = expect::compare(&row.expected, reported, &came);
                if wrong.is_empty() { Outcome::Right } else { Outcome::Wrong(wrong) }
            }
        };
        Ok(Done { came: came.summary(&row.expected), outcome, took: began.elapsed() })
    }

    /// Why a row cannot be done here.
    fn cannot(&self, row: &Row) -> Option<String> {
        match (row.how, self.modules) {
            (How::Host(Sabotage::StepClock), _) if !self.step_clock => {
                Some("it sets this machine's wall clock; as root, --step-clock has it done".to_owned())
            }
            (How::Module, Err(why)) => Some(why.clone()),
            (How::Module, Ok(made)) => match made.get(row.name) {
                Some(Ok(_)) => None,
                Some(Err(why)) => Some(why.to_string()),
                None => Some("there is no recipe for its module".to_owned()),
            },
            _ => None,
        }
    }

    fn all_arguments(&self, more: &[OsString]) -> Vec<OsString> {
        let mut json = OsString::from("json=");
        json.push(self.bench.path("events.jsonl"));
        let own = ["run".into(), "--report".into(), json, "--report".into(), "human".into()];
        own.into_iter().chain(self.arguments.iter().cloned()).chain(more.iter().cloned()).collect()
    }

    async fn plain(&self, more: &[OsString]) -> Result<Came, BenchError> {
        let mut running = self.bench.start(self.bench.program(), &self.all_arguments(more))?;
        Ok(end(&mut running, Vec::new()).await)
    }

    async fn with_sabotage(&self, sabotage: Sabotage, faults: &[&str]) -> Result<Came, BenchError> {
        let fault = faults.first().copied().unwrap_or_default();
        let arguments = self.all_arguments(&picked(faults));
        let mut running = self.bench.start(self.bench.program(), &arguments)?;
        let committed = sabotage.commit(self.bench, &mut running, fault).await;
        let (undone_at_the_end, failed) = match committed {
            Ok(done) => (done, None),
            Err(why) => (None, Some(why)),
        };
        let mut came = end(&mut running, failed.into_iter().collect()).await;
        drop(undone_at_the_end);
        if sabotage == Sabotage::KillVmlab {
            record::after_kill(self.bench, fault, &mut came).await?;
            // What it had told before is the record's, which was looked at.
            came.events.clear();
        }
        Ok(came)
    }

    /// In a mount namespace where the state directory is a small disk of its own. None where there can be none.
    async fn with_small_disk(&self) -> Result<Option<Came>, BenchError> {
        let unshare = std::path::Path::new("unshare");
        let root = nix::unistd::geteuid().is_root();
        let options: &[&str] = if root { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mount = format!("mount -t tmpfs -o size={SMALL_DISK_KIB}k vmlab \"$0\"");
        let state = self.bench.path("state").into_os_string();
        let probe = [words(options), words(&["sh", "-c", &mount]), vec![state.clone()]].concat();
        let possible = match self.bench.start(unshare, &probe) {
            Ok(mut running) => running.wait().await.is_ok_and(|ended| ended.status.is_some_and(|s| s.success())),
            Err(_) => false,
        };
        if !possible {
            return Ok(None);
        }
        let program = vec![state, self.bench.program().into()];
        let script = words(&["sh", "-c", &format!("{mount} && exec \"$@\"")]);
        let many = picked(&[WITNESS; WITNESS_TIMES]);
        let arguments = [words(options), script, program, self.all_arguments(&many)].concat();
        let mut running = self.bench.start(unshare, &arguments)?;
        let mut came = end(&mut running, Vec::new()).await;
        for words in ["No space left on device", "the run goes on without a record"] {
            if !came.stderr.contains(words) {
                came.wrong.push(format!("vmlab does not say `{words}`: {}", came.stderr.trim()));
            }
        }
        Ok(Some(came))
    }
}

/// The names of the guest's parts in a row.
fn faults_of(row: &Row) -> Vec<&'static str> {
    let (name, group) = (format!("fault.{}", row.name), format!("fault.{}-", row.name));
    let wanted = |id: &&str| match row.how {
        How::Guest | How::Module | How::Host(_) => *id == name,
        How::GuestAll => id.starts_with(&group),
        How::Boot(_) | How::RecordFull => false,
    };
    let all = guest_init::faults().unwrap_or_default().iter().map(|spec| spec.id.as_str());
    all.filter(wanted).collect()
}

/// The filters that pick these and the witness.
fn picked(faults: &[&str]) -> Vec<OsString> {
    faults.iter().chain([&WITNESS]).map(|name| format!("={name}").into()).collect()
}

/// Waits for vmlab's end and sees to what is true of any run.
async fn end(running: &mut Running, mut wrong: Vec<String>) -> Came {
    let ended = running.wait().await.unwrap_or_else(|error| {
        wrong.push(format!("cannot wait for vmlab: {error}"));
        Ended { status: None, stdout: String::new(), stderr: String::new() }
    });
    if ended.status.is_none() {
        wrong.push(format!("vmlab hung, and was killed after {} s", super::bench::LIMIT.as_secs()));
    }
    if ended.stderr.contains("panicked at") {
        wrong.push(format!("vmlab itself panicked: {}", ended.stderr.trim()));
    }
    let events = running.events();
    let exit = ended.status.and_then(|status| status.code());
    let told = events.iter().rev().find_map(|stamped| match stamped.event {
        LabEvent::RunFinished { exit_code, .. } => Some(i32::from(exit_code)),
        _ => None,
    });
    if let (Some(told), Some(exit)) = (told, exit)
        && told != exit
        && told != i32::from(vmlab_events::exit::OK)
    {
        wrong.push(format!("vmlab told of exit code {told}, and exited with {exit}"));
    }
    Came { exit, events, stdout: ended.stdout, stderr: ended.stderr, wrong, record: None }
}
