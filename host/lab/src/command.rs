//! A command in a guest: what the lab needs to run it, and how the user's side is connected to it.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use vmlab_events::target::TargetId;
use vmlab_files::{Request, View, ViewError};
use vmlab_protocol::command::{Command, Control};
use vmlab_protocol::message::Stream;

/// What a run is to do with a command.
#[derive(Debug, Clone)]
pub struct CommandPlan {
    /// What the guest needs.
    pub command: Command,
    /// Which of the host's files the guest sees; None for none.
    pub files: Option<FilesPlan>,
}

/// Which of the host's files a guest sees.
#[derive(Debug, Clone)]
pub struct FilesPlan {
    /// The caller's home.
    pub home: Option<PathBuf>,
    /// Whether the guest sees the whole home.
    pub whole_home: bool,
    /// The directories that the user shares.
    pub shares: Vec<PathBuf>,
    /// The working directory.
    pub cwd: PathBuf,
}

impl FilesPlan {
    /// What the guest sees, with directories of the host's in other places: the place, and the directory.
    ///
    /// # Errors
    /// [`ViewError`]
    pub fn view(&self, extra: &[(PathBuf, PathBuf)]) -> Result<View, ViewError> {
        View::new(&Request {
            home: self.home.as_deref(),
            whole_home: self.whole_home,
            shares: &self.shares,
            cwd: &self.cwd,
            extra,
        })
    }
}

/// For a command that runs, from the user.
#[derive(Debug)]
pub enum CommandInput {
    /// Standard input. At most [`vmlab_protocol::command::WINDOW`] bytes may be on their way.
    Stdin(Vec<u8>),
    /// Anything else.
    Control(Control),
}

/// From a command that runs, for the user.
#[derive(Debug)]
pub enum CommandOutput {
    /// The command has written this. [`Control::Taken`] must answer it once it is passed on.
    Data {
        /// Standard output, standard error, or the archive of the files of `--out`.
        stream: Stream,
        /// The bytes that it wrote.
        data: Vec<u8>,
    },
    /// The command has read so many bytes of standard input.
    InputTaken(u64),
}

/// The user's side of a command that runs. Dropping it ends the connection, and the command goes on.
#[derive(Debug)]
pub struct CommandIo {
    /// What the user's side has for the command.
    pub input: mpsc::Receiver<CommandInput>,
    /// What the command has for the user's side. It is bounded by the windows of the streams.
    pub output: mpsc::UnboundedSender<CommandOutput>,
}

/// Connects commands and guests to the user.
pub trait Attach {
    /// Called when a command starts. The channels are closed when it has ended.
    fn attach(&self, target: &TargetId, attempt: u32) -> CommandIo;

    /// Called when a guest waits for a debugger to connect to this socket.
    fn debugger(&self, target: &TargetId, socket: &Path);
}
