//! Runs apt with a private root: private lists, cache, sources and an empty status. The system's apt stays unchanged,
//! no privileges are necessary, and apt verifies all signatures and hashes.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::complaint::{self, Complaint};
use super::error::DebianError;
use super::resolve;
use super::stall::{self, Stall};
use super::system::{self, Job};
use crate::fetched::Package;
use vmlab_qemu::command::Finished;
use vmlab_store::{CacheError, atomic};

/// `Acquire` settings of the system that say what to fetch rather than how, or that are apt's defaults. They are not
/// copied.
const NOT_KEPT: [&str; 5] = [
    "Acquire::IndexTargets",
    "Acquire::Changelogs",
    "Acquire::Languages",
    "Acquire::CompressionTypes",
    "Acquire::GzipIndexes",
];

/// The settings that replace the system's configuration. apt reads the file in `APT_CONFIG` before it looks for the
/// system's files (apt.conf(5)), so the last two lines exclude the system's hooks: a `Post-Invoke` of container images
/// deletes downloaded packages.
///
/// apt as root would change to the user `_apt`, who may not enter home directories, and warn about this. The setting
/// keeps the user of vmlab's caller.
///
/// The package lists stay compressed, which makes them ten times smaller; they are read once or twice.
const SETTINGS: &str = "Acquire::GzipIndexes \"true\";
Acquire::Languages \"none\";
Acquire::AllowInsecureRepositories \"false\";
Acquire::AllowDowngradeToInsecureRepositories \"false\";
APT::Architecture \"amd64\";
#clear APT::Architectures;
APT::Architectures { \"amd64\"; };
APT::Sandbox::User \"root\";
APT::Update::Error-Mode \"any\";
Dir::Etc::main \"/dev/null\";
Dir::Etc::parts \"/dev/null\";
";

/// The directory of temporary files. apt leaves some if it is killed; this directory is removed with the private root.
const TEMPORARY: &str = "tmp";

/// A private apt.
pub(super) struct Apt<'a> {
    job: Job<'a>,
    root: PathBuf,
    preferred: Option<String>,
}

impl<'a> Apt<'a> {
    /// Creates the private root at `root`, which must not exist, and copies the system's settings for access to
    /// mirrors, such as proxies. `preferred` is the suite with priority over others.
    pub(super) async fn new(job: Job<'a>, root: PathBuf, preferred: Option<String>) -> Result<Self, DebianError> {
        for dir in ["state/lists/partial", "cache/archives/partial", "debs", TEMPORARY] {
            atomic::create_dir(&root.join(dir))?;
        }
        let mut command = job.system.command("apt-config");
        command.args(["dump", "Acquire"]).env("TMPDIR", root.join(TEMPORARY));
        let mut acquire = Vec::new();
        let finished = system::run(command, |line| acquire.push(line.to_owned())).await?;
        let apt = Self { job, root, preferred };
        apt.judge(&finished, "print its configuration")?;
        apt.write("status", "")?;
        apt.write("apt.conf", &config(&acquire))?;
        Ok(apt)
    }

    /// Sets the `.sources` file that [`Self::update`] reads.
    pub(super) fn set_sources(&self, text: &str) -> Result<(), DebianError> {
        self.write("vmlab.sources", text)
    }

    /// Fetches and verifies the package lists. `Ok(Err(suites))` means that the mirrors lack these suites.
    pub(super) async fn update(&self) -> Result<Result<(), Vec<String>>, DebianError> {
        let mut command = self.command("apt-get");
        command.arg("update");
        let finished = self.run(command).await?;
        if !finished.status.success()
            && let Complaint::MissingSuites(suites) = complaint::read(&finished.stderr)
        {
            return Ok(Err(suites));
        }
        self.judge(&finished, "read the package lists").map(Ok)
    }

