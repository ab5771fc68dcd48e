//! Opening files of the cache. Anything can stand in a file's place, and open(2) waits for a writer of a FIFO for ever.
//! A path that leads to no regular file is found out here, for all readers, and counts as damage as a flipped bit does.

use std::fs::{self, File, FileType};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// What stands where a file should be; the inner error of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} stands where a file should be")]
struct NotRegular(&'static str);

impl From<NotRegular> for io::Error {
    fn from(found: NotRegular) -> Self {
        Self::new(io::ErrorKind::InvalidData, found)
    }
}

/// Opens a regular file to read it, without waiting for anything.
///
/// # Errors
/// As open(2), and where it is something else.
pub fn open(path: &Path) -> io::Result<File> {
    checked(File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?)
}

/// Reads a regular file of at most so many bytes.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(NotRegular("something far too large").into());
    }
    Ok(bytes)
}

/// Opens a regular file to lock it or to set its times, and creates it where there is nothing. A link is not followed.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    checked(File::options().create(true).append(true).custom_flags(flags.bits()).open(path)?)
}

/// Opens whatever is there, a directory or a FIFO too, to lock it or to set its times. A link is not followed. A link and
/// a socket cannot be opened in this way ([`is_not_regular`]).
pub(crate) fn open_any(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    File::options().read(true).custom_flags(flags.bits()).open(path)
}

/// Whether an error says that there is no such file.
pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an error says that no regular file is there: this module's own error, and that of open(2) for a directory that
/// is to be written to, a link that is not followed or leads to itself, a socket, and a FIFO without a reader.
pub(crate) fn is_not_regular(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EISDIR | Errno::ELOOP | Errno::ENXIO))
        || error.get_ref().is_some_and(|inner| inner.is::<NotRegular>())
}

/// Says what is wrong with a file, from the error of reading it: it is missing, or not a regular file. `None` where the
/// error is the host's failure, as a lack of permission is.
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

/// Says what stands where a directory should be. `None` where there is one, or nothing at all.
#[must_use]
pub fn no_directory(path: &Path) -> Option<String> {
    let there = fs::symlink_metadata(path).ok()?.file_type();
    let what = if there.is_file() { "a file" } else { name(there) };
    (!there.is_dir()).then(|| format!("{} is damaged: {what} stands where a directory should be", path.display()))
}

/// Says what stands where a file should be. `None` where there is one, or nothing at all.
pub(crate) fn no_file(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => None,
        Ok(there) => damage(path, &NotRegular(name(there.file_type())).into()),
        // A link that leads nowhere is there all the same.
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
    fn other_kinds_of_files_are_damage_and_nothing_waits_for_them() {
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
    fn a_file_is_read_up_to_its_limit_and_absence_is_damage() {
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
