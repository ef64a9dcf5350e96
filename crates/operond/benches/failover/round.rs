//! One outage: how long it was, and what was kept over it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::held::Held;
use crate::ledger::Call;
use crate::scene::Scene;

/// What is told of it. Times are in seconds.
#[derive(Serialize)]
pub(crate) struct Round {
    /// The longest time between two acknowledged writes, at the server where it was longer.
    unavailable: f64,
    /// The same, by server.
    by_server: [f64; 2],
    /// The longest time between two answered reads.
    unreadable: f64,
    /// Calls that were refused, and that were not answered in time.
    refused: usize,
    unanswered: usize,
    /// How many there were, and how many were kept.
    leases: [usize; 2],
    waiters: [usize; 2],
    watchers: [usize; 2],
    /// How long after the result was acknowledged the last of them was told.
    latest: f64,
    /// What became of those that were not kept.
    why: Vec<String>,
    /// Acknowledged creates so far.
    created: usize,
}

/// Waits until the outage is over and what was held has ended.
pub(crate) async fn after(scene: &Arc<Scene>, held: Held) -> Result<Round> {
    scene.until_both_write_since(Instant::now()).await?;
    // One that follows at once would count, too.
    sleep(LULL).await;
    let kept = held.end().await;
    let mut book = scene.ledger.book();
    book.stormy = false;
    let by_server = book.round.acknowledged.each_ref().map(|calls| longest(calls));
    let unreadable = book.round.read.each_ref().map(|calls| longest(calls));
    Ok(Round {
        unavailable: by_server[0].max(by_server[1]),
        by_server,
        unreadable: unreadable[0].max(unreadable[1]),
        refused: book.round.refused,
        unanswered: book.round.unanswered,
        leases: kept.leases,
        waiters: kept.waiters,
        watchers: kept.watchers,
        latest: kept.latest.as_secs_f64(),
        why: kept.why,
        created: book.operations.values().filter(|known| known.created.is_some()).count(),
    })
}

/// The longest time without an answer.
fn longest(calls: &[Call]) -> f64 {
    let gaps = calls.windows(2).map(|pair| pair[1].answered.saturating_duration_since(pair[0].answered));
    gaps.max().unwrap_or_default().as_secs_f64()
}

const LULL: Duration = Duration::from_secs(2);
