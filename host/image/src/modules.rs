//! A kernel's modules: which there are, which are built in, and in which order a wanted one and what it depends on are
//! to be loaded.
//!
//! The order is the kernel's own, from the `modules.dep` beside its modules, as it differs from one to the next: the
//! `virtio` of Debian's 6.1 needs `virtio_ring`, that of 5.10 does not. Sources: depmod(8), modules.dep(5), and
//! Documentation/kbuild/kbuild.rst of Linux 6.12 for `modules.builtin`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vmlab_kernel::decompress::{self, DecompressError};

/// The largest module file that is read, in bytes, and the largest it may become when it is decompressed. With all its
/// debug information, the largest of Debian's has about a third of that.
pub const MAX_MODULE_BYTES: u64 = 256 << 20;

/// Why a module cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A file of the module directory cannot be read.
    #[error("cannot read {path} of the kernel's modules; give a directory as `make modules_install` leaves it")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of `modules.dep` or `modules.builtin` is not as documented.
    #[error("{file} of the kernel's modules is damaged: line {line} is {problem}; run depmod(8) for it anew")]
    Line {
        /// `modules.dep` or `modules.builtin`.
        file: &'static str,
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A module depends on one that `modules.dep` has no line for.
    #[error(
        "modules.dep of the kernel's modules is damaged: {needed_by} needs {path}, which has no line of its own; run depmod(8) for it anew"
    )]
    UnknownDependency {
        /// Whose line names it.
        needed_by: String,
        /// Relative to the module directory.
        path: String,
    },
    /// A module depends on itself, through others or at once.
    #[error("modules.dep of the kernel's modules is damaged: {0} depends on itself; run depmod(8) for it anew")]
    Cycle(String),
    /// A module's file is not a module.
    #[error("cannot use the kernel module {path}")]
    Content {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: DecompressError,
    },
}

/// What there is under a module's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The kernel has it inside: nothing to load.
    Builtin,
    /// The kernel was built without it.
    Absent,
    /// The files to load, in that order; the wanted module is the last.
    Files(Vec<ModuleFile>),
}

/// A module that is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFile {
    /// Its name, with underscores: `virtio_rng`.
    pub name: String,
    /// Relative to the module directory: `kernel/drivers/char/hw_random/virtio-rng.ko.xz`.
    pub path: String,
}

/// The modules of one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleIndex {
    /// By path as in `modules.dep`.
    lines: BTreeMap<String, Line>,
    /// Module name to path.
    paths: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
}

/// A line of `modules.dep` but for the path that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    /// Paths, the deepest dependency last.
    needs: Vec<String>,
}

