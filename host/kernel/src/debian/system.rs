//! The parts of the machine that a fetch uses: tools, apt's sources, the archive's keyring.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::DebianError;
use super::memory::Cgroups;
use super::mirrors::{self, Mirror, Mirrors};
use super::sources::{self, SourceEntry};
use vmlab_events::progress::Progress;
use vmlab_qemu::command::{self, Finished};

const MAIN_VARIABLE: &str = "VMLAB_DEBIAN_MIRROR";
const SECURITY_VARIABLE: &str = "VMLAB_DEBIAN_SECURITY_MIRROR";

/// The machine as fetching sees it. Tests use a directory with scripts.
#[derive(Debug, Clone)]
pub(crate) struct System {
    /// The directory of apt's sources: `/etc/apt`.
    pub(crate) etc_apt: PathBuf,
    /// Possible paths of the archive's keyring; the first existing one is used.
    pub(crate) keyrings: Vec<PathBuf>,
    /// The value of `VMLAB_DEBIAN_MIRROR`.
    pub(crate) main_mirror: Option<String>,
    /// The value of `VMLAB_DEBIAN_SECURITY_MIRROR`.
    pub(crate) security_mirror: Option<String>,
    /// The directory of the tools; `None` stands for `PATH`.
    pub(crate) programs: Option<PathBuf>,
    /// The memory cgroup in which the tools run.
    pub(crate) cgroups: Cgroups,
}

impl System {
    /// This machine and its environment.
    #[must_use]
    pub(crate) fn from_env() -> Self {
        let mirror = |variable| env::var(variable).ok().filter(|value| !value.is_empty());
        Self {
            etc_apt: PathBuf::from("/etc/apt"),
            // Debian 13 names the file .pgp and keeps the old name beside it.
            keyrings: ["gpg", "pgp"]
                .map(|suffix| format!("/usr/share/keyrings/debian-archive-keyring.{suffix}").into())
                .to_vec(),
            main_mirror: mirror(MAIN_VARIABLE),
            security_mirror: mirror(SECURITY_VARIABLE),
            programs: None,
            cgroups: Cgroups::of_this_process(),
        }
    }

    /// A command for a tool, with messages in the C locale.
    pub(super) fn command(&self, program: &str) -> Command {
        let path = self.programs.as_ref().map_or_else(|| PathBuf::from(program), |dir| dir.join(program));
        let mut command = Command::new(path);
        command.env("LC_ALL", "C").env_remove("LANGUAGE");
        command
    }

    /// The keyring for mirrors without their own keyring.
    pub(super) fn keyring(&self) -> Result<&Path, DebianError> {
        let found = self.keyrings.iter().find(|path| path.is_file());
        let first = || self.keyrings.first().cloned().unwrap_or_default();
        found.map(PathBuf::as_path).ok_or_else(|| DebianError::NoKeyring(first()))
    }

    /// The mirrors of the environment or of apt's sources.
    pub(super) fn mirrors(&self) -> Result<Mirrors, DebianError> {
        let named = |variable, value: &Option<String>| match value {
            Some(uri) if mirrors::is_uri(uri) => {
                Ok(Some(Mirror { uri: uri.trim_end_matches('/').to_owned(), signed_by: None }))
            }
            Some(value) => Err(DebianError::BadMirror { variable, value: value.clone() }),
            None => Ok(None),
        };
        let main = named(MAIN_VARIABLE, &self.main_mirror)?;
        let security = named(SECURITY_VARIABLE, &self.security_mirror)?;
        match main {
            // A user who names the main mirror means only that one: the system's security mirror may be unreachable.
            Some(main) => Ok(Mirrors { main, security }),
            None => {
                let found = Mirrors::find(&self.source_entries()?);
                let found = found.ok_or_else(|| DebianError::NoMirror(self.etc_apt.clone()))?;
                Ok(Mirrors { security: security.or(found.security), main: found.main })
            }
        }
    }

    /// All of apt's entries in apt's order: `sources.list`, then the other files by name.
    fn source_entries(&self) -> Result<Vec<SourceEntry>, DebianError> {
        let mut files = vec![self.etc_apt.join("sources.list")];
        let parts = self.etc_apt.join("sources.list.d");
        match fs::read_dir(&parts) {
            Ok(listing) => {
                let paths: io::Result<Vec<PathBuf>> = listing.map(|file| Ok(file?.path())).collect();
                let mut paths = paths.map_err(|cause| DebianError::Sources { path: parts, cause })?;
                paths.sort();
                files.extend(paths);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(DebianError::Sources { path: parts, cause }),
        }
        let mut entries = Vec::new();
        for path in files {
            let parse = match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => sources::parse_one_line,
                Some("sources") => sources::parse_deb822,
                _ => continue,
            };
            match fs::read(&path) {
                Ok(text) => entries.extend(parse(&String::from_utf8_lossy(&text))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(DebianError::Sources { path, cause }),
            }
        }
        Ok(entries)
    }
}

/// The context of a fetch's steps.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub system: &'a System,
    /// The source, for example `debian:trixie`.
    pub label: &'a str,
    /// vmlab's cache, named in errors about a full disk.
    pub cache: &'a Path,
    pub progress: &'a dyn Progress,
}

impl Job<'_> {
    /// Reports the current step.
    pub(super) fn step(&self, what: &str) {
        self.progress.step(&format!("{}: {what}", self.label));
    }
}

/// Runs a tool. The caller judges its exit status.
///
/// # Errors
/// [`DebianError::NoTool`], [`DebianError::Start`].
pub(super) async fn run(command: Command, on_line: impl FnMut(&str)) -> Result<Finished, DebianError> {
    let path = PathBuf::from(command.as_std().get_program());
    command::run(command, on_line).await.map_err(|cause| {
        let program = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match cause.kind() {
            io::ErrorKind::NotFound => DebianError::NoTool { program },
            _ => DebianError::Start { program, cause },
        }
    })
}
