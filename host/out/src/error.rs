//! Why files of a guest's were not written.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// Files of a guest's cannot be written, or are refused.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    /// The directory cannot be created or opened.
    #[error("--out cannot write to {}: {call}: {error}; give another directory, as `--out DIR:HOSTDIR`", path.display())]
    Prepare {
        /// The directory.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        error: io::Error,
    },
    /// A file cannot be written.
    #[error("--out cannot write {}: {call}: {error}; the files before it were copied", path.display())]
    Write {
        /// The file on the host.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        error: Errno,
    },
    /// The host has a directory where the guest has a file.
    #[error("--out cannot write {}: it is a directory here and a file in the guest; the files before it were copied", path.display())]
    IsDirectory {
        /// The directory on the host.
        path: PathBuf,
    },
    /// The files have more than the guest can hold.
    #[error(
        "--out: `{}` has {size} bytes, with which all files would have more than the guest's memory and disks together, {limit} \
         bytes; holes of sparse files count; the files before it were copied", path.display()
    )]
    TooLarge {
        /// The file, below DIR.
        path: PathBuf,
        /// Its size, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The guest sent a path that could lead to another place.
    #[error("the guest sent files for --out, and one was refused: {why}: `{}`", name.escape_debug())]
    Refused {
        /// The path that it sent.
        name: String,
        /// The reason.
        why: &'static str,
    },
    /// The guest sent no archive.
    #[error("the guest sent no valid archive of the files for --out: {why}")]
    Malformed {
        /// What is wrong.
        why: String,
    },
    /// The archive ends too early.
    #[error("only a part of the files for --out was copied: the guest ended before it had sent all of them")]
    Incomplete,
}
