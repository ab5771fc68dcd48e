//! The console: bytes in, kernel crashes, warnings and PID 1's own words out. No IO, bounded memory.

use std::collections::VecDeque;

use vmlab_protocol::CONSOLE_MARK;

/// Lines that are kept from a crash's title on.
const TRACE_LINES: usize = 200;
/// A line that is longer is cut, in bytes.
const LINE_LIMIT: usize = 4096;
/// Lines that are kept for a report on a guest that ended in silence.
const LAST_LINES: usize = 200;
/// Titles of warnings that are kept until somebody asks for them.
const WARNINGS_KEPT: usize = 64;

/// The kernel broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// The line that said so first, without its time stamp.
    pub title: String,
    /// The console from that line on.
    pub trace: Vec<String>,
}

/// Reads the console of one guest.
#[derive(Debug, Default)]
pub struct ConsoleReader {
    partial: Vec<u8>,
    last: VecDeque<String>,
    crash: Option<Crash>,
    warnings: Vec<String>,
    said_by_init: Vec<String>,
    kernel_spoke: bool,
}

/// Beginning of the first line that a kernel prints (init/version.c).
const FIRST_WORDS: &str = "Linux version ";

/// Beginning of the line by which a kernel gives up (kernel/panic.c).
const PANIC: &str = "Kernel panic - not syncing";

/// Beginnings of lines that say that the kernel cannot be trusted any more.
const CRASHES: &[&str] = &[
    PANIC,
    "BUG: ",
    "Oops",
    "kernel BUG at ",
    "general protection fault",
    "double fault",
    "traps: PANIC: double fault",
    "PANIC: double fault",
    "stack segment: ",
    "invalid opcode: ",
    "divide error: ",
    "watchdog: BUG: ",
    "Internal error: ",
    "Unable to handle kernel ",
];

/// Beginnings of lines that say that the kernel found a fault in itself and goes on.
const WARNINGS: &[&str] = &[
    "WARNING: ",
    "INFO: task ",
    "INFO: rcu",
    "rcu: INFO: ",
    "INFO: possible ",
    "INFO: trying to register non-static key",
    "INFO: inconsistent lock state",
    "UBSAN: ",
    "======================================================",
];

impl ConsoleReader {
    /// Takes in the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_LIMIT.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    /// Says that the console has ended: a last line without an end is a line all the same.
    pub fn end(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
    }

    /// The first crash, if there was one.
    #[must_use]
    pub const fn crash(&self) -> Option<&Crash> {
        self.crash.as_ref()
    }

    /// Whether the kernel has panicked, and not only found a fault: nothing more will come of it.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        let panic = |line: &String| without_stamp(line).starts_with(PANIC);
        self.crash.as_ref().is_some_and(|crash| crash.trace.iter().any(panic))
    }

    /// The titles of warnings since the last call.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// What PID 1 wrote on the console because it could not say it on the link.
    #[must_use]
    pub fn said_by_init(&self) -> &[String] {
        &self.said_by_init
    }

    /// Whether the kernel proper was reached: what a bootloader and the decompressor print comes before.
    #[must_use]
    pub const fn kernel_spoke(&self) -> bool {
        self.kernel_spoke
    }

    /// The last lines.
    pub fn last_lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end_matches(['\r', '\n']).to_owned();
        let title = without_stamp(&line);
        self.kernel_spoke |= title.starts_with(FIRST_WORDS);
        if let Some(words) = title.strip_prefix(CONSOLE_MARK) {
            if self.said_by_init.len() < LAST_LINES {
                self.said_by_init.push(words.trim().to_owned());
            }
        } else if let Some(crash) = &mut self.crash {
            if crash.trace.len() < TRACE_LINES {
                crash.trace.push(line.clone());
            }
        } else if CRASHES.iter().any(|start| title.starts_with(start)) {
            self.crash = Some(Crash { title: title.to_owned(), trace: vec![line.clone()] });
        } else if WARNINGS.iter().any(|start| title.starts_with(start)) && self.warnings.len() < WARNINGS_KEPT {
            self.warnings.push(title.to_owned());
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// A kernel line without `[   12.345678]` and, behind it, the caller of `CONFIG_PRINTK_CALLER`, `[    T1]`.
fn without_stamp(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some((inner, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let inner = inner.trim();
        let stamp = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let caller = inner.strip_prefix(['T', 'C']).is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()));
        if !stamp && !caller {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANIC: &str = "[    1.214] Run /init as init process\r\n\
        [    1.300000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\r\n\
        [    1.300001] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0 #1\r\n";

    #[test]
    fn a_panic_is_found_however_the_bytes_are_split() {
        for size in 1..PANIC.len() {
            let mut reader = ConsoleReader::default();
            PANIC.as_bytes().chunks(size).for_each(|chunk| reader.push(chunk));
            reader.end();
            let crash = reader.crash().unwrap();
            assert_eq!(crash.title, "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b");
            assert_eq!(crash.trace.len(), 2);
        }
    }

    #[test]
    fn words_about_a_panic_are_no_panic() {
        let mut reader = ConsoleReader::default();
        reader.push(b"[    0.1] Command line: oops=panic panic=-1\n[    0.2] the WARNING: is not at the start\n");
        assert_eq!(reader.crash(), None);
        assert!(reader.take_warnings().is_empty());
    }

    #[test]
    fn the_first_fault_names_the_crash_and_the_panic_is_in_its_trace() {
        let mut reader = ConsoleReader::default();
        reader.push(b"[    2.0][    T7] BUG: kernel NULL pointer dereference, address: 0000000000000000\n");
        reader.push(b"[    2.1][    T7] Kernel panic - not syncing: Fatal exception\n");
        let crash = reader.crash().unwrap();
        assert!(crash.title.starts_with("BUG: kernel NULL pointer"));
        assert_eq!(crash.trace.len(), 2);
    }

    #[test]
    fn warnings_are_given_once() {
        let mut reader = ConsoleReader::default();
        reader.push(b"[    3.0] WARNING: CPU: 0 PID: 9 at kernel/foo.c:12 foo+0x1/0x2\n");
        assert_eq!(reader.take_warnings().len(), 1);
        assert!(reader.take_warnings().is_empty());
    }

    #[test]
    fn endless_lines_and_foreign_bytes_are_bounded() {
        let mut reader = ConsoleReader::default();
        for _ in 0..100 {
            reader.push(&[0xff; 1024]);
        }
        reader.push(b"\nvmlab-init: no port\n");
        assert_eq!(reader.said_by_init(), ["no port"]);
        assert!(reader.last_lines().next().unwrap().chars().count() <= LINE_LIMIT);
    }
}
