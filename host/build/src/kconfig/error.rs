//! What can go wrong when a tree's Kconfig files are read.

use std::io;
use std::path::PathBuf;

/// Why the Kconfig files of a tree cannot be read. Paths of files are relative to the tree.
#[derive(Debug, thiserror::Error)]
pub enum KconfigError {
    /// The tree has no file `Kconfig` at its top.
    #[error("{} has no file Kconfig, so it is no kernel source tree: name the directory that has Kconfig and Makefile in it", tree.display())]
    NoKconfig {
        /// The directory.
        tree: PathBuf,
    },
    /// A file cannot be opened or read.
    #[error("cannot read the Kconfig file {} (sourced by {sourced_by}): {error}; is the tree complete?", file.display())]
    Read {
        /// The file that cannot be read.
        file: PathBuf,
        /// File and line of the `source` statement; "vmlab" for the file at the top.
        sourced_by: String,
        /// What the system says.
        error: io::Error,
    },
    /// A line is not of the Kconfig language, or nom-kconfig cannot read it.
    #[error("cannot read {} from line {line} on: {text} is no statement of Kconfig, or a block has no end", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The line in quotes, or "the end of the file".
        text: String,
    },
    /// A file is larger or more deeply nested than any of a kernel is, or files source each other in a circle.
    #[error("{} (sourced by {sourced_by}) is no usable Kconfig file: {limit}", file.display())]
    Limit {
        /// The file.
        file: PathBuf,
        /// File and line of the `source` statement; "vmlab" for the file at the top.
        sourced_by: String,
        /// The limit that is passed.
        limit: &'static str,
    },
    /// The thread that reads the files cannot be started.
    #[error("cannot start a thread that reads the Kconfig files: {0}")]
    Thread(#[source] io::Error),
    /// The parser panicked.
    #[error("the Kconfig parser (nom-kconfig) failed on {}: please report this with the tree's version", tree.display())]
    Parser {
        /// The tree.
        tree: PathBuf,
    },
}
