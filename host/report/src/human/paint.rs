//! Colours, where they are wanted.

use anstyle::{AnsiColor, Style};

use vmlab_events::verdict::{Class, Verdict};

/// Puts colours around text, or leaves it alone.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, style: Style, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A verdict's label, with `text` around it for padding.
    #[must_use]
    pub fn verdict(self, verdict: &Verdict, text: &str) -> String {
        let colour = match verdict.class() {
            Class::Good if matches!(verdict, Verdict::Leaks { .. }) => AnsiColor::Cyan,
            Class::Good => AnsiColor::Green,
            Class::Skipped => AnsiColor::Yellow,
            Class::Flaky | Class::Bad | Class::TimedOut | Class::Crashed => AnsiColor::Red,
            Class::Lab | Class::NotRun => AnsiColor::Magenta,
        };
        let style = colour.on_default();
        let loud = !matches!(verdict.class(), Class::Good | Class::Skipped);
        self.with(if loud { style.bold() } else { style }, text)
    }

    /// A heading.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    /// What matters less.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_they_are_wanted() {
        let verdict = vmlab_events::fixture::failed("");
        assert_eq!(Paint(false).verdict(&verdict, "FAIL"), "FAIL");
        assert_eq!(Paint(true).verdict(&verdict, "FAIL"), "\x1b[1m\x1b[31mFAIL\x1b[0m");
        assert_eq!(Paint(true).bold(""), "");
    }
}
