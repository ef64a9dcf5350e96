//! How long a connection may last.
//!
//! Level-triggered: calls come and go without touching a timer; when the earliest end is due, it is looked at again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::calls::{Calls, Idle};

/// Time for the first call of a connection. A client that connects ahead of its calls connects again, which costs it
/// a round trip; a peer that only holds a place loses it.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be without any call. Pings do not count: clients send them every 30 s for as long as
/// they have the connection (CONTRACT §4), so they say that the peer is there, not that it has a use for it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How old a connection may get, give or take [`AGE_JITTER`]: so that load spreads to servers that came later, and
/// certificates are looked at again.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Connections that were opened together are not closed together.
const AGE_JITTER: f64 = 0.1;
/// How long the calls of a connection that is to close may go on: twice the longest wait. Watches that last longer
/// are resumed by their clients.
const CALLS_GRACE: Duration = Duration::from_secs(120);
/// How long a peer without calls may take to close its end.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// Ends when the connection has lasted long enough.
pub(super) async fn over(calls: &Calls) {
    let born = Instant::now();
    let old = born + age();
    loop {
        let now = Instant::now();
        let due = match calls.idle() {
            Idle::Never => old.min(born + FIRST_CALL_TIMEOUT),
            Idle::Since(since) => old.min(since + IDLE_TIMEOUT),
            // At the earliest: if the last call ended right now.
            Idle::No => old.min(now + IDLE_TIMEOUT),
        };
        if due <= now {
            return;
        }
        sleep_until(due).await;
    }
}

/// Ends when a connection that was told to close has had time enough for it.
pub(super) async fn closed_too_slowly(calls: &Calls) {
    let told = Instant::now();
    loop {
        let now = Instant::now();
        let due = match calls.idle() {
            Idle::Never => told + CLOSE_GRACE,
            Idle::Since(since) => since.max(told) + CLOSE_GRACE,
            Idle::No => told + CALLS_GRACE,
        };
        if due <= now {
            return;
        }
        sleep_until(due.min(now + CLOSE_GRACE)).await;
    }
}

fn age() -> Duration {
    // The standard library's only source of randomness; it need not be a good one.
    let random = f64::from(RandomState::new().hash_one("age") as u32) / f64::from(u32::MAX);
    AGE_MAX.mul_f64(1.0 - AGE_JITTER + 2.0 * AGE_JITTER * random)
}
