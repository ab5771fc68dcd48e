//! Builds a kernel: finds it in the cache, or configures, checks and compiles it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use vmlab_events::progress::Progress;
use vmlab_qemu::worker;
use vmlab_store::checksummed::{self, Stored};
use vmlab_store::lock::Lock;
use vmlab_store::{CacheError, atomic};

use crate::compiler::{Compiler, Settings};
use crate::config::KernelConfig;
use crate::error::{BuildError, DISK_FULL};
use crate::make::{Make, MakeError};
use crate::merge::Merged;
use crate::order::FragmentName;
use crate::store::{Built, IMAGE, Key, LABEL, Record, Store, config_name, digest};
use crate::tree::Tree;
use crate::{explain, fragments::fragments, identity, suites};

/// How often a tree may change during its build.
const TRIES: u32 = 3;
/// The steps of a whole build for each 100 symbols that its config sets, for the estimate of a first build (seen: 6.12 with
/// base and namespaces).
const STEPS_PER_100_SYMBOLS: u64 = 260;
/// Deciding whether a tree has changed is worth a line after this time.
const UNTOLD: Duration = Duration::from_secs(1);

/// What to build, and how.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The kernel's name for messages.
    pub label: &'a str,
    /// The source tree.
    pub tree: &'a Path,
    /// What identifies the tree's files if they never change, such as a package and its version.
    pub identity: Option<&'a str>,
    /// The config fragments.
    pub fragments: &'a [FragmentName],
    /// vmlab's cache directory.
    pub cache: &'a Path,
    /// The number of parallel jobs; the number of CPUs if not given.
    pub jobs: Option<NonZeroUsize>,
    /// Whether to build; otherwise only a kernel that is built already is found.
    pub may_build: bool,
    /// Why a kernel with this config is of no use, so that it is not compiled.
    pub refusal: &'a dyn Fn(&KernelConfig) -> Option<String>,
    /// Gets the steps.
    pub progress: &'a dyn Progress,
}

/// Takes a kernel from the cache or builds it; `None` if it is not built and may not be. Dropping the future kills the build; what
/// it has compiled is kept.
///
/// # Errors
/// [`BuildError`]
pub fn obtain<'a>(request: Request<'a>) -> LocalBoxFuture<'a, Result<Option<Built>, BuildError>> {
    Box::pin(async move {
        let built = run(&request).await;
        request.progress.done();
        built
    })
}

/// The config that a kernel gets, and what was asked for. Compiles nothing.
///
/// # Errors
/// [`BuildError`]
pub fn config_of<'a>(request: Request<'a>) -> LocalBoxFuture<'a, Result<(KernelConfig, Merged), BuildError>> {
    Box::pin(async move {
        let job = Job::new(&request)?;
        let _lock = job.lock().await?;
        let config = job.configure(&job.make()?).await;
        request.progress.done();
        Ok((config?, job.merged))
    })
}

async fn run(request: &Request<'_>) -> Result<Option<Built>, BuildError> {
    let job = Job::new(request)?;
    let mut code = job.identity().await?;
    if let Some(built) = job.find(&code)? {
        return Ok(Some(built));
    }
    if !request.may_build {
        return Ok(None);
    }
    let _lock = job.lock().await?;
    for _ in 0..TRIES {
        if let Some(built) = job.find(&code)? {
            return Ok(Some(built));
        }
        let seconds = job.build().await?;
        let after = job.identity().await?;
        if after == code {
            return job.publish(&code, seconds).await.map(Some);
        }
        job.step("the source tree has changed meanwhile; building again");
        code = after;
    }
    Err(BuildError::Restless { label: request.label.to_owned() })
}

/// How long the last build in a directory took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Last {
    steps: u64,
    seconds: u64,
}

struct Job<'a> {
    request: &'a Request<'a>,
    tree: Tree,
    merged: Merged,
    compiler: Compiler,
    store: Store,
    place: String,
}

impl<'a> Job<'a> {
    fn new(request: &'a Request<'a>) -> Result<Self, BuildError> {
        let tree = Tree::open(request.tree)?;
        let merged = Merged::of(&fragments(request.fragments)?, tree.version)?;
        let compiler = Compiler::find(&Settings::from_env())?;
        let names: Vec<String> = request.fragments.iter().map(ToString::to_string).collect();
        let place = digest(&[&tree.path.to_string_lossy(), &names.join("+"), &compiler.identity]);
        Ok(Self { request, tree, merged, compiler, store: Store::new(request.cache), place })
    }

    /// The lock of the build directory.
    async fn lock(&self) -> Result<Lock, CacheError> {
        Lock::take(&self.store.lock_path(&self.place), || self.step("waiting for another vmlab that is building it"))
            .await
    }

    fn find(&self, code: &str) -> Result<Option<Built>, CacheError> {
        self.store.find(self.key(code, &self.merged.text()))
    }

