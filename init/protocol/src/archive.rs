//! The archive of the files that a command wrote: what `--out` copies to the host. Pure.
//!
//! It is a tar archive in the pax format (pax(1), POSIX). Each file has an extended header with its path, its modification time,
//! and the target of a symbolic link, of any bytes and length. There are regular files, directories and symbolic links.
//! The path begins with the number of the directory in [`Command::out`](crate::command::Command::out), from 0: `0` is the directory itself (or a file, if it
//! names one), and `0/a/b` is a file below it. A directory comes before what is in it. The last entry is the file [`REPORT`] with a
//! JSON array of [`OutReport`], one for each directory. An archive without it is incomplete.

use serde::{Deserialize, Serialize};

/// The path of the last entry.
pub const REPORT: &str = "report";

/// The most bytes of an extended header, and of a report.
pub const HEADER_LIMIT: u64 = 64 << 10;

/// The key of the path in an extended header.
pub const PATH: &str = "path";
/// The key of the target of a symbolic link.
pub const LINK: &str = "linkpath";
/// The key of the modification time.
pub const MTIME: &str = "mtime";

/// What was not copied of a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutReport {
    /// Whether the directory, or a file of its name, exists.
    pub exists: bool,
    /// Devices, FIFOs and sockets, which are left out.
    pub special_files: u64,
    /// Mount points below the directory, which are left out.
    pub mount_points: u64,
}

/// A time since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// The rest, less than 1,000,000,000.
    pub nanoseconds: u32,
}

const NS: u32 = 1_000_000_000;

impl Time {
    /// The decimal number of seconds, for an extended header.
    #[must_use]
    pub fn text(self) -> String {
        let Self { seconds, nanoseconds } = self;
        match (seconds, nanoseconds) {
            (seconds, 0) => seconds.to_string(),
            (..0, rest) => format!("-{}.{:09}", (seconds + 1).unsigned_abs(), NS - rest.min(NS)),
            (seconds, rest) => format!("{seconds}.{rest:09}"),
        }
    }

    /// Parses a time in this form. None for other text, and for a time that is out of range.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(rest) || rest.len() > 9 {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let nanoseconds: u32 = format!("{rest:0<9}").parse().ok()?;
        match (negative, nanoseconds) {
            (false, nanoseconds) => Some(Self { seconds, nanoseconds }),
            (true, 0) => Some(Self { seconds: -seconds, nanoseconds: 0 }),
            (true, rest) => Some(Self { seconds: -seconds - 1, nanoseconds: NS - rest }),
        }
    }
}

/// The fields of a file's extended header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extended {
    /// The path.
    pub path: Vec<u8>,
    /// The target of a symbolic link; empty for other files.
    pub link: Vec<u8>,
    /// The modification time.
    pub mtime: Option<Time>,
}

impl Extended {
    /// Reads the records `LENGTH KEY=VALUE\n`. A record of another key is ignored. None if they are malformed, or a key comes twice.
    ///
    /// The records are divided by their lengths, because a path may contain a newline.
    #[must_use]
    pub fn parse(mut records: &[u8]) -> Option<Self> {
        let (mut path, mut link, mut mtime) = (None, None, None);
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            let (record, rest) = records.split_at_checked(length)?;
            records = rest;
            let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let before = match std::str::from_utf8(key).ok()? {
                PATH => path.replace(value),
                LINK => link.replace(value),
                MTIME => mtime.replace(value),
                _ => None,
            };
            if before.is_some() {
                return None;
            }
        }
        let mtime = match mtime {
            Some(text) => Some(Time::parse(std::str::from_utf8(text).ok()?)?),
            None => None,
        };
        Some(Self { path: path?.to_vec(), link: link.unwrap_or_default().to_vec(), mtime })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_same_after_its_text() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        for (time, text) in [
            (time(0, 0), "0"),
            (time(1_700_000_000, 5), "1700000000.000000005"),
            (time(-1, 0), "-1"),
            (time(-1, 500_000_000), "-0.500000000"),
            (time(-2, 999_999_999), "-1.000000001"),
            (time(i64::MAX, 1), "9223372036854775807.000000001"),
        ] {
            assert_eq!(time.text(), text);
            assert_eq!(Time::parse(text), Some(time));
        }
        assert_eq!(Time::parse("1.5"), Some(time(1, 500_000_000)));
        for bad in ["", ".5", "-", "1.0000000000", "1e9", "+1", "99999999999999999999", "1.-5", " 1"] {
            assert_eq!(Time::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn records_of_any_bytes_are_read_by_their_lengths() {
        let parse = Extended::parse;
        let whole = parse(b"12 path=a\nb\n14 linkpath=c\n12 mtime=-2\n11 other=\xff\n").unwrap();
        assert_eq!(
            (whole.path.as_slice(), whole.link.as_slice(), whole.mtime.map(|time| time.seconds)),
            (&b"a\nb"[..], &b"c"[..], Some(-2))
        );
        for bad in [
            &b""[..],
            b"14 linkpath=c\n",
            b"path=a\n",
            b"8 path=a\n",
            b"11 path=a\n",
            b"999 path=a\n",
            b"10 path=a\n10 path=b\n",
            b"10 path=a\n12 mtime=x2\n",
            b"0 path=a\n",
            b"2 \n",
            b"18446744073709551615 path=a\n",
        ] {
            assert_eq!(parse(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
