//! The files that reports are written to.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{AccessFlags, eaccess};
use tempfile::{Builder, NamedTempFile};

use super::file_identity::{directory, followed};
use super::junit::Deliver;

/// A file that is written while the run goes on; what it held before is lost at once.
pub fn stream(path: &Path) -> io::Result<File> {
    open(path, File::options().write(true).create(true).truncate(true))
}

/// Opens a file for writing. A FIFO without a reader is an error, because opening it would wait for one.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flag = OFlag::O_NONBLOCK;
    let is_fifo = || fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let file = options.custom_flags(flag.bits()).open(path).map_err(|error| match error.raw_os_error() {
        Some(number) if number == Errno::ENXIO as i32 && is_fifo() => io::Error::new(error.kind(), NO_READER),
        _ => error,
    })?;
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - flag))?;
    Ok(file)
}

const NO_READER: &str = "nobody reads from it; start its reader first";

/// Tries whether [`stream`] would work, and changes nothing.
pub fn try_stream(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => File::options().write(true).open(path).map(drop),
        other => try_out(path, other),
    }
}

/// Tries whether [`aside`] would work, and changes nothing.
pub fn try_aside(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => temporary(&fs::canonicalize(path)?).map(drop),
        other => try_out(path, other),
    }
}

fn try_out(path: &Path, there: io::Result<Metadata>) -> io::Result<()> {
    match there {
        Ok(there) if there.is_dir() => Err(Errno::EISDIR.into()),
        // It is not opened: a FIFO's reader would see it end.
        Ok(_) => Ok(eaccess(path, AccessFlags::W_OK)?),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if path.as_os_str().as_bytes().ends_with(b"/") => Err(Errno::EISDIR.into()),
        Err(_) => temporary(&followed(path)).map(drop),
    }
}

/// A file that is written whole or not at all: beside its final path, and then renamed. Whether that can be done is tried
/// now, before hours of work depend on it; the attempt leaves nothing behind.
pub fn aside(path: &Path) -> io::Result<Deliver> {
    match fs::metadata(path) {
        // A device or a FIFO, such as /dev/fd/3, must not be replaced by a file.
        Ok(metadata) if !metadata.is_file() => {
            let mut out = open(path, File::options().write(true))?;
            Ok(Box::new(move |document| out.write_all(document)))
        }
        // A symbolic link stays one: what it points to is replaced.
        Ok(_) => whole(fs::canonicalize(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => whole(followed(path)),
        Err(error) => Err(error),
    }
}

/// Writes a document to standard output.
pub fn to_stdout(document: &[u8]) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(document).and_then(|()| out.flush())
}

fn whole(path: PathBuf) -> io::Result<Deliver> {
    temporary(&path)?;
    Ok(Box::new(move |document| {
        let mut file = temporary(&path)?;
        // Through the file itself: the errors of a named one name the temporary file.
        file.as_file_mut().write_all(document)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }))
}

/// A file beside `path` that is removed when it is dropped, with the permissions of any other file that a user creates.
///
/// It is opened here and not by the tempfile crate, whose errors name the temporary file, which the user does not know.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let open = |path: &Path| File::options().read(true).write(true).create_new(true).mode(0o666).open(path);
    Builder::new().prefix(".vmlab-report-").make_in(directory(path), open)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_whole_file_replaces_the_old_one_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("junit.xml");
        fs::write(&path, "old").unwrap();
        let deliver = aside(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        deliver(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o600, 0o600);
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("real.xml"), dir.path().join("link.xml"));
        fs::write(&path, "old").unwrap();
        symlink("real.xml", &link).unwrap();
        aside(&link).unwrap()(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_link_that_leads_nowhere_yet_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link.xml");
        symlink("real.xml", &link).unwrap();
        try_aside(&link).unwrap();
        aside(&link).unwrap()(b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(dir.path().join("real.xml")).unwrap(), b"new");
    }

    #[test]
    fn trying_changes_nothing_and_names_no_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("old"), "old").unwrap();
        fs::create_dir(at("dir")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for attempt in [try_stream, try_aside] {
            for good in ["old", "new", "fifo"] {
                attempt(&at(good)).unwrap();
            }
            for (bad, errno) in
                [("no/x", Errno::ENOENT), ("dir", Errno::EISDIR), ("new/", Errno::EISDIR), ("old/x", Errno::ENOTDIR)]
            {
                let error = attempt(&at(bad)).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(errno as i32), "{bad}: {error}");
                assert!(!error.to_string().contains("vmlab-report"), "{error}");
            }
        }
        assert_eq!(fs::read(at("old")).unwrap(), b"old");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
    }

    #[test]
    fn a_fifo_that_nobody_reads_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let errors = [stream(&fifo).err(), aside(&fifo).err()];
        assert!(errors.iter().flatten().filter(|error| error.to_string() == NO_READER).count() == 2, "{errors:?}");
        let mut reader = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&fifo).unwrap();
        let mut written = stream(&fifo).unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&written, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK), "a slow reader is waited for");
        written.write_all(b"a").unwrap();
        drop(written);
        aside(&fifo).unwrap()(b"b").unwrap();
        let mut read = String::new();
        io::Read::read_to_string(&mut reader, &mut read).unwrap();
        assert_eq!(read, "ab");
    }

    #[test]
    fn what_cannot_be_written_is_known_before_the_run() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(aside(&dir.path().join("no/x.xml")).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(aside(dir.path()).err().unwrap().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        let full = aside(Path::new("/dev/full")).unwrap();
        assert_eq!(full(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
