//! What happens thousands of times a second is logged once a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time between two lines about the same.
const QUIET: Duration = Duration::from_secs(1);

/// Counts what is not worth a line each.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// It happened. How often since the last line, if it is time for another one.
    pub(super) fn again(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, count) = &mut *state;
        *count += 1;
        if told.is_some_and(|told| now < told + QUIET) {
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_once_a_second_with_its_count() {
        let seldom = Seldom::default();
        assert_eq!(seldom.again(), Some(1));
        for _ in 0..5 {
            assert_eq!(seldom.again(), None);
        }
        tokio::time::advance(QUIET).await;
        assert_eq!(seldom.again(), Some(6));
    }
}
