//! The live lines at the bottom of the terminal, and the only module that uses indicatif. All that shows progress shares one
//! screen, so that lines do not overwrite each other.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// Standard error with live lines, or nothing. Clones are the same screen.
#[derive(Debug, Clone, Default)]
pub struct Screen(Option<MultiProgress>);

impl Screen {
    /// Standard error. Create it once in a process, and only where [`super::style::Style::live`] allows it.
    #[must_use]
    pub fn stderr() -> Self {
        Self(Some(MultiProgress::with_draw_target(ProgressDrawTarget::stderr())))
    }

    /// Shows nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// A terminal in memory.
    #[cfg(test)]
    pub fn in_memory(terminal: &indicatif::InMemoryTerm) -> Self {
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        Self(Some(MultiProgress::with_draw_target(target)))
    }

    /// Whether anything is shown.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.0.is_some()
    }

    /// A new live line below the others; `None` on a screen that shows nothing.
    #[must_use]
    pub fn line(&self) -> Option<Line> {
        let multi = self.0.as_ref()?;
        let bar = multi.add(ProgressBar::new_spinner().with_style(style("{spinner} {wide_msg}")));
        // Without a tick of its own a line without news would look like a hang.
        bar.enable_steady_tick(TICK);
        Some(Line { bar, multi: multi.clone() })
    }

    /// Takes the live lines away while `write` writes to the same terminal.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(multi) => multi.suspend(write),
            None => write(),
        }
    }
}

/// A style by its template. The templates are constants, and a test draws each; an invalid one would give indicatif's default
/// style.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A live line. It disappears when it is dropped.
#[derive(Debug)]
pub struct Line {
    bar: ProgressBar,
    multi: MultiProgress,
}

impl Line {
    /// Sets its text: clean, cut at the terminal's width.
    pub fn say(&self, text: String) {
        self.bar.set_message(text);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.multi.remove(&self.bar);
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    #[test]
    fn lines_come_and_go() {
        let terminal = InMemoryTerm::new(10, 20);
        let screen = Screen::in_memory(&terminal);
        let (first, second) = (screen.line().unwrap(), screen.line().unwrap());
        first.say("one".to_owned());
        second.say("two, which is longer than the terminal is wide".to_owned());
        let contents = terminal.contents();
        let shown: Vec<_> = contents.lines().map(|line| line.chars().skip(2).collect::<String>()).collect();
        assert_eq!(shown, ["one", "two, which is long"]);
        drop(first);
        screen.suspend(|| assert_eq!(terminal.contents(), ""));
        drop(second);
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn a_screen_that_shows_nothing_has_no_lines() {
        assert!(Screen::none().line().is_none());
        assert_eq!(Screen::none().suspend(|| 7), 7);
    }
}
