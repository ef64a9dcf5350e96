//! Looks where the living entries of the indexes begin, while finding work is slow: [`crate::passed`] knows it then.
//!
//! It reads, over a connection of those that read, and locks nothing: what somebody has in hand is seen. Claims step over
//! what was claimed since the last look, and nobody's claim waits for a look.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Client;
use futures::future::try_join5;
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;

use crate::fault::Fault;
use crate::passed::{Found, Search, Timers};
use crate::{Inner, sql};

/// Looks whenever something was slow, until the store is closed.
pub(crate) async fn run(inner: Arc<Inner>) {
    let looking = async {
        loop {
            inner.lanes.passed().noticed().await;
            while_slow(&inner).await;
            sleep(REST).await;
        }
    };
    tokio::select! {
        () = inner.told.closed() => {}
        () = looking => {}
    }
}

/// Until a look at everything is quick: then nothing needs to be passed.
async fn while_slow(inner: &Inner) {
    let passed = inner.lanes.passed();
    let (mut whole_at, mut failing) = (Instant::now(), false);
    loop {
        let began = Instant::now();
        let whole = began >= whole_at;
        let search = if whole { passed.search_whole() } else { passed.search_on() };
        // Before anything is read: what is younger than this may not have been seen.
        let now = inner.time.now().at;
        let set_aside = inner.lanes.set_aside().ids();
        match inner.with_reader(async |client| look(client, &search, &set_aside).await).await {
            Ok((_, took)) if whole && !passed.is_slow(took) => return passed.forget(),
            Ok((found, _)) => {
                passed.take_in(&search, &found, now);
                failing = false;
            }
            // What is passed stays passed: without that, claims would take too long, too.
            Err(fault) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(?fault, whole, "cannot look where the living entries of the indexes begin");
                }
                sleep(REST).await;
            }
        }
        if whole {
            whole_at = Instant::now() + until_whole(began.elapsed());
        }
        sleep(passed.pause()).await;
    }
}

/// The pause behind a look at everything that took so long, until the next one.
fn until_whole(took: Duration) -> Duration {
    WHOLE_EVERY_MIN.max(WHOLE_EVERY * took)
}

/// Searches; says how long the database took, without the way there and back.
async fn look(client: &Client, search: &Search, set_aside: &[String]) -> Result<(Found, Duration), Fault> {
    let now = client.prepare_cached(&sql::NOW).await?;
    let backoff = client.prepare_cached(&sql::FIRST_BACKOFF).await?;
    let claimable = client.prepare_cached(&sql::FIRST_CLAIMABLE).await?;
    let due = client.prepare_cached(&sql::FIRST_DUE).await?;
    let expires = client.prepare_cached(&sql::FIRST_EXPIRED).await?;
    let kinds: Vec<&str> = search.queues.iter().map(|(kind, ..)| kind.as_str()).collect();
    let tenants: Vec<&str> = search.queues.iter().map(|(_, tenant, _)| tenant.as_str()).collect();
    let from: Vec<i64> = search.queues.iter().map(|(.., from)| *from).collect();
    // In this order: a backoff that ends meanwhile is seen there or in its queue.
    let (begun, backoff, claimable, due, expires) = try_join5(
        async { client.query_one(&now, &[]).await.map(|_now| Instant::now()) },
        client.query_opt(&backoff, &[&search.timers.backoff]),
        client.query(&claimable, &[&kinds, &tenants, &from, &set_aside]),
        client.query_opt(&due, &[&search.timers.due, &set_aside]),
        client.query_opt(&expires, &[&search.timers.expires, &set_aside]),
    )
    .await?;
    let took = begun.elapsed();
    let first = |row: Option<Row>| row.map(|row| row.try_get(0)).transpose();
    let timers = Timers { backoff: first(backoff)?, due: first(due)?, expires: first(expires)? };
    let mut queues = vec![None; search.queues.len()];
    for row in claimable {
        let which = usize::try_from(row.try_get::<_, i64>(0)? - 1).ok();
        if let Some(first) = which.and_then(|which| queues.get_mut(which)) {
            *first = Some(row.try_get(1)?);
        }
    }
    Ok((Found { queues, timers }, took))
}

/// Everything is looked through without bounds so long after the last time …
const WHOLE_EVERY_MIN: Duration = Duration::from_secs(1);
/// … or so many times what that took: it takes a twentieth of the time at most.
const WHOLE_EVERY: u32 = 20;
/// The pause behind a look that was quick, when something else was slow; and behind one that failed.
const REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_everything_take_a_twentieth_of_the_time_at_most() {
        assert_eq!(until_whole(Duration::from_millis(1)), Duration::from_secs(1));
        assert_eq!(until_whole(Duration::from_millis(50)), Duration::from_secs(1));
        assert_eq!(until_whole(Duration::from_millis(51)), Duration::from_millis(1_020));
        assert_eq!(until_whole(Duration::from_secs(10)), Duration::from_secs(200));
    }
}
