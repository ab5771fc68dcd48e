//! A QEMU that is written to a file at its end, and one that becomes what such a file describes.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use command_fds::FdMapping;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use vmlab_thaw::freezer::{self, FREEZE, Figures, LINE_LIMIT, Message};
use vmlab_thaw::programs::Program;
use vmlab_thaw::{IMAGE_FD, RAM_FD};

/// The numbers of the freezer's own descriptors. QEMU does not inherit them.
const CHANNEL_FD: i32 = 20;
const FREEZERS_IMAGE_FD: i32 = 21;

/// The variables that a QEMU gets which is to be frozen: each process that thaws has a copy of its environment.
const KEPT_VARIABLES: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "QEMU_MODULE_DIR"];

/// Makes sure that the freezer and the thawer can be executed on this machine.
///
/// # Errors
/// As [`Program::path`].
pub fn check_programs() -> io::Result<()> {
    [Program::Freezer, Program::Thawer].into_iter().try_for_each(|program| program.path().map(drop))
}

/// What is special about a QEMU's start.
#[derive(Debug)]
pub enum Frozen {
    /// It is started by the freezer, which can write it to this file. Its guest's memory is in the files with these paths.
    Written {
        /// An empty file, open for writing.
        image: File,
        /// One for each NUMA node.
        ram: Vec<PathBuf>,
    },
    /// It becomes what the image describes.
    Thawed {
        /// Open for reading.
        image: File,
        /// The files with the guest's memory, open for reading.
        ram: Vec<File>,
        /// What `ps` shows; the beginning of it is the name of the process.
        title: String,
        /// QEMU's greeting on its monitor, which came before the image was written.
        greeting: String,
    },
}

/// The command that starts QEMU.
pub(crate) struct Launch {
    pub(crate) command: Command,
    pub(crate) freezer: Option<Freezer>,
    /// The greeting of a thawed QEMU.
    pub(crate) greeting: Option<String>,
}

impl Launch {
    /// A command, and the descriptors that it inherits, which are added to those of QEMU.
    pub(crate) fn new(
        qemu: &Path,
        arguments: &[OsString],
        frozen: Option<Frozen>,
        mappings: &mut Vec<FdMapping>,
    ) -> io::Result<Self> {
        match frozen {
            None => {
                let mut command = Command::new(qemu);
                command.args(arguments);
                Ok(Self { command, freezer: None, greeting: None })
            }
            Some(Frozen::Written { image, ram }) => {
                let (ours, theirs) = StdUnixStream::pair()?;
                ours.set_nonblocking(true)?;
                let passed: Vec<_> = mappings.iter().map(|mapping| mapping.child_fd).collect();
                let words: Vec<_> = std::iter::once(qemu.into()).chain(arguments.iter().cloned()).collect();
                let mut command = Command::new(Program::Freezer.path()?);
                command.args(freezer::arguments(CHANNEL_FD, FREEZERS_IMAGE_FD, &passed, &ram, &words)).env_clear();
                command.envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
                mappings.push(FdMapping { parent_fd: theirs.into(), child_fd: CHANNEL_FD });
                mappings.push(FdMapping { parent_fd: image.into(), child_fd: FREEZERS_IMAGE_FD });
                let channel = BufReader::new(UnixStream::from_std(ours)?);
                Ok(Self { command, freezer: Some(Freezer { channel, qemu: None }), greeting: None })
            }
            Some(Frozen::Thawed { image, ram, title, greeting }) => {
                let mut command = Command::new(Program::Thawer.path()?);
                command.arg0(title);
                mappings.push(FdMapping { parent_fd: image.into(), child_fd: IMAGE_FD });
                let ram = ram.into_iter().zip(RAM_FD..);
                mappings.extend(ram.map(|(file, child_fd)| FdMapping { parent_fd: file.into(), child_fd }));
                Ok(Self { command, freezer: None, greeting: Some(greeting) })
            }
        }
    }
}

/// The freezer of a running QEMU.
#[derive(Debug)]
pub struct Freezer {
    channel: BufReader<UnixStream>,
    /// QEMU's process id, once the freezer has said it.
    qemu: Option<u32>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// The freezer does not know how to restore something of QEMU's.
    #[error("{0}")]
    Refused(String),
    /// The freezer has failed or ended.
    #[error("the program that freezes QEMU failed")]
    Channel(#[source] io::Error),
}

impl Freezer {
    /// The process id of QEMU, which is the freezer's child.
    pub fn qemu(&mut self) -> Option<u32> {
        if self.qemu.is_none() {
            // The first line is short and was written at once.
            let mut line = [0; 64];
            let count = self.channel.get_ref().try_read(&mut line).ok()?;
            let line = std::str::from_utf8(line.get(..count)?).ok()?;
            if let Ok(Message::Started { pid }) = Message::parse(line) {
                self.qemu = Some(pid);
            }
        }
        self.qemu
    }

    /// Writes QEMU to its image. QEMU has to be paused. It has ended when this succeeds, and goes on when it fails.
    ///
    /// # Errors
    /// [`FreezeError`]
    pub async fn freeze(&mut self) -> Result<Figures, FreezeError> {
        let freeze = async {
            self.channel.get_mut().write_all(FREEZE).await?;
            loop {
                let mut line = String::new();
                if (&mut self.channel).take(LINE_LIMIT as u64).read_line(&mut line).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                match Message::parse(&line).map_err(io::Error::other)? {
                    Message::Started { pid } => self.qemu = Some(pid),
                    answer => return Ok(answer),
                }
            }
        };
        match freeze.await.map_err(FreezeError::Channel)? {
            Message::Frozen(figures) => Ok(figures),
            Message::Refused { why } => Err(FreezeError::Refused(why)),
            Message::Started { .. } => Err(FreezeError::Channel(io::ErrorKind::InvalidData.into())),
        }
    }
}
