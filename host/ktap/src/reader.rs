//! Builds the document from lines: indentation gives the level, and order the tests.

use std::collections::BTreeSet;
use std::mem;

use super::line::{Flavour, Line, Words, without_stamp};
use super::{Block, Document, Fault, MAX_DEPTH, MAX_LINE, MAX_PROBLEMS, MAX_TESTS, MAX_TEXT, Problem, Test};

/// The width of a tab, in columns. Old versions of KUnit indent with tabs.
const TAB: usize = 8;

/// Reads a log in pieces of any size.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Vec<u8>,
    cut: bool,
    line: u64,
    /// The open levels, outermost first; empty until the first version line.
    levels: Vec<Level>,
    /// The indentation and the line of a YAML block that has begun.
    yaml: Option<(usize, u64)>,
    /// Whether the last line was a result, so that YAML may follow.
    after_result: bool,
    tests: usize,
    text: usize,
    document: Document,
}

/// A level that is being read.
#[derive(Debug, Default)]
struct Level {
    indent: usize,
    flavour: Option<Flavour>,
    block: Block,
    /// The number that the next test should have.
    due: u64,
    seen: BTreeSet<u64>,
    /// Diagnostics for the next test.
    diagnostics: Vec<String>,
    /// The name of the next level in TAP 14, whose line precedes the level.
    name_below: Option<String>,
    /// An ended level that belongs to the next test.
    below: Option<Block>,
    /// Whether the level has a plan, readable or not.
    planned: bool,
}

