//! JSON Lines: the events themselves, one a line, in the form of a run record's `events.jsonl`. What was written so can
//! be read back by [`crate::store::journal`], and rendered by `vmlab report FILE`.

use std::io::{self, Write};

use super::Reporter;
use crate::event::Stamped;
use crate::store::journal;

/// Writes each event as it comes.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
}

impl<W: Write + Send> Json<W> {
    /// Writes to `out`.
    pub const fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Reporter for Json<W> {
    fn event(&mut self, event: &Stamped) -> io::Result<()> {
        self.out.write_all(&journal::encode(event)?)?;
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_lines_read_back_as_the_events() {
        let mut reporter = Json::new(Vec::new());
        let events = fixture::run();
        events.iter().for_each(|event| reporter.event(event).unwrap());
        let text = String::from_utf8(reporter.out).unwrap();
        assert_eq!(text.lines().count(), events.len());
        assert_eq!(journal::read(text.as_bytes()).unwrap().events, events);
        insta::assert_snapshot!(text);
    }
}
