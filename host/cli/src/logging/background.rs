//! A writer whose lines a thread of its own writes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait.
const LINES: usize = 1 << 16;
/// How long the end of the process waits for the lines that are left.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes whole lines and never blocks: a line for which there is no room is dropped. A clone has the same queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Background(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    lines: Mutex<VecDeque<Vec<u8>>>,
    /// Notified when a line was added or was written.
    changed: Condvar,
}

impl Background {
    /// Starts the thread, which ends with the process.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let background = Self::default();
        let queue = Arc::clone(&background.0);
        thread::Builder::new().name("log".to_owned()).spawn(move || queue.write_all(out))?;
        Ok(background)
    }

    /// Waits until all lines are written, for at most a second.
    pub(super) fn finish(&self) {
        let _written = self.0.changed.wait_timeout_while(self.0.lines(), PATIENCE, |lines| !lines.is_empty());
    }
}

impl Queue {
    fn lines(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes line after line. A line stays in the queue until it is written, so that an empty queue means no work.
    fn write_all(&self, mut out: impl Write) {
        loop {
            let lines = self.lines();
            let lines = self.changed.wait_while(lines, |lines| lines.is_empty());
            let line = lines.unwrap_or_else(PoisonError::into_inner).front().cloned().unwrap_or_default();
            // Standard error is the last place for an error to be reported.
            let _ = out.write_all(&line);
            self.lines().pop_front();
            self.changed.notify_all();
        }
    }
}

impl Write for Background {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lines();
        if lines.len() < LINES {
            lines.push_back(line.to_vec());
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Background {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// Blocks in each write until it is released, and then passes the line on.
    struct Gate(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(line.to_vec()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_and_finish_waits_for_the_last() {
        let (release, gate) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let mut background = Background::start(Gate(gate, written)).unwrap();
        for line in ["a\n", "b\n"] {
            background.write_all(line.as_bytes()).unwrap();
            release.send(()).unwrap();
        }
        background.finish();
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), [b"a\n", b"b\n"]);
    }

    #[test]
    fn a_stopped_reader_blocks_no_writer() {
        let (_release, gate) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let mut background = Background::start(Gate(gate, written)).unwrap();
        for _ in 0..=LINES {
            background.write_all(b"line\n").unwrap();
        }
        assert_eq!(background.0.lines().len(), LINES);
        background.finish();
        assert_eq!(lines.try_iter().count(), 0);
    }
}
