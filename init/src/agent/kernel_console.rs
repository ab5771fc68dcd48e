//! Whether the kernel's warnings come out on the console, which is where the host reads them.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use vmlab_protocol::message::CONSOLE_LEVEL;

/// Its first number is the level: what is less urgent is not printed (Documentation/admin-guide/sysctl/kernel.rst,
/// "printk").
const PRINTK: &str = "/proc/sys/kernel/printk";
const CONSOLES: &str = "/proc/consoles";
/// The kernel's log (Documentation/ABI/testing/dev-kmsg).
const KMSG: &str = "/dev/kmsg";

/// The level, to be looked at often, and the log: their files are opened once, before a template is saved.
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

    /// Has the kernel print a word, at the level that no console leaves out. A line without its end is only printed
    /// together with the next one (`LOG_NEWLINE` in kernel/printk/printk.c).
    pub(super) fn write(&self, word: &str) -> Result<(), String> {
        (&self.kmsg)
            .write_all(format!("<0>{word}\n").as_bytes())
            .map_err(|error| format!("cannot write to {KMSG}: {error}"))
    }

    /// The level now.
    pub(super) fn level(&self) -> Result<u32, String> {
        let mut text = [0; 64];
        let count = self.printk.read_at(&mut text, 0).map_err(|error| format!("cannot read {PRINTK}: {error}"))?;
        first_number(&text[..count]).ok_or_else(|| format!("{PRINTK} holds no number"))
    }

    /// Why the kernel's warnings may not have been printed, where that is so.
    pub(super) fn hushed(&self) -> Option<String> {
        match self.level() {
            Ok(level) if level >= CONSOLE_LEVEL => None,
            Ok(level) => Some(format!(
                "the console's level was lowered to {level}, and what the kernel warned of since then may not have been printed"
            )),
            Err(why) => Some(why),
        }
    }
}

/// The consoles that the kernel prints on, by name (`fs/proc/consoles.c`, Linux 2.6.38).
pub(super) fn enabled() -> Result<Vec<String>, String> {
    let text = fs::read_to_string(CONSOLES).map_err(|error| format!("cannot read {CONSOLES}: {error}"))?;
    Ok(enabled_of(&text))
}

fn first_number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.split_whitespace().next()?.parse().ok()
}

/// Of lines like `ttyS0                -W- (EC   a)    4:64`, where `E` is for enabled.
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
    fn a_console_that_is_not_enabled_prints_nothing() {
        let text = "ttyS0                -W- (EC   a)    4:64\ntty0                 -WU (  p  )    4:1\nnetcon0 (E)\n";
        assert_eq!(enabled_of(text), ["ttyS0", "netcon0"]);
        assert_eq!(enabled_of(""), Vec::<String>::new());
    }

    #[test]
    fn the_level_is_the_first_number() {
        assert_eq!(first_number(b"5\t4\t1\t7\n"), Some(5));
        assert_eq!(first_number(b"\n"), None);
    }
}
