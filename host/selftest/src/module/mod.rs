//! Kernel modules made without a compiler, without the kernel's headers and without its build tree, for any stock kernel:
//! what the fault suite breaks a kernel with.
//!
//! Why that works: what differs from one kernel to the next is in every module that came with it, and can be copied from
//! there. A module is accepted where its `vermagic` is the kernel's, its `struct module` has the kernel's size, and what it
//! imports has the checksums that the kernel has ([`pattern`]: `.modinfo`, `.gnu.linkonce.this_module` with the places of
//! the name and of the init function's address, `__versions`). All else in `struct module` may be zero. The instructions
//! are a few bytes written down by hand ([`code`]) and import a few functions that have not changed for years. What is
//! put together like that ([`elf`]) is an unsigned module: a kernel takes it unless it was told not to
//! (`CONFIG_MODULE_SIG_FORCE`, `module.sig_enforce=1`, lockdown), and then says EKEYREJECTED or EPERM.
//!
//! Seen with stock Debian kernels 5.10, 6.1, 6.12 and 7.3.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use vmlab_image::modules::{ModuleIndex, ModulesError, read_module};

pub mod code;
pub mod elf;
pub mod pattern;

use pattern::Pattern;

/// Modules that most kernels have and that show most of what is wanted between them.
const TELLING: &[&str] = &["loop", "tun", "softdog", "virtio_balloon", "efivarfs", "sr_mod", "ena", "e1000", "dm-mod"];
/// How many are read at most.
const READ_LIMIT: usize = 12;

/// A module from which nothing can be learnt.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is no ELF file.
    #[error("it cannot be read as an ELF file")]
    Elf(#[source] object::Error),
    /// Something that every module has is not there.
    #[error("it has no {0}")]
    Lacks(&'static str),
}

/// A module that cannot be made for a kernel.
#[derive(Debug, thiserror::Error)]
pub enum Unmakeable {
    /// The kernel lacks what the fault is about.
    #[error("the kernel does not have {0}")]
    Config(&'static str),
    /// None of the modules that were read has a table of BUG() and WARN().
    #[error("the kernel's modules do not show how its table of BUG() and WARN() is laid out")]
    NoBugTable,
    /// None of the modules that were read imports what the fault calls, and the kernel wants to know its checksum.
    #[error("none of the kernel's modules that were read shows the checksum of {0}")]
    Checksum(&'static str),
    /// The name has no room in `struct module`.
    #[error("the module's name does not fit")]
    Name,
    /// The file cannot be put together.
    #[error("the module's file cannot be put together: {0}")]
    Write(object::write::Error),
}

/// Why there is no module at all.
#[derive(Debug, thiserror::Error)]
pub enum NoModules {
    /// The kernel came without any.
    #[error("it needs the kernel's modules, and {0} came without any")]
    None(String),
    /// They cannot be read.
    #[error(transparent)]
    Modules(#[from] ModulesError),
    /// None of those that were read is like any that is known.
    #[error("the kernel's modules are unlike any that is known: {path}")]
    Unusable {
        /// The first one, relative to the module directory.
        path: String,
        /// Why.
        source: Unusable,
    },
}

/// The modules that could be made, by name, and why not where one could not.
pub type FaultModules = BTreeMap<&'static str, Result<Vec<u8>, Unmakeable>>;

/// Makes all modules for the kernel whose module directory this is. `has` tells whether the kernel has a config symbol.
///
/// # Errors
/// [`NoModules`]
pub fn make_all(directory: &Path, has: impl Fn(&str) -> bool) -> Result<FaultModules, NoModules> {
    let possible = code::ALL.iter().filter(|recipe| recipe.needs.is_none_or(&has));
    let wanted = possible.flat_map(|recipe| recipe.code_for(&has).imports().collect::<Vec<_>>()).collect();
    let pattern = learn(directory, &wanted)?;
    let make = |recipe: &code::Recipe| match recipe.needs {
        Some(symbol) if !has(symbol) => Err(Unmakeable::Config(symbol)),
        _ => elf::write(&module_name(recipe.name), &recipe.code_for(&has), &pattern),
    };
    Ok(code::ALL.iter().map(|recipe| (recipe.name, make(recipe))).collect())
}

/// As the kernel names it.
fn module_name(name: &str) -> String {
    format!("fault_{}", name.replace('-', "_"))
}

fn learn(directory: &Path, wanted: &BTreeSet<&str>) -> Result<Pattern, NoModules> {
    let index = ModuleIndex::read(directory)?;
    let mut pattern: Option<Pattern> = None;
    let mut unusable = None;
    for path in index.files_beginning_with(TELLING).take(READ_LIMIT) {
        let read = Pattern::read(&read_module(directory, path)?);
        match (&mut pattern, read) {
            (Some(pattern), Ok(read)) => pattern.learn(read),
            (None, Ok(read)) => pattern = Some(read),
            // Some have no init function: they are left out where there are others.
            (_, Err(source)) => {
                unusable.get_or_insert(NoModules::Unusable { path: path.to_owned(), source });
            }
        }
        if pattern.as_ref().is_some_and(|pattern| pattern.is_complete(wanted)) {
            break;
        }
    }
    pattern.ok_or_else(|| unusable.unwrap_or_else(|| NoModules::None(directory.display().to_string())))
}

#[cfg(test)]
mod tests;
