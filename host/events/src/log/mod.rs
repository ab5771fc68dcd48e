//! The event log: the events of a run as JSON Lines, one [`Stamped`] a line, in order.
//!
//! What an older or newer vmlab wrote: events of the form before today's are brought to today's (`log::old`); a newer form is
//! an error that says so. An event of a kind that this version does not know is left out, with a notice; a known kind whose
//! fields cannot be read is an error, because leaving it out could hide a failure. Unknown fields are ignored. A last line
//! that cannot be read is what a power cut or SIGKILL leaves: it is left out, with a notice. Any other damage is an error.

mod old;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, Serializer};

use crate::clean;
use crate::event::{FORMAT, LabEvent, Stamped};
use crate::order;

/// The longest line, in bytes: far more than the lab's limits on output allow.
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

/// The contents of an event log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventLog {
    /// All events that could be read, in order; at least one.
    pub events: Vec<Stamped>,
    /// What was left out, and why, each in a sentence.
    pub notices: Vec<String>,
}

/// The events cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    /// Reading failed.
    #[error("cannot read it: {0}")]
    Read(io::Error),
    /// The events are of a form that this version does not know.
    #[error(
        "its events are of form {0}, and this vmlab reads forms up to {FORMAT}: a newer vmlab wrote them; read them with \
         that one"
    )]
    Newer(u32),
    /// A line in the middle is no event.
    #[error("line {line} is damaged: {why}; the lines after it cannot be trusted")]
    Damaged {
        /// From 1.
        line: usize,
        /// The parser's error.
        why: String,
    },
    /// The events can be read, and are not those of one run.
    #[error(transparent)]
    Impossible(#[from] order::Impossible),
    /// There is no event.
    #[error("it holds no event of a run{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Empty(Option<String>),
}

/// An event as one line, with its line end.
///
/// Whatever a terminal might obey is written as `\uXXXX`, so that a log can be looked at, and nothing is lost.
///
/// # Errors
/// None that is known: serde_json fails for maps with keys that are no strings, which no event has.
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

/// Reads a whole event log.
///
/// # Errors
/// [`EventLogError`]
pub fn read(mut input: impl BufRead) -> Result<EventLog, EventLogError> {
    let mut log = EventLog::default();
    let mut unknown = BTreeMap::<String, usize>::new();
    let mut bad: Option<(usize, String)> = None;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut limited = input.by_ref().take(MAX_LINE);
        if limited.read_until(b'\n', &mut line).map_err(EventLogError::Read)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Some((line, why)) = bad {
            if log.events.is_empty() {
                return Err(EventLogError::Empty(Some(format!("line {line}: {why}"))));
            }
            return Err(EventLogError::Damaged { line, why });
        }
        match decode(&line) {
            Ok(event) => log.events.push(event),
            Err(Undecodable::Newer(format)) => return Err(EventLogError::Newer(format)),
            Err(Undecodable::Unknown(kind)) => *unknown.entry(kind).or_default() += 1,
            Err(Undecodable::Damaged(why)) => bad = Some((number, why)),
        }
    }
    if log.events.is_empty() {
        return Err(EventLogError::Empty(bad.map(|(line, why)| format!("line {line}: {why}"))));
    }
    log.notices.extend(
        bad.map(|(line, why)| {
            format!("the last line of the events, {line}, is cut or damaged and was left out: {why}")
        }),
    );
    log.notices.extend(unknown.into_iter().map(|(kind, count)| {
        let kind = clean::line(&kind);
        format!("{count} of the events are of the kind `{kind}`, which this vmlab does not know, and were left out")
    }));
    Ok(log)
}

/// Why a line is no event.
enum Undecodable {
    /// A newer form of events.
    Newer(u32),
    /// A kind that this version does not know.
    Unknown(String),
    Damaged(String),
}

/// What can be read of an event of any form.
#[derive(Deserialize)]
struct Tag {
    event: String,
    format: Option<u32>,
}

fn decode(line: &[u8]) -> Result<Stamped, Undecodable> {
    let error = match serde_json::from_slice::<Stamped>(line) {
        Ok(Stamped { event: LabEvent::RunStarted { format, .. }, .. }) if format > FORMAT => {
            return Err(Undecodable::Newer(format));
        }
        Ok(event) => return Ok(event),
        Err(error) => error,
    };
    // A line without a tag is damaged, which `error` already says.
    let tag = serde_json::from_slice::<Tag>(line).ok();
    if let Some(Tag { event, format: Some(format) }) = &tag
        && event == "run_started"
        && *format > FORMAT
    {
        return Err(Undecodable::Newer(*format));
    }
    match (older(line), tag) {
        (Some(Ok(event)), _) => Ok(event),
        (Some(Err(error)), _) => Err(Undecodable::Damaged(clean::line(&error.to_string()))),
        (None, Some(Tag { event, .. })) if !KINDS.contains(&event.as_str()) => Err(Undecodable::Unknown(event)),
        (None, _) => Err(Undecodable::Damaged(clean::line(&error.to_string()))),
    }
}

/// An event of an older form, in today's; none where the line is not of that form.
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
            let log = read(&whole[..end]).unwrap();
            assert_eq!(log.events, events[..events.len() - 1]);
            assert!(log.notices[0].contains("cut or damaged"), "{:?}", log.notices);
        }
        assert_eq!(read(&whole[..whole.len() - 1]).unwrap(), EventLog { events, notices: vec![] });
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
        let log = read(bytes.as_slice()).unwrap();
        assert_eq!(log.events, fixture::run());
        assert!(log.notices[0].contains("1 of the events are of the kind `coffee_made`"), "{:?}", log.notices);

        let mut bytes = text(&fixture::run()[..2]);
        bytes.extend_from_slice(b"{\"elapsed_ms\":1,\"event\":\"scenario_finished\",\"verdict\":\"quantum\"}\n");
        bytes.extend(text(&fixture::run()[2..]));
        assert!(matches!(read(bytes.as_slice()), Err(EventLogError::Damaged { line: 3, .. })));
    }

    #[test]
    fn a_newer_form_is_said_to_be_one_in_one_line() {
        let line = String::from_utf8(text(&fixture::run()[..1])).unwrap();
        for newer in [
            line.replace(r#""format":2"#, r#""format":3"#),
            r#"{"elapsed_ms":0,"event":"run_started","format":3}"#.to_owned(),
        ] {
            let error = read(newer.as_bytes()).unwrap_err();
            assert!(matches!(error, EventLogError::Newer(3)), "{error}");
            let text = error.to_string();
            assert!(text.starts_with("its events are of form 3, ") && !text.contains('\n'), "{text}");
            assert_eq!(decode_line(newer.as_bytes()), None);
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let line = b"{\"elapsed_ms\":1,\"event\":\"notice\",\"text\":\"hi\",\"colour\":\"red\"}\n";
        assert_eq!(read(line.as_slice()).unwrap().events.len(), 1);
    }

    #[test]
    fn what_holds_no_event_is_an_error() {
        assert!(matches!(read(&b""[..]), Err(EventLogError::Empty(None))));
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
