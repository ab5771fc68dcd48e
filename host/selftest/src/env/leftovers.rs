//! What runs in a test environment have left behind.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use super::TestEnv;

/// Processes, sockets and temporary files of a test environment in which no run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftovers {
    /// Processes with the environment's marker.
    pub processes: usize,
    /// Sockets that those processes have open, and socket files.
    pub sockets: usize,
    /// Files in the temporary directory, and dot files in the cache.
    pub files: usize,
}

impl Leftovers {
    /// Counts what is there now.
    #[must_use]
    pub fn count(env: &TestEnv) -> Self {
        let marked = env.processes();
        let mut sockets: usize = marked.iter().map(super::Process::sockets).sum();
        let mut files = 0;
        // In the cache, the name of a temporary file or directory begins with a dot.
        let mut open: Vec<(PathBuf, bool)> = vec![(env.temporary(), true), (env.cache().join("vmlab"), false)];
        while let Some((dir, all)) = open.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                let temporary = all || entry.file_name().to_string_lossy().starts_with('.');
                sockets += usize::from(kind.is_socket());
                files += usize::from(!kind.is_dir() && temporary);
                if kind.is_dir() {
                    open.push((entry.path(), temporary));
                }
            }
        }
        Self { processes: marked.len(), sockets, files }
    }

    /// Whether all counts are zero.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.processes == 0 && self.sockets == 0 && self.files == 0
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, sockets, files } = self;
        write!(f, "{processes} processes, {sockets} sockets, {files} temporary files")
    }
}
