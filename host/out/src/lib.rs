//! Writes the files that a guest sends, an archive as in [`vmlab_protocol::archive`], to directories of the host's.
//!
//! **The guest is not trusted.** The command is root in the guest and may send any bytes. What it sends is written beneath the
//! directories that the user named, or nowhere: each file is reached from an open directory with openat2(2), beneath it and
//! through no symbolic link. The directories are opened before the guest starts. A path that is absolute or has `..` or empty
//! names in it is refused, and so is each kind of entry but files, directories and symbolic links. Extended headers and reports
//! have a limit. Nothing is allocated or written for a size that a header only tells.
//!
//! **What is written.** A file appears whole: it is written without a name, or to a temporary one where the file system needs
//! one. It belongs to the caller, and its mode has only the bits for reading, writing and executing. Zeros become holes. A
//! symbolic link is created as it is and never followed. Files and symbolic links of the host's are replaced; directories are
//! merged and never removed. All files together may have no more bytes than the guest can hold.

mod error;
mod extract;
mod place;
#[cfg(test)]
mod tests;
mod write;

pub use error::OutError;
pub use extract::extract;
pub use place::Place;
