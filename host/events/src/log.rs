//! The events of a run as JSON Lines: one [`Stamped`] a line, in order.
//!
//! What an older or newer vmlab wrote: an event of a kind that this version does not know is left out, with a notice; a
//! known kind whose fields cannot be read is an error, because leaving it out could make a failure invisible. Unknown
//! fields are ignored. A last line that cannot be read is what a power cut or SIGKILL leaves: it is left out, with a
//! notice. Any other damage is an error.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};

use crate::clean;
mod old;

use crate::event::Stamped;
use crate::order;

/// The longest line, in bytes: far more than the runner's limits on output allow.
pub const MAX_LINE: u64 = 64 << 20;

/// The kinds of [`crate::event::LabEvent`], as in the field `event`.
const KINDS: [&str; 14] = [
    "run_started",
    "notice",
    "kernel_ready",
    "guest_starting",
    "guest_ready",
    "job_started",
    "job_attempted",
    "job_finished",
    "guest_lost",
    "guest_ended",
    "guest_timings",
    "interrupted",
    "run_timings",
    "run_finished",
];

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// All events that could be read, in order; at least one.
    pub events: Vec<Stamped>,
    /// What was left out, and why, each in a sentence.
    pub notices: Vec<String>,
}

/// Events cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading failed.
    #[error("cannot read it: {0}")]
    Read(io::Error),
    /// A line in the middle is no event.
    #[error("line {line} is damaged: {why}; the lines after it cannot be trusted")]
    Damaged {
        /// From 1.
        line: usize,
        /// The parser's words.
        why: String,
    },
    /// The events can be read, and are not those of one run.
    #[error(transparent)]
    Impossible(#[from] order::Impossible),
    /// There is no event at all.
    #[error("it holds no event of a run{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Empty(Option<String>),
}

/// An event as one line, with its line end.
///
/// It is ASCII where that matters: whatever a terminal might obey is written as `\uXXXX`, so that a journal can be looked
/// at, and nothing is lost.
///
/// # Errors
/// None that is known: serde_json fails for maps with other keys than strings, which no event has.
pub fn encode(event: &Stamped) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    event.serialize(&mut Serializer::with_formatter(&mut line, Harmless))?;
    line.push(b'\n');
    Ok(line)
}

/// Writes hostile characters as escapes.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| clean::is_hostile(c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// Reads a whole journal.
///
/// # Errors
/// [`JournalError`]
pub fn read(mut input: impl BufRead) -> Result<Journal, JournalError> {
    let mut journal = Journal::default();
    let mut unknown = BTreeMap::<String, usize>::new();
    let mut bad: Option<(usize, String)> = None;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut limited = input.by_ref().take(MAX_LINE);
        if limited.read_until(b'\n', &mut line).map_err(JournalError::Read)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Some((line, why)) = bad {
            if journal.events.is_empty() {
                return Err(JournalError::Empty(Some(format!("line {line}: {why}"))));
            }
            return Err(JournalError::Damaged { line, why });
        }
        match decode(&line) {
            Ok(event) => journal.events.push(event),
            Err(Undecodable::Unknown(kind)) => *unknown.entry(kind).or_default() += 1,
            Err(Undecodable::Damaged(why)) => bad = Some((number, why)),
        }
    }
    if journal.events.is_empty() {
        return Err(JournalError::Empty(bad.map(|(line, why)| format!("line {line}: {why}"))));
    }
    journal.notices.extend(
        bad.map(|(line, why)| {
            format!("the last line of the events, {line}, is cut or damaged and was left out: {why}")
        }),
    );
    journal.notices.extend(unknown.into_iter().map(|(kind, count)| {
        let kind = clean::line(&kind);
        format!("{count} of the events are of the kind `{kind}`, which this vmlab does not know, and were left out")
    }));
    Ok(journal)
}

/// Why a line is no event.
enum Undecodable {
    /// A kind that this version does not know.
    Unknown(String),
    Damaged(String),
}

fn decode(line: &[u8]) -> Result<Stamped, Undecodable> {
    #[derive(Deserialize)]
    struct Tag {
        event: String,
    }
    serde_json::from_slice(line).or_else(|error| match older(line) {
        Some(Ok(event)) => Ok(event),
        Some(Err(error)) => Err(Undecodable::Damaged(clean::line(&error.to_string()))),
        None => Err(match serde_json::from_slice::<Tag>(line) {
            Ok(Tag { event }) if !KINDS.contains(&event.as_str()) => Undecodable::Unknown(event),
            _ => Undecodable::Damaged(clean::line(&error.to_string())),
        }),
    })
}

