//! The machine: its PATH and its files.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use super::manager::Manager;
use super::need::{self, Need, Scope, Sign};

/// The places to search. Tests use a directory as a machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The value of `PATH`.
    pub(crate) path: Option<OsString>,
    /// The root directory: `/`.
    pub(crate) root: PathBuf,
}

impl Machine {
    /// The machine that vmlab runs on.
    #[must_use]
    pub(crate) fn this() -> Self {
        Self { path: env::var_os("PATH"), root: PathBuf::from("/") }
    }

    /// Finds a program in `PATH`.
    #[must_use]
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(self.path.as_ref()?)
            .map(|directory| directory.join(name))
            .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
    }

    /// An absolute path below `root`.
    #[must_use]
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether the machine has the programs or files of a need.
    #[must_use]
    pub(crate) fn has(&self, need: &Need) -> bool {
        match need.sign {
            Sign::Programs(programs) => programs.iter().all(|program| self.program(program).is_some()),
            Sign::AnyFile(files) => files.iter().any(|file| self.file(file).is_file()),
        }
    }

    /// The needs that the machine lacks.
    #[must_use]
    pub(crate) fn missing(&self, scope: Scope) -> Vec<&'static Need> {
        need::ALL.iter().filter(|need| need.scope <= scope && !self.has(need)).collect()
    }

    /// The package manager of the distribution in os-release(5), or the first one that is installed.
    #[must_use]
    pub(crate) fn manager(&self) -> Option<Manager> {
        let there = |manager: &Manager| self.program(manager.program()).is_some();
        // os-release(5): the second file is the fallback of the first.
        let os_release = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| fs::read_to_string(self.file(path)).ok())
            .unwrap_or_default();
        Manager::of_system(&os_release).filter(there).or_else(|| Manager::ALL.into_iter().find(there))
    }
}
