//! What jobs run on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a target: a kernel on a machine with a command line, as the user types and reads it, for example
/// `debian:trixie`. Each target is a column of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(String);

impl TargetId {
    /// From its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text. The text can come from a file name, so clean it ([`crate::clean`]) before it reaches a terminal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
