//! The console's two readers: the file in the run record, which keeps every byte up to a limit, and the classifier.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use memchr::memmem::Finder;

use vmlab_console::{ConsoleReader, Finding};

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
    awaited: Option<Awaited>,
    before: Option<Before>,
}

/// A word that the guest has its kernel print.
#[derive(Debug)]
struct Awaited {
    finder: Finder<'static>,
    /// The last bytes that may be its beginning.
    carry: Vec<u8>,
}

/// What the console told of before a word.
#[derive(Debug)]
pub(super) struct Before {
    /// All that was not taken yet.
    pub(super) warnings: Vec<Finding>,
    /// Whether the kernel had crashed.
    pub(super) crashed: bool,
}

impl Awaited {
    /// Where the word ends in `bytes`, which continue what was given before.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let length = self.finder.needle().len();
        let carried = self.carry.len();
        // It either began before, or lies in these bytes.
        self.carry.extend_from_slice(&bytes[..bytes.len().min(length)]);
        let end = self.finder.find(&self.carry).map(|at| at + length - carried);
        let end = end.or_else(|| self.finder.find(bytes).map(|at| at + length));
        if bytes.len() > length {
            self.carry.clear();
            self.carry.extend_from_slice(&bytes[bytes.len() - length..]);
        } else {
            self.carry.drain(..self.carry.len().saturating_sub(length));
        }
        end
    }
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
        Self { file, failure, bytes: 0, reader: ConsoleReader::default(), awaited: None, before: None }
    }

    /// Awaits a word: what the console tells of before it is put aside when it comes.
    pub(super) fn await_marker(&mut self, word: &str) {
        self.before = None;
        self.awaited = Some(Awaited { finder: Finder::new(word).into_owned(), carry: Vec::new() });
    }

    /// Whether a word is awaited and has not come.
    pub(super) const fn awaits_marker(&self) -> bool {
        self.awaited.is_some()
    }

    /// What the console told of before the word, once that has come.
    pub(super) const fn before(&self) -> Option<&Before> {
        self.before.as_ref()
    }

    /// Likewise; it is not there any more then.
    pub(super) fn take_before(&mut self) -> Option<Before> {
        self.before.take()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let end = self.awaited.as_mut().and_then(|awaited| awaited.end(bytes));
        let (before, after) = bytes.split_at(end.unwrap_or_default());
        if end.is_some() {
            self.awaited = None;
            self.reader.push(before);
            // Whatever came before the word on its own line was said before it.
            self.reader.end_line();
            let (warnings, crashed) = (self.reader.take_warnings(), self.reader.crash().is_some());
            self.before = Some(Before { warnings, crashed });
        }
        self.reader.push(after);
        self.keep(bytes);
    }

    /// Writes to the file.
    fn keep(&mut self, bytes: &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_single_bytes_and_a_crash_before_it_is_told() {
        for is_before in [true, false] {
            let (word, crash) = ("vmlab: wowo", "[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2\n");
            let line = format!("[    1.0] vmlab: wo{word}\n");
            let console = if is_before { [crash, &line] } else { [&line, crash] }.concat();
            let mut log = ConsoleLog::create(None);
            log.await_marker(word);
            console.as_bytes().chunks(1).for_each(|byte| log.push(byte));
            assert_eq!(log.take_before().map(|before| before.crashed), Some(is_before));
            assert!(log.reader.crash().is_some());
        }
    }

    #[test]
    fn a_word_divides_the_console_wherever_it_is_split() {
        let word = "vmlab: word wo";
        let warned = |name: &str| format!("[    1.0] WARNING: CPU: 0 PID: 1 at {name}.c:1 f+0x1/0x2\r\n");
        let console = format!("{}half a w vmlab: word vmlab: word wo\r\n{}", warned("a").trim_end(), warned("b"));
        for first in 0..console.len() {
            for second in [first, (first + 3).min(console.len()), console.len()] {
                let mut log = ConsoleLog::create(None);
                log.await_marker(word);
                for part in [&console[..first], &console[first..second], &console[second..]] {
                    assert!(log.awaits_marker() == log.before.is_none());
                    log.push(part.as_bytes());
                }
                let titles = |found: &[Finding]| found.iter().map(|f| f.title.clone()).collect::<Vec<_>>();
                let before = log.take_before().expect("the word has come");
                assert!(!log.awaits_marker() && !before.crashed && log.take_before().is_none());
                assert_eq!(before.warnings.len(), 1, "{:?}", titles(&before.warnings));
                assert!(titles(&before.warnings)[0].contains("a.c:1"));
                let after = log.reader.take_warnings();
                assert!(after.len() == 1 && titles(&after)[0].contains("b.c:1"), "{:?}", titles(&after));
            }
        }
    }
}
