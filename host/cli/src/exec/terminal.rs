//! The terminal of this process, for a command that has one.

use std::io::{self, IsTerminal as _, Write as _, stdin, stdout};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use vmlab_protocol::command::WindowSize;

/// The size of the terminal, if both standard input and standard output are one.
pub(super) fn size() -> Option<WindowSize> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return None;
    }
    let size = tcgetwinsize(stdout()).ok()?;
    Some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Raw mode: the guest's terminal handles what is typed. Ends when this is dropped, and when this process is killed.
#[derive(Debug)]
pub(super) struct RawMode {
    before: Termios,
    guard: Option<Guard>,
}

impl RawMode {
    pub(super) fn begin() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let guard = Guard::start();
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before, guard })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}

/// A process that restores the terminal if this process is killed: the pipe between them then ends without a line.
#[derive(Debug)]
struct Guard {
    process: Child,
    pipe: ChildStdin,
}

/// Its first argument is a terminal's mode in the form of stty(1), and its standard output is the terminal. Outside of the
/// terminal's foreground, stty(1) would be stopped by SIGTTOU.
const GUARD: &str = "trap '' TTOU INT QUIT TERM HUP; read -r line || stty \"$1\" <&1";

impl Guard {
    /// Saves the terminal's mode. None on a machine without sh(1) or stty(1): the terminal then stays raw after a SIGKILL.
    fn start() -> Option<Self> {
        let saved = Command::new("stty").arg("-g").stdin(Stdio::inherit()).output().ok()?;
        let mode = String::from_utf8(saved.stdout).ok().filter(|_| saved.status.success())?;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "vmlab-terminal", mode.trim_end()]);
        command.process_group(0).current_dir("/").stdin(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let pipe = process.stdin.take()?;
        Some(Self { process, pipe })
    }

    /// Ends the process, which leaves the terminal as it is.
    fn dismiss(mut self) {
        // If it has been killed, nothing is left to do.
        let _ = self.pipe.write_all(b"\n");
        let _ = self.process.wait();
    }
}
