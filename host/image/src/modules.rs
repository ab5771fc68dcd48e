//! A kernel's modules: which exist, which are built in, and the load order of a module and its dependencies.
//!
//! The order comes from the kernel's `modules.dep`, because it differs between kernels: `virtio` of Debian's 6.1 needs
//! `virtio_ring`, `virtio` of 5.10 does not. Sources: depmod(8), modules.dep(5), and Documentation/kbuild/kbuild.rst of
//! Linux 6.12 for `modules.builtin`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vmlab_kernel::decompress::{self, DecompressError};
use vmlab_kernel::modules::ModuleDir;

/// The size limit of a module file and of its decompressed contents, in bytes. Debian's largest module with debug
/// information has about a third of it.
pub(crate) const MAX_MODULE_BYTES: u64 = 256 << 20;

/// Why a module is not available.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A file of the module directory cannot be read.
    #[error("cannot read {path} of the kernel's modules; install the modules with `make modules_install`")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `modules.dep` cannot be read.
    #[error(
        "cannot read modules.dep of the kernel's modules in {directory}; make it readable, or make it with depmod(8)"
    )]
    List {
        /// The path of the module directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line of `modules.dep` or `modules.builtin` is malformed.
    #[error("{file} of the kernel's modules is damaged: line {line} is {problem}; run depmod(8) again")]
    Line {
        /// `modules.dep` or `modules.builtin`.
        file: &'static str,
        /// The line number, from 1.
        line: usize,
        /// The problem.
        problem: &'static str,
    },
    /// A module depends on a module without a line in `modules.dep`.
    #[error(
        "modules.dep of the kernel's modules is damaged: {needed_by} needs {path}, which has no line; run depmod(8) again"
    )]
    UnknownDependency {
        /// The module with the dependency.
        needed_by: String,
        /// The missing module, relative to the module directory.
        path: String,
    },
    /// A module depends on itself, directly or through other modules.
    #[error("modules.dep of the kernel's modules is damaged: {0} depends on itself; run depmod(8) again")]
    Cycle(String),
    /// A module's file contains no module.
    #[error("cannot use the kernel module {path}")]
    Content {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: DecompressError,
    },
}

/// The result of looking up a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The module is built into the kernel.
    Builtin,
    /// The kernel lacks the module, or has it built in and there is no list of what is built in.
    Absent,
    /// The files to load, in order; the module itself is the last.
    Files(Vec<ModuleFile>),
}

/// A module's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFile {
    /// The module's name with underscores, for example `virtio_rng`.
    pub name: String,
    /// The path relative to the module directory, for example `kernel/drivers/char/hw_random/virtio-rng.ko.xz`.
    pub path: String,
}

/// The modules of a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleIndex {
    /// The lines of `modules.dep` by path.
    lines: BTreeMap<String, Line>,
    /// Paths by module name.
    paths: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
    knows_builtin: bool,
}

/// A line of `modules.dep` without the module's path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    /// Paths of dependencies, the deepest last.
    needs: Vec<String>,
}

impl ModuleIndex {
    /// Reads `modules.dep` and `modules.builtin` of a module directory. Without `modules.builtin`, which modules are
    /// built in is not known.
    ///
    /// # Errors
    /// [`ModulesError::List`], [`ModulesError::Read`] and [`ModulesError::Line`].
    pub fn read(directory: &ModuleDir) -> Result<Self, ModulesError> {
        let failed = |source| ModulesError::List { directory: directory.path.clone(), source };
        let dep = directory.list().map_err(failed)?;
        let path = directory.path.join("modules.builtin");
        let builtin = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ModulesError::Read { path, source }),
        };
        Self::parse(&dep, builtin.as_deref())
    }

    /// Parses the texts of `modules.dep` and `modules.builtin`, if there is one.
    ///
    /// # Errors
    /// [`ModulesError::Line`] if a line is malformed or its path is outside of the module directory.
    pub fn parse(dep: &str, builtin: Option<&str>) -> Result<Self, ModulesError> {
        let mut index = Self { knows_builtin: builtin.is_some(), ..Self::default() };
        for (number, line) in lines(dep) {
            let bad = |problem| ModulesError::Line { file: "modules.dep", line: number, problem };
            let (path, rest) = line.split_once(':').ok_or_else(|| bad("without a colon"))?;
            let name = module_name(path).map_err(bad)?;
            let needs: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
            for path in &needs {
                module_name(path).map_err(bad)?;
            }
            if index.paths.insert(name.clone(), path.to_owned()).is_some() {
                return Err(bad("a duplicate"));
            }
            index.lines.insert(path.to_owned(), Line { name, needs });
        }
        for (number, line) in lines(builtin.unwrap_or_default()) {
            let bad = |problem| ModulesError::Line { file: "modules.builtin", line: number, problem };
            index.builtin.insert(module_name(line).map_err(bad)?);
        }
        Ok(index)
    }

    /// Whether the list of built-in modules is known, so that [`Found::Absent`] is certain.
    #[must_use]
    pub const fn knows_builtin(&self) -> bool {
        self.knows_builtin
    }

    /// Looks up a module. Hyphens and underscores are equivalent, as for modprobe(8). A module that is both a file and
    /// built in counts as built in.
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

    /// The paths of all module files relative to the module directory, beginning with those of `names`.
    pub fn files_beginning_with<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let first = names.iter().filter_map(|name| self.paths.get(&normal(name)));
        let is_first = |name: &str| names.iter().any(|first| normal(first) == name);
        let rest = self.paths.iter().filter(move |(name, _)| !is_first(name)).map(|(_, path)| path);
        first.chain(rest).map(String::as_str)
    }

    /// The module `wanted` and its dependencies, each after its own dependencies. A line lists the deepest dependency
    /// last, so lines are read from the end. The lines of dependencies are read, too, so that lists of only direct
    /// dependencies work as well as depmod(8)'s complete ones.
    fn load_order(&self, wanted: &str) -> Result<Vec<ModuleFile>, ModulesError> {
        let line = |path: &str, needed_by: &str| {
            self.lines.get_key_value(path).ok_or_else(|| ModulesError::UnknownDependency {
                needed_by: needed_by.to_owned(),
                path: path.to_owned(),
            })
        };
        let mut order = Vec::new();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        // The stack of modules being visited, each needed by the one before it, with its dependencies still to visit.
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

/// Reads a module's file and decompresses it if necessary.
///
/// # Errors
/// [`ModulesError::Read`] if the file cannot be read or exceeds `MAX_MODULE_BYTES`, [`ModulesError::Content`] if it
/// contains no module.
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

/// The module name (with underscores) from a file's path. The error says why the path is no module's or is outside of
/// the module directory.
fn module_name(path: &str) -> Result<String, &'static str> {
    if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("a path outside of the directory");
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

/// Non-empty lines that are no comments, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests;
