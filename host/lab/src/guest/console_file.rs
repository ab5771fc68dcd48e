//! Writes a guest's console to a file in the run record.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// The size limit of a console's file, in bytes, so that a kernel that prints without end does not fill the disk.
const LIMIT_BYTES: u64 = 64 << 20;

/// The file of a console. A write error only ends the file: the host still reads the console.
#[derive(Debug)]
pub(crate) struct ConsoleFile {
    file: Option<File>,
    /// The first error.
    failure: Option<String>,
    bytes: u64,
}

impl ConsoleFile {
    /// Creates the file; `path` is None if the run has no record.
    pub(crate) fn create(path: Option<&Path>) -> Self {
        let opened = path.map(|path| File::create_new(path).map_err(|error| failed(path, &error)));
        let (file, failure) = match opened {
            None => (None, None),
            Some(Ok(file)) => (Some(file), None),
            Some(Err(failure)) => (None, Some(failure)),
        };
        Self { file, failure, bytes: 0 }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let room = LIMIT_BYTES.saturating_sub(self.bytes);
        self.bytes += bytes.len() as u64;
        let kept = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(kept)
        {
            self.failure = Some(failed(Path::new("the console's file"), &error));
            self.file = None;
        }
    }

    /// Closes the file; returns what is missing.
    pub(crate) fn close(self) -> Missing {
        let more = self.bytes.checked_sub(LIMIT_BYTES).filter(|&more| more > 0);
        let cut =
            more.map(|more| format!("the console's file ends after {LIMIT_BYTES} bytes; the guest wrote {more} more"));
        Missing { failure: self.failure, cut }
    }
}

/// The missing parts of a console's file, one sentence each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Why the file could not be written. The cause is the same for all guests of a run.
    pub(crate) failure: Option<String>,
    /// How much the guest printed beyond the limit.
    pub(crate) cut: Option<String>,
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("consoles are not recorded from here on: cannot write {}: {error}", path.display())
}