impl ModuleIndex {
    /// Reads `modules.dep` and `modules.builtin` of a module directory.
    ///
    /// # Errors
    /// [`ModulesError::Read`] and [`ModulesError::Line`].
    pub fn read(directory: &Path) -> Result<Self, ModulesError> {
        let text = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|source| ModulesError::Read { path, source })
        };
        Self::parse(&text("modules.dep")?, &text("modules.builtin")?)
    }

    /// Reads the texts of `modules.dep` and `modules.builtin`.
    ///
    /// # Errors
    /// [`ModulesError::Line`] where a line is not as documented, or leads out of the module directory.
    pub fn parse(dep: &str, builtin: &str) -> Result<Self, ModulesError> {
        let mut index = Self::default();
        for (number, line) in lines(dep) {
            let bad = |problem| ModulesError::Line { file: "modules.dep", line: number, problem };
            let (path, rest) = line.split_once(':').ok_or_else(|| bad("without a colon"))?;
            let name = module_name(path).map_err(bad)?;
            let needs: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            for path in &needs {
                module_name(path).map_err(bad)?;
            }
            if index.paths.insert(name.clone(), path.to_owned()).is_some() {
                return Err(bad("the second for its module"));
            }
            index.lines.insert(path.to_owned(), Line { name, needs });
        }
        for (number, line) in lines(builtin) {
            let bad = |problem| ModulesError::Line { file: "modules.builtin", line: number, problem };
            index.builtin.insert(module_name(line).map_err(bad)?);
        }
        Ok(index)
    }

    /// What there is under `name`; hyphens and underscores are the same in it, as for modprobe(8). A module that is
    /// both a file and built in counts as built in.
    ///
    /// # Errors
    /// [`ModulesError::UnknownDependency`] and [`ModulesError::Cycle`].
    pub fn find(&self, name: &str) -> Result<Found, ModulesError> {
        let name = normal(name);
        if self.builtin.contains(&name) {
            return Ok(Found::Builtin);
        }
        match self.paths.get(&name) {
            None => Ok(Found::Absent),
            Some(path) => self.load_order(path).map(Found::Files),
        }
    }

    /// The paths of all modules that are files, relative to the module directory: first those of these names.
    pub fn files_beginning_with<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let first = names.iter().filter_map(|name| self.paths.get(&normal(name)));
        let is_first = |name: &str| names.iter().any(|first| normal(first) == name);
        let rest = self.paths.iter().filter(move |(name, _)| !is_first(name)).map(|(_, path)| path);
        first.chain(rest).map(String::as_str)
    }

    /// `path` and all that it needs, each after what it needs itself. A line lists the deepest dependency last, so lines
    /// are read from their ends; each dependency's own line has its say too, so that lists of direct dependencies are
    /// as good as the complete ones that depmod(8) writes.
    fn load_order(&self, wanted: &str) -> Result<Vec<ModuleFile>, ModulesError> {
        let line = |path: &str, needed_by: &str| {
            self.lines.get_key_value(path).ok_or_else(|| ModulesError::UnknownDependency {
                needed_by: needed_by.to_owned(),
                path: path.to_owned(),
            })
        };
        let mut order = Vec::new();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        // The modules being looked at, each one needed by that before it, with those of its needs not yet looked at.
        let (path, top) = line(wanted, wanted)?;
        let mut open: Vec<(&str, &Line, &[String])> = vec![(path, top, &top.needs)];
        while let Some((path, current, rest)) = open.last_mut() {
            let (path, current) = (*path, *current);
            let Some((needed, shorter)) = rest.split_last() else {
                open.pop();
                done.insert(path);
                order.push(ModuleFile { name: current.name.clone(), path: path.to_owned() });
                continue;
            };
            *rest = shorter;
            if open.iter().any(|(path, ..)| path == needed) {
                return Err(ModulesError::Cycle(needed.clone()));
            }
            if !done.contains(needed.as_str()) {
                let (path, next) = line(needed, path)?;
                open.push((path, next, &next.needs));
            }
        }
        Ok(order)
    }
}

/// Reads a module's file and decompresses it where it is compressed.
///
/// # Errors
/// [`ModulesError::Read`] where it cannot be read or is larger than [`MAX_MODULE_BYTES`], [`ModulesError::Content`] where
/// what comes out is no module.
pub fn read_module(directory: &Path, relative: &str) -> Result<Vec<u8>, ModulesError> {
    let path = directory.join(relative);
    let size = fs::metadata(&path).map_err(|source| ModulesError::Read { path: path.clone(), source })?.len();
    if size > MAX_MODULE_BYTES {
        let source = io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes"));
        return Err(ModulesError::Read { path, source });
    }
    let bytes = fs::read(&path).map_err(|source| ModulesError::Read { path: path.clone(), source })?;
    decompress::module(bytes, MAX_MODULE_BYTES).map_err(|source| ModulesError::Content { path, source })
}

/// The name that a module file's path gives it, with underscores; or what is wrong with a path that is no module's, or
/// that leads out of the directory it is relative to.
fn module_name(path: &str) -> Result<String, &'static str> {
    if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("a path that is not plainly below the directory");
    }
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    match file.split_once(".ko") {
        Some((stem, "" | ".xz" | ".gz" | ".zst")) if !stem.is_empty() => Ok(normal(stem)),
        _ => Err("not about a .ko file"),
    }
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Lines that are not empty and no comments, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests;
