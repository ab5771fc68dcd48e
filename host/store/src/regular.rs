//! Opens files of the cache without blocking. A path of the cache can lead to anything, and open(2) blocks on a FIFO
//! that has no writer. A path that does not lead to a regular file counts as damage, like a flipped bit.

use std::fs::{self, File, FileType};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// The type of the file that was found instead of a regular file; the inner error of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} stands where a file should be")]
struct NotRegular(&'static str);

impl From<NotRegular> for io::Error {
    fn from(found: NotRegular) -> Self {
        Self::new(io::ErrorKind::InvalidData, found)
    }
}

/// Opens a regular file for reading, without blocking.
///
/// # Errors
/// As open(2), and if it is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    checked(File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?)
}

/// Reads a regular file of at most `limit_bytes`.
///
/// # Errors
/// As open(2) and read(2), and if it is no regular file or a larger one.
pub fn read(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(NotRegular("something far too large").into());
    }
    Ok(bytes)
}

/// Opens a regular file to lock it or to set its times, and creates it if it is missing. Does not follow
/// links.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    checked(File::options().create(true).append(true).custom_flags(flags.bits()).open(path)?)
}

/// Opens any type of file, also a directory or a FIFO, to lock it or to set its times. Does not follow links. Links and
/// sockets cannot be opened in this way ([`is_not_regular`]).
pub(crate) fn open_any(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    File::options().read(true).custom_flags(flags.bits()).open(path)
}

/// Whether an error says that the file does not exist.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an error says that the file is not a regular one. This is the module's own error, or an error of open(2):
/// for a directory that is opened for writing, a link that is not followed or leads to itself, a socket, or a FIFO
/// without a reader.
pub(crate) fn is_not_regular(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EISDIR | Errno::ELOOP | Errno::ENXIO))
        || error.get_ref().is_some_and(|inner| inner.is::<NotRegular>())
}

/// Describes the damage that an error of reading a file shows: the file is missing, or not a regular file. `None` if
/// the error is a failure of the host, such as a missing permission.
pub(crate) fn damage(path: &Path, error: &io::Error) -> Option<String> {
    let path = path.display();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<NotRegular>()) {
        Some(found) => Some(format!("{path} is damaged: {found}")),
        None if is_absence(error) => Some(format!("{path} is missing")),
        None if is_not_regular(error) => {
            Some(format!("{path} is damaged: {}", NotRegular("something that cannot be opened")))
        }
        None => None,
    }
}

/// Describes the file that is there instead of a directory. `None` if there is a directory, or nothing.
#[must_use]
pub fn no_directory(path: &Path) -> Option<String> {
    let there = fs::symlink_metadata(path).ok()?.file_type();
    let what = if there.is_file() { "a file" } else { name(there) };
    (!there.is_dir()).then(|| format!("{} is damaged: {what} stands where a directory should be", path.display()))
}

/// Describes what is there instead of a regular file. `None` if there is a regular file, or nothing.
pub(crate) fn no_file(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => None,
        Ok(there) => damage(path, &NotRegular(name(there.file_type())).into()),
        // A dangling link is damage, too.
        Err(error) => fs::symlink_metadata(path).ok().and_then(|_| damage(path, &error)),
    }
}

fn checked(file: File) -> io::Result<File> {
    let there = file.metadata()?.file_type();
    if there.is_file() { Ok(file) } else { Err(NotRegular(name(there)).into()) }
}

/// The name of a type other than a regular file.
fn name(there: FileType) -> &'static str {
    match there {
        there if there.is_dir() => "a directory",
        there if there.is_fifo() => "a FIFO",
        there if there.is_socket() => "a socket",
        there if there.is_symlink() => "a symbolic link",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOT_REGULAR, put};

    #[test]
    fn other_types_of_files_are_damage_and_opening_them_never_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (name, make) in NOT_REGULAR {
            put(&path, make);
            for error in [open(&path).unwrap_err(), read(&path, 9).unwrap_err(), create(&path).unwrap_err()] {
                assert!(is_not_regular(&error), "{name}: {error}");
                assert!(damage(&path, &error).unwrap().contains("is damaged"), "{name}: {error}");
            }
            assert_eq!(no_directory(&path).is_some(), name != "a directory", "{name}");
            match open_any(&path) {
                Ok(_) => assert!(matches!(name, "a directory" | "a FIFO"), "{name}"),
                Err(error) => assert!(is_not_regular(&error), "{name}: {error}"),
            }
        }
        let error = open(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("a device stands where a file should be"), "{error}");
    }

    #[test]
    fn a_file_over_the_limit_is_damage_and_so_is_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(damage(&path, &open(&path).unwrap_err()).unwrap().ends_with("is missing"));
        drop(create(&path).unwrap());
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(is_not_regular(&read(&path, 4).unwrap_err()));
        assert!(no_directory(&path).unwrap().contains("a file stands"));
        assert!(no_directory(dir.path()).is_none() && no_directory(&dir.path().join("none")).is_none());
        let denied: io::Error = io::ErrorKind::PermissionDenied.into();
        assert!(damage(&path, &denied).is_none() && !is_not_regular(&denied));
    }
}
