//! Connects the standard streams of this process to commands in guests.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vmlab_events::clean;
use vmlab_events::target::TargetId;
use vmlab_lab::command::{Attach, CommandInput, CommandIo, CommandOutput};
use vmlab_protocol::command::{Control, WINDOW};
use vmlab_protocol::message::Stream;

use super::copies::{Copies, Sink};
use super::terminal::RawMode;

/// The most messages to a command that wait. Input is bounded by its window, and signals are few.
const WAITING: usize = 1024;
/// The most bytes of input in a message.
const PIECE: usize = 32 * 1024;

/// Where the output of commands goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// To the standard streams, as it comes: there is one command.
    Live,
    /// To the standard streams under a heading, when the command has ended.
    OneAfterTheOther,
    /// To the standard streams line by line, each with the target's name.
    Prefix,
}

/// A command, as long as its channel is open.
struct Running {
    to_command: mpsc::Sender<CommandInput>,
    /// Whether its program has ended, and its files are being copied.
    is_copied: Arc<AtomicBool>,
}

/// The connections of all commands of a run.
pub(super) struct Connections {
    mode: Mode,
    copies: Copies,
    /// Ends the run when the user types [`ESCAPE`]. Set if the command has this process's terminal.
    escape: Option<CancellationToken>,
    /// The terminal's mode while the command runs.
    raw_mode: RefCell<Option<RawMode>>,
    /// What to send signals to.
    running: RefCell<Vec<Running>>,
    threads: RefCell<Vec<JoinHandle<io::Result<()>>>>,
    /// Whether standard input is taken. The first command gets it.
    input_is_taken: RefCell<bool>,
    /// Held while output is written that belongs together.
    printing: Arc<Mutex<()>>,
}

impl Connections {
    pub(super) fn new(mode: Mode, copies: Copies, escape: Option<CancellationToken>) -> Self {
        let (raw_mode, running, threads, input_is_taken) = Default::default();
        Self { mode, copies, escape, raw_mode, running, threads, input_is_taken, printing: Arc::default() }
    }

    /// Sends a message to all running commands; false if no program runs.
    pub(super) fn tell(&self, control: &Control) -> bool {
        let mut running = self.running.borrow_mut();
        running.retain(|command| !command.to_command.is_closed());
        for command in running.iter() {
            // Full only if a guest has stopped reading. The third signal then ends the run, see `until_done`.
            let _ = command.to_command.try_send(CommandInput::Control(control.clone()));
        }
        running.iter().any(|command| !command.is_copied.load(Ordering::Relaxed))
    }

    /// Waits until all output is written, and gives the terminal back. The error is the first that prevented that.
    pub(super) fn finish(&self) -> io::Result<()> {
        let written = self.wait_for_threads();
        self.raw_mode.take();
        written
    }

    pub(super) const fn copies(&self) -> &Copies {
        &self.copies
    }

    fn wait_for_threads(&self) -> io::Result<()> {
        let join =
            |thread: JoinHandle<_>| thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")));
        // All are waited for, also after an error.
        let ended: Vec<io::Result<()>> = self.threads.take().into_iter().map(join).collect();
        ended.into_iter().collect()
    }
}

impl Attach for Connections {
    fn debugger(&self, target: &TargetId, socket: &Path) {
        let (target, socket) = (clean::line(target.as_str()), socket.display());
        // If standard error cannot be written, nobody waits for the text.
        let _ = write!(
            io::stderr(),
            "vmlab: {target} waits for a debugger. In another terminal, with the vmlinux that has its symbols:\n\n    \
             gdb -ex 'target remote {socket}' vmlinux\n\nand `continue` there lets it run.\n"
        );
    }

    fn attach(&self, target: &TargetId, attempt: u32) -> CommandIo {
        let (to_command, input) = mpsc::channel(WAITING);
        let (output, from_command) = mpsc::unbounded_channel();
        let (credit, credits) = blocking::channel();
        let first = !self.input_is_taken.replace(true);
        if first {
            let (sender, escape) = (to_command.clone(), self.escape.clone());
            // It ends with the process: nothing interrupts a read.
            thread::spawn(move || pass_input(io::stdin().lock(), &sender, &credits, escape.as_ref()));
        } else {
            // The queue is new and empty.
            let _ = to_command.try_send(CommandInput::Control(Control::EndOfInput));
        }
        if self.escape.is_some() {
            // A terminal without raw mode only edits lines and echoes them twice.
            self.raw_mode.replace(RawMode::begin().ok());
        }
        let heading = match attempt {
            1 => target.to_string(),
            attempt => format!("{target}, attempt {attempt}"),
        };
        let destination = Destination::new(self.mode, heading, Arc::clone(&self.printing));
        let archive = self.copies.begin(target, attempt, to_command.clone());
        let is_copied = archive.as_ref().map(Sink::begun).unwrap_or_default();
        let sender = to_command.clone();
        let print = move || pass_output(from_command, &sender, &credit, archive, destination?);
        self.threads.borrow_mut().push(thread::spawn(print));
        self.running.borrow_mut().push(Running { to_command, is_copied });
        CommandIo { input, output }
    }
}

