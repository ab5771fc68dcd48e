//! Writes the archive of a command's files. Nothing here looks for them.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::sys::stat::FileStat;
use tar::{Builder, EntryType, Header};
use vmlab_protocol::archive::{LINK, MTIME, OutReport, PATH, REPORT, Time};

use crate::sandbox::{During as _, Trouble};

pub(super) struct Archive<W: Write> {
    builder: Builder<W>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(sink: W) -> Self {
        Self { builder: Builder::new(sink) }
    }

    pub(super) fn directory(&mut self, path: &Path, stat: &FileStat) -> io::Result<()> {
        self.entry(EntryType::Directory, path, stat, None, &mut io::empty(), 0)
    }

    pub(super) fn symlink(&mut self, path: &Path, stat: &FileStat, target: &OsStr) -> io::Result<()> {
        self.entry(EntryType::Symlink, path, stat, Some(target), &mut io::empty(), 0)
    }

    pub(super) fn file(&mut self, path: &Path, stat: &FileStat, content: &mut dyn Read) -> io::Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        self.entry(EntryType::Regular, path, stat, None, content, size)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self, reports: &[OutReport]) -> Result<(), Trouble> {
        let json = serde_json::to_vec(reports)
            .map_err(|error| Trouble::new(format_args!("cannot encode a report: {error}")))?;
        self.extended(&[(PATH, REPORT.as_bytes())])
            .and_then(|()| self.append(EntryType::Regular, 0o600, &mut json.as_slice(), json.len() as u64))
            .and_then(|()| self.builder.into_inner())
            .and_then(|mut sink| sink.flush())
            .during("writing the end of the archive")
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &Path,
        stat: &FileStat,
        target: Option<&OsStr>,
        content: &mut dyn Read,
        size: u64,
    ) -> io::Result<()> {
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
        let mtime = Time { seconds: stat.st_mtime, nanoseconds }.text();
        let mut fields = vec![(PATH, path.as_os_str().as_bytes()), (MTIME, mtime.as_bytes())];
        fields.extend(target.map(|target| (LINK, target.as_bytes())));
        let mut content = Exactly { content, left: size };
        self.extended(&fields)?;
        self.append(kind, stat.st_mode & 0o777, &mut content, size)
    }

    fn extended(&mut self, fields: &[(&str, &[u8])]) -> io::Result<()> {
        self.builder.append_pax_extensions(fields.iter().copied())
    }

    fn append(&mut self, kind: EntryType, mode: u32, content: &mut dyn Read, size: u64) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_cksum();
        self.builder.append(&header, content)
    }
}

/// So many bytes of a file. What is written to the file meanwhile must not change the length that the header tells.
struct Exactly<'a> {
    content: &'a mut dyn Read,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        match self.content.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read")),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}
