//! JSON Lines: the events themselves, one a line, in the form of a run record's `events.jsonl`. What was written so can
//! be read back by [`vmlab_events::log`], and rendered by `vmlab report FILE`.

use std::io::{self, Write};

use super::Reporter;
use vmlab_events::event::Stamped;
use vmlab_events::log;

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
        self.out.write_all(&log::encode(event)?)?;
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmlab_events::fixture;

    #[test]
    fn the_lines_read_back_as_the_events() {
        let events = fixture::run();
        let text = rendered(&events);
        assert_eq!(log::read(text.as_bytes()).unwrap().events, events);
        insta::assert_snapshot!(text);
        for events in [fixture::retried(), fixture::repeated()] {
            assert_eq!(log::read(rendered(&events).as_bytes()).unwrap().events, events);
        }
    }

    #[test]
    fn events_from_before_there_were_attempts_are_read() {
        let text = rendered(&fixture::run());
        let old: String = [r#","attempt":1"#, r#","flaky":0"#, r#","repetition":{"mode":"once"}"#, r#""flaky":0,"#]
            .iter()
            .fold(text, |text, new| text.replace(new, ""));
        assert!(!old.contains("attempt") && !old.contains("repetition") && !old.contains("flaky"), "{old}");
        assert_eq!(log::read(old.as_bytes()).unwrap().events, fixture::run());
    }

    fn rendered(events: &[Stamped]) -> String {
        let mut reporter = Json::new(Vec::new());
        events.iter().for_each(|event| reporter.event(event).unwrap());
        let text = String::from_utf8(reporter.out).unwrap();
        assert_eq!(text.lines().count(), events.len());
        text
    }
}
