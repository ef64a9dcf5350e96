//! So many a second, and who has used how many of them.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

/// So many a second; and, after a second without any, as many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// `count` a second.
    #[must_use]
    pub const fn per_second(count: NonZeroU32) -> Self {
        Self(count)
    }

    /// How many a second.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.get()
    }
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be a whole number from 1 to {}", u32::MAX)]
pub struct NoRate;

impl FromStr for Rate {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Self, NoRate> {
        text.parse().map(Self).map_err(|_| NoRate)
    }
}

/// What is left of a rate: a token for each one that may be let in now. Counted in billionths of a token, of which a
/// nanosecond brings as many as there are tokens a second: nothing is ever rounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    level: u64,
    at: Instant,
}

impl Bucket {
    /// One that nothing was taken from.
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { level: capacity(rate), at: now }
    }

    /// Takes a token, or says when there will be one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.look(rate, now)?;
        self.level -= TOKEN;
        Ok(())
    }

    /// Whether there is a token, or when there will be one.
    pub(crate) fn look(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let per_nano = u64::from(rate.count());
        let nanos = u64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.level = self.level.saturating_add(nanos.saturating_mul(per_nano)).min(capacity(rate));
        // Whoever read the clock before somebody else may come after them.
        self.at = self.at.max(now);
        match TOKEN.saturating_sub(self.level) {
            0 => Ok(()),
            missing => Err(Duration::from_nanos(missing.div_ceil(per_nano))),
        }
    }
}

/// A second's worth: so an idle bucket is full again after a second, whatever its rate.
fn capacity(rate: Rate) -> u64 {
    u64::from(rate.count()) * TOKEN
}

/// A token, in billionths.
const TOKEN: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32) -> Rate {
        Rate::per_second(NonZeroU32::new(count).unwrap())
    }

    fn nanos(count: u64) -> Duration {
        Duration::from_nanos(count)
    }

    #[test]
    fn a_burst_is_let_in_then_one_at_each_interval_and_not_a_nanosecond_before() {
        for (count, interval) in [(1, 1_000_000_000), (3, 333_333_334), (1_000, 1_000_000), (7, 142_857_143)] {
            let (rate, start) = (rate(count), Instant::now());
            let mut bucket = Bucket::full(rate, start);
            (0..count).for_each(|_| bucket.take(rate, start).unwrap());
            assert_eq!(bucket.take(rate, start), Err(nanos(interval)));
            assert_eq!(bucket.take(rate, start + nanos(interval - 1)), Err(nanos(1)));
            bucket.take(rate, start + nanos(interval)).unwrap();
            assert!(bucket.take(rate, start + nanos(interval)).is_err());
        }
    }

    #[test]
    fn no_rate_and_no_pause_is_too_large() {
        for count in [1, u32::MAX] {
            let (rate, start) = (rate(count), Instant::now());
            let mut bucket = Bucket::full(rate, start);
            for years in [0, 1, 100] {
                bucket.take(rate, start + Duration::from_secs(years * 365 * 86_400)).unwrap();
            }
        }
        // Together they are 2⁶⁴, which must not be nothing.
        let (rate, start) = (rate(1 << 31), Instant::now());
        let mut bucket = Bucket { level: 0, at: start };
        bucket.take(rate, start + nanos(1 << 33)).unwrap();
    }

    #[test]
    fn a_clock_that_was_read_before_brings_nothing() {
        let (rate, start) = (rate(1), Instant::now() + Duration::from_secs(9));
        let mut bucket = Bucket::full(rate, start);
        bucket.take(rate, start).unwrap();
        assert_eq!(bucket.take(rate, start - Duration::from_secs(5)), Err(nanos(1_000_000_000)));
        assert_eq!(bucket.take(rate, start), Err(nanos(1_000_000_000)));
        bucket.take(rate, start + Duration::from_secs(1)).unwrap();
    }

    /// Reproduces as it was with the seed that it prints.
    #[test]
    fn no_window_has_more_than_a_burst_and_what_its_time_brings_and_none_is_refused_below_the_rate() {
        let seed = std::env::var("OPEROND_SEED").ok().map_or_else(random, |seed| seed.parse().unwrap());
        println!("OPEROND_SEED={seed}");
        let mut state = seed;
        let mut below = |limit: u64| {
            // xorshift64*, which never sees 0.
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
        };
        for _ in 0..200 {
            let count = 1 + u32::try_from(below(50)).unwrap();
            let (rate, start) = (rate(count), Instant::now());
            let mut bucket = Bucket::full(rate, start);
            let (mut now, mut passed) = (0u64, Vec::<u64>::new());
            for _ in 0..300 {
                now += match below(4) {
                    0 => 0,
                    1 => below(1_000),
                    2 => below(2_000_000_000 / u64::from(count)),
                    _ => below(3_000_000_000 / 50),
                };
                // With this one, would some window that ends now have too many?
                let fits = (0..=passed.len()).all(|first| {
                    let since = passed.get(first).copied().unwrap_or(now);
                    let (calls, brought) = (passed.len() - first + 1, u128::from(now - since) * u128::from(count));
                    calls as u128 * u128::from(TOKEN) <= u128::from(count) * u128::from(TOKEN) + brought
                });
                let taken = bucket.take(rate, start + nanos(now));
                assert_eq!(taken.is_ok(), fits, "{count} a second, at {now}, after {passed:?}");
                match taken {
                    Ok(()) => passed.push(now),
                    Err(delay) => {
                        let soon = |delay| bucket.clone().take(rate, start + nanos(now) + delay).is_ok();
                        assert!(soon(delay) && !soon(delay - nanos(1)), "{delay:?}");
                    }
                }
            }
        }
    }

    fn random() -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) | 1
    }

    #[test]
    fn a_rate_is_a_whole_number_and_not_nothing() {
        assert_eq!("250".parse(), Ok(rate(250)));
        for text in ["", "0", "-1", "1.5", "1/s", "4294967296"] {
            assert_eq!(text.parse::<Rate>(), Err(NoRate), "{text}");
        }
    }
}
