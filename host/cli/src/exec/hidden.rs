//! Says why a guest does not find a program that the host has.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use vmlab_files::Visibility;
use vmlab_lab::command::FilesPlan;

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

/// The program's file on the host.
fn on_host(program: &OsStr, cwd: &Path, path: &OsStr) -> Option<PathBuf> {
    if Path::new(program).parent().is_some_and(|parent| !parent.as_os_str().is_empty()) {
        return Some(cwd.join(program)).filter(|path| path.exists());
    }
    let is_program =
        |path: &PathBuf| path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0);
    env::split_paths(path).map(|dir| dir.join(program)).find(is_program)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
