//! What is said on the freezer's channel: a line for each message.

use std::ffi::OsString;
use std::path::PathBuf;

/// The order to write the image.
pub const FREEZE: &[u8] = b"freeze\n";

/// The longest line, in bytes.
pub const LINE_LIMIT: usize = 16 << 10;

/// A message of the freezer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// QEMU was started.
    Started {
        /// QEMU's process id.
        pid: u32,
    },
    /// The image is complete, and QEMU has ended.
    Frozen(Figures),
    /// There is no image, and QEMU goes on.
    Refused {
        /// The reason, in one line.
        why: String,
    },
}

/// Figures about an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// How long QEMU was stopped to write it, in ms.
    pub milliseconds: u64,
    /// The space of the image on the disk, in bytes: less than its length, because pages of zeros are holes.
    pub disk_bytes: u64,
    /// The length of the image, in bytes.
    pub file_bytes: u64,
    /// The number of QEMU's threads.
    pub threads: u64,
    /// All figures as text, for the log.
    pub text: String,
}

/// A line that is no message.
#[derive(Debug, thiserror::Error)]
#[error("the freezer said something that vmlab does not understand: {0:?}")]
pub struct NotAMessage(String);

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    /// [`NotAMessage`]
    pub fn parse(line: &str) -> Result<Self, NotAMessage> {
        let unknown = || NotAMessage(line.chars().take(200).collect());
        let (word, rest) = line.trim_end().split_once(' ').ok_or_else(unknown)?;
        match word {
            "started" => Ok(Self::Started { pid: rest.parse().map_err(|_| unknown())? }),
            "frozen" => Ok(Self::Frozen(Figures::parse(rest))),
            "refused" => Ok(Self::Refused { why: rest.to_owned() }),
            _ => Err(unknown()),
        }
    }
}

impl Figures {
    /// A figure that is missing is 0: figures are for people.
    fn parse(text: &str) -> Self {
        let figure = |name: &str| {
            let mut pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        Self {
            milliseconds: figure("milliseconds"),
            disk_bytes: figure("disk_bytes"),
            file_bytes: figure("file_bytes"),
            threads: figure("threads"),
            text: text.to_owned(),
        }
    }
}

/// The freezer's arguments. `channel` and `image` are the numbers of descriptors that it inherits, `passed` those of the descriptors
/// that QEMU inherits beside the standard streams.
#[must_use]
pub fn arguments(channel: i32, image: i32, passed: &[i32], ram: &[PathBuf], qemu: &[OsString]) -> Vec<OsString> {
    let passed = passed.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let words = [channel.to_string(), image.to_string(), passed].map(OsString::from);
    let ram = ram.iter().map(|path| path.clone().into_os_string());
    words.into_iter().chain(ram).chain(["--".into()]).chain(qemu.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_other_lines_refused() {
        assert_eq!(Message::parse("started 12\n").unwrap(), Message::Started { pid: 12 });
        let refused = Message::parse("refused QEMU has a shadow stack\n").unwrap();
        assert_eq!(refused, Message::Refused { why: "QEMU has a shadow stack".to_owned() });
        let Message::Frozen(figures) = Message::parse("frozen milliseconds=7 disk_bytes=8 threads=x\n").unwrap() else {
            panic!("not frozen")
        };
        assert_eq!((figures.milliseconds, figures.disk_bytes, figures.threads), (7, 8, 0));
        for line in ["", "started", "started x", "frozen", "hello 1"] {
            assert!(Message::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn arguments_are_in_the_order_that_the_freezer_reads() {
        let words = arguments(20, 21, &[3, 4], &["/r".into()], &["qemu".into(), "-S".into()]);
        assert_eq!(words.join(std::ffi::OsStr::new(" ")), "20 21 3,4 /r -- qemu -S");
    }
}
