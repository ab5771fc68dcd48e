//! Shows the progress of a piece of work.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::screen::{Line, Screen};
use super::style::Verbosity;
use vmlab_events::clean;
use vmlab_events::progress::Progress;

/// Shows progress as a live line where the screen is live, and as a plain line for each new step elsewhere.
pub struct TerminalProgress {
    screen: Screen,
    state: Arc<Mutex<State>>,
}

struct State {
    line: Option<Line>,
    step: String,
    /// Whether nothing is shown until the work takes long.
    waits: bool,
    plain: Box<dyn Write + Send>,
}

impl State {
    /// Shows the present step, if it is time.
    fn show(&mut self, screen: &Screen) {
        if self.waits || self.step.is_empty() {
            return;
        }
        if screen.is_live() {
            self.line = self.line.take().or_else(|| screen.line());
            if let Some(line) = &self.line {
                line.say(self.step.clone());
            }
        } else {
            // A closed standard error is no error of the work.
            writeln!(self.plain, "{}", self.step).and_then(|()| self.plain.flush()).unwrap_or_default();
        }
    }
}

/// Work that takes longer than this shows its progress.
const LONG: Duration = Duration::from_secs(1);

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
        let state = State { line: None, step: String::new(), waits: false, plain };
        Self { screen: screen.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Shows nothing unless the work takes longer than a second: standard error belongs to a program that runs next.
    #[must_use]
    pub fn if_long(self) -> Self {
        self.state().waits = true;
        let (state, screen) = (Arc::clone(&self.state), self.screen.clone());
        // It ends with the process, or after a second.
        thread::spawn(move || {
            thread::sleep(LONG);
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waits = false;
            state.show(&screen);
        });
        self
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
        state.step = what;
        state.show(&self.screen);
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
