//! Seeded mutations of inputs: the same seed gives the same mutations on every machine.

/// The longest mutated input, in bytes.
const LONGEST: usize = 1 << 16;

/// A source of mutations.
#[derive(Debug)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Starts with a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number: SplitMix64 (Steele, Lea and Flood, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a limit, or 0 if the limit is 0.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 1).unwrap() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// An input with one to eight mutations. `others` are inputs to take pieces from, `words` are words to insert.
    #[must_use]
    pub fn change(&mut self, input: &[u8], others: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
        let mut out = input.to_vec();
        for _ in 0..=self.below(8) {
            self.change_once(&mut out, others, words);
        }
        out.truncate(LONGEST);
        out
    }

    fn change_once(&mut self, out: &mut Vec<u8>, others: &[Vec<u8>], words: &[&[u8]]) {
        const ODD: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b'"', b'#', b'0'];
        let at = self.below(out.len());
        let end = at + self.below((out.len() - at.min(out.len())).min(64) + 1);
        match self.below(9) {
            0 if !out.is_empty() => out[at] ^= 1 << self.below(8),
            1 if !out.is_empty() => out[at] = self.byte(),
            2 if !out.is_empty() => out[at] = ODD[self.below(ODD.len())],
            3 => drop(out.drain(at..end)),
            4 => {
                let piece = out[at..end].to_vec();
                let to = self.below(out.len() + 1);
                drop(out.splice(to..to, piece));
            }
            5 => {
                let word = words[self.below(words.len())];
                drop(out.splice(at..at, word.iter().copied()));
            }
            6 => {
                let word = words[self.below(words.len())];
                let end = (at + word.len()).min(out.len());
                drop(out.splice(at..end, word.iter().copied()));
            }
            7 if !others.is_empty() => {
                let other = &others[self.below(others.len())];
                let from = self.below(other.len() + 1);
                out.truncate(at);
                out.extend_from_slice(&other[from..]);
            }
            _ => out.truncate(at),
        }
    }
}
