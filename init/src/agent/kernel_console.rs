//! The kernel's log and the console log level. The host reads kernel warnings on the console, so the level must not
//! hide them.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use vmlab_protocol::message::CONSOLE_LEVEL;

/// The first number in the file is the console log level; the kernel does not print less urgent messages
/// (Documentation/admin-guide/sysctl/kernel.rst, "printk").
const PRINTK: &str = "/proc/sys/kernel/printk";
const CONSOLES: &str = "/proc/consoles";
/// The kernel's log (Documentation/ABI/testing/dev-kmsg).
const KMSG: &str = "/dev/kmsg";

/// The files of the level and of the log, opened once, before a template is saved.
#[derive(Debug)]
pub(super) struct KernelConsole {
    printk: File,
    kmsg: File,
}

impl KernelConsole {
    pub(super) fn open() -> Result<Self, String> {
        let failed = |path: &'static str| move |error| format!("cannot open {path}: {error}");
        Ok(Self {
            printk: File::open(PRINTK).map_err(failed(PRINTK))?,
            kmsg: OpenOptions::new().write(true).open(KMSG).map_err(failed(KMSG))?,
        })
    }

    /// Writes a line to the kernel's log at level 0, which every console prints. The line needs its newline: without it
    /// the kernel prints the line only together with the next (`LOG_NEWLINE` in kernel/printk/printk.c).
    pub(super) fn write(&self, line: &str) -> Result<(), String> {
        (&self.kmsg)
            .write_all(format!("<0>{line}\n").as_bytes())
            .map_err(|error| format!("cannot write to {KMSG}: {error}"))
    }

    /// The current level.
    pub(super) fn level(&self) -> Result<u32, String> {
        let mut text = [0; 64];
        let count = self.printk.read_at(&mut text, 0).map_err(|error| format!("cannot read {PRINTK}: {error}"))?;
        first_number(&text[..count]).ok_or_else(|| format!("{PRINTK} holds no number"))
    }

    /// The problem if the kernel may not have printed its warnings on the console.
    pub(super) fn level_problem(&self) -> Option<String> {
        match self.level() {
            Ok(level) if level >= CONSOLE_LEVEL => None,
            Ok(level) => Some(format!(
                "the console log level was lowered to {level}; kernel warnings since then may not have been printed"
            )),
            Err(why) => Some(why),
        }
    }
}

/// The names of the consoles that the kernel prints on (`fs/proc/consoles.c`, Linux 2.6.38).
pub(super) fn enabled() -> Result<Vec<String>, String> {
    let text = fs::read_to_string(CONSOLES).map_err(|error| format!("cannot read {CONSOLES}: {error}"))?;
    Ok(enabled_of(&text))
}

fn first_number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.split_whitespace().next()?.parse().ok()
}

/// Reads lines like `ttyS0                -W- (EC   a)    4:64`, where `E` stands for enabled.
fn enabled_of(text: &str) -> Vec<String> {
    let enabled = text.lines().filter(|line| {
        let flags = line.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        flags.is_some_and(|(flags, _)| flags.contains('E'))
    });
    enabled.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_that_are_not_enabled_are_left_out() {
        let text = "ttyS0                -W- (EC   a)    4:64\ntty0                 -WU (  p  )    4:1\nnetcon0 (E)\n";
        assert_eq!(enabled_of(text), ["ttyS0", "netcon0"]);
        assert_eq!(enabled_of(""), Vec::<String>::new());
    }

    #[test]
    fn the_console_level_is_the_first_number() {
        assert_eq!(first_number(b"5\t4\t1\t7\n"), Some(5));
        assert_eq!(first_number(b"\n"), None);
    }
}
