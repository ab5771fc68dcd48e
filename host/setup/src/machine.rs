//! The machine, as far as set-up looks at it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use nix::unistd::{AccessFlags, access};

use super::manager::Manager;
use super::need::{self, Need, Scope, Sign};

/// Where to look for what.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `PATH`.
    pub path: Option<OsString>,
    /// The directory that absolute paths are below: `/`.
    pub root: PathBuf,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        Self { path: env::var_os("PATH"), root: PathBuf::from("/") }
    }

    /// A program in `PATH`.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(self.path.as_ref()?)
            .map(|directory| directory.join(name))
            .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
    }

    /// The file of an absolute path.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether something that is needed is there.
    #[must_use]
    pub fn has(&self, need: &Need) -> bool {
        match need.sign {
            Sign::Programs(programs) => programs.iter().all(|program| self.program(program).is_some()),
            Sign::AnyFile(files) => files.iter().any(|file| self.file(file).is_file()),
        }
    }

    /// What is needed and not there.
    #[must_use]
    pub fn missing(&self, scope: Scope) -> Vec<&'static Need> {
        need::ALL.iter().filter(|need| need.scope <= scope && !self.has(need)).collect()
    }

    /// The package manager: that of the system by its os-release(5), or the first that is there.
    #[must_use]
    pub fn manager(&self) -> Option<Manager> {
        let there = |manager: &Manager| self.program(manager.program()).is_some();
        // os-release(5): the second file is read where the first is not there.
        let os_release = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| fs::read_to_string(self.file(path)).ok())
            .unwrap_or_default();
        Manager::of_system(&os_release).filter(there).or_else(|| Manager::ALL.into_iter().find(there))
    }
}
