//! Walks what a command wrote, and adds it to the archive.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use vmlab_protocol::archive::OutReport;

use super::archive::Archive;
use super::place::{Found, Written, is, is_mount_point, open};
use crate::sandbox::{During as _, Trouble};

/// A path on the host has at most so many bytes, with its NUL (PATH_MAX in linux/limits.h).
const PATH_LIMIT: usize = 4096;

/// Adds what the command wrote of a file or directory.
pub(super) fn walk<W: Write>(
    archive: &mut Archive<W>,
    number: usize,
    shown: &Path,
    found: &Found,
) -> Result<OutReport, Trouble> {
    let report = OutReport { exists: true, ..OutReport::default() };
    let (path, shown) = (PathBuf::from(number.to_string()), shown.to_owned());
    let mut walk = Walk { archive, path, shown, report };
    let stat = fstat(&found.file).during("fstat")?;
    match (&found.written, &found.entry) {
        (Written::Nothing, _) => {}
        (written, _) if is(&stat, SFlag::S_IFDIR) => walk.directory(&found.file, written, &stat)?,
        (_, Some((directory, name))) => walk.leaf(directory, name, &stat)?,
        (_, None) => {}
    }
    Ok(walk.report)
}

struct Walk<'a, W: Write> {
    archive: &'a mut Archive<W>,
    /// The path in the archive.
    path: PathBuf,
    /// The path in the guest, for errors.
    shown: PathBuf,
    report: OutReport,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, directory: &File, written: &Written, stat: &FileStat) -> Result<(), Trouble> {
        self.archive.directory(&self.path, stat).during(self.copying())?;
        let names = match written {
            Written::All => names(directory),
            Written::Upper(upper) => names(upper),
            Written::Nothing => return Ok(()),
        };
        for name in names.during(self.during("readdir"))? {
            self.path.push(&name);
            self.shown.push(&name);
            if self.path.as_os_str().len() >= PATH_LIMIT {
                return Err(Errno::ENAMETOOLONG).during(self.copying());
            }
            self.entry(directory, &name, written)?;
            self.path.pop();
            self.shown.pop();
        }
        Ok(())
    }

    fn entry(&mut self, directory: &File, name: &OsStr, written: &Written) -> Result<(), Trouble> {
        let file = match open(directory, name, OFlag::O_PATH) {
            Ok(file) => file,
            // The upper layer has a whiteout.
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno).during(self.during("open")),
        };
        if is_mount_point(directory, &file)? {
            self.report.mount_points += 1;
            return Ok(());
        }
        let stat = fstat(&file).during("fstat")?;
        if is(&stat, SFlag::S_IFDIR) {
            self.directory(&file, &written.below(name)?, &stat)
        } else {
            self.leaf(directory, name, &stat)
        }
    }

    /// Adds what is no directory.
    fn leaf(&mut self, directory: &File, name: &OsStr, stat: &FileStat) -> Result<(), Trouble> {
        if is(stat, SFlag::S_IFLNK) {
            let target = readlinkat(directory, name).during(self.during("readlink"))?;
            self.archive.symlink(&self.path, stat, &target).during(self.copying())
        } else if is(stat, SFlag::S_IFREG) {
            let opened = open(directory, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY);
            let mut file = opened.during(self.during("open"))?;
            let stat = fstat(&file).during("fstat")?;
            self.archive.file(&self.path, &stat, &mut file).during(self.copying())
        } else {
            self.report.special_files += 1;
            Ok(())
        }
    }

    fn copying(&self) -> String {
        format!("copying {}", self.shown.display())
    }

    fn during(&self, call: &str) -> String {
        format!("{call}({})", self.shown.display())
    }
}

/// The names in a directory, sorted, but `.` and `..`.
fn names(directory: &File) -> Result<Vec<OsString>, Errno> {
    let mut open = Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in open.iter() {
        let name = entry?.file_name().to_bytes().to_owned();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}