    fn key<'k>(&'k self, code: &'k str, config: &'k str) -> Key<'k> {
        Key { code, config, compiler: &self.compiler.identity }
    }

    fn step(&self, what: &str) {
        self.request.progress.step(&format!("{}: {what}", self.request.label));
    }

    /// The identity of the source code.
    async fn identity(&self) -> Result<String, BuildError> {
        if let Some(identity) = self.request.identity {
            return Ok(identity.to_owned());
        }
        let (tree, cache) = (self.tree.path.clone(), self.request.cache.to_owned());
        let work = self.worker(move |stopped| identity::of(&tree, &cache, stopped));
        let mut work = std::pin::pin!(work);
        match tokio::time::timeout(UNTOLD, &mut work).await {
            Ok(identity) => Ok(identity??),
            Err(_) => {
                self.step("looking for changes in the source tree");
                Ok(work.await??)
            }
        }
    }

    /// Runs blocking work in a thread that ends when this future is dropped.
    async fn worker<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> Result<T, BuildError> {
        let label = || self.request.label.to_owned();
        worker::run(work).await.map_err(|error| BuildError::Worker { label: label(), detail: error.to_string() })
    }

    /// Configures and compiles; returns the time that it took, in s. The caller has the lock of the place.
    async fn build(&self) -> Result<u64, BuildError> {
        let began = Instant::now();
        let make = self.make()?;
        let config = self.configure(&make).await?;
        if let Some(reason) = (self.request.refusal)(&config) {
            return Err(BuildError::Refused(reason));
        }
        let last_path = self.store.objects(&self.place).join("last.json");
        let last: Option<Last> = match checksummed::read(&last_path)? {
            Stored::Sound(last) => Some(last),
            // The first build here, or one whose length is not known any more: the estimate comes from the config.
            Stored::Missing | Stored::Damaged(_) => None,
        };
        let steps = self.compile(&make, &config, last).await?;
        let seconds = began.elapsed().as_secs();
        // A build that only compiled what had changed says nothing of a whole one.
        if last.is_none_or(|last| last.steps < steps) {
            checksummed::write(&last_path, &Last { steps, seconds })?;
        }
        Ok(seconds)
    }

    /// Prepares the build directory. The caller has the lock of the place.
    fn make(&self) -> Result<Make<'_>, BuildError> {
        let objects = self.store.objects(&self.place);
        if objects.as_os_str().as_encoded_bytes().iter().any(|byte| byte.is_ascii_whitespace() || *byte == b':') {
            return Err(BuildError::CachePath(self.request.cache.to_owned()));
        }
        let out = objects.join("o");
        atomic::create_dir(&out)?;
        atomic::write(&objects.join(LABEL), self.request.label.as_bytes())?;
        let log = objects.join("build.log");
        fs::write(&log, "").map_err(CacheError::on("write", &log))?;
        let jobs = self.request.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        Ok(Make { tree: &self.tree.path, out, compiler: &self.compiler, jobs, log })
    }

    /// Makes the config, and checks each requested symbol in it.
    async fn configure(&self, make: &Make<'_>) -> Result<KernelConfig, BuildError> {
        self.step("configuring");
        let asked = make.out.join("vmlab.config");
        atomic::write(&asked, self.merged.text().as_bytes())?;
        let settings: [(&str, &OsStr); 1] = [("KCONFIG_ALLCONFIG", asked.as_os_str())];
        make.run(&["allnoconfig"], &settings, |_, _| ()).await.map_err(|error| self.failed(error, make))?;
        let config = KernelConfig::parse(&self.read(&make.out.join(".config"))?);
        let unmet = self.merged.unmet(&config);
        let off = self.merged.off_by_name();
        if unmet.is_empty() && off.is_empty() {
            return Ok(config);
        }
        let (tree, label) = (self.tree.path.clone(), self.request.label.to_owned());
        if unmet.is_empty() {
            self.step("checking the names of symbols");
            return match self.worker(move |_| explain::unknown(&tree, &off)).await? {
                Ok(unmet) if !unmet.is_empty() => Err(BuildError::Unmet { label, unmet }),
                Ok(_) => Ok(config),
                // The config is as asked; only a typing error would go unseen.
                Err(error) => {
                    self.step(&format!("cannot check the names of symbols that are to be off: {error}"));
                    Ok(config)
                }
            };
        }
        self.step("finding out why the config is not as asked");
        let merged = self.merged.clone();
        let unmet = self.worker(move |_| explain::sentences(&tree, &unmet, &config, &merged)).await?;
        Err(BuildError::Unmet { label, unmet })
    }

    /// Compiles the kernel, and its modules if it has any; returns the number of steps.
    async fn compile(&self, make: &Make<'_>, config: &KernelConfig, last: Option<Last>) -> Result<u64, BuildError> {
        let jobs = if make.jobs == NonZeroUsize::MIN { "1 job".to_owned() } else { format!("{} jobs", make.jobs) };
        let earlier = last.map(|last| format!("; a whole build took {}", duration(last.seconds))).unwrap_or_default();
        self.step(&format!("compiling with {jobs}{earlier}"));
        let expected =
            last.map_or_else(|| config.symbols().count() as u64 * STEPS_PER_100_SYMBOLS / 100, |last| last.steps);
        let targets: &[&str] = if config.enabled("CONFIG_MODULES") { &["bzImage", "modules"] } else { &["bzImage"] };
        let began = Instant::now();
        let mut tenths = 0;
        let on_step = |count: u64, _: &str| {
            // Kbuild does not say how many steps there are.
            let percent = (count * 100 / expected.max(1)).min(99);
            if percent / 10 > tenths {
                tenths = percent / 10;
                let left = remaining(percent, began.elapsed().as_secs(), last);
                self.step(&format!("compiling with {jobs}: {percent} %, about {} left", duration(left)));
            }
            self.request.progress.percent(u8::try_from(percent).unwrap_or(99));
        };
        let compiled = make.run(targets, &[], on_step).await;
        if matches!(&compiled, Err(MakeError::Failed(failure)) if failure.mentions(DISK_FULL)) {
            // make takes a file that was cut short for done.
            atomic::remove_tree(&make.out).map_err(CacheError::on("remove", &make.out))?;
        }
        compiled.map_err(|error| self.failed(error, make))
    }

    /// Puts the kernel into the cache.
    async fn publish(&self, code: &str, seconds: u64) -> Result<Built, BuildError> {
        let out = self.store.objects(&self.place).join("o");
        let release = self.read(&out.join("include/config/kernel.release"))?.trim().to_owned();
        let staging = self.store.staging(&self.place)?;
        let prepared = staging.path().join("entry");
        atomic::create_dir(&prepared)?;
        self.copy(&out.join("arch/x86/boot/bzImage"), &prepared.join(IMAGE))?;
        self.copy(&out.join(".config"), &prepared.join(config_name(&release)))?;
        if KernelConfig::parse(&self.read(&out.join(".config"))?).enabled("CONFIG_MODULES") {
            self.install_modules(&prepared, &release).await?;
        }
        let asked =
            self.merged.requests().map(|(symbol, asked)| (symbol.to_owned(), (asked.value.clone(), asked.by.clone())));
        let asked = asked.collect();
        let label = self.request.label.to_owned();
        let vmlinux = out.join("vmlinux");
        let suites =
            suites::of(&vmlinux).map_err(|cause| BuildError::Suites { label: label.clone(), path: vmlinux, cause })?;
        let config = self.merged.text();
        let record = |format, files| Record { format, label, release, asked, suites, seconds, files };
        Ok(self.store.publish(self.key(code, &config), &staging, &prepared, &AtomicBool::new(false), record)?)
    }

    async fn install_modules(&self, prepared: &Path, release: &str) -> Result<(), BuildError> {
        self.step("installing modules");
        let make = self.make()?;
        let settings = [("INSTALL_MOD_PATH", prepared.as_os_str()), ("INSTALL_MOD_STRIP", OsStr::new("1"))];
        make.run(&["modules_install"], &settings, |_, _| ()).await.map_err(|error| self.failed(error, &make))?;
        for link in ["build", "source"] {
            let link = prepared.join("lib/modules").join(release).join(link);
            atomic::remove_tree(&link).map_err(CacheError::on("remove", &link))?;
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<String, BuildError> {
        let bytes = fs::read(path).map_err(|cause| self.no_kernel(path, cause))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), BuildError> {
        fs::copy(from, to).map(drop).map_err(|cause| self.no_kernel(from, cause))
    }

    fn no_kernel(&self, path: &Path, cause: io::Error) -> BuildError {
        BuildError::NoKernel { label: self.request.label.to_owned(), path: PathBuf::from(path), cause }
    }

    fn failed(&self, error: MakeError, make: &Make<'_>) -> BuildError {
        let label = self.request.label.to_owned();
        match error {
            MakeError::Run(cause) => BuildError::Run { label, cause },
            MakeError::Failed(failure) => BuildError::Failed { label, failure, log: make.log.clone() },
        }
    }
}

/// The estimated rest of a build, in s: from its own speed, and at its beginning rather from the last whole build.
fn remaining(percent: u64, elapsed_s: u64, last: Option<Last>) -> u64 {
    let by_itself = elapsed_s * (100 - percent.min(100)) / percent.max(1);
    let Some(last) = last else { return by_itself };
    let by_last = last.seconds * (100 - percent.min(100)) / 100;
    (by_last * (100 - percent.min(100)) + by_itself * percent) / 100
}

/// A time in words: `4 min 12 s`.
fn duration(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests;
