//! When to try again: pauses that grow, and an end to all patience.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// First pause after a failure; doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause: short enough to notice at once that a server is back.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// By how much of itself a pause is longer or shorter, so that clients do not come back in step.
const JITTER: f64 = 0.2;

/// A time during which nobody answers.
#[derive(Debug)]
pub(crate) struct Outage {
    limit: Duration,
    since: Option<Instant>,
    pause: Duration,
}

impl Outage {
    /// Nothing has failed yet; once something has, at most `limit` is spent on waiting for better times.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, pause: PAUSE_FIRST }
    }

    /// An answer came. True when it ended an outage.
    pub(crate) fn over(&mut self) -> bool {
        self.pause = PAUSE_FIRST;
        self.since.take().is_some()
    }

    /// How long to pause after `error`.
    ///
    /// # Errors
    /// `error` itself, when waiting cannot help or has gone on for long enough.
    pub(crate) fn pause(&mut self, error: Error) -> Result<Duration, Error> {
        let Error::Unreachable { retry_after, .. } = &error else { return Err(error) };
        let now = Instant::now();
        let left = self.limit.saturating_sub(now - *self.since.get_or_insert(now));
        if left.is_zero() {
            return Err(error);
        }
        let pause = jittered(self.pause).max(retry_after.unwrap_or_default());
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        // The last attempt is made at the very end, not given away.
        Ok(pause.min(left))
    }

    /// Pauses after `error`; see [`Outage::pause`].
    ///
    /// # Errors
    /// As [`Outage::pause`].
    pub(crate) async fn ride(&mut self, error: Error) -> Result<(), Error> {
        tokio::time::sleep(self.pause(error)?).await;
        Ok(())
    }
}

/// Makes a repeatable call until it is answered or `patience` is over. `call` is told how many
/// attempts came before.
///
/// # Errors
/// The answer, when it is a refusal; the last failure, when none came in time.
pub(crate) async fn repeat<T, F>(patience: Duration, mut call: impl FnMut(u32) -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut outage = Outage::new(patience);
    let mut attempts = 0;
    loop {
        match call(attempts).await {
            Ok(answer) => return Ok(answer),
            Err(error) => outage.ride(error).await?,
        }
        attempts += 1;
    }
}

/// `pause`, up to a fifth longer or shorter.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let share = f64::from(random) / f64::from(u32::MAX);
    pause.mul_f64(1.0 + JITTER * (2.0 * share - 1.0))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn unreachable(retry_after: Option<Duration>) -> Error {
        Error::Unreachable { reason: None, message: "connection refused".into(), retry_after }
    }

    fn refusal() -> Error {
        Error::NotFound { reason: "EXPIRED".into(), message: "gone".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_until_it_is_answered() {
        let answer = repeat(Duration::from_secs(10), async |attempt| match attempt {
            0..3 => Err(unreachable(None)),
            _ => Ok(attempt),
        });
        assert_eq!(answer.await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_the_last_attempt_is_made_at_its_end() {
        let begin = Instant::now();
        let last = Cell::new(begin);
        let answer = repeat(Duration::from_secs(10), async |_| {
            last.set(Instant::now());
            Err::<(), _>(unreachable(None))
        });
        assert!(answer.await.unwrap_err().is_unreachable());
        assert_eq!(last.get() - begin, Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_repeated() {
        let answer = repeat(Duration::from_secs(10), async |attempt| match attempt {
            0 => Err::<(), _>(refusal()),
            _ => panic!("asked again"),
        });
        assert_eq!(answer.await, Err(refusal()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_patience_means_one_attempt() {
        let answer = repeat(Duration::ZERO, async |attempt| match attempt {
            0 => Err::<(), _>(unreachable(None)),
            _ => panic!("asked again"),
        });
        assert!(answer.await.unwrap_err().is_unreachable());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_asks_to_stay_away_is_left_alone_for_so_long() {
        let begin = Instant::now();
        let answer = repeat(Duration::from_secs(10), async |attempt| match attempt {
            0 => Err(unreachable(Some(Duration::from_secs(4)))),
            _ => Ok(begin.elapsed()),
        });
        assert_eq!(answer.await, Ok(Duration::from_secs(4)));
    }

    #[test]
    fn pauses_grow_to_their_maximum_and_start_anew_after_an_answer() {
        let mut outage = Outage::new(Duration::from_secs(3_600));
        let mut pauses: Vec<f64> =
            (0..8).map(|_| outage.pause(unreachable(None)).unwrap().as_secs_f64() / (1.0 + JITTER)).collect();
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX.as_secs_f64()));
        assert!(pauses.pop().unwrap() > 1.0);
        assert!(pauses[0] <= 0.1);

        assert!(outage.over());
        assert!(!outage.over());
        assert!(outage.pause(unreachable(None)).unwrap() <= PAUSE_FIRST.mul_f64(1.0 + JITTER));
    }
}
