//! Looks programs up in PATH, on this machine.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The places of file systems of the guest's kernel: a guest has other files there than this machine.
const OF_GUESTS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// The file to which a name leads by the directories of PATH.
pub(super) fn in_path(path: &OsStr, program: &OsStr) -> Option<PathBuf> {
    first(env::split_paths(path), program)
}

/// The file to which a name leads in a guest that sees all directories of PATH. None for a path instead of a name, and if a guest may
/// find another file before it.
pub(super) fn in_guests(path: &OsStr, program: &OsStr) -> Option<PathBuf> {
    if program.is_empty() || program.as_bytes().contains(&b'/') {
        return None;
    }
    let differs = |dir: &PathBuf| !dir.is_absolute() || OF_GUESTS.iter().any(|place| dir.starts_with(place));
    first(env::split_paths(path).take_while(|dir| !differs(dir)), program)
}

fn first(mut dirs: impl Iterator<Item = PathBuf>, program: &OsStr) -> Option<PathBuf> {
    let is_program =
        |path: &Path| path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0);
    dirs.find_map(|dir| Some(dir.join(program)).filter(|path| is_program(path)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_is_found_where_a_guest_would_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        for dir in [&first, &second] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("x"), "").unwrap();
        }
        let found = |dirs: &[&Path], name: &str| in_guests(&env::join_paths(dirs).unwrap(), OsStr::new(name));
        assert_eq!(found(&[&first, &second], "x"), None, "neither can be executed");
        fs::set_permissions(second.join("x"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(found(&[&first, &second], "x"), Some(second.join("x")));
        assert_eq!(found(&[&first], "y"), None);
        // A guest may have an x there.
        for place in ["/run/current/bin", "/dev", "bin", ""] {
            assert_eq!(found(&[Path::new(place), &second], "x"), None, "{place}");
        }
        assert_eq!(found(&[&second], "./x"), None);
    }
}
