//! Says why a guest does not find a program that the host has.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use vmlab_files::Visibility;
use vmlab_lab::command::FilesPlan;

use super::lookup;

/// Directories for temporary files that each guest has.
const IN_GUESTS: [&str; 2] = ["/tmp", "/dev/shm"];

/// The sentence for a program that was not found; None if the host does not have it either, or shows it.
pub(super) fn explanation(program: &OsStr, files: &FilesPlan) -> Option<String> {
    let path = on_host(program, &files.cwd, &env::var_os("PATH").unwrap_or_default())?;
    // If the view cannot be made, the run has said so.
    let Visibility::Hidden { path: hidden, why, flag } = files.view(&[]).ok()?.shows(&path) else { return None };
    let name = path.display();
    let leads = if hidden == path { String::new() } else { format!(" leads to {}, which", hidden.display()) };
    let remedy = flag.map(|flag| format!(": {flag} shows it")).unwrap_or_default();
    Some(format!("{name}{leads} is hidden from the program, because {why}{remedy}"))
}

/// Whether a variable names a directory for temporary files that the program does not see. Programs do not create it, and use
/// /tmp if the variable is not set.
pub(super) fn is_lost_temporary_directory(name: &OsStr, dir: &Path, files: Option<&FilesPlan>) -> bool {
    if !["TEMP", "TMP", "TMPDIR"].iter().any(|known| name == *known)
        || IN_GUESTS.iter().any(|own| dir == Path::new(own))
    {
        return false;
    }
    // If the view cannot be made, the run will say so.
    files.is_none_or(|files| files.view(&[]).is_ok_and(|view| matches!(view.shows(dir), Visibility::Hidden { .. })))
}

/// The program's file on the host.
fn on_host(program: &OsStr, cwd: &Path, path: &OsStr) -> Option<PathBuf> {
    if Path::new(program).parent().is_some_and(|parent| !parent.as_os_str().is_empty()) {
        return Some(cwd.join(program)).filter(|path| path.exists());
    }
    lookup::in_path(path, program)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_temporary_directory_that_the_program_does_not_see_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        for name in ["work/tmp", "tmp", ".cache/tmp"] {
            fs::create_dir_all(home.join(name)).unwrap();
        }
        let (shares, cwd) = (vec![home.join(".cache")], home.join("work"));
        let files = FilesPlan { home: Some(home.clone()), whole_home: false, shares, cwd };
        let lost = |name: &str, dir: &Path| is_lost_temporary_directory(name.as_ref(), dir, Some(&files));
        for name in ["TMPDIR", "TMP", "TEMP"] {
            assert!(lost(name, &home.join("tmp")) && lost(name, "/run/user/1000".as_ref()), "{name}");
            for shown in
                [&home.join("work/tmp"), &home.join(".cache/tmp"), Path::new("/var/tmp"), Path::new("/dev/shm")]
            {
                assert!(!lost(name, shown), "{name}={}", shown.display());
            }
        }
        assert!(!lost("OTHER", &home.join("tmp")));
        let without_files = |dir: &str| is_lost_temporary_directory("TMPDIR".as_ref(), dir.as_ref(), None);
        assert!(without_files("/var/tmp") && !without_files("/tmp"));
    }

    #[test]
    fn a_program_of_the_home_is_named_with_the_option_that_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("conda/bin")).unwrap();
        fs::create_dir(home.join("work")).unwrap();
        let tool = home.join("conda/bin/tool");
        fs::write(&tool, "").unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        let path = home.join("conda/bin");
        assert_eq!(on_host(OsStr::new("tool"), &home, path.as_os_str()), Some(tool.clone()));
        assert_eq!(on_host(OsStr::new("none"), &home, path.as_os_str()), None);
        let files =
            FilesPlan { home: Some(home.clone()), whole_home: false, shares: Vec::new(), cwd: home.join("work") };
        let said = explanation(tool.as_os_str(), &files).unwrap_or_default();
        assert_eq!(
            said,
            format!(
                "{} is hidden from the program, because it is in your home directory, outside the working directory: \
                 --home shows it",
                tool.display()
            )
        );
        assert_eq!(explanation(tool.as_os_str(), &FilesPlan { whole_home: true, ..files }), None);
    }
}
