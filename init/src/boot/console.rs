//! The console, for what cannot be said on the link.

use std::io::Write as _;

use vmlab_protocol::CONSOLE_MARK;

/// Writes one marked line. Control characters become spaces, so that it stays one line.
pub(crate) fn say(text: &str) {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Nothing is left to turn to where the console itself fails; the host then sees a guest that vanished.
    let _ = writeln!(std::io::stderr(), "\n{CONSOLE_MARK} {line}");
}
