//! What a suite has left behind.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use super::bench::Bench;
use super::processes;

/// What there is that belongs to a suite and to no run that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftovers {
    /// Processes with the suite's mark.
    pub processes: usize,
    /// Their sockets, and sockets among the suite's files.
    pub sockets: usize,
    /// Temporary files.
    pub files: usize,
}

impl Leftovers {
    /// Counts them.
    #[must_use]
    pub fn count(bench: &Bench) -> Self {
        let marked = processes::with_mark(bench.mark());
        let mut sockets: usize = marked.iter().map(|process| processes::sockets(process.pid)).sum();
        let mut files = 0;
        // What its children were told to use for temporary files, and their caches, where such a file begins with a point.
        let mut open: Vec<(PathBuf, bool)> = vec![(bench.path("tmp"), true), (bench.path("cache/vmlab"), false)];
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

    /// Whether there is nothing.
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
