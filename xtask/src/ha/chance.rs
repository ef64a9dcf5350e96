//! Chance that can be had again: the same seed, the same numbers.

use std::hash::{BuildHasher, RandomState};

use super::fault::Fault;

/// Numbers out of a seed (splitmix64).
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that nobody chose.
    pub(super) fn seed() -> u64 {
        RandomState::new().hash_one(0) >> 32
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// So many faults: each as often as every other, in any order.
    pub(super) fn faults(&mut self, count: usize) -> Vec<Fault> {
        let mut faults = Vec::new();
        while faults.len() < count {
            let mut left = Fault::ALL.to_vec();
            while !left.is_empty() {
                faults.push(left.remove(self.below(left.len() as u64) as usize));
            }
        }
        faults.truncate(count);
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_again_and_none_is_left_out() {
        let faults = Chance::new(7).faults(10);
        assert!(faults == Chance::new(7).faults(10));
        assert_eq!(faults.len(), 10);
        for fault in Fault::ALL {
            let times = faults.iter().filter(|other| **other == fault).count();
            assert!((2..=3).contains(&times), "{} {times} times", fault.name());
        }
    }
}
