//! Copies the files of commands to the host, as they come.

use std::cell::RefCell;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;
use vmlab_events::target::TargetId;
use vmlab_lab::command::CommandInput;
use vmlab_out::{OutError, Place, extract};
use vmlab_protocol::archive::OutReport;
use vmlab_protocol::command::{Control, WINDOW};
use vmlab_protocol::message::Stream;

use super::out::{OutDir, directory_name};
use crate::Failure;

/// How the directories on the host are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Division {
    /// Not at all: there is one command.
    Whole,
    /// Each kernel has a directory.
    Kernels,
    /// Each kernel has a directory, and in it each attempt.
    Attempts,
}

/// The copies of a run.
pub(super) struct Copies {
    directories: Vec<OutDir>,
    places: Vec<Place>,
    division: Division,
    /// The most that the files of a command may have, in bytes.
    limit: u64,
    /// The kernels with directories, and the names of these.
    kernels: RefCell<(Vec<TargetId>, Vec<String>)>,
    threads: RefCell<Vec<(TargetId, JoinHandle<Copied>)>>,
}

/// What came of a copy.
#[derive(Debug)]
pub(super) enum Copied {
    /// The guest sent no files.
    Nothing,
    /// All files were written.
    Whole(Vec<OutReport>),
    Failed(OutError),
}

impl Copies {
    /// Opens the directories on the host, so that nothing that a guest does moves them.
    pub(super) fn prepare(directories: Vec<OutDir>, division: Division, limit: u64) -> Result<Self, Failure> {
        let is_divided = division != Division::Whole;
        let place = |directory: &OutDir| Place::prepare(&directory.host, directory.file_name(), is_divided);
        let places = directories.iter().map(place).collect::<Result<_, _>>().map_err(Failure::lab)?;
        let (kernels, threads) = Default::default();
        Ok(Self { directories, places, division, limit, kernels, threads })
    }

    /// Starts to copy the files of a command; None if none are to be copied. The error names a directory.
    pub(super) fn begin(
        &self,
        target: &TargetId,
        attempt: u32,
        to_command: mpsc::Sender<CommandInput>,
    ) -> Option<Sink> {
        if self.places.is_empty() {
            return None;
        }
        let way = self.way(target, attempt);
        let places: Result<Vec<_>, _> = self.places.iter().map(|place| place.part(&way)).collect();
        let (chunks, incoming) = blocking::channel();
        let waiting = Arc::new(AtomicU64::new(0));
        let incoming =
            Incoming { chunks: incoming, waiting: Arc::clone(&waiting), to_command, current: Vec::new(), at: 0 };
        let limit = self.limit;
        let thread = thread::spawn(move || match places {
            Ok(places) => incoming.copy(&places, limit),
            Err(error) => Copied::Failed(error),
        });
        self.threads.borrow_mut().push((target.clone(), thread));
        Some(Sink { chunks: Some(chunks), waiting, begun: Arc::default() })
    }

    /// The way from the user's directory to that of an attempt.
    fn way(&self, target: &TargetId, attempt: u32) -> PathBuf {
        if self.division == Division::Whole {
            return PathBuf::new();
        }
        let (kernels, names) = &mut *self.kernels.borrow_mut();
        let at = kernels.iter().position(|kernel| kernel == target).unwrap_or_else(|| {
            let name = directory_name(target.as_str(), names).to_string_lossy().into_owned();
            kernels.push(target.clone());
            names.push(name);
            kernels.len() - 1
        });
        let kernel = PathBuf::from(&names[at]);
        if self.division == Division::Attempts { kernel.join(attempt.to_string()) } else { kernel }
    }

    /// Waits until all files are written.
    pub(super) fn finish(&self) -> Vec<(TargetId, Copied)> {
        let join = |(target, thread): (TargetId, JoinHandle<Copied>)| {
            let panicked = || OutError::Malformed { why: "the thread that reads it has panicked".to_owned() };
            (target, thread.join().unwrap_or_else(|_| Copied::Failed(panicked())))
        };
        self.threads.take().into_iter().map(join).collect()
    }

    /// What the user must know of a copy, in sentences.
    pub(super) fn sentences(&self, copied: &Copied) -> Vec<String> {
        match copied {
            Copied::Nothing => {
                vec!["no files of --out were copied, because the program did not come to its end".to_owned()]
            }
            Copied::Failed(error) => vec![error.to_string()],
            Copied::Whole(reports) => {
                let dirs = self.directories.iter().zip(reports);
                dirs.flat_map(|(dir, report)| left_out(&dir.guest.display().to_string(), report)).collect()
            }
        }
    }
}

/// What was not copied of a directory.
fn left_out(directory: &str, report: &OutReport) -> Vec<String> {
    let OutReport { exists, special_files, mount_points } = *report;
    let mut sentences = Vec::new();
    if !exists {
        sentences.push(format!("--out {directory}: nothing was copied, because it does not exist in the guest"));
    }
    if special_files > 0 {
        let what = if special_files == 1 { "device, FIFO or socket was" } else { "devices, FIFOs and sockets were" };
        sentences.push(format!("--out {directory}: {special_files} {what} left out"));
    }
    if mount_points > 0 {
        let what = if mount_points == 1 { "mount point was" } else { "mount points were" };
        sentences
            .push(format!("--out {directory}: {mount_points} {what} left out; name their directories to copy them"));
    }
    sentences
}

