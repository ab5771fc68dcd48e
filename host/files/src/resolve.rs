//! Where a path of the host really leads.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// The largest number of symbolic links on one way, as in the kernel (path_resolution(7)).
const LINKS: usize = 40;

/// A path without symbolic links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub path: PathBuf,
    /// The symbolic links that were followed, each by a path without links before its end.
    pub links: Vec<PathBuf>,
}

/// Resolves an absolute path, as a process would whose root directory is `root`. A name that does not exist
/// stays as it is written.
pub(crate) fn resolve(root: &Path, path: &Path) -> Resolved {
    let mut resolved = Resolved { path: PathBuf::from("/"), links: Vec::new() };
    let mut names: VecDeque<OsString> = names_of(path).collect();
    while let Some(name) = names.pop_front() {
        if name == ".." {
            resolved.path.pop();
            continue;
        }
        resolved.path.push(name);
        let on_host = root.join(resolved.path.strip_prefix("/").unwrap_or(&resolved.path));
        let Ok(target) = std::fs::read_link(on_host) else { continue };
        if resolved.links.len() == LINKS {
            continue;
        }
        resolved.links.push(resolved.path.clone());
        resolved.path.pop();
        if target.as_os_str().as_bytes().starts_with(b"/") {
            resolved.path = PathBuf::from("/");
        }
        for name in names_of(&target).collect::<Vec<_>>().into_iter().rev() {
            names.push_front(name);
        }
    }
    resolved
}

/// The names of a path, with `..` among them.
fn names_of(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_below_the_root_and_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("data/home/me")).unwrap();
        symlink("/data/home", dir.path().join("home")).unwrap();
        symlink("me", dir.path().join("data/home/you")).unwrap();
        symlink("../loop", dir.path().join("loop")).unwrap();
        for (path, resolved, links) in [
            ("/home/me/x", "/data/home/me/x", vec!["/home"]),
            ("/home/you/x", "/data/home/me/x", vec!["/home", "/data/home/you"]),
            ("/data/./../data/x", "/data/x", vec![]),
            ("/../..", "/", vec![]),
            ("/loop/x", "/loop/x", vec!["/loop"; LINKS]),
        ] {
            let links = links.into_iter().map(PathBuf::from).collect();
            assert_eq!(resolve(dir.path(), Path::new(path)), Resolved { path: resolved.into(), links }, "{path}");
        }
    }
}
