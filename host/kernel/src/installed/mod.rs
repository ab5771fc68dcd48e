//! Finds the kernels that are installed on this machine.

use std::io;
use std::path::{Path, PathBuf};

use super::file::{self, FileError};
use super::release::{compare, is_release};

mod places;

use places::Place;

/// Why no installed kernel is available.
#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    /// No kernel is installed, as in most containers.
    #[error(
        "no kernel is installed on this machine (looked in /boot, /lib/modules, /usr/lib/modules and /run/current-system); \
        use a kernel from the archive, such as debian:trixie, or give a kernel by its path"
    )]
    None,
    /// Files that seem to be kernels were found, and none can be read.
    #[error("no kernel is installed on this machine that vmlab can read: {0}")]
    Unreadable(FileError),
    /// Only other releases are installed.
    #[error("no kernel {release} is installed on this machine; {}", if .there.is_empty() { "none is" } else { .there })]
    NoSuchRelease {
        /// The requested release.
        release: String,
        /// `installed: ` and the releases, newest first; empty if no kernel is installed.
        there: String,
    },
    /// A directory cannot be listed.
    #[error("cannot look for installed kernels in {path}: {cause}; make it readable, or give a kernel by its path")]
    List {
        /// The path of the directory.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

/// An installed kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The release in the kernel's header; that in the file's name if the kernel cannot be read.
    pub release: String,
    /// The path of the kernel file.
    pub path: PathBuf,
}

/// The newest installed kernel, or the one with `release`. `root` is the directory of `/boot`.
pub(crate) fn choose(root: &Path, release: Option<&str>) -> Result<Installed, InstalledError> {
    let (found, unreadable) = look(root)?;
    let nothing = || unreadable.map_or(InstalledError::None, InstalledError::Unreadable);
    let Some(release) = release else { return found.into_iter().next().ok_or_else(nothing) };
    let there: Vec<&str> = found.iter().map(|kernel| kernel.release.as_str()).collect();
    let there = if there.is_empty() { String::new() } else { format!("installed: {}", there.join(", ")) };
    let chosen = found.into_iter().find(|kernel| kernel.release == release);
    chosen.ok_or_else(|| InstalledError::NoSuchRelease { release: release.to_owned(), there })
}

/// All installed kernels, newest first, each release once. Of several files of a release, the first counts
/// in this order: files whose name has the release; the order of the places (`installed/places.rs`).
///
/// # Errors
/// [`InstalledError::List`] if a directory cannot be read.
pub fn find(root: &Path) -> Result<Vec<Installed>, InstalledError> {
    Ok(look(root)?.0)
}

/// The installed kernels, and the error of the first file that may be a kernel of an unknown release.
fn look(root: &Path) -> Result<(Vec<Installed>, Option<FileError>), InstalledError> {
    let (mut found, mut unreadable) = (Vec::new(), None);
    for place in places::all(root)? {
        match identify(&place) {
            Ok(Some(release)) => {
                let differs = place.named.as_deref() != Some(&*release);
                found.push((differs, Installed { release, path: place.path }));
            }
            Ok(None) => {}
            Err(error) => drop(unreadable.get_or_insert(error)),
        }
    }
    // The sort is stable, so the order of the places remains.
    found.sort_by(|(a_differs, a), (b_differs, b)| compare(&b.release, &a.release).then(a_differs.cmp(b_differs)));
    found.dedup_by(|(_, later), (_, earlier)| later.release == earlier.release);
    Ok((found.into_iter().map(|(_, kernel)| kernel).collect(), unreadable))
}

/// The release of the kernel at a place; `None` if there is no file. A kernel that is damaged or that this user may not
/// read keeps the release in its name: to leave it out would silently choose an older kernel.
fn identify(place: &Place) -> Result<Option<String>, FileError> {
    match file::recognise_file(&place.path) {
        Ok(image) => Ok(Some(image.release)),
        // A dangling link, or a directory.
        Err(FileError::Missing(_) | FileError::Directory { .. } | FileError::Special { .. }) => Ok(None),
        Err(error) => match &place.named {
            Some(release) if is_release(release) && release.starts_with(|c: char| c.is_ascii_digit()) => {
                Ok(Some(release.clone()))
            }
            _ if place.is_certain => Err(error),
            _ => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests;
