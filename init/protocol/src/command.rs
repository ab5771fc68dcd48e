//! A command: a program of the host's that runs in a guest.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use serde::{Deserialize, Serialize};

use crate::stream::Stream;

/// The output or input of one stream that may be on its way before the receiver has taken it, in bytes. Each side keeps that much
/// for each stream, so that a stream that nobody reads holds up neither the other ones nor a signal.
pub const WINDOW: u64 = 256 << 10;

/// What a guest needs to run a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program's name or path, and its arguments. A name without a slash is looked up in the `PATH` of `env`.
    pub argv: Vec<Text>,
    /// The file to which the name leads on the host. The guest takes it if it sees it: each directory of `PATH` that it need not search
    /// saves questions to the host.
    pub found: Option<Text>,
    /// The environment, each variable as `NAME=VALUE`.
    pub env: Vec<Text>,
    /// The working directory.
    pub cwd: Text,
    /// The user.
    pub user: User,
    /// The size of the terminal; None for three pipes.
    pub terminal: Option<WindowSize>,
    /// The host name.
    pub hostname: String,
    /// Whether the root shows the host's files. Otherwise it is empty, but for what PID 1 mounts.
    pub host_files: bool,
    /// The network of the guest's network card; None without one.
    pub network: Option<Network>,
    /// The files of kernel modules to load before the program runs, in order. None of them is compressed.
    pub load: Vec<Text>,
    /// Directories and files whose content, where the command wrote it, goes to the host when the command has ended. Absolute paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out: Vec<Text>,
}

/// A device node whose use loads a module, as modules.devname (depmod(8)) has it. The guest image has a list of them, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Its path below /dev.
    pub name: String,
    /// Whether it is a block device; otherwise it is a character device.
    pub is_block: bool,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

/// The settings of a network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The kernel's name of the device.
    pub device: String,
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The mask of its network.
    pub mask: Ipv4Addr,
    /// The address of the router.
    pub gateway: Ipv4Addr,
    /// The address of the name server.
    pub resolver: Ipv4Addr,
}

/// Who runs a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The id of the main group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
}

impl User {
    /// The superuser.
    pub const ROOT: Self = Self { uid: 0, gid: 0, groups: Vec::new() };
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub columns: u16,
}

/// The end of a command, or of the attempt to start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum CommandEnd {
    /// It exited.
    Exited {
        /// The exit code, 0 to 255.
        code: u8,
    },
    /// A signal ended it.
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// There is no such program, or the interpreter that it names does not exist (ENOENT, ENOTDIR).
    NotFound {
        /// What is missing, and the system's error.
        detail: String,
    },
    /// The program cannot be executed (EACCES, ENOEXEC, ...).
    NotExecutable {
        /// The call and the system's error.
        detail: String,
    },
}

/// A text of any bytes but NUL: an argument, a path, a variable of the environment. In JSON a string where it is UTF-8, and else
/// an array of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct Text(OsString);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl Text {
    /// The text for the system.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl<T: Into<OsString>> From<T> for Text {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl From<Form> for Text {
    fn from(form: Form) -> Self {
        match form {
            Form::Utf8(text) => Self(text.into()),
            Form::Bytes(bytes) => Self(OsString::from_vec(bytes)),
        }
    }
}

impl From<Text> for Form {
    fn from(Text(text): Text) -> Self {
        match text.into_string() {
            Ok(text) => Self::Utf8(text),
            Err(text) => Self::Bytes(text.into_vec()),
        }
    }
}

/// What the host tells a guest about a command that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Control {
    /// Answer with [`GuestMessage::Alive`](crate::message::GuestMessage::Alive).
    Ping,
    /// The standard input has ended.
    EndOfInput,
    /// Send this signal to the command.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The terminal has another size.
    Resize {
        /// The new size.
        size: WindowSize,
    },
    /// The host has passed output on: the guest may send as much again.
    Taken {
        /// The stream.
        stream: Stream,
        /// Bytes since the last such message.
        bytes: u64,
    },
    /// Nobody reads the stream any more: the command is to get SIGPIPE or EPIPE.
    Closed {
        /// The stream.
        stream: Stream,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_each_byte() {
        for (bytes, json) in [(b"a b".to_vec(), "\"a b\""), (vec![b'a', 0xff], "[97,255]"), (Vec::new(), "\"\"")] {
            let text = Text::from(OsString::from_vec(bytes));
            assert_eq!(serde_json::to_string(&text).unwrap(), json);
            assert_eq!(serde_json::from_str::<Text>(json).unwrap(), text);
        }
    }
}
