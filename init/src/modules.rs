//! Kernel modules. The host has put them into the image decompressed, with lists that say in which order to load them.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// Loads the modules of a list, one path a line, in order. Returns those loaded, and what went wrong.
///
/// A list that does not exist is empty: the kernel has nothing there to load.
pub fn load_list(list: &Path) -> (Vec<String>, Vec<String>) {
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
        // Another scenario of this boot has loaded it.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(format!("cannot load the module {path}: {error}")),
    }
}