/// An event of an older vmlab; none where the line is not of that form.
fn older(line: &[u8]) -> Option<serde_json::Result<Stamped>> {
    let mut event = serde_json::from_slice(line).ok()?;
    old::upgrade(&mut event).then(|| serde_json::from_value(event))
}

/// Reads one line, where it is an event that this version knows.
#[must_use]
pub fn decode_line(line: &[u8]) -> Option<Stamped> {
    decode(line).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::LabEvent;
    use crate::fixture;

    fn text(events: &[Stamped]) -> Vec<u8> {
        events.iter().flat_map(|event| encode(event).unwrap()).collect()
    }

    #[test]
    fn all_kinds_are_known_and_in_the_fixture() {
        let mut seen: Vec<_> = [fixture::run(), fixture::retried()]
            .iter()
            .flatten()
            .map(|event| serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned())
            .collect();
        seen.sort();
        seen.dedup();
        let mut kinds = KINDS.map(str::to_owned).to_vec();
        kinds.sort();
        assert_eq!(seen, kinds);
        // A tag that serde does not know makes it name all that it knows: the list is complete.
        let error = serde_json::from_str::<LabEvent>(r#"{"event":"?"}"#).unwrap_err().to_string();
        assert_eq!(error.matches('`').count() / 2 - 1, KINDS.len(), "{error}");
    }

    #[test]
    fn a_cut_last_line_is_left_out_with_a_notice_wherever_it_is_cut() {
        let events = fixture::run();
        let whole = text(&events);
        let start = whole.len() - encode(events.last().unwrap()).unwrap().len();
        for end in start + 1..whole.len() - 1 {
            let journal = read(&whole[..end]).unwrap();
            assert_eq!(journal.events, events[..events.len() - 1]);
            assert!(journal.notices[0].contains("cut or damaged"), "{:?}", journal.notices);
        }
        assert_eq!(read(&whole[..whole.len() - 1]).unwrap(), Journal { events, notices: vec![] });
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_an_error_that_names_it() {
        let events = fixture::run();
        let mut bytes = text(&events[..2]);
        bytes.extend_from_slice(b"\0\0\x1b\0\n\n");
        bytes.extend(text(&events[2..]));
        let error = read(bytes.as_slice()).unwrap_err();
        assert!(error.to_string().starts_with("line 3 is damaged: "), "{error}");
        assert!(!error.to_string().contains('\x1b'));
    }

    #[test]
    fn unknown_kinds_are_left_out_and_unreadable_known_ones_are_not() {
        let mut bytes = text(&fixture::run()[..2]);
        bytes.extend_from_slice(b"{\"elapsed_ms\":1,\"event\":\"coffee_made\",\"cups\":2}\n");
        bytes.extend(text(&fixture::run()[2..]));
        let journal = read(bytes.as_slice()).unwrap();
        assert_eq!(journal.events, fixture::run());
        assert!(journal.notices[0].contains("1 of the events are of the kind `coffee_made`"), "{:?}", journal.notices);

        let mut bytes = text(&fixture::run()[..2]);
        bytes.extend_from_slice(b"{\"elapsed_ms\":1,\"event\":\"scenario_finished\",\"verdict\":\"quantum\"}\n");
        bytes.extend(text(&fixture::run()[2..]));
        assert!(matches!(read(bytes.as_slice()), Err(JournalError::Damaged { line: 3, .. })));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let line = b"{\"elapsed_ms\":1,\"event\":\"notice\",\"text\":\"hi\",\"colour\":\"red\"}\n";
        assert_eq!(read(line.as_slice()).unwrap().events.len(), 1);
    }

    #[test]
    fn what_holds_no_event_is_an_error() {
        assert!(matches!(read(&b""[..]), Err(JournalError::Empty(None))));
        let error = read(&b"root:x:0:0:root:/root:/bin/bash\n"[..]).unwrap_err().to_string();
        assert!(error.starts_with("it holds no event of a run: line 1: "), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_survives_and_nothing_hostile_is_written(text in any::<String>(), elapsed_ms in any::<u64>()) {
            let event = Stamped { elapsed_ms, event: LabEvent::Notice { text } };
            let line = encode(&event).unwrap();
            let written = std::str::from_utf8(&line).unwrap();
            prop_assert!(!written.trim_end().chars().any(clean::is_hostile));
            prop_assert_eq!(&read(line.as_slice()).unwrap().events[0], &event);
        }
    }
}
