//! Whether a guest sees a file, for error messages.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::rules::Reason;

/// Whether a guest sees a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// The guest sees it, if its permissions allow.
    Visible,
    /// A directory that the guest sees, without most of its entries.
    Partly,
    /// The guest does not see it.
    Hidden {
        /// What is hidden: the path in question, or where symbolic links lead from there.
        path: PathBuf,
        /// Why; completes the sentence "PATH is hidden because".
        why: &'static str,
        /// The option that shows it, if there is one.
        flag: Option<ShareFlag>,
    },
}

/// An option of vmlab's that shows more of the host's files. Its text is the option as a user types it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareFlag {
    /// `--home`
    Home,
    /// `--share PATH`
    Share(PathBuf),
}

impl fmt::Display for ShareFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.write_str("--home"),
            Self::Share(path) => write!(f, "--share {}", path.display()),
        }
    }
}

impl Visibility {
    pub(crate) fn hidden(path: &Path, reason: Reason) -> Self {
        let why = match reason {
            Reason::Empty => "guests have file systems of their own there",
            Reason::SystemSecret => "it is a secret of the system",
            Reason::Credential => "it holds credentials",
            Reason::OwnHome => "it is in your home directory, outside the working directory",
            Reason::OtherHome => "it is in another user's home directory",
        };
        let flag = match reason {
            Reason::OwnHome => Some(ShareFlag::Home),
            Reason::Empty => None,
            Reason::SystemSecret | Reason::Credential | Reason::OtherHome => Some(ShareFlag::Share(path.to_owned())),
        };
        Self::Hidden { path: path.to_owned(), why, flag }
    }
}
