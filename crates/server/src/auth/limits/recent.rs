//! What is known of whoever called lately, and of not too many.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A map that forgets what was not asked for during a period, and never has more than [`ENTRIES_MAX`] entries: names
/// may be anybody's choice. Nothing is ever searched for what can go: each shard has two maps, and now and then the old
/// one is dropped and the new one becomes old.
pub(crate) struct Recent<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    period: Duration,
}

struct Shard<K, V> {
    new: HashMap<K, V>,
    old: HashMap<K, V>,
    /// When `new` began.
    since: Instant,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// Empty; what is used at least once a `period` stays.
    pub(crate) fn new(period: Duration) -> Self {
        let shard = || Shard { new: HashMap::new(), old: HashMap::new(), since: Instant::now() };
        Self { shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(), hasher: RandomState::new(), period }
    }

    /// Uses the entry of `key`; where there is none, what `make` makes.
    pub(crate) fn with<R>(&self, key: &K, now: Instant, make: impl FnOnce() -> V, act: impl FnOnce(&mut V) -> R) -> R {
        let index = self.hasher.hash_one(key) % self.shards.len() as u64;
        let shard = &self.shards[usize::try_from(index).expect("there are few shards")];
        // Whatever panics in between, the maps are whole.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = shard.turn(now, self.period);
        if !shard.new.contains_key(key) {
            let value = shard.old.remove(key).unwrap_or_else(make);
            shard.new.insert(key.clone(), value);
        }
        let result = act(shard.new.get_mut(key).expect("it was put there just now"));
        // Dropping many takes a while, in which others need not wait.
        drop(shard);
        drop(forgotten);
        result
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap()).map(|shard| shard.new.len() + shard.old.len()).sum()
    }
}

impl<K, V> Shard<K, V> {
    /// Makes the new map the old one when its time is over, or when it is full, which forgets too early.
    fn turn(&mut self, now: Instant, period: Duration) -> Option<HashMap<K, V>> {
        if now.saturating_duration_since(self.since) < period && self.new.len() < NEW_MAX {
            return None;
        }
        self.since = now;
        let new = mem::take(&mut self.new);
        Some(mem::replace(&mut self.old, new))
    }
}

/// Most entries of all.
pub(crate) const ENTRIES_MAX: usize = 100_000;
/// So that calls on many cores seldom wait for each other.
const SHARDS: usize = 16;
/// Most entries of a new map.
const NEW_MAX: usize = ENTRIES_MAX / SHARDS / 2;

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    fn count(recent: &Recent<u32, u32>, key: u32, now: Instant) -> u32 {
        recent.with(
            &key,
            now,
            || 0,
            |count| {
                *count += 1;
                *count
            },
        )
    }

    #[test]
    fn what_is_used_stays_and_what_was_idle_for_two_periods_is_forgotten() {
        let (recent, start) = (Recent::new(PERIOD), Instant::now());
        for turn in 1..=10 {
            assert_eq!(count(&recent, 1, start + PERIOD * turn), turn);
        }
        count(&recent, 2, start + PERIOD * 10);
        for turn in 11..=12 {
            // All shards turn when they are asked.
            (100..300).for_each(|key| _ = count(&recent, key, start + PERIOD * turn));
        }
        assert_eq!(count(&recent, 2, start + PERIOD * 12), 1);
    }

    #[test]
    fn nothing_is_forgotten_within_a_period() {
        let (recent, start) = (Recent::new(PERIOD), Instant::now());
        count(&recent, 1, start);
        for part in 1..100 {
            (100..300).for_each(|key| _ = count(&recent, key, start + PERIOD * part / 100));
        }
        assert_eq!(count(&recent, 1, start + PERIOD), 2);
    }

    #[test]
    fn two_hundred_thousand_names_take_no_more_room_than_a_hundred_thousand() {
        let (recent, start) = (Recent::new(PERIOD), Instant::now());
        for key in 0..200_000 {
            assert_eq!(count(&recent, key, start), 1);
            assert_eq!(count(&recent, key, start), 2, "the newest is known");
        }
        assert!((ENTRIES_MAX / 2..=ENTRIES_MAX).contains(&recent.len()), "{}", recent.len());
    }
}
