//! Whether the store answers, found out once for all who ask at about the same time: anybody may ask, and each time is
//! work for the store.

use std::time::Duration;

use operond_engine::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What the store said last.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Answer)>>);

/// What an operator should know of the store, or why it does not answer.
type Answer = Result<Vec<String>, Error>;

impl Readiness {
    /// What the store answers to `ping`, or has answered not longer ago than [`FRESH`].
    pub(crate) async fn ask(&self, ping: impl Future<Output = Answer>) -> Answer {
        // Who waits here meanwhile has the same answer afterwards.
        let mut last = self.0.lock().await;
        match &*last {
            Some((at, answer)) if at.elapsed() < FRESH => answer.clone(),
            _ => {
                let answer = ping.await;
                *last = Some((Instant::now(), answer.clone()));
                answer
            }
        }
    }
}

/// How long an answer is good. Load balancers ask every few seconds.
const FRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use futures::future::{join_all, poll_immediate};
    use operond_engine::Unavailable;
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_have_the_store_asked_once_a_second() {
        let (readiness, asked) = (Readiness::default(), Cell::new(0));
        let ask = async || {
            let ping = async {
                asked.set(asked.get() + 1);
                // Longer than an answer is good.
                sleep(2 * FRESH).await;
                if asked.get() == 1 { Ok(vec!["a".into()]) } else { Err(Error::Unavailable(Unavailable::Store)) }
            };
            readiness.ask(ping).await
        };
        let answers = join_all((0..1_000).map(|_| ask())).await;
        assert!(answers.iter().all(|answer| answer.as_deref() == Ok(&["a".to_owned()])));
        advance(FRESH - Duration::from_nanos(1)).await;
        assert!(ask().await.is_ok());
        assert_eq!(asked.get(), 1);
        advance(Duration::from_nanos(1)).await;
        assert_eq!(ask().await, Err(Error::Unavailable(Unavailable::Store)));
        assert_eq!(ask().await, Err(Error::Unavailable(Unavailable::Store)));
        assert_eq!(asked.get(), 2);
    }

    #[tokio::test]
    async fn who_hangs_up_leaves_it_to_the_next() {
        let readiness = Readiness::default();
        assert!(poll_immediate(std::pin::pin!(readiness.ask(pending()))).await.is_none());
        assert_eq!(readiness.ask(async { Ok(Vec::new()) }).await, Ok(Vec::new()));
    }
}