impl Reader {
    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = MAX_LINE.saturating_sub(self.partial.len());
            self.cut |= text.len() > room;
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line();
            }
        }
    }

    /// Ends the log and returns its content.
    #[must_use]
    pub fn finish(mut self) -> Document {
        if !self.partial.is_empty() {
            self.end_line();
        }
        if let Some((_, line)) = self.yaml {
            self.fault_at(line, Fault::OpenYaml);
        }
        if self.levels.is_empty() {
            if self.document.bail_out.is_none() {
                self.fault(Fault::NoVersion);
            }
            return self.document;
        }
        while self.levels.len() > 1 {
            self.close_level();
        }
        if let Some(mut level) = self.levels.pop() {
            self.orphan(&mut level);
            self.document.block = self.closed(level);
        }
        self.document
    }

    fn end_line(&mut self) {
        let bytes = mem::take(&mut self.partial);
        self.line += 1;
        if mem::take(&mut self.cut) && !self.levels.is_empty() {
            self.fault(Fault::LineTooLong);
        }
        if self.document.bail_out.is_none() {
            let lossy = String::from_utf8_lossy(&bytes);
            self.read_line(without_stamp(lossy.trim_end_matches('\r')));
        }
    }

    fn read_line(&mut self, text: &str) {
        let indent = columns(text);
        let trimmed = text.trim();
        if let Some((begun, _)) = self.yaml {
            if trimmed == "..." && indent == begun {
                self.yaml = None;
            }
            return;
        }
        let line = Line::of(text);
        if self.levels.is_empty() && !matches!(line, Line::Version(_) | Line::BailOut(_)) {
            return;
        }
        let deeper = self.levels.last().is_some_and(|level| indent > level.indent);
        if trimmed == "---" && mem::take(&mut self.after_result) && deeper {
            self.yaml = Some((indent, self.line));
            return;
        }
        self.after_result = matches!(line, Line::Result { .. });
        match line {
            Line::Version(flavour) => self.version(indent, flavour),
            Line::Plan { count, skipped } => self.plan(indent, count, skipped),
            Line::Result { ok, number, rest } => self.result(indent, ok, number, rest),
            Line::Subtest(name) => self.subtest(indent, name),
            Line::Diagnostic(words) => self.diagnostic(indent, words),
            Line::BailOut(reason) => self.document.bail_out = Some(self.within_limit(reason)),
            Line::Pragma => {}
            Line::TooLarge => self.fault(Fault::NumberTooLarge),
            // KUnit explains a failed expectation in lines without a `# `.
            Line::Unknown if !trimmed.is_empty() => {
                self.document.unknown_lines += 1;
                self.diagnostic(indent, trimmed);
            }
            Line::Unknown => {}
        }
    }

    /// Makes the level of this indentation the innermost, by opening or closing levels. None: the level would be too deep.
    fn level(&mut self, indent: usize) -> Option<&mut Level> {
        while self.levels.len() > 1 && self.levels.last().is_some_and(|top| top.indent > indent) {
            self.close_level();
        }
        if self.levels.last().is_none_or(|top| top.indent < indent) {
            if self.levels.len() == MAX_DEPTH {
                self.fault(Fault::TooDeep);
                return None;
            }
            self.open_level(indent);
        }
        self.levels.last_mut()
    }

    fn open_level(&mut self, indent: usize) {
        let (mut flavour, mut name) = (None, None);
        if let Some(mut top) = self.levels.pop() {
            self.orphan(&mut top);
            flavour = top.flavour;
            name = top.name_below.take();
            self.levels.push(top);
        }
        let block = Block { name, ..Block::default() };
        self.levels.push(Level { indent, flavour, block, due: 1, ..Level::default() });
    }

    /// Ends the innermost level. The next result on the level above belongs to it.
    fn close_level(&mut self) {
        let Some(mut level) = self.levels.pop() else { return };
        self.orphan(&mut level);
        let block = self.closed(level);
        if let Some(above) = self.levels.last_mut() {
            above.below = Some(block);
        }
    }

    /// The finished block of a level.
    fn closed(&mut self, mut level: Level) -> Block {
        let name = level.block.name.clone();
        let found = level.block.tests.len() as u64;
        match level.block.plan {
            Some(planned) if found < planned => self.fault(Fault::Missing { name, planned, found }),
            Some(planned) if found > planned => self.fault(Fault::Extra { name, planned, found }),
            None if !level.planned => self.fault(Fault::NoPlan(name)),
            _ => {}
        }
        level.block.diagnostics = level.diagnostics;
        level.block
    }

    /// Keeps tests without a following result below an added test that did not pass.
    fn orphan(&mut self, level: &mut Level) {
        let Some(below) = level.below.take() else { return };
        self.fault(Fault::Orphans);
        let name = below.name.clone().unwrap_or_default();
        let diagnostics = mem::take(&mut level.diagnostics);
        let (number, line) = (level.due, self.line);
        let subtests = Some(below);
        let test = Test { number, name, ok: false, directive: None, data: String::new(), diagnostics, subtests, line };
        if self.room_for_test() {
            level.due = level.due.saturating_add(1);
            level.block.tests.push(test);
        }
    }

    fn version(&mut self, indent: usize, flavour: Flavour) {
        if !flavour.is_known() {
            self.fault(Fault::UnknownVersion(flavour));
        }
        let Some(level) = self.level(indent) else { return };
        let begun = level.planned || !level.block.tests.is_empty() || level.below.is_some();
        if level.block.flavour.is_some() || begun {
            self.fault(Fault::SecondVersion);
        } else {
            level.flavour = Some(flavour);
            level.block.flavour = Some(flavour);
        }
    }

    fn plan(&mut self, indent: usize, count: u64, skipped: Option<&str>) {
        let skipped = skipped.map(|reason| self.within_limit(reason));
        let Some(level) = self.level(indent) else { return };
        if mem::replace(&mut level.planned, true) {
            self.fault(Fault::SecondPlan);
        } else {
            level.block.plan = Some(count);
            level.block.skipped = skipped.filter(|_| count == 0);
        }
    }

    fn result(&mut self, indent: usize, ok: bool, number: Option<u64>, rest: &str) {
        let (line, room) = (self.line, self.room_for_test());
        let Some(level) = self.level(indent).filter(|_| room) else { return };
        let flavour = level.flavour.unwrap_or(Flavour::Ktap(1));
        let due = level.due;
        let found = number.unwrap_or(due);
        let fault = if number.is_none() && !flavour.is_tap() {
            Some(Fault::NoNumber)
        } else if !level.seen.insert(found) {
            Some(Fault::Duplicate(found))
        } else {
            (found != due).then_some(Fault::OutOfOrder { expected: due, found })
        };
        // A late or repeated number does not change the expected number.
        level.due = level.due.max(found.saturating_add(1));
        let (diagnostics, subtests) = (mem::take(&mut level.diagnostics), level.below.take());
        level.name_below = None;
        let words = Words::of(rest, flavour);
        let (name, data) = (self.within_limit(&words.name), self.within_limit(&words.data));
        let test = Test { number: found, name, ok, directive: words.directive, data, diagnostics, subtests, line };
        let below_is_bad = test.subtests.iter().flat_map(|block| &block.tests).any(|test| test.outcome().is_failure());
        let contradiction = (below_is_bad && test.outcome() == super::Outcome::Passed).then_some(found);
        fault.into_iter().chain(contradiction.map(Fault::Contradiction)).for_each(|fault| self.fault(fault));
        if let Some(level) = self.levels.last_mut() {
            level.block.tests.push(test);
        }
    }

    /// Handles a `# Subtest:` line. KUnit writes it within the level, after the version; TAP 14 writes it on the level above.
    fn subtest(&mut self, indent: usize, name: &str) {
        let name = self.within_limit(name);
        let outermost = self.levels.first().is_some_and(|root| indent <= root.indent);
        let Some(level) = self.level(indent) else { return };
        if !outermost && level.block.name.is_none() && !level.planned && level.block.tests.is_empty() {
            level.block.name = Some(name);
        } else {
            level.name_below = Some(name);
        }
    }

    fn diagnostic(&mut self, indent: usize, words: &str) {
        let words = self.within_limit(words.trim_end());
        let at = self.levels.iter().rposition(|level| level.indent <= indent).unwrap_or(0);
        if let Some(level) = self.levels.get_mut(at).filter(|_| self.text <= MAX_TEXT) {
            level.diagnostics.push(words);
        }
    }

    fn room_for_test(&mut self) -> bool {
        self.tests += 1;
        if self.tests == MAX_TESTS + 1 {
            self.fault(Fault::TooManyTests);
        }
        self.tests <= MAX_TESTS
    }

    /// The text, or an empty text if the limit is reached. Empty text counts as one byte, so that lists are bounded.
    fn within_limit(&mut self, text: &str) -> String {
        let before = self.text;
        self.text = self.text.saturating_add(text.len().max(1));
        if self.text <= MAX_TEXT {
            return text.to_owned();
        }
        if before <= MAX_TEXT {
            self.fault(Fault::TooMuchText);
        }
        String::new()
    }

    fn fault(&mut self, what: Fault) {
        self.fault_at(self.line, what);
    }

    fn fault_at(&mut self, line: u64, what: Fault) {
        if self.document.problems.len() < MAX_PROBLEMS {
            self.document.problems.push(Problem { line, what });
        } else {
            self.document.more_problems += 1;
        }
    }
}

/// The width of an indentation, in columns.
fn columns(text: &str) -> usize {
    let mut columns = 0;
    for c in text.chars() {
        match c {
            ' ' => columns += 1,
            '\t' => columns += TAB - columns % TAB,
            _ => break,
        }
    }
    columns
}
