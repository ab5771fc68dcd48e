//! Seeded mutations of inputs: the same seed gives the same mutations on every machine.

use crate::random::Random;

/// The longest mutated input, in bytes.
const LONGEST: usize = 1 << 16;

/// A source of mutations.
#[derive(Debug)]
pub struct Mutator {
    random: Random,
}

impl Mutator {
    /// Starts with a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { random: Random::new(seed) }
    }

    fn byte(&mut self) -> u8 {
        self.random.number().to_le_bytes()[0]
    }

    /// An input with one to eight mutations. `others` are inputs to take pieces from, `words` are words to insert.
    #[must_use]
    pub fn change(&mut self, input: &[u8], others: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
        let mut out = input.to_vec();
        for _ in 0..=self.random.below(8) {
            self.change_once(&mut out, others, words);
        }
        out.truncate(LONGEST);
        out
    }

    fn change_once(&mut self, out: &mut Vec<u8>, others: &[Vec<u8>], words: &[&[u8]]) {
        const ODD: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b'"', b'#', b'0'];
        let at = self.random.below(out.len());
        let end = at + self.random.below((out.len() - at.min(out.len())).min(64) + 1);
        match self.random.below(9) {
            0 if !out.is_empty() => out[at] ^= 1 << self.random.below(8),
            1 if !out.is_empty() => out[at] = self.byte(),
            2 if !out.is_empty() => out[at] = ODD[self.random.below(ODD.len())],
            3 => drop(out.drain(at..end)),
            4 => {
                let piece = out[at..end].to_vec();
                let to = self.random.below(out.len() + 1);
                drop(out.splice(to..to, piece));
            }
            5 => {
                let word = words[self.random.below(words.len())];
                drop(out.splice(at..at, word.iter().copied()));
            }
            6 => {
                let word = words[self.random.below(words.len())];
                let end = (at + word.len()).min(out.len());
                drop(out.splice(at..end, word.iter().copied()));
            }
            7 if !others.is_empty() => {
                let other = &others[self.random.below(others.len())];
                let from = self.random.below(other.len() + 1);
                out.truncate(at);
                out.extend_from_slice(&other[from..]);
            }
            _ => out.truncate(at),
        }
    }
}
