//! How slow a peer may be: how long it may keep us waiting while so many bytes move.
//!
//! Only time in which we could go on but for the peer counts. A peer that stops is cut after the patience; one that
//! trickles is cut when its waits add up to it, so a limit on time is a limit on how long memory can be held as well.

use std::time::Duration;

use tokio::time::Instant;

/// So much waiting is allowed for each so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) patience: Duration,
    pub(crate) bytes: usize,
}

/// How long one peer has kept us waiting.
#[derive(Debug)]
pub(crate) struct Waiting {
    pace: Pace,
    since: Option<Instant>,
    spent: Duration,
    moved: usize,
}

impl Waiting {
    pub(crate) fn at(pace: Pace) -> Self {
        Self { pace, since: None, spent: Duration::ZERO, moved: 0 }
    }

    /// The peer keeps us waiting, from `now` on if it did not before. Until when it may.
    pub(crate) fn on(&mut self, now: Instant) -> Instant {
        let since = *self.since.get_or_insert(now);
        since + self.pace.patience.saturating_sub(self.spent)
    }

    /// Until when the peer may keep us waiting; none if it does not.
    pub(crate) fn limit(&self) -> Option<Instant> {
        Some(self.since? + self.pace.patience.saturating_sub(self.spent))
    }

    /// The wait is over, for so many bytes.
    pub(crate) fn moved(&mut self, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.spent += since.elapsed();
        }
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= self.pace.bytes {
            (self.moved, self.spent) = (0, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const PACE: Pace = Pace { patience: Duration::from_secs(30), bytes: 100 };

    #[tokio::test(start_paused = true)]
    async fn waits_add_up_until_enough_has_moved() {
        let mut waiting = Waiting::at(PACE);
        let start = Instant::now();
        assert_eq!((waiting.limit(), waiting.on(start)), (None, start + PACE.patience));
        advance(Duration::from_secs(10)).await;
        assert_eq!(waiting.on(Instant::now()), start + PACE.patience, "one wait, asked about twice");
        waiting.moved(99);
        assert_eq!(waiting.limit(), None);
        advance(Duration::from_secs(1000)).await;
        let now = Instant::now();
        assert_eq!(waiting.on(now), now + Duration::from_secs(20), "what was not the peer's fault does not count");
        waiting.moved(1);
        assert_eq!(waiting.on(now), now + PACE.patience, "the hundredth byte begins anew");
    }
}
