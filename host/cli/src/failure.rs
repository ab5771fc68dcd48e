//! How a command ends that could not do its work.

use std::fmt;

use vmlab_events::clean;
use vmlab_events::exit;
use vmlab_report::OpenError;

/// One paragraph that names the thing and the remedy, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// One of [`vmlab_events::exit`].
    pub code: u8,
    message: String,
}

impl Failure {
    /// The user asked for something that cannot be: [`exit::USAGE`].
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: exit::USAGE, message: message.to_string() }
    }

    /// The lab could not do its work: [`exit::LAB`].
    pub fn lab(message: impl fmt::Display) -> Self {
        Self { code: exit::LAB, message: message.to_string() }
    }

    /// Any other ending.
    pub fn with_code(code: u8, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

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
        // File names, and what was read from files, are in many messages.
        let lines: Vec<_> = clean::lines(&self.message).collect();
        write!(f, "vmlab: {}", lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_message_does_no_harm() {
        let text = Failure::usage("no kernel at \x1b]0;x\x07\u{202e}: see\n::error::above").to_string();
        assert_eq!(text, "vmlab: no kernel at \\x1b]0;x\\x07\\u{202e}: see\n\\x3a:error::above");
    }
}
