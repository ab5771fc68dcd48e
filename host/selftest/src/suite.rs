//! Runs the fault suite: all rows, on each kernel, in each isolation mode.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use vmlab_events::error::chain;
use vmlab_events::schedule::Isolation;
use vmlab_kernel::Kernel;

use super::env::{EnvError, Leftovers, TestEnv};
use super::injection::POLL_INTERVAL;
use super::launch::Launcher;
use super::module::{self, FaultModules};
use super::row::{Outcome, RowResult, RowRunner};
use super::table::Row;

/// How long killed processes may take to end.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(10);

/// What the suite is to do.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The vmlab to test.
    pub program: PathBuf,
    /// The cache that holds the fetched kernels; the suite uses nothing else of it.
    pub cache: PathBuf,
    /// The kernels to run on.
    pub kernels: &'a [Kernel],
    /// The isolation modes to run in, on each kernel.
    pub isolations: Vec<Isolation>,
    /// The accelerator, as `vmlab run --accel` takes it.
    pub accel: &'static str,
    /// Whether this machine's wall clock may be set; needs root.
    pub step_clock: bool,
    /// The rows to run.
    pub rows: Vec<&'static Row>,
}

/// What the suite does, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// The suite begins.
    Started {
        /// What the test environment holds already.
        before: Leftovers,
    },
    /// The rows of one kernel and isolation mode begin.
    TargetStarted {
        /// The kernel.
        kernel: &'a Kernel,
        /// The isolation mode.
        isolation: Isolation,
    },
    /// A row has run, or cannot be done.
    RowFinished {
        /// The row.
        row: &'static Row,
        /// The result of the row.
        result: &'a RowResult,
    },
}

/// What the whole suite has come to.
#[derive(Debug)]
pub struct Summary {
    /// How many rows were as expected.
    pub right: usize,
    /// How many rows were not as expected.
    pub wrong: usize,
    /// How many rows could not be done.
    pub not_done: usize,
    /// What was there before the first run.
    pub before: Leftovers,
    /// What was there after the last run.
    pub after: Leftovers,
}

/// A step of the suite itself that failed. No row's result is one.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// The test environment.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// A file or directory of the suite was not written.
    #[error("cannot prepare {path}; set TMPDIR to a place with room", path = path.display())]
    Prepare {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The suite's directory was not removed.
    #[error("cannot remove {path}", path = path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Runs the suite, and tells the observer of every step. An observer's error ends the suite.
///
/// # Errors
/// [`SelftestError`], and the observer's own.
pub async fn run<E: From<SelftestError>>(
    plan: &Plan<'_>,
    mut observer: impl FnMut(Event<'_>) -> Result<(), E>,
) -> Result<Summary, E> {
    let env = prepare_env(plan)?;
    let before = Leftovers::count(&env);
    observer(Event::Started { before })?;
    let mut summary = Summary { right: 0, wrong: 0, not_done: 0, before, after: before };
    for kernel in plan.kernels {
        let modules = prepare_modules(kernel, &env)?;
        for &isolation in &plan.isolations {
            observer(Event::TargetStarted { kernel, isolation })?;
            let arguments = common_arguments(plan, kernel, isolation, &env);
            let runner = RowRunner {
                launcher: Launcher { env: &env },
                arguments,
                modules: &modules,
                step_clock: plan.step_clock,
            };
            for &row in &plan.rows {
                let result = runner.run(row).await.map_err(SelftestError::from)?;
                match &result.outcome {
                    Outcome::Right => summary.right += 1,
                    Outcome::Wrong(_) => summary.wrong += 1,
                    Outcome::NotDone(_) => summary.not_done += 1,
                }
                observer(Event::RowFinished { row, result: &result })?;
            }
        }
    }
    summary.after = await_no_leftovers(&env).await;
    let path = env.home().to_owned();
    env.close().map_err(|source| SelftestError::Remove { path, source })?;
    Ok(summary)
}

/// A test environment whose cache has the fetched kernels of the user's cache, and no other entry.
fn prepare_env(plan: &Plan<'_>) -> Result<TestEnv, SelftestError> {
    let env = TestEnv::new(&plan.program)?.env("NO_COLOR", "1");
    let cache = env.cache().join("vmlab");
    for path in [&cache, &env.state(), &modules_dir(&env)] {
        fs::create_dir_all(path).map_err(|source| SelftestError::Prepare { path: path.clone(), source })?;
    }
    let path = cache.join("kernels");
    std::os::unix::fs::symlink(plan.cache.join("kernels"), &path)
        .map_err(|source| SelftestError::Prepare { path, source })?;
    Ok(env)
}

fn modules_dir(env: &TestEnv) -> PathBuf {
    env.home().join("modules")
}

/// Makes the fault modules of a kernel and writes them to the directory that the runs read. The inner error says why no row
/// that needs a module can be done.
fn prepare_modules(kernel: &Kernel, env: &TestEnv) -> Result<Result<FaultModules, String>, SelftestError> {
    let Some(directory) = kernel.modules.found() else {
        return Ok(Err(format!("it needs the kernel's modules, and {} came without", kernel.label)));
    };
    let has = |symbol: &str| kernel.config.as_ref().is_some_and(|config| config.enabled(symbol));
    let modules = module::make_all(directory, has).map_err(|error| chain(&error));
    let path = modules_dir(env);
    let write = || {
        // Modules of an earlier kernel must not remain.
        fs::remove_dir_all(&path)?;
        fs::create_dir(&path)?;
        for (name, module) in modules.iter().flatten() {
            if let Ok(module) = module {
                fs::write(path.join(format!("{name}.ko")), module)?;
            }
        }
        Ok(())
    };
    write().map_err(|source| SelftestError::Prepare { path: path.clone(), source })?;
    Ok(modules)
}

fn common_arguments(plan: &Plan<'_>, kernel: &Kernel, isolation: Isolation, env: &TestEnv) -> Vec<OsString> {
    let words =
        ["--kernel", &kernel.label, "--isolation", isolation.name(), "--accel", plan.accel, "--jobs", "1", "--faults"];
    let mut arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    arguments.push(modules_dir(env).into());
    arguments
}

/// Waits until nothing is left, with a limit, and counts what is left then.
async fn await_no_leftovers(env: &TestEnv) -> Leftovers {
    let began = Instant::now();
    loop {
        let left = Leftovers::count(env);
        if left.is_nothing() || began.elapsed() > LEFTOVERS_TIMEOUT {
            return left;
        }
        sleep(POLL_INTERVAL).await;
    }
}
