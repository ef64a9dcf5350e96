//! Chance that can be had again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The seed that `OPEROND_SEED` gives, or a new one; told, so that it can be given.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("OPEROND_SEED").ok().map(|seed| seed.parse().expect("OPEROND_SEED is a number"));
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("OPEROND_SEED={seed}");
    seed
}

/// A small generator (`SplitMix64`): the same seed draws the same.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The `n`th generator of a seed.
    pub(crate) fn of(seed: u64, n: u64) -> Self {
        let mut random = Self(seed ^ n.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    /// So often of a hundred.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.next() % (most - least))
    }
}
