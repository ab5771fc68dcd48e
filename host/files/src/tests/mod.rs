//! A guest's requests over a socket, without a guest.

mod changes;
mod client;
mod hiding;
mod hostile;
mod protocol;
mod reading;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Request, View};

/// A tree that stands for the host's files, and what is asked to be shown of it.
struct Host {
    dir: TempDir,
    home: Option<PathBuf>,
    whole_home: bool,
    shares: Vec<PathBuf>,
    cwd: PathBuf,
    extra: Vec<(PathBuf, PathBuf)>,
}

impl Host {
    /// A tree of files whose content is their path. A path that ends with a slash is a directory.
    fn with(paths: &[&str]) -> Self {
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
            home: Some("/home/me".into()),
            whole_home: false,
            shares: Vec::new(),
            cwd: "/".into(),
            extra: Vec::new(),
        };
        for path in paths {
            host.add(path);
        }
        host
    }

    fn add(&self, path: &str) {
        let at = self.path(path);
        if path.ends_with('/') {
            return fs::create_dir_all(at).unwrap();
        }
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, path).unwrap();
    }

    /// Where a path of the tree really is.
    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path.as_ref().strip_prefix("/").unwrap())
    }

    fn view(&self) -> View {
        let request = Request {
            home: self.home.as_deref(),
            whole_home: self.whole_home,
            shares: &self.shares,
            cwd: &self.cwd,
            extra: &self.extra,
        };
        View::below(self.dir.path(), &request).unwrap()
    }
}