/// Where the archive of a command goes.
pub(super) struct Sink {
    /// None after the guest has sent more than it may.
    chunks: Option<blocking::Sender<Vec<u8>>>,
    waiting: Arc<AtomicU64>,
    /// Whether the archive has begun, and so the program has ended.
    begun: Arc<AtomicBool>,
}

impl Sink {
    /// Whether the archive has begun, now and later.
    pub(super) fn begun(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.begun)
    }

    /// Takes a piece of the archive. A guest that ignores the window loses its archive, which nothing keeps.
    pub(super) fn take(&mut self, data: Vec<u8>) {
        self.begun.store(true, Ordering::Relaxed);
        let length = data.len() as u64;
        if self.waiting.fetch_add(length, Ordering::Relaxed) + length > WINDOW {
            self.chunks = None;
        }
        if let Some(chunks) = &self.chunks {
            // The thread takes everything until its end.
            let _ = chunks.send(data);
        }
    }
}

/// The archive of a command, as it comes.
struct Incoming {
    chunks: blocking::Receiver<Vec<u8>>,
    /// Bytes that the guest has sent, and that are not taken.
    waiting: Arc<AtomicU64>,
    to_command: mpsc::Sender<CommandInput>,
    current: Vec<u8>,
    /// What is read of it.
    at: usize,
}

impl Incoming {
    fn copy(mut self, places: &[Place], limit: u64) -> Copied {
        if !self.next() {
            return Copied::Nothing;
        }
        let copied = extract(&mut self, places, limit);
        if copied.is_err() {
            self.tell(Control::Closed { stream: Stream::Archive });
        }
        while self.next() {}
        copied.map_or_else(Copied::Failed, Copied::Whole)
    }

    /// Waits for the next piece; false at the end.
    fn next(&mut self) -> bool {
        let bytes = self.current.len() as u64;
        if bytes > 0 {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.tell(Control::Taken { stream: Stream::Archive, bytes });
        }
        (self.current, self.at) = (self.chunks.recv().unwrap_or_default(), 0);
        !self.current.is_empty()
    }

    /// The command may have ended meanwhile, and then needs no answer.
    fn tell(&self, control: Control) {
        let _ = self.to_command.blocking_send(CommandInput::Control(control));
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() && !self.next() {
            return Ok(0);
        }
        let rest = &self.current[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(division: Division) -> (tempfile::TempDir, Copies) {
        let dir = tempfile::tempdir().unwrap();
        let directory = OutDir { guest: "/src/out".into(), host: dir.path().join("out") };
        (dir, Copies::prepare(vec![directory], division, 1 << 20).unwrap())
    }

    fn target(name: &str) -> TargetId {
        TargetId::new(name.to_owned())
    }

    #[test]
    fn kernels_and_attempts_have_directories() {
        let way = |division| {
            let (_dir, copies) = copies(division);
            let ways = [("debian:trixie", 1), ("debian/trixie", 2), ("debian:trixie", 3)];
            ways.map(|(name, attempt)| copies.way(&target(name), attempt))
        };
        assert_eq!(way(Division::Whole), [""; 3].map(PathBuf::from));
        assert_eq!(way(Division::Kernels), ["debian-trixie", "debian-trixie-2", "debian-trixie"].map(PathBuf::from));
        let attempts = ["debian-trixie/1", "debian-trixie-2/2", "debian-trixie/3"];
        assert_eq!(way(Division::Attempts), attempts.map(PathBuf::from));
    }

    /// Copies these pieces; returns what came of it and the messages to the command.
    fn copied(pieces: Vec<Vec<u8>>) -> (Copied, Vec<Control>) {
        let (_dir, copies) = copies(Division::Whole);
        let (sender, mut receiver) = mpsc::channel(1024);
        let mut sink = copies.begin(&target("k"), 1, sender).unwrap();
        pieces.into_iter().for_each(|piece| sink.take(piece));
        drop(sink);
        let (_, copied) = copies.finish().pop().unwrap();
        let mut controls = Vec::new();
        while let Some(CommandInput::Control(control)) = receiver.blocking_recv() {
            controls.push(control);
        }
        (copied, controls)
    }

    #[test]
    fn a_guest_without_files_differs_from_one_that_sends_half_of_them() {
        let (nothing, controls) = copied(Vec::new());
        assert!(matches!(nothing, Copied::Nothing) && controls.is_empty());
        let (half, controls) = copied(vec![vec![0; 100], vec![0; 412]]);
        assert!(matches!(half, Copied::Failed(OutError::Incomplete)), "{half:?}");
        let stream = Stream::Archive;
        let taken = |bytes| Control::Taken { stream, bytes };
        assert_eq!(controls, [taken(100), Control::Closed { stream }, taken(412)]);
    }

    #[test]
    fn a_guest_that_ignores_the_window_loses_its_archive() {
        let window = usize::try_from(WINDOW).unwrap();
        let (copied, _) = copied(vec![vec![0xff; window + 1], vec![0; 512]]);
        assert!(matches!(copied, Copied::Nothing), "{copied:?}");
    }

    #[test]
    fn what_is_left_out_is_reported_with_its_directory() {
        let report = OutReport { exists: true, special_files: 1, mount_points: 2 };
        assert_eq!(
            left_out("/d", &report),
            [
                "--out /d: 1 device, FIFO or socket was left out",
                "--out /d: 2 mount points were left out; name their directories to copy them"
            ]
        );
        let missing = "--out /d: nothing was copied, because it does not exist in the guest";
        assert_eq!(left_out("/d", &OutReport::default()), [missing]);
        assert!(left_out("/d", &OutReport { exists: true, ..OutReport::default() }).is_empty());
    }
}
