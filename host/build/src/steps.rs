//! Reads what the kernel's build prints: its steps, and the first error.

use std::fmt;

/// The first error of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFailure {
    /// The lines that say what is wrong, without colours, at most eight.
    pub lines: Vec<String>,
}

/// The maximum number of lines of an error.
const LINES: usize = 8;

/// Collects steps and the first error from the lines of a build.
#[derive(Debug, Default)]
pub struct Steps {
    /// The number of steps so far.
    pub count: u64,
    failure: Vec<String>,
    /// Whether the lines after the first error still belong to it.
    is_within: bool,
    /// The last lines that are no steps, for a build without a known form of error.
    last: std::collections::VecDeque<String>,
}

impl Steps {
    /// Reads a line; returns the file of a step: `kernel/fork.o` of `  CC      kernel/fork.o`.
    pub fn line<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        if let Some(file) = step(line) {
            self.count += 1;
            self.is_within = false;
            return Some(file);
        }
        if self.failure.is_empty() && is_error(line) {
            self.is_within = true;
        }
        // make's own lines only repeat that the command failed.
        self.is_within &= self.failure.len() < LINES && !line.starts_with("make") && !line.is_empty();
        if self.is_within {
            self.failure.push(line.trim_end().to_owned());
        }
        if !line.is_empty() && !line.starts_with("make") {
            self.last.push_back(line.trim_end().to_owned());
            if self.last.len() > LINES {
                self.last.pop_front();
            }
        }
        None
    }

    /// The first error; the last lines if there was none of a known form.
    #[must_use]
    pub fn failure(self) -> BuildFailure {
        BuildFailure { lines: if self.failure.is_empty() { self.last.into() } else { self.failure } }
    }
}

/// The file of a step. Kbuild indents its steps (scripts/Kbuild.include, `cmd`).
fn step(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("  ")?;
    let (what, file) = rest.split_once(' ')?;
    let is_step =
        what.len() >= 2 && what.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit());
    is_step.then(|| file.trim_start().trim_start_matches("[M]").trim()).filter(|file| !file.is_empty())
}

/// Whether a line is an error of compiler, linker, Kconfig, a script, or the kernel's Makefile.
fn is_error(line: &str) -> bool {
    let behind_place = || {
        let mut parts = line.splitn(4, ':');
        let file = parts.next().is_some_and(|file| !file.is_empty() && !file.contains(' '));
        let number =
            parts.next().is_some_and(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()));
        file && number && line.contains("error: ")
    };
    line.starts_with("*** ")
        || line.contains(" fatal error: ")
        || behind_place()
        || line.contains("undefined reference to")
        || line.starts_with("ld: ") && !line.contains("warning:")
        || line.contains("ld.lld: error: ")
        || line.contains("No space left on device")
        || line.contains(": command not found")
        || line.ends_with(": not found")
        || line.starts_with("ERROR: ")
        || line.starts_with("error: ")
}

impl BuildFailure {
    /// Whether a line has this text.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }
}

impl fmt::Display for BuildFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (u64, Vec<String>) {
        let mut steps = Steps::default();
        text.lines().for_each(|line| drop(steps.line(line).map(str::to_owned)));
        (steps.count, steps.failure().lines)
    }

    #[test]
    fn steps_are_counted() {
        let mut steps = Steps::default();
        assert_eq!(steps.line("  CC      kernel/fork.o"), Some("kernel/fork.o"));
        assert_eq!(steps.line("  CC [M]  fs/fuse/dev.o"), Some("fs/fuse/dev.o"));
        assert!(steps.line("  VOFFSET arch/x86/boot/compressed/../voffset.h").is_some());
        assert_eq!(steps.line("make[2]: Nothing to be done for 'x'."), None);
        assert_eq!(steps.line("  see Documentation/x"), None);
        assert_eq!(steps.count, 3);
    }

    #[test]
    fn the_first_error_is_kept_with_its_lines() {
        let text = "  CC      kernel/fork.o\n/l/kernel/fork.c: In function 'f':\n/l/kernel/fork.c:7:2: error: expected ';'\n    7 | x\n      |  ^\n\
                    make[3]: *** [scripts/Makefile.build:229: kernel/fork.o] Error 1\n  CC      mm/mmap.o\nmm/a.c:1:1: error: later\n";
        let (count, lines) = read(text);
        assert_eq!(count, 2);
        assert_eq!(lines, ["/l/kernel/fork.c:7:2: error: expected ';'", "    7 | x", "      |  ^"]);
    }

    #[test]
    fn errors_of_other_tools_are_found() {
        for line in [
            "main.c:5:10: fatal error: gelf.h: No such file or directory",
            "ld: kernel/fork.o: in function `f':",
            "kernel/fork.c:(.text+0x1): undefined reference to `g'",
            "*** Compiler is too old.",
            "/bin/sh: 1: bison: not found",
            "fatal error: error writing to /tmp/x.s: No space left on device",
            "net/Kconfig:12: error: unknown statement",
            "ERROR: modpost: \"x\" [y.ko] undefined!",
        ] {
            assert_eq!(read(&format!("noise\n{line}\nmake: *** [x] Error 2\n")).1[0], line);
        }
        assert_eq!(read("one\ntwo\nmake: *** [x] Error 2").1, ["one", "two"]);
        assert_eq!(
            read("*** Compiler is too old.\n***   Your GCC version:    5.0\n***   Minimum GCC version: 8.1\n").1.len(),
            3
        );
    }
}
