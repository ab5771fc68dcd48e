//! The file in the run record that keeps a guest's console.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// The most of a console that is kept, in bytes. A kernel that prints without end fills no disk.
const LIMIT_BYTES: u64 = 64 << 20;

/// Keeps a console up to a limit. A file that cannot be written stops nothing: the console is classified all the same.
#[derive(Debug)]
pub(crate) struct ConsoleFile {
    file: Option<File>,
    /// The first failure.
    failure: Option<String>,
    bytes: u64,
}

impl ConsoleFile {
    /// `path` is None where no record is kept.
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

    /// What is missing in the file, each in a sentence.
    pub(crate) fn close(self) -> Vec<String> {
        let more = self.bytes.checked_sub(LIMIT_BYTES).filter(|&more| more > 0);
        let cut =
            more.map(|more| format!("the console's file ends after {LIMIT_BYTES} bytes, the guest wrote {more} more"));
        self.failure.into_iter().chain(cut).collect()
    }
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("the console is not kept: cannot write {}: {error}", path.display())
}