/// Typed in a row, this ends a guest that does not answer: in raw mode, Ctrl-C is the guest's. (Ctrl-], as in telnet.)
const ESCAPE: [u8; 3] = [0x1d; 3];

/// Passes input on, never more than the command's window has room for.
fn pass_input(
    mut input: impl Read,
    to_command: &mpsc::Sender<CommandInput>,
    credits: &blocking::Receiver<u64>,
    escape: Option<&CancellationToken>,
) {
    let mut room = WINDOW;
    let mut typed = Vec::new();
    let mut buffer = vec![0; PIECE];
    loop {
        room += credits.try_iter().sum::<u64>();
        if room == 0 {
            match credits.recv() {
                Ok(more) => room += more,
                Err(_) => return,
            }
            continue;
        }
        let at_most = usize::try_from(room).unwrap_or(PIECE).min(PIECE);
        let message = match input.read(&mut buffer[..at_most]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What cannot be read has no more input for the program.
            Ok(0) | Err(_) => CommandInput::Control(Control::EndOfInput),
            Ok(count) => {
                room -= count as u64;
                if let Some(escape) = escape {
                    typed.extend_from_slice(&buffer[..count]);
                    if typed.windows(ESCAPE.len()).any(|keys| keys == ESCAPE) {
                        return escape.cancel();
                    }
                    typed.drain(..typed.len().saturating_sub(ESCAPE.len() - 1));
                }
                CommandInput::Stdin(buffer[..count].to_vec())
            }
        };
        let is_end = matches!(message, CommandInput::Control(_));
        if to_command.blocking_send(message).is_err() || is_end {
            return;
        }
    }
}

/// Writes output, and tells the command what is written.
fn pass_output(
    mut from_command: mpsc::UnboundedReceiver<CommandOutput>,
    to_command: &mpsc::Sender<CommandInput>,
    credit: &blocking::Sender<u64>,
    mut archive: Option<Sink>,
    mut destination: Destination,
) -> io::Result<()> {
    // The command may have ended meanwhile, and then needs no answer.
    let answer = |control| drop(to_command.blocking_send(CommandInput::Control(control)));
    let mut failed = None;
    while let Some(output) = from_command.blocking_recv() {
        match output {
            CommandOutput::InputTaken(bytes) => drop(credit.send(bytes)),
            CommandOutput::Data { stream: Stream::Archive, data } => match &mut archive {
                Some(archive) => archive.take(data),
                // Nobody has asked for it.
                None => answer(Control::Taken { stream: Stream::Archive, bytes: data.len() as u64 }),
            },
            CommandOutput::Data { stream, data } => {
                match destination.write(stream, &data) {
                    Ok(()) => {}
                    Err(error) => {
                        answer(Control::Closed { stream });
                        // That nobody reads is no failure: the program gets SIGPIPE.
                        if error.kind() != io::ErrorKind::BrokenPipe {
                            failed.get_or_insert(error);
                        }
                    }
                }
                answer(Control::Taken { stream, bytes: data.len() as u64 });
            }
        }
    }
    destination.finish()?;
    failed.map_or(Ok(()), Err)
}

/// Where a command's output goes.
enum Destination {
    Live,
    Spooled { heading: String, spool: File, printing: Arc<Mutex<()>> },
    Prefixed { prefix: String, lines: [Vec<u8>; 2], printing: Arc<Mutex<()>> },
}

impl Destination {
    fn new(mode: Mode, heading: String, printing: Arc<Mutex<()>>) -> io::Result<Self> {
        Ok(match mode {
            Mode::Live => Self::Live,
            Mode::OneAfterTheOther => Self::Spooled { heading, spool: tempfile::tempfile()?, printing },
            Mode::Prefix => Self::Prefixed { prefix: format!("{heading}: "), lines: Default::default(), printing },
        })
    }

