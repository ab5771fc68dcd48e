//! Loads kernel modules. The image holds them decompressed, with lists that give the order of loading.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// Loads the modules of a list (one path per line) in order. Returns the loaded modules and the problems.
///
/// A missing list counts as empty: the kernel needs no module for this.
pub(crate) fn load_list(list: &Path) -> (Vec<String>, Vec<String>) {
    let (mut loaded, mut problems) = (Vec::new(), Vec::new());
    match fs::read_to_string(list) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => problems.push(format!("cannot read {}: {error}", list.display())),
        Ok(text) => {
            for path in text.lines().filter(|line| !line.is_empty()) {
                match load(path) {
                    Ok(()) => loaded.push(path.to_owned()),
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }
    (loaded, problems)
}

fn load(path: &str) -> Result<(), String> {
    let file = File::open(path).map_err(|error| format!("cannot open the module {path}: {error}"))?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        // EEXIST: another scenario of this boot has loaded the module.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(format!("cannot load the module {path}: {error}")),
    }
}
