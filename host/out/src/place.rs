//! Where files go.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use crate::error::OutError;
use crate::write;

/// Where the files of one directory of a guest's go.
#[derive(Debug)]
pub struct Place {
    /// The user's directory, or the one below which it will be created.
    pub(crate) base: OwnedFd,
    /// The way from there; empty if the directory exists.
    pub(crate) prefix: PathBuf,
    /// Whether a single file goes below the way, and does not take its place.
    pub(crate) is_directory: bool,
    /// The name of a single file that goes below.
    pub(crate) file_name: OsString,
    /// The path of the base, for errors.
    pub(crate) shown: PathBuf,
}

impl Place {
    /// The place that the user named. It must be possible to write there; nothing is created before there is a file, because guests
    /// see the host's directories. What is a directory in the guest becomes one at `host`. What is a file becomes a file at `host`,
    /// or one named `file_name` in it if `host` is a directory. With `divided`, `host` becomes a directory in which [`Self::part`]
    /// has places.
    ///
    /// # Errors
    /// [`OutError::Prepare`]
    pub fn prepare(host: &Path, file_name: &OsStr, divided: bool) -> Result<Self, OutError> {
        let failed = |call| move |error| OutError::Prepare { path: host.to_owned(), call, error };
        let is_there = |dir: &&Path| dir.as_os_str().is_empty() || dir.is_dir();
        let existing = host.ancestors().find(is_there).unwrap_or(Path::new(""));
        let prefix: PathBuf = host.strip_prefix(existing).unwrap_or(host).components().collect();
        let base = if existing.as_os_str().is_empty() { PathBuf::from(".") } else { existing.to_owned() };
        let mut names = prefix.components();
        if !names.clone().all(|name| matches!(name, Component::Normal(_))) {
            return Err(failed("open")(Errno::ENOENT.into()));
        }
        // A file at the place itself is replaced; a file above it is not.
        if let Some(first) = names.next()
            && (divided || names.next().is_some())
            && base.join(first).symlink_metadata().is_ok()
        {
            return Err(failed("mkdir")(Errno::ENOTDIR.into()));
        }
        let opened: OwnedFd = File::open(&base).map_err(failed("open"))?.into();
        write::probe(&opened).map_err(|error| failed("create a file")(error.into()))?;
        let is_directory = divided || prefix.as_os_str().is_empty();
        Ok(Self { base: opened, prefix, is_directory, file_name: file_name.to_owned(), shown: base })
    }

    /// A place in a directory of this one; this one again if the way is empty.
    ///
    /// # Errors
    /// [`OutError::Prepare`]
    pub fn part(&self, way: &Path) -> Result<Self, OutError> {
        let is_same = way.as_os_str().is_empty();
        let prefix = if is_same { self.prefix.clone() } else { self.prefix.join(way) };
        let base = self.base.try_clone();
        let base = base.map_err(|error| OutError::Prepare { path: self.shown.join(&prefix), call: "dup", error })?;
        let is_directory = self.is_directory || !is_same;
        Ok(Self { base, prefix, is_directory, file_name: self.file_name.clone(), shown: self.shown.clone() })
    }

    /// The path on the host, for the user.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        if self.prefix.as_os_str().is_empty() { self.shown.clone() } else { self.shown.join(&self.prefix) }
    }
}
