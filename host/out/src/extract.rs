//! Reads an archive and writes its files.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use tar::{Archive, EntryType, Header};
use vmlab_protocol::archive::{Extended, HEADER_LIMIT, OutReport, REPORT, Time};

use crate::error::OutError;
use crate::place::Place;
use crate::write::{self, Failed, NewFile};

/// The size of the buffer for a file's content, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes the files of an archive to the places, which are those of the guest's directories in the same order. Returns what the
/// guest says that it has left out, after the last file. The rest of the archive is not read.
/// `limit` is the most that all files may have together, in bytes.
///
/// # Errors
/// [`OutError`]. The files before the error were written.
pub fn extract(archive: impl Read, places: &[Place], limit: u64) -> Result<Vec<OutReport>, OutError> {
    let mut archive = Archive::new(archive);
    let mut extraction = Extraction { places, limit, left: limit, open: Vec::new(), buffer: vec![0; BUFFER_BYTES] };
    let mut extended: Option<Extended> = None;
    // Raw: this crate reads extended headers itself, up to a limit, and knows no other extensions (sparse files, long names).
    for entry in archive.entries().map_err(|error| malformed(&error))?.raw(true) {
        let mut entry = entry.map_err(|error| malformed(&error))?;
        let kind = entry.header().entry_type();
        let size = entry.size();
        if kind == EntryType::XHeader {
            let records = small(&mut entry, size)?;
            let fields = Extended::parse(&records).ok_or_else(|| malformed(&"an extended header is not readable"))?;
            if extended.replace(fields).is_some() {
                return Err(malformed(&"two extended headers for one file"));
            }
            continue;
        }
        let Some(fields) = extended.take() else { return Err(malformed(&"a file without an extended header")) };
        if fields.path == REPORT.as_bytes() && kind == EntryType::Regular {
            let reports: Vec<OutReport> =
                serde_json::from_slice(&small(&mut entry, size)?).map_err(|error| malformed(&error))?;
            if reports.len() != places.len() {
                return Err(malformed(&"a report on other directories"));
            }
            extraction.close_all_but(None)?;
            return Ok(reports);
        }
        let file = NamedFile::new(fields, entry.header(), places.len())?;
        extraction.count(&file, size)?;
        extraction.add(&file, kind, size, &mut entry)?;
    }
    Err(OutError::Incomplete)
}

fn malformed(why: &dyn Display) -> OutError {
    OutError::Malformed { why: why.to_string() }
}

/// Reads all of an entry that must be small.
fn small(entry: &mut impl Read, size: u64) -> Result<Vec<u8>, OutError> {
    if size > HEADER_LIMIT {
        return Err(malformed(&format_args!("a header of {size} bytes (limit {HEADER_LIMIT})")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| malformed(&error))?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(OutError::Incomplete) }
}

/// A file of the archive, without its content. Its path leads nowhere but below its place.
struct NamedFile {
    number: usize,
    /// Below the place; empty for what is at the place itself.
    path: PathBuf,
    link: OsString,
    mode: u32,
    mtime: Option<Time>,
}

impl NamedFile {
    fn new(fields: Extended, header: &Header, places: usize) -> Result<Self, OutError> {
        let Extended { path, link, mtime } = fields;
        let refused = |why| OutError::Refused { name: String::from_utf8_lossy(&path).into_owned(), why };
        let mut names = path.split(|byte| *byte == b'/');
        let number = names.next().and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        let number =
            number.filter(|number| *number < places).ok_or_else(|| refused("it belongs to no directory of --out"))?;
        let mut below = PathBuf::new();
        for name in names {
            if matches!(name, b"" | b"." | b"..") || name.contains(&0) {
                return Err(refused("a name in its path leads to another directory"));
            }
            below.push(OsStr::from_bytes(name));
        }
        Ok(Self {
            number,
            path: below,
            link: OsString::from_vec(link),
            mode: header.mode().map_err(|error| malformed(&error))?,
            mtime,
        })
    }
}

/// A directory that is new, and gets its mode and time after its files: its mode may forbid to create files in it.
struct OpenDirectory {
    number: usize,
    path: PathBuf,
    mode: u32,
    mtime: Option<Time>,
}

struct Extraction<'a> {
    places: &'a [Place],
    /// The most that all files may have, in bytes, and what is left of it.
    limit: u64,
    left: u64,
    /// From the outermost one on. Each is in the one before.
    open: Vec<OpenDirectory>,
    buffer: Vec<u8>,
}

/// What a file counts besides its content, in bytes.
const ENTRY_BYTES: u64 = 512;

