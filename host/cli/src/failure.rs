//! The error of a command: a message and an exit code.

use std::fmt;

use vmlab_events::clean;
use vmlab_events::exit;
use vmlab_report::OpenError;

/// A message of one paragraph, which says what to do, and an exit code.
#[derive(Debug)]
pub struct Failure {
    /// One of [`vmlab_events::exit`].
    pub code: u8,
    message: String,
}

impl Failure {
    /// The user asked for something impossible: [`exit::USAGE`].
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: exit::USAGE, message: message.to_string() }
    }

    /// vmlab or this machine failed: [`exit::LAB`].
    pub fn lab(message: impl fmt::Display) -> Self {
        Self { code: exit::LAB, message: message.to_string() }
    }

    /// The same message with another code.
    pub fn with(self, code: u8) -> Self {
        Self { code, ..self }
    }

    pub fn with_code(code: u8, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

impl Failure {
    /// A signal came before the work was done.
    pub fn interrupted() -> Self {
        Self::with_code(exit::INTERRUPTED, "interrupted; no partial files were left behind")
    }
}

impl std::error::Error for Failure {}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::SameDestination(..) | OpenError::File { .. } => Self::usage(error),
            OpenError::Closed(_) => Self::lab(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages quote file names and file contents, which must not control the terminal.
        let lines: Vec<_> = clean::lines(&self.message).collect();
        write!(f, "vmlab: {}", lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_in_a_message_are_escaped() {
        let text = Failure::usage("no kernel at \x1b]0;x\x07\u{202e}: see\n::error::above").to_string();
        assert_eq!(text, "vmlab: no kernel at \\x1b]0;x\\x07\\u{202e}: see\n\\x3a:error::above");
    }
}
