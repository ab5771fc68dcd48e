//! What the terminal allows, decided once from plain facts.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

/// How much is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// The table and the summary.
    Quiet,
    /// Also what is not good, with its evidence.
    #[default]
    Normal,
    /// Also what each passing scenario found and printed.
    Verbose,
}

/// Facts about the terminal and the environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Standard output is a terminal.
    pub stdout_terminal: bool,
    /// Standard error is a terminal.
    pub stderr_terminal: bool,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set and neither empty nor `0`.
    pub clicolor_force: bool,
    /// `TERM` is unset, empty or `dumb`.
    pub dumb: bool,
    /// `CI` is set and neither empty nor `0` nor `false`.
    pub ci: bool,
    /// Columns of the terminal at standard output.
    pub columns: Option<u16>,
}

impl Facts {
    /// From this process's descriptors and environment.
    #[must_use]
    pub fn gather() -> Self {
        let set_and_not = |name: &str, not: &[&str]| {
            env::var_os(name).is_some_and(|value: OsString| !value.is_empty() && not.iter().all(|word| value != *word))
        };
        Self {
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal: io::stderr().is_terminal(),
            no_color: set_and_not("NO_COLOR", &[]),
            clicolor_force: set_and_not("CLICOLOR_FORCE", &["0"]),
            dumb: !set_and_not("TERM", &["dumb"]),
            ci: set_and_not("CI", &["0", "false"]),
            columns: terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0),
        }
    }
}

/// How the human report looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Colours.
    pub colour: bool,
    /// Lines on standard error that change while guests run.
    pub live: bool,
    /// A line for each event that is worth one.
    pub lines: bool,
    /// No table may be wider; `None` where nothing limits it.
    pub columns: Option<usize>,
}

impl Style {
    /// For a file: lines and no colours.
    pub const FILE: Self = Self { colour: false, live: false, lines: true, columns: None };

    /// For a run. `NO_COLOR` (no-color.org) beats `CLICOLOR_FORCE` (bixense.com/clicolors), which beats what the
    /// terminal can do. Nothing moves the cursor unless standard error is a terminal, and no CI service.
    #[must_use]
    pub const fn decide(facts: &Facts) -> Self {
        let live = facts.stderr_terminal && !facts.no_color && !facts.dumb && !facts.ci;
        Self {
            colour: !facts.no_color && (facts.clicolor_force || (facts.stdout_terminal && !facts.dumb)),
            live,
            lines: !(live && facts.stdout_terminal),
            columns: match facts.columns {
                Some(columns) if facts.stdout_terminal => Some(columns as usize),
                _ => None,
            },
        }
    }

    /// For a finished run: on a terminal the table is enough, elsewhere all is as it was when the run was live.
    #[must_use]
    pub const fn decide_again(facts: &Facts) -> Self {
        Self { live: false, ..Self::decide(facts) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Facts = Facts {
        stdout_terminal: true,
        stderr_terminal: true,
        no_color: false,
        clicolor_force: false,
        dumb: false,
        ci: false,
        columns: Some(80),
    };

    #[test]
    fn a_terminal_gets_colours_and_live_lines_in_its_width() {
        assert_eq!(Style::decide(&TERMINAL), Style { colour: true, live: true, lines: false, columns: Some(80) });
    }

    #[test]
    fn nothing_moves_a_cursor_that_should_not() {
        for facts in [
            Facts { no_color: true, ..TERMINAL },
            Facts { dumb: true, ..TERMINAL },
            Facts { ci: true, ..TERMINAL },
            Facts { stderr_terminal: false, ..TERMINAL },
            Facts::default(),
        ] {
            let style = Style::decide(&facts);
            assert!(!style.live && style.lines, "{facts:?}");
        }
    }

    #[test]
    fn colours_need_a_terminal_or_force_and_never_no_color() {
        let colour = |facts: Facts| Style::decide(&facts).colour;
        assert!(colour(Facts { ci: true, ..TERMINAL }));
        assert!(!colour(Facts { stdout_terminal: false, ..TERMINAL }));
        assert!(!colour(Facts { dumb: true, ..TERMINAL }));
        assert!(!colour(Facts { no_color: true, clicolor_force: true, ..TERMINAL }));
        assert!(colour(Facts { clicolor_force: true, ..Facts::default() }));
    }

    #[test]
    fn a_pipe_has_lines_and_no_width_beside_a_live_terminal() {
        let style = Style::decide(&Facts { stdout_terminal: false, ..TERMINAL });
        assert_eq!(style, Style { colour: false, live: true, lines: true, columns: None });
    }

    #[test]
    fn a_finished_run_is_never_live() {
        assert_eq!(Style::decide_again(&TERMINAL), Style { live: false, ..Style::decide(&TERMINAL) });
        assert_eq!(Style::decide_again(&Facts::default()), Style::decide(&Facts::default()));
    }
}
