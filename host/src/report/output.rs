//! Files that reports go to.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::junit::Deliver;

/// A file that is written as the run goes on; what it held is gone at once.
pub fn stream(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// A file that is there as a whole or not at all: written beside its place and renamed. That the place can be written is
/// tried now, before hours of work depend on it, and leaves nothing behind.
pub fn aside(path: &Path) -> io::Result<Deliver> {
    match fs::metadata(path) {
        // What is no file, such as /dev/fd/3 or a FIFO, must not be replaced by one.
        Ok(metadata) if !metadata.is_file() => {
            let mut out = File::options().write(true).open(path)?;
            Ok(Box::new(move |document| out.write_all(document)))
        }
        // A symbolic link stays one: what it points to is replaced.
        Ok(_) => whole(fs::canonicalize(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => whole(path.to_owned()),
        Err(error) => Err(error),
    }
}

fn whole(path: PathBuf) -> io::Result<Deliver> {
    temporary(&path)?;
    Ok(Box::new(move |document| {
        let mut file = temporary(&path)?;
        file.write_all(document)?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }))
}

/// A file beside `path` that goes away when it is dropped. The umask takes its part of the permissions, as with any
/// other file that a user makes.
fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Builder::new().prefix(".vmlab-report-").permissions(Permissions::from_mode(0o666)).tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
    fn what_cannot_be_written_is_known_before_the_run() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(aside(&dir.path().join("no/x.xml")).err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(aside(dir.path()).err().unwrap().kind(), io::ErrorKind::IsADirectory);
        let full = aside(Path::new("/dev/full")).unwrap();
        assert_eq!(full(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