    fn write(&mut self, stream: Stream, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Live => write_to(stream, data),
            Self::Spooled { spool, .. } => {
                let length = u32::try_from(data.len()).map_err(io::Error::other)?;
                spool.write_all(&[u8::from(stream == Stream::Stderr)])?;
                spool.write_all(&length.to_le_bytes())?;
                spool.write_all(data)
            }
            Self::Prefixed { prefix, lines, printing } => {
                let whole = whole_lines(prefix, &mut lines[usize::from(stream == Stream::Stderr)], data);
                let _printing = printing.lock().unwrap_or_else(PoisonError::into_inner);
                write_to(stream, &whole)
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Live => Ok(()),
            Self::Prefixed { prefix, lines, printing } => {
                let _printing = printing.lock().unwrap_or_else(PoisonError::into_inner);
                for (line, stream) in lines.into_iter().zip([Stream::Stdout, Stream::Stderr]) {
                    if !line.is_empty() {
                        write_to(stream, &[prefix.as_bytes(), &line, b"\n"].concat())?;
                    }
                }
                Ok(())
            }
            Self::Spooled { heading, mut spool, printing } => {
                let _printing = printing.lock().unwrap_or_else(PoisonError::into_inner);
                write_to(Stream::Stdout, format!("==> {heading} <==\n").as_bytes())?;
                spool.seek(SeekFrom::Start(0))?;
                let mut spool = io::BufReader::new(spool);
                let mut head = [0; 5];
                while spool.read_exact(&mut head).is_ok() {
                    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
                    let mut data = vec![0; usize::try_from(length).map_err(io::Error::other)?];
                    spool.read_exact(&mut data)?;
                    write_to(if head[0] == 0 { Stream::Stdout } else { Stream::Stderr }, &data)?;
                }
                Ok(())
            }
        }
    }
}

/// The whole lines of what was left and of new data, each with a prefix. Keeps the rest.
fn whole_lines(prefix: &str, rest: &mut Vec<u8>, data: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    for piece in data.split_inclusive(|byte| *byte == b'\n') {
        rest.extend_from_slice(piece);
        if rest.ends_with(b"\n") {
            whole.extend_from_slice(prefix.as_bytes());
            whole.append(rest);
        }
    }
    whole
}

fn write_to(stream: Stream, data: &[u8]) -> io::Result<()> {
    if stream == Stream::Stderr {
        return io::stderr().write_all(data);
    }
    let mut stdout = io::stdout().lock();
    // A program's output may end without a line end.
    stdout.write_all(data)?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reaches the command of these pieces of input, if it takes everything; and whether the run is to end.
    fn passed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        struct Pieces<'a>(std::slice::Iter<'a, &'a [u8]>);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let piece = self.0.next().copied().unwrap_or_default();
                buffer[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            }
        }
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let (_credit, credits) = blocking::channel();
        let escape = CancellationToken::new();
        pass_input(Pieces(pieces.iter()), &sender, &credits, Some(&escape));
        drop(sender);
        let mut bytes = Vec::new();
        while let Some(input) = receiver.blocking_recv() {
            if let CommandInput::Stdin(piece) = input {
                bytes.extend(piece);
            }
        }
        (bytes, escape.is_cancelled())
    }

    #[test]
    fn three_escapes_in_a_row_end_the_run() {
        assert_eq!(passed(&[b"ls\n", b"\x1d", b"\x1d"]), (b"ls\n\x1d\x1d".to_vec(), false));
        assert!(passed(&[b"a\x1d", b"\x1d\x1d"]).1);
        assert!(passed(&[b"\x1d\x1d\x1db"]).1);
        assert!(!passed(&[b"\x1d\x1d", b"x\x1d"]).1);
    }

    #[test]
    fn input_waits_for_room() {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let (credit, credits) = blocking::channel();
        let more = usize::try_from(WINDOW).unwrap() + 7;
        let input = vec![b'x'; more];
        let passing = thread::spawn(move || pass_input(input.as_slice(), &sender, &credits, None));
        let mut received = 0;
        while received < more - 7 {
            let Some(CommandInput::Stdin(piece)) = receiver.blocking_recv() else { panic!("input") };
            received += piece.len();
        }
        assert!(receiver.try_recv().is_err(), "the window is full");
        credit.send(100).unwrap();
        let Some(CommandInput::Stdin(piece)) = receiver.blocking_recv() else { panic!("input") };
        assert_eq!(piece.len(), 7);
        assert!(matches!(receiver.blocking_recv(), Some(CommandInput::Control(Control::EndOfInput))));
        passing.join().unwrap();
    }

    #[test]
    fn whole_lines_get_a_prefix() {
        let mut rest = Vec::new();
        assert_eq!(whole_lines("k: ", &mut rest, b"a\n\nb"), b"k: a\nk: \n");
        assert_eq!(whole_lines("k: ", &mut rest, b""), b"");
        assert_eq!(whole_lines("k: ", &mut rest, b"c\nd"), b"k: bc\n");
        assert_eq!(rest, b"d");
    }
}
