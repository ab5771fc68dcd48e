//! Writes files beneath a directory.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use vmlab_files::open_beneath;
use vmlab_protocol::archive::Time;

/// How many temporary names are tried.
const ATTEMPTS: usize = 16;

/// A system call that has failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) call: &'static str,
    pub(crate) error: Errno,
}

/// Names the call.
pub(crate) trait In<T> {
    fn call(self, call: &'static str) -> Result<T, Failed>;
}

impl<T> In<T> for Result<T, Errno> {
    fn call(self, call: &'static str) -> Result<T, Failed> {
        self.map_err(|error| Failed { call, error })
    }
}

/// Creates a file and removes it again.
pub(crate) fn probe(directory: &OwnedFd) -> Result<(), Errno> {
    let (_, name) = temporary(|name| create(directory, name))?;
    unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir)
}

/// The directory that a path's last name is in.
pub(crate) fn parent<'a>(base: &OwnedFd, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), Failed> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failed { call: "open", error: Errno::EINVAL });
    };
    let directory = open_beneath(base, parent, OFlag::O_PATH | OFlag::O_DIRECTORY).call("open")?;
    Ok((directory, name))
}

/// A file that has no name, or a temporary one, until [`Self::finish`].
#[derive(Debug)]
pub(crate) struct NewFile<'a> {
    directory: &'a OwnedFd,
    /// None where the file system can create files without a name: nothing is left of them if vmlab is killed.
    temporary: Option<String>,
    pub(crate) file: File,
}

impl<'a> NewFile<'a> {
    pub(crate) fn create(directory: &'a OwnedFd) -> Result<Self, Failed> {
        let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        match openat(directory, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(file) => return Ok(Self { directory, temporary: None, file: file.into() }),
            // The file system, or a kernel that knows no O_TMPFILE, has refused (open(2)).
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT | Errno::EINVAL) => {}
            Err(error) => return Err(error).call("open"),
        }
        Self::named(directory)
    }

    fn named(directory: &'a OwnedFd) -> Result<Self, Failed> {
        let (file, name) = temporary(|name| create(directory, name)).call("open")?;
        Ok(Self { directory, temporary: Some(name), file: file.into() })
    }

    /// Gives the file its mode, time and name.
    pub(crate) fn finish(mut self, name: &OsStr, mode: u32, mtime: Option<Time>) -> Result<(), Failed> {
        dress(&self.file, mode, mtime)?;
        if self.temporary.is_none() {
            match self.link(name) {
                // A link does not replace a file. A rename does.
                Err(Errno::EEXIST) => {}
                linked => return linked.call("link"),
            }
            let ((), temporary) = temporary(|name| self.link(OsStr::new(name))).call("link")?;
            self.temporary = Some(temporary);
        }
        match &self.temporary {
            Some(temporary) => renameat(self.directory, temporary.as_str(), self.directory, name).call("rename"),
            None => Ok(()),
        }
    }

    /// Gives a name to a file without one (open(2), O_TMPFILE).
    fn link(&self, name: &OsStr) -> Result<(), Errno> {
        let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(AT_FDCWD, file.as_str(), self.directory, name, AtFlags::AT_SYMLINK_FOLLOW)
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // After `finish` nothing has this name.
            let _ = unlinkat(self.directory, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Creates a symbolic link, in the place of what has the name.
pub(crate) fn link(directory: &OwnedFd, name: &OsStr, target: &OsStr, mtime: Option<Time>) -> Result<(), Failed> {
    let ((), temporary) = temporary(|name| symlinkat(target, directory, name)).call("symlink")?;
    let dressed = match mtime {
        Some(time) => utimensat(directory, temporary.as_str(), &OMIT, &spec(time), UtimensatFlags::NoFollowSymlink),
        None => Ok(()),
    };
    let done = dressed
        .call("utimensat")
        .and_then(|()| renameat(directory, temporary.as_str(), directory, name).call("rename"));
    done.inspect_err(|_| {
        // The first error counts.
        let _ = unlinkat(directory, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
    })
}

/// Makes sure that there is a directory, in the place of a file or a symbolic link; true if it is new. A new directory is the
/// caller's alone until it gets its mode.
pub(crate) fn directory(directory: &OwnedFd, name: &OsStr, mode: Mode) -> Result<bool, Failed> {
    match mkdirat(directory, name, mode) {
        Ok(()) => return Ok(true),
        Err(Errno::EEXIST) => {}
        Err(error) => return Err(error).call("mkdir"),
    }
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).call("stat")?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
        return Ok(false);
    }
    unlinkat(directory, name, UnlinkatFlags::NoRemoveDir).call("unlink")?;
    mkdirat(directory, name, mode).call("mkdir").map(|()| true)
}

/// Gives a directory, which this process has made, its mode and time.
pub(crate) fn finish_directory(base: &OwnedFd, path: &Path, mode: u32, mtime: Option<Time>) -> Result<(), Failed> {
    let directory = open_beneath(base, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).call("open")?;
    dress(directory, mode, mtime)
}

const OMIT: TimeSpec = TimeSpec::UTIME_OMIT;

fn dress(file: impl AsFd, mode: u32, mtime: Option<Time>) -> Result<(), Failed> {
    // Neither set-user-id nor the other bits above.
    let mode = Mode::from_bits_truncate(mode & 0o777);
    fchmod(&file, mode).call("chmod")?;
    mtime.map_or(Ok(()), |time| futimens(&file, &OMIT, &spec(time))).call("utimensat")
}

fn spec(time: Time) -> TimeSpec {
    TimeSpec::new(time.seconds, time.nanoseconds.into())
}

fn create(directory: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
}

/// Makes something with a name that nothing has; returns it and the name.
fn temporary<T>(make: impl Fn(&str) -> Result<T, Errno>) -> Result<(T, String), Errno> {
    for _ in 0..ATTEMPTS {
        let name = format!(".vmlab-out-{:016x}", RandomState::new().build_hasher().finish());
        match make(&name) {
            Err(Errno::EEXIST) => {}
            made => return made.map(|made| (made, name)),
        }
    }
    Err(Errno::EEXIST)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_appears_whole_with_and_without_a_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        let directory: OwnedFd = File::open(dir.path()).unwrap().into();
        let names = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        for create in [NewFile::create, NewFile::named] {
            for content in ["first", "second"] {
                let mut new = create(&directory).unwrap();
                new.file.write_all(content.as_bytes()).unwrap();
                new.finish(OsStr::new("file"), 0o640, None).unwrap();
                assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), content);
                drop(create(&directory).unwrap());
                assert_eq!(names(), ["file"], "an unfinished file leaves nothing");
            }
            fs::remove_file(dir.path().join("file")).unwrap();
            fs::create_dir(dir.path().join("dir")).unwrap();
            let failed = create(&directory).unwrap().finish(OsStr::new("dir"), 0o640, None).unwrap_err();
            assert_eq!((failed.call, failed.error), ("rename", Errno::EISDIR));
            assert_eq!(names(), ["dir"]);
            fs::remove_dir(dir.path().join("dir")).unwrap();
        }
    }
}
