//! The console's two readers: the file in the run record, which keeps every byte up to a limit, and the classifier.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::verdict::console::ConsoleReader;

/// The most of a console that is kept, in bytes. A kernel that prints without end fills no disk.
const FILE_LIMIT: u64 = 64 << 20;

/// Where a guest's console goes.
#[derive(Debug)]
pub(super) struct ConsoleLog {
    file: Option<File>,
    /// The first failure to write the file; the console is classified all the same.
    failure: Option<String>,
    bytes: u64,
    pub(super) reader: ConsoleReader,
}

impl ConsoleLog {
    /// `path` is None where no record is kept.
    pub(super) fn create(path: Option<&Path>) -> Self {
        let opened = path.map(|path| File::create_new(path).map_err(|error| failed(path, &error)));
        let (file, failure) = match opened {
            None => (None, None),
            Some(Ok(file)) => (Some(file), None),
            Some(Err(failure)) => (None, Some(failure)),
        };
        Self { file, failure, bytes: 0, reader: ConsoleReader::default() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
        let room = FILE_LIMIT.saturating_sub(self.bytes);
        self.bytes += bytes.len() as u64;
        let kept = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(kept)
        {
            self.failure = Some(failed(Path::new("the console's file"), &error));
            self.file = None;
        }
    }

    /// How much of the console is not in its file for its length, in words; None where all is.
    pub(super) fn left_out(&self) -> Option<String> {
        let more = self.bytes.checked_sub(FILE_LIMIT).filter(|&more| more > 0)?;
        Some(format!("the console's file ends after {FILE_LIMIT} bytes, the guest wrote {more} more"))
    }

    /// How many bytes the guest has written.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What went wrong with the file, once.
    pub(super) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("the console is not kept: cannot write {}: {error}", path.display())
}
