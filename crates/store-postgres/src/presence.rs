//! What this server writes under which names, as all parts of the store know it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::durability::Durability;

/// The streams of this server that are open, whether the database can be reached, and what it promises.
#[derive(Debug)]
pub(crate) struct Presence {
    streams: Mutex<BTreeMap<String, Arc<Written>>>,
    reach: watch::Sender<Reach>,
    durability: Mutex<Durability>,
}

/// Whether the database can be reached, and since when that is so.
#[derive(Debug)]
struct Reach {
    away: bool,
    since: Instant,
}

/// A name for what one connection writes, and the numbers of that; it ends with the connection.
#[derive(Debug)]
pub(crate) struct Stream {
    id: String,
    written: Arc<Written>,
    presence: Arc<Presence>,
}

#[derive(Debug, Default)]
struct Written {
    /// The last number that was committed.
    n: AtomicI64,
    /// Others have forgotten the stream: what is written under it is not looked at any more.
    lost: AtomicBool,
}

impl Presence {
    /// Nothing is written yet, and the database is there and promises this.
    pub(crate) fn new(durability: Durability) -> Self {
        let reach = watch::Sender::new(Reach { away: false, since: Instant::now() });
        Self { streams: Mutex::default(), reach, durability: Mutex::new(durability) }
    }

    /// What the database promises.
    pub(crate) fn durability(&self) -> Durability {
        *self.durability.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the database promises now, and says it where that is another thing than before.
    pub(crate) fn promise(&self, now: Durability) {
        let before = std::mem::replace(&mut *self.durability.lock().unwrap_or_else(PoisonError::into_inner), now);
        if before != now {
            now.to_string().lines().for_each(|line| tracing::warn!("{line}"));
            if now.holds() {
                tracing::warn!("the database keeps what it acknowledges now, whichever one machine is lost");
            }
        }
    }

    /// A stream that nothing was written under yet, and that others can know of already.
    pub(crate) fn stream(self: &Arc<Self>, id: String) -> Stream {
        let written = Arc::default();
        self.streams().insert(id.clone(), Arc::clone(&written));
        Stream { id, written, presence: Arc::clone(self) }
    }

    /// The open streams, each with the last number that was committed under it.
    pub(crate) fn written(&self) -> Vec<(String, i64)> {
        self.streams().iter().map(|(id, written)| (id.clone(), written.n.load(Ordering::SeqCst))).collect()
    }

    /// Some of the open streams are forgotten: none of them is used for another transaction.
    pub(crate) fn lose(&self) {
        self.streams().values().for_each(|written| written.lost.store(true, Ordering::SeqCst));
    }

    /// Says whether the database can be reached.
    pub(crate) fn set_away(&self, away: bool) {
        self.reach.send_replace(Reach { away, since: Instant::now() });
    }

    pub(crate) fn is_away(&self) -> bool {
        self.reach.borrow().away
    }

    /// Ready when the database cannot be reached.
    pub(crate) async fn gone_away(&self) {
        let mut reach = self.reach.subscribe();
        // The sender is here.
        let _away = reach.wait_for(|reach| reach.away).await;
    }

    /// Whether a connection is from before an outage. Its end may stand still, or go on without knowing that another
    /// one has taken over, and would show what is no longer so.
    pub(crate) fn is_from_before(&self, made_at: Instant) -> bool {
        made_at < self.reach.borrow().since
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Written>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The number of the transaction that comes next.
    pub(crate) fn next(&self) -> i64 {
        self.written.n.load(Ordering::SeqCst) + 1
    }

    /// It was committed.
    pub(crate) fn advance(&mut self) {
        self.written.n.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.written.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.presence.streams().remove(&self.id);
    }
}

/// A server that was not heard of for so long serves no more: it says that it is there every few seconds.
pub(crate) const ABSENT_AFTER: Duration = Duration::from_secs(30);
