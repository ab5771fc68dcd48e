//! Splits a console into lines, and finds the lines that must be parsed.

use memchr::{memchr, memchr_iter, memrchr};

use crate::rules::{RULES, Rules};
use crate::titles::Limits;
use crate::{ConsoleReader, LINE_LIMIT, STEP};

impl ConsoleReader {
    pub(super) fn block(&mut self, mut text: &[u8]) {
        if !self.partial.is_empty() || self.torn {
            let end = memchr(b'\n', text);
            self.extend_partial(&text[..end.unwrap_or(text.len())]);
            let Some(end) = end else { return };
            self.end_partial();
            self.count_line_ends(b"\n");
            text = &text[end + 1..];
        }
        let whole = memrchr(b'\n', text).map_or(0, |end| end + 1);
        self.whole_lines(&text[..whole]);
        self.extend_partial(&text[whole..]);
    }

    /// Reads complete lines.
    fn whole_lines(&mut self, text: &[u8]) {
        let Ok(rules) = &*RULES else { return };
        let next_hit = |from: usize| rules.prefilter.find(&text[from..]).map_or(text.len(), |hit| from + hit.start());
        let (mut at, mut hit) = (0, next_hit(0));
        while at < text.len() {
            if hit < at {
                hit = next_hit(at);
            }
            if !self.is_reading() {
                let is_last = hit == text.len();
                let next = if is_last { hit } else { at + memrchr(b'\n', &text[at..hit]).map_or(0, |end| end + 1) };
                self.count_line_ends(&text[at..next]);
                if is_last {
                    return;
                }
                at = next;
            }
            let end = memchr(b'\n', &text[at..]).map_or(text.len(), |end| at + end);
            self.whole_line(rules, &text[at..end], hit < end);
            self.count_line_ends(b"\n");
            at = end + 1;
        }
    }

    fn count_line_ends(&mut self, text: &[u8]) {
        if let Some(count) = &mut self.line_ends {
            *count += memchr_iter(b'\n', text).count() as u64;
        }
    }

    /// The number of the current line, from 1.
    pub(super) fn line_number(&self) -> Option<u64> {
        self.line_ends.map(|before| before + 1)
    }

    /// Whether every line must be parsed, not only lines with an anchor.
    fn is_reading(&self) -> bool {
        self.previous.is_some() || self.is_reading_report()
    }

    /// Whether a line without a meaning may belong to a report.
    pub(super) fn is_reading_report(&self) -> bool {
        self.before.is_some()
            || !self.reports.open().is_empty()
            || self.crash.as_ref().is_some_and(|crash| crash.is_open)
    }

    /// `may_mean` says whether the line contains an anchor.
    fn whole_line(&mut self, rules: &Rules, mut line: &[u8], may_mean: bool) {
        let mut torn = false;
        while line.len() > LINE_LIMIT {
            self.piece(rules, &line[..LINE_LIMIT], torn, STEP, may_mean);
            torn = line[STEP - 1] != b'\r';
            line = &line[STEP..];
        }
        self.piece(rules, line, torn, LINE_LIMIT, may_mean);
    }

    fn extend_partial(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.partial.len() == LINE_LIMIT {
                self.partial_piece(STEP);
                self.torn = self.partial[STEP - 1] != b'\r';
                self.partial.drain(..STEP);
            }
            let (now, later) = bytes.split_at(bytes.len().min(LINE_LIMIT - self.partial.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
        }
    }

    pub(super) fn end_partial(&mut self) {
        self.partial_piece(LINE_LIMIT);
        self.partial.clear();
        self.torn = false;
    }

    fn partial_piece(&mut self, below: usize) {
        let Ok(rules) = &*RULES else { return };
        let partial = std::mem::take(&mut self.partial);
        let may_mean = rules.prefilter.is_match(&partial);
        if may_mean || self.is_reading() {
            self.piece(rules, &partial, self.torn, below, may_mean);
        }
        self.partial = partial;
    }

    /// Reads a line or a piece of a line, as far as the kernel began to print before `below`.
    fn piece(&mut self, rules: &Rules, line: &[u8], torn: bool, below: usize, may_mean: bool) {
        // A carriage return within a line comes from a program that went back to the line's beginning; the kernel's
        // lines have it only at their end.
        let returns = line.iter().rev().take_while(|&&byte| byte == b'\r').count();
        let line = &line[..line.len() - returns];
        let mut at = 0;
        for part in line.split(|&byte| byte == b'\r') {
            if (!part.is_empty() || line.is_empty()) && at < below {
                let limits = Limits { torn: torn && at == 0, below: below - at, resumed: at > 0 };
                self.part(rules, part, limits, may_mean);
            }
            at += part.len() + 1;
        }
    }
}
