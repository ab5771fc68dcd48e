//! Follows the KUnit suites that a kernel runs (lib/kunit/test.c): `    # Subtest: SUITE` begins one, and `ok 3 SUITE` or
//! `not ok 3 SUITE`, without indentation, ends it.

use super::{LINE_LIMIT, prefix};

/// What precedes a suite's name at its beginning. Its tests with parameters have more indentation.
const BEGIN: &[u8] = b"    # Subtest: ";

/// The suite that runs.
#[derive(Debug, Default)]
pub(super) struct Suites {
    partial: Vec<u8>,
    running: Option<String>,
}

impl Suites {
    pub(super) fn running(&self) -> Option<&str> {
        self.running.as_deref()
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        for piece in text.split_inclusive(|&byte| byte == b'\n') {
            // The lines of KUnit are short; of a longer line only the beginning counts.
            let room = LINE_LIMIT.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.partial);
                self.line(line.trim_ascii_end());
                self.partial = line;
                self.partial.clear();
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        let words = &line[prefix::at_beginning(line).words..];
        if let Some(name) = words.strip_prefix(BEGIN) {
            self.running = Some(String::from_utf8_lossy(name).into_owned());
        } else if self.running.as_deref().is_some_and(|suite| ends(words, suite)) {
            self.running = None;
        }
    }
}

/// Whether a line is the result of this suite: `ok 3 SUITE`, and until 5.19 `ok 3 - SUITE`, with a directive at its end.
fn ends(words: &[u8], suite: &str) -> bool {
    let result = words.strip_prefix(b"not ").unwrap_or(words).strip_prefix(b"ok ").unwrap_or_default();
    let digits = result.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let name = result[digits..].strip_prefix(b" ").unwrap_or_default();
    let name = name.strip_prefix(b"- ").unwrap_or(name);
    digits > 0 && name.strip_prefix(suite.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b" #"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(log: &str) -> Option<String> {
        let mut suites = Suites::default();
        // In pieces, as a console comes.
        log.as_bytes().chunks(7).for_each(|piece| suites.push(piece));
        suites.running().map(str::to_owned)
    }

    #[test]
    fn a_suite_runs_from_its_name_to_its_result() {
        let begun =
            "[    0.5] KTAP version 1\n[    0.5]     KTAP version 1\n[    0.5]     # Subtest: list-kunit-test\n";
        assert_eq!(running(begun).as_deref(), Some("list-kunit-test"));
        for (line, ends) in [
            ("[    0.6]     ok 1 list-kunit-test", false),
            ("[    0.6]         # Subtest: a test with parameters", false),
            ("[    0.6] ok 2 list-kunit-test-2", false),
            ("[    0.6] ok x list-kunit-test", false),
            ("[    0.6] ok 2 list-kunit-test", true),
            ("[    0.6] not ok 2 list-kunit-test", true),
            ("[    0.6] ok 2 - list-kunit-test", true),
            ("[    0.6] ok 2 list-kunit-test # SKIP no timer", true),
            ("ok 2 list-kunit-test", true),
        ] {
            assert_eq!(running(&format!("{begun}{line}\r\n")).is_none(), ends, "{line}");
        }
        let next = format!("{begun}[    0.7]     # Subtest: overflow\n");
        assert_eq!(running(&next).as_deref(), Some("overflow"));
        assert_eq!(running("[    0.5] a long line # Subtest: x\n"), None);
    }

    #[test]
    fn a_report_has_the_suite_in_which_it_came() {
        let mut reader = crate::ConsoleReader::default();
        reader.follow_suites();
        let warning = "[    1.0] WARNING: CPU: 0 PID: 1 at lib/";
        let log = format!(
            "{warning}before.c:1 f+0x1/0x2\n[    1.1]     # Subtest: list\n{warning}list.c:2 g+0x1/0x2\n\
             [    1.2] ok 1 list\n[    1.3]     # Subtest: rtc\n{warning}rtc.c:3 h+0x1/0x2\n"
        );
        // All at once: the state at the end of a block is not that at a line within it.
        reader.push(log.as_bytes());
        let suites: Vec<_> = reader.take_warnings().into_iter().map(|found| found.suite).collect();
        assert_eq!(suites, [None, Some("list".to_owned()), Some("rtc".to_owned())]);
        assert_eq!(reader.running_suite(), Some("rtc"));
    }
}
