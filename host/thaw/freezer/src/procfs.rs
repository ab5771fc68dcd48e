//! Files of /proc.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::str::FromStr;

use nix::unistd::Pid;

use crate::refusal::Refusal;

/// The memory of another process.
pub(crate) struct Memory(File);

impl Memory {
    pub(crate) fn of(process: Pid) -> io::Result<Self> {
        File::open(format!("/proc/{process}/mem")).map(Self)
    }

    pub(crate) fn read_exact_at(&self, to: &mut [u8], address: u64) -> io::Result<()> {
        self.0.read_exact_at(to, address)
    }

    /// A number of 64 bits.
    pub(crate) fn number(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read_exact_at(&mut bytes, address)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// The content of a file below `/proc/PID`.
pub(crate) fn read(process: Pid, name: &'static str) -> Result<String, Refusal> {
    let bytes = fs::read(format!("/proc/{process}/{name}")).map_err(Refusal::on("read /proc"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The value of a line `name: value`.
pub(crate) fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A value that is a number in a base. None if there is no such line.
pub(crate) fn number(text: &str, name: &str, base: u32) -> Result<Option<u64>, Refusal> {
    let Some(value) = value(text, name) else { return Ok(None) };
    u64::from_str_radix(value, base).map(Some).map_err(|_| unreadable("status or fdinfo", value))
}

/// The fields of `/proc/PID/stat` behind the name, which can contain anything (proc(5)): the first one is the state.
pub(crate) fn stat_fields(text: &str) -> Vec<&str> {
    text.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect())
}

/// A field of `/proc/PID/stat` by its number in proc(5).
pub(crate) fn stat_field<T: FromStr>(fields: &[&str], number: usize) -> Result<T, Refusal> {
    let field = number.checked_sub(3).and_then(|at| fields.get(at)).copied().unwrap_or_default();
    field.parse().map_err(|_| unreadable("stat", field))
}

pub(crate) fn unreadable(file: &'static str, text: &str) -> Refusal {
    Refusal::Unreadable { file, text: text.chars().take(200).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_fields_are_found_behind_any_name() {
        let status = "Name:\tqemu) S 1\nSeccomp:\t2\nSigPnd:\t0000000010002040\n";
        assert_eq!(value(status, "Seccomp"), Some("2"));
        assert_eq!(number(status, "SigPnd", 16), Ok(Some(0x1000_2040)));
        assert_eq!(number(status, "Seccomp_filters", 10), Ok(None));
        assert!(number("flags:\t09", "flags", 8).is_err());
        let fields = stat_fields("7 (a) b) S 1 2 3");
        assert_eq!((stat_field::<String>(&fields, 3), stat_field(&fields, 6)), (Ok("S".to_owned()), Ok(3)));
        assert!(stat_field::<u64>(&fields, 7).is_err() && stat_field::<u64>(&[], 3).is_err());
    }
}
