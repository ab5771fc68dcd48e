//! Makes the kernel modules with which the fault suite breaks a kernel: for any stock kernel, without a compiler and without
//! the kernel's headers.
//!
//! All that depends on the kernel is copied from the modules that came with it. A kernel accepts a module if its `vermagic`
//! is the kernel's, if `struct module` has the kernel's size, and if the imported symbols have the kernel's checksums
//! ([`pattern`] reads `.modinfo`, `__versions`, and `.gnu.linkonce.this_module` with the offsets of the name and of the init
//! function's address). All other fields of `struct module` may be zero. The instructions are a few bytes written by hand
//! ([`code`]), and import functions that have not changed for years. [`elf`] writes the file. The module is unsigned: a
//! kernel accepts it unless it enforces signatures (`CONFIG_MODULE_SIG_FORCE`, `module.sig_enforce=1`, lockdown). Such a
//! kernel refuses it with EKEYREJECTED or EPERM.
//!
//! Works with stock Debian kernels 5.10, 6.1, 6.12 and 7.3.

use std::collections::{BTreeMap, BTreeSet};

use vmlab_image::modules::{ModuleIndex, ModulesError, read_module};
use vmlab_kernel::modules::ModuleDir;

pub(crate) mod code;
pub(crate) mod elf;
pub(crate) mod pattern;

use pattern::Pattern;

/// Modules that most kernels have, and that together show most of what is wanted.
const TELLING: &[&str] = &["loop", "tun", "softdog", "virtio_balloon", "efivarfs", "sr_mod", "ena", "e1000", "dm-mod"];
/// How many modules are read at most.
const READ_LIMIT: usize = 12;

/// Why a module of the kernel shows nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// The file cannot be read.
    #[error("cannot read it as an ELF file")]
    Elf(#[source] object::Error),
    /// A part that every module has is missing.
    #[error("it has no {0}")]
    Lacks(&'static str),
}

/// Why a fault's module cannot be made for a kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmakeable {
    /// The kernel's configuration lacks the feature that the fault is about.
    #[error("the kernel does not have {0}")]
    Config(&'static str),
    /// No module that was read has a `__bug_table`.
    #[error("the kernel's modules do not show how its table of BUG() and WARN() is laid out")]
    NoBugTable,
    /// The kernel checks checksums, and no module that was read imports the function that the fault calls.
    #[error("no module of the kernel that was read shows the checksum of {0}")]
    Checksum(&'static str),
    /// The name is longer than the field in `struct module`.
    #[error("the module's name does not fit")]
    Name,
    /// The ELF file was not written.
    #[error("cannot write the module's file: {0}")]
    Write(object::write::Error),
}

/// Why no fault's module can be made for a kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoModules {
    /// The kernel came without modules.
    #[error("it needs the kernel's modules, and {0} came without any")]
    None(String),
    /// The modules cannot be read.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// No module that was read has the known layout.
    #[error("the kernel's modules are unlike any that is known: {path}")]
    Unusable {
        /// The first module, relative to the module directory.
        path: String,
        /// The cause.
        source: Unusable,
    },
}

/// For each fault that needs a module: the module's file, or why it cannot be made.
pub(crate) type FaultModules = BTreeMap<&'static str, Result<Vec<u8>, Unmakeable>>;

/// Makes all modules for the kernel of a module directory. `has` says whether the kernel has a config symbol.
///
/// # Errors
/// [`NoModules`]
pub(crate) fn make_all(directory: &ModuleDir, has: impl Fn(&str) -> bool) -> Result<FaultModules, NoModules> {
    let possible = code::ALL.iter().filter(|recipe| recipe.needs.is_none_or(&has));
    let wanted = possible.flat_map(|recipe| recipe.code_for(&has).imports().collect::<Vec<_>>()).collect();
    let pattern = learn(directory, &wanted)?;
    let make = |recipe: &code::Recipe| match recipe.needs {
        Some(symbol) if !has(symbol) => Err(Unmakeable::Config(symbol)),
        _ => elf::write(&module_name(recipe.name), &recipe.code_for(&has), &pattern),
    };
    Ok(code::ALL.iter().map(|recipe| (recipe.name, make(recipe))).collect())
}

/// The name in the kernel's messages.
fn module_name(name: &str) -> String {
    format!("fault_{}", name.replace('-', "_"))
}

fn learn(directory: &ModuleDir, wanted: &BTreeSet<&str>) -> Result<Pattern, NoModules> {
    let index = ModuleIndex::read(directory)?;
    let mut pattern: Option<Pattern> = None;
    let mut unusable = None;
    for path in index.files_beginning_with(TELLING).take(READ_LIMIT) {
        let read = Pattern::read(&read_module(&directory.path, path)?);
        match (&mut pattern, read) {
            (Some(pattern), Ok(read)) => pattern.learn(read),
            (None, Ok(read)) => pattern = Some(read),
            // Some modules have no init function. They matter only if no other module can be used.
            (_, Err(source)) => {
                unusable.get_or_insert(NoModules::Unusable { path: path.to_owned(), source });
            }
        }
        if pattern.as_ref().is_some_and(|pattern| pattern.is_complete(wanted)) {
            break;
        }
    }
    pattern.ok_or_else(|| unusable.unwrap_or_else(|| NoModules::None(directory.path.display().to_string())))
}

#[cfg(test)]
mod tests;