impl Extraction<'_> {
    /// Refuses a file with which all files would be too large, before any of it is written.
    fn count(&mut self, file: &NamedFile, size: u64) -> Result<(), OutError> {
        let too_large = || OutError::TooLarge { path: file.path.clone(), size, limit: self.limit };
        self.left = self.left.checked_sub(size.saturating_add(ENTRY_BYTES)).ok_or_else(too_large)?;
        Ok(())
    }

    fn add(&mut self, file: &NamedFile, kind: EntryType, size: u64, content: &mut impl Read) -> Result<(), OutError> {
        let place = &self.places[file.number];
        let is_whole = file.path.as_os_str().is_empty();
        let path = match kind {
            // A file that the user named itself goes into a directory, or takes the place.
            EntryType::Regular if is_whole && place.is_directory => place.prefix.join(&place.file_name),
            _ => place.prefix.join(&file.path),
        };
        self.close_all_but(Some((file.number, &path)))?;
        if is_whole {
            self.make_way(place, &path)?;
        }
        let failed = |Failed { call, error }: Failed| match error {
            Errno::EISDIR | Errno::EEXIST | Errno::ENOTEMPTY if call == "rename" => {
                OutError::IsDirectory { path: place.shown.join(&path) }
            }
            error => OutError::Write { path: place.shown.join(&path), call, error },
        };
        match kind {
            EntryType::Directory => self.directory(file, path),
            EntryType::Symlink if !is_whole => {
                let (directory, name) = write::parent(&place.base, &path).map_err(failed)?;
                write::link(&directory, name, &file.link, file.mtime).map_err(failed)
            }
            EntryType::Regular => {
                let (directory, name) = write::parent(&place.base, &path).map_err(failed)?;
                let mut new = NewFile::create(&directory).map_err(failed)?;
                self.copy(&mut new, size, content, |error| {
                    let error = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                    failed(Failed { call: "write", error })
                })?;
                new.finish(name, file.mode, file.mtime).map_err(failed)
            }
            _ => {
                let name = path.to_string_lossy().into_owned();
                Err(OutError::Refused { name, why: "it is no file, directory or symbolic link" })
            }
        }
    }

    fn directory(&mut self, file: &NamedFile, path: PathBuf) -> Result<(), OutError> {
        let place = &self.places[file.number];
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let failed = |Failed { call, error }| OutError::Write { path: place.shown.join(&path), call, error };
        let (parent, name) = write::parent(&place.base, &path).map_err(failed)?;
        if write::directory(&parent, name, Mode::S_IRWXU).map_err(failed)? {
            let NamedFile { number, mode, mtime, .. } = *file;
            self.open.push(OpenDirectory { number, path, mode, mtime });
        }
        Ok(())
    }

    /// Makes the directories above what is at the place itself.
    fn make_way(&self, place: &Place, path: &Path) -> Result<(), OutError> {
        let ancestors: Vec<_> = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        for way in ancestors.into_iter().rev() {
            let made = write::parent(&place.base, way)
                .and_then(|(parent, name)| write::directory(&parent, name, Mode::from_bits_truncate(0o777)));
            made.map_err(|Failed { call, error }| OutError::Write { path: place.shown.join(way), call, error })?;
        }
        Ok(())
    }

    fn copy(
        &mut self,
        new: &mut NewFile<'_>,
        size: u64,
        content: &mut impl Read,
        failed: impl Fn(io::Error) -> OutError,
    ) -> Result<(), OutError> {
        let mut left = size;
        while left > 0 {
            // The reader ends at the size of the entry.
            match content.read(&mut self.buffer).map_err(|error| malformed(&error))? {
                0 => return Err(OutError::Incomplete),
                count => {
                    let data = &self.buffer[..count];
                    // A hole of a sparse file comes as zeros.
                    if data.iter().all(|&byte| byte == 0) {
                        new.file.seek_relative(i64::try_from(count).unwrap_or(i64::MAX)).map_err(&failed)?;
                    } else {
                        new.file.write_all(data).map_err(&failed)?;
                    }
                    left = left.saturating_sub(count as u64);
                }
            }
        }
        new.file.set_len(size).map_err(&failed)
    }

    /// Closes the new directories in which the next file is not.
    fn close_all_but(&mut self, next: Option<(usize, &Path)>) -> Result<(), OutError> {
        while let Some(last) = self.open.last() {
            if next.is_some_and(|(number, path)| last.number == number && path.starts_with(&last.path)) {
                break;
            }
            let Some(OpenDirectory { number, path, mode, mtime }) = self.open.pop() else { break };
            let place = &self.places[number];
            write::finish_directory(&place.base, &path, mode, mtime)
                .map_err(|Failed { call, error }| OutError::Write { path: place.shown.join(&path), call, error })?;
        }
        Ok(())
    }
}
