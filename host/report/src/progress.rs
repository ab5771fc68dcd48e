//! Shows the progress of a piece of work.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::screen::{Line, Screen};
use super::style::Verbosity;
use vmlab_events::clean;
use vmlab_events::progress::Progress;

/// Shows progress as a live line where the screen is live, and as a plain line for each new step elsewhere.
pub struct TerminalProgress {
    screen: Screen,
    state: Mutex<State>,
}

struct State {
    line: Option<Line>,
    step: String,
    plain: Box<dyn Write + Send>,
}

impl fmt::Debug for TerminalProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalProgress").field("screen", &self.screen).finish_non_exhaustive()
    }
}

impl TerminalProgress {
    /// On `screen`; plain lines go to standard error, or nowhere where only the result is wanted.
    #[must_use]
    pub fn new(screen: &Screen, verbosity: Verbosity) -> Self {
        let quiet = verbosity == Verbosity::Quiet;
        Self::with_plain(screen, if quiet { Box::new(io::sink()) } else { Box::new(io::stderr()) })
    }

    fn with_plain(screen: &Screen, plain: Box<dyn Write + Send>) -> Self {
        let state = State { line: None, step: String::new(), plain };
        Self { screen: screen.clone(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic in another thread the state is at worst an old line.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for TerminalProgress {
    fn step(&self, what: &str) {
        let mut state = self.state();
        let what = clean::line(what);
        if what == state.step {
            return;
        }
        if self.screen.is_live() {
            let line = state.line.take().or_else(|| self.screen.line());
            if let Some(line) = &line {
                line.say(what.clone());
            }
            state.line = line;
        } else {
            // A closed standard error is no error of the work.
            writeln!(state.plain, "{what}").and_then(|()| state.plain.flush()).unwrap_or_default();
        }
        state.step = what;
    }

    fn percent(&self, percent: u8) {
        let state = self.state();
        if let Some(line) = &state.line {
            line.say(format!("{} {}", bar(percent), state.step));
        }
    }

    fn done(&self) {
        let mut state = self.state();
        state.line = None;
        state.step.clear();
    }
}

/// `[#####···············]  25 %`
fn bar(percent: u8) -> String {
    const WIDTH: usize = 20;
    let filled = WIDTH * usize::from(percent.min(100)) / 100;
    format!("[{}{}] {:>3} %", "#".repeat(filled), "·".repeat(WIDTH - filled), percent.min(100))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::InMemoryTerm;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn work(progress: &TerminalProgress) {
        progress.step("debian:trixie: downloading\x1b[2J");
        progress.percent(25);
    }

    #[test]
    fn plain_lines_show_only_new_steps() {
        let sink = Sink::default();
        let progress = TerminalProgress::with_plain(&Screen::none(), Box::new(sink.clone()));
        work(&progress);
        work(&progress);
        progress.step("debian:trixie: unpacking");
        progress.done();
        let shown = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(shown, "debian:trixie: downloading\\x1b[2J\ndebian:trixie: unpacking\n");
    }

    #[test]
    fn a_terminal_shows_one_line_until_the_work_is_done() {
        let terminal = InMemoryTerm::new(5, 80);
        let sink = Sink::default();
        let progress = TerminalProgress::with_plain(&Screen::in_memory(&terminal), Box::new(sink.clone()));
        work(&progress);
        let shown = terminal.contents();
        assert!(shown.ends_with("[#####···············]  25 % debian:trixie: downloading\\x1b[2J"), "{shown}");
        assert_eq!(shown.lines().count(), 1);
        progress.done();
        assert_eq!(terminal.contents(), "");
        assert!(sink.0.lock().unwrap().is_empty());
    }

    #[test]
    fn the_bar_keeps_its_width() {
        assert_eq!(bar(0), "[····················]   0 %");
        assert_eq!(bar(100), bar(255));
        assert_eq!(bar(50).chars().count(), bar(100).chars().count());
    }
}
