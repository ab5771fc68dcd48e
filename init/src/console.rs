//! Writes to the console, for messages that cannot go over the link.

use std::io::Write as _;

use vmlab_protocol::CONSOLE_MARK;

/// Writes a line with the prefix [`CONSOLE_MARK`]. Control characters become spaces, so that the text stays on a line.
pub(crate) fn say(text: &str) {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // If the console itself fails there is no other output; the host then reports that the guest vanished.
    let _ = writeln!(std::io::stderr(), "\n{CONSOLE_MARK} {line}");
}
