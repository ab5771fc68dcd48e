//! Properties that the readers of foreign bytes have for all inputs.
//!
//! Each target is a function of bytes that panics if a property does not hold. The programs of `tests/fuzz` look for new
//! inputs with libFuzzer. The ordinary test `fuzz` runs the inputs that were found, and seeded mutations of them.

mod apt;
mod config;
mod console;
mod event_log;
mod files;
mod frame;
mod kernel_file;
mod ktap;
mod message;
mod modules;
pub mod mutate;
mod newc;
mod session;

/// A reader and the properties that are checked.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the target, its corpus and its program.
    pub name: &'static str,
    /// Checks the properties with an input.
    pub run: fn(&[u8]),
    /// Words of the reader's format, which random mutations would not find.
    pub words: &'static [&'static [u8]],
    /// A limit of the memory in use, in bytes: a constant, plus a multiple of the input's length. A reader that uses more
    /// trusts a number from the input.
    pub memory: (usize, usize),
}

/// The limit for most readers: a copy of the input, and the values that the check makes of it.
const MEMORY: (usize, usize) = (8 << 20, 64);

/// All targets, sorted by name.
pub const TARGETS: &[Target] = &[
    Target { name: "apt", run: apt::run, words: apt::WORDS, memory: MEMORY },
    Target { name: "config", run: config::run, words: config::WORDS, memory: MEMORY },
    Target { name: "console", run: console::run, words: console::WORDS, memory: MEMORY },
    Target { name: "frame", run: frame::run, words: frame::WORDS, memory: MEMORY },
    Target { name: "event_log", run: event_log::run, words: event_log::WORDS, memory: (64 << 20, 1024) },
    Target { name: "files", run: files::run, words: files::WORDS, memory: (64 << 20, 1024) },
    Target { name: "kernel_file", run: kernel_file::run, words: kernel_file::WORDS, memory: MEMORY },
    Target { name: "ktap", run: ktap::run, words: ktap::WORDS, memory: (8 << 20, 1024) },
    Target { name: "message", run: message::run, words: message::WORDS, memory: (8 << 20, 256) },
    Target { name: "modules", run: modules::run, words: modules::WORDS, memory: MEMORY },
    Target { name: "newc", run: newc::run, words: newc::WORDS, memory: (8 << 20, 1024) },
    Target { name: "session", run: session::run, words: session::WORDS, memory: (32 << 20, 1024) },
];

/// Runs the target of this name with an input.
///
/// # Panics
/// A property does not hold, or no target has the name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the target's name is in the list");
    (target.run)(input);
}

/// Cuts an input into pieces. Their lengths depend on the input only, so that the same input always gives the same pieces.
fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    let mut state = input.iter().fold(1_u32, |state, &byte| state.wrapping_mul(31).wrapping_add(u32::from(byte)));
    std::iter::from_fn(move || {
        // A linear congruential generator (Numerical Recipes): many short pieces and a few long ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = [1, 2, 3, 7, 16, 61, 509, 4099][(state >> 16) as usize % 8].min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
