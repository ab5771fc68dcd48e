//! Seeded random numbers: the same seed gives the same numbers on every machine.

/// A generator: SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts with a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a limit, or 0 if the limit is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() >> 1).unwrap() % limit.max(1)
    }
}