    /// The description of a package's candidate version; `None` if the package does not exist.
    pub(super) async fn show_candidate(&self, name: &str) -> Result<Option<String>, DebianError> {
        let mut command = self.command("apt-cache");
        command.args(["--no-all-versions", "show", "--", name]);
        let mut text = String::new();
        let finished = system::run(command, collect(&mut text)).await?;
        // apt exits with 100 for an unknown name, and prints nothing for a virtual package.
        if text.trim().is_empty() && !finished.stderr.contains("No packages found") {
            self.judge(&finished, "look up a package")?;
        }
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    /// The descriptions of packages in these versions.
    pub(super) async fn show(&self, packages: &[Package]) -> Result<String, DebianError> {
        let mut command = self.command("apt-cache");
        command.args(["show", "--"]).args(packages.iter().map(argument));
        let mut text = String::new();
        let finished = system::run(command, collect(&mut text)).await?;
        self.judge(&finished, "look up the kernel's packages")?;
        Ok(text)
    }

    /// Whether the archive describes all these packages in these versions.
    pub(super) async fn has(&self, packages: &[Package]) -> Result<bool, DebianError> {
        if packages.is_empty() || !packages.iter().all(resolve::is_plain) {
            return Ok(false);
        }
        let mut command = self.command("apt-cache");
        command.args(["show", "--"]).args(packages.iter().map(argument));
        let mut text = String::new();
        // apt exits with 100 for an unknown version.
        let finished = system::run(command, collect(&mut text)).await?;
        Ok(finished.status.success() && resolve::describes_all(&text, packages))
    }

    /// Downloads and verifies packages; returns the directory that contains them.
    pub(super) async fn download(&self, packages: &[Package]) -> Result<PathBuf, DebianError> {
        let into = self.root.join("debs");
        let mut command = self.command("apt-get");
        command.args(["download", "--"]).args(packages.iter().map(argument)).current_dir(&into);
        let finished = self.run(command).await?;
        self.judge(&finished, "download the kernel's packages")?;
        Ok(into)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DebianError> {
        let path = self.root.join(name);
        Ok(fs::write(&path, text).map_err(CacheError::on("write", &path))?)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.job.system.command(program);
        command.env("APT_CONFIG", self.root.join("apt.conf")).env("TMPDIR", self.root.join(TEMPORARY));
        command.args(arguments(&self.root, self.preferred.as_deref()));
        command
    }

    /// Runs a command that uses the network and reports its progress. Stops the command if it makes no progress.
    async fn run(&self, command: Command) -> Result<Finished, DebianError> {
        let changes = Cell::new(0);
        let mut last = String::new();
        let status_line = |line: &str| {
            if line != last {
                line.clone_into(&mut last);
                changes.set(changes.get() + 1);
            }
            if let Some(percent) = percent(line) {
                self.job.progress.percent(percent);
            }
        };
        let label = || self.job.label.to_owned();
        tokio::select! {
            finished = system::run(command, status_line) => finished,
            stall = stall::watch(&self.root, &changes) => Err(match stall {
                Stall::Full => DebianError::Full { label: label(), dir: self.job.cache.to_owned() },
                Stall::Silent => DebianError::Stalled { label: label(), seconds: stall::SILENT_AFTER },
            }),
        }
    }

    fn judge(&self, finished: &Finished, doing: &'static str) -> Result<(), DebianError> {
        if finished.status.success() {
            return Ok(());
        }
        let label = self.job.label.to_owned();
        Err(match complaint::read(&finished.stderr) {
            Complaint::Full => DebianError::Full { label, dir: self.job.cache.to_owned() },
            Complaint::Network(detail) => DebianError::NoNetwork { label, detail },
            Complaint::Signature(detail) => DebianError::Signature { label, detail },
            Complaint::MissingSuites(suites) => self.job.no_such_suite(suites.join(" ")),
            Complaint::Other(detail) => {
                let killed = finished.status.signal().map(|signal| format!("; it was killed by signal {signal}"));
                DebianError::Apt { label, doing, detail: detail + &killed.unwrap_or_default() }
            }
        })
    }
}

/// The private apt.conf. `acquire` are the lines of the system's `apt-config dump Acquire`.
fn config(acquire: &[String]) -> String {
    let kept = |line: &&String| {
        line.starts_with("Acquire::")
            && line.ends_with("\";")
            && !line.ends_with(" \"\";")
            && !NOT_KEPT.iter().any(|prefix| line.starts_with(prefix))
    };
    let mut text: String = acquire.iter().filter(kept).flat_map(|line| [line.as_str(), "\n"]).collect();
    text.push_str(SETTINGS);
    text
}

/// The options on apt's command line, where paths need no quoting. Status lines go to standard output; `-qq` does not
/// suppress them.
fn arguments(root: &Path, preferred: Option<&str>) -> Vec<OsString> {
    let set = |name: &str, value: &Path| {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        [OsString::from("-o"), setting]
    };
    let null = Path::new("/dev/null");
    let mut arguments = vec![OsString::from("-qq")];
    arguments.extend(
        [
            ("APT::Status-Fd", Path::new("1")),
            ("Dir::State", &root.join("state")),
            ("Dir::State::status", &root.join("status")),
            ("Dir::Cache", &root.join("cache")),
            ("Dir::Cache::pkgcache", Path::new("pkgcache.bin")),
            ("Dir::Cache::srcpkgcache", Path::new("srcpkgcache.bin")),
            ("Dir::Log", &root.join("log")),
            ("Dir::Etc::sourcelist", &root.join("vmlab.sources")),
            ("Dir::Etc::sourceparts", null),
            ("Dir::Etc::preferences", null),
            ("Dir::Etc::preferencesparts", null),
        ]
        .into_iter()
        .flat_map(|(name, value)| set(name, value)),
    );
    arguments.extend(preferred.into_iter().flat_map(|suite| set("APT::Default-Release", Path::new(suite))));
    arguments
}

fn argument(package: &Package) -> String {
    format!("{}={}", package.name, package.version)
}

fn collect(text: &mut String) -> impl FnMut(&str) {
    |line| {
        text.push_str(line);
        text.push('\n');
    }
}

/// Reads the percentage from `dlstatus:FILE:PERCENT:TEXT` (apt, doc/progress-reporting.md).
fn percent(line: &str) -> Option<u8> {
    let percent = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    percent.split('.').next()?.parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_for_mirrors_are_copied_and_hooks_are_not() {
        let dump = [
            "Acquire \"\";",
            "Acquire::http \"\";",
            "Acquire::http::Proxy \"http://proxy.example:3128\";",
            "Acquire::Retries \"5\";",
            "Acquire::Languages:: \"none\";",
            "Acquire::IndexTargets::deb::DEP-11::MetaKey \"x\";",
            "Acquire::AllowInsecureRepositories \"1\";",
            "APT::Update::Post-Invoke:: \"rm -f *.deb\";",
        ];
        let text = config(&dump.map(str::to_owned));
        assert!(text.starts_with("Acquire::http::Proxy \"http://proxy.example:3128\";\nAcquire::Retries \"5\";\n"));
        assert!(!text.contains("Invoke") && !text.contains("DEP-11") && !text.contains("Languages::"), "{text}");
        // The last setting counts.
        assert!(text.rfind("AllowInsecureRepositories \"false\"") > text.find("AllowInsecureRepositories \"1\""));
        assert!(text.contains("Dir::Etc::parts \"/dev/null\";"));
    }

    #[test]
    fn all_files_of_apt_are_in_the_root() {
        let arguments = arguments(Path::new("/c a/root"), Some("trixie-backports"));
        let text: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
        insta::assert_snapshot!(text.join("\n").replace("-o\n", "-o "), @r"
        -qq
        -o APT::Status-Fd=1
        -o Dir::State=/c a/root/state
        -o Dir::State::status=/c a/root/status
        -o Dir::Cache=/c a/root/cache
        -o Dir::Cache::pkgcache=pkgcache.bin
        -o Dir::Cache::srcpkgcache=srcpkgcache.bin
        -o Dir::Log=/c a/root/log
        -o Dir::Etc::sourcelist=/c a/root/vmlab.sources
        -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferences=/dev/null
        -o Dir::Etc::preferencesparts=/dev/null
        -o APT::Default-Release=trixie-backports
        ");
    }

    #[test]
    fn the_percentage_is_read_from_status_lines() {
        assert_eq!(percent("dlstatus:6:96.6667:Retrieving file 6 of 6"), Some(96));
        assert_eq!(percent("dlstatus:1:100.0000:x"), Some(100));
        for other in ["dlstatus:1:101:x", "dlstatus:1:-1:x", "pmstatus:x:1:y", "Get:1 x", "dlstatus:"] {
            assert_eq!(percent(other), None, "{other}");
        }
    }
}
