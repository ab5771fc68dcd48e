//! How the human report is to look.

use std::path::PathBuf;

use super::screen::Screen;
use super::style::{Facts, Style, Verbosity};

/// What the human report needs besides the events.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// For standard output; a file has [`Style::FILE`].
    pub style: Style,
    /// How much is shown.
    pub verbosity: Verbosity,
    /// Whether there is a table of timings.
    pub timings: bool,
    /// The run record's directory, where there is one.
    pub record: Option<PathBuf>,
    /// Where live lines go.
    pub screen: Screen,
}

impl Setup {
    /// For a run at this terminal. Create it once in a process: it takes standard error for the live lines.
    #[must_use]
    pub fn for_run(facts: &Facts, verbosity: Verbosity, timings: bool) -> Self {
        let style = Style::decide(facts);
        let screen = if style.live { Screen::stderr() } else { Screen::none() };
        Self { style, verbosity, timings, record: None, screen }
    }
}
