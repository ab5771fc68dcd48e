//! The event log of a record: it can be written and read again, and every report of it is complete and harmless.

use vmlab_events::{log, order};

use crate::reports::Rendered;

pub const WORDS: &[&[u8]] = &[
    b"\"event\":\"notice\",\"text\":\"x\"",
    b"\"event\":\"interrupted\"",
    b"\"verdict\":\"kernel_crashed\",\"what\":\"BUG: x\",\"trace\":[\"a\",\"b\"]",
    b"\"verdict\":\"timed_out\",\"detail\":\"x\"",
    b"\"verdict\":\"skipped\",\"reason\":\"x\"",
    b"\"verdict\":\"passed\"",
    b"\"verdict\":\"failed\",\"reason\":{\"kind\":\"not_isolated\",\"finding\":\"x\"}",
    b"\"verdict\":\"skipped\",\"reason\":{\"kind\":\"config_unknown\",\"evidence\":\"x\"}",
    b"\"verdict\":\"leaks\",\"finding\":\"x\"",
    b"\"verdict\":\"leaks\",\"recorded\":\"x\"",
    b"\"reason\":{\"kind\":\"recorded\",\"text\":\"x\"}",
    b"\"reason\":{\"kind\":\"cut_short\",\"by\":{\"verdict\":\"passed\"}}",
    b"\"format\":2",
    b"\"format\":3",
    b"18446744073709551615",
    b"\\u001b]0;owned\\u0007",
    b"\\u009b31m",
    b"\\u202e",
    b"]]>",
    b"<script>",
    b"\\nok 1 forged\\n",
    b"\\n::error::forged",
    b"##[error]forged",
    b" # SKIP ",
    b"\\ud83d\\ude00",
];

pub fn run(input: &[u8]) {
    let Ok(read) = log::read(input) else { return };
    let mut written = Vec::new();
    for event in &read.events {
        let line = log::encode(event).expect("an event that was read can be written");
        let text = std::str::from_utf8(&line).expect("a line is text");
        assert!(!text.trim_end_matches('\n').chars().any(vmlab_events::clean::is_hostile), "{text:?}");
        written.extend(line);
    }
    let again = log::read(written.as_slice()).expect("what was written can be read");
    assert_eq!(again.events, read.events, "written and read again");
    // Opening a record makes the same check: events that cannot come from one run are not rendered.
    if order::check(&read.events).is_ok() {
        Rendered::of(&read.events).check(&read.events);
    }
}
