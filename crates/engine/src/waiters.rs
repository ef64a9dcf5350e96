//! Who waits for which operation. A wake-up cannot be missed: register, then read, then sleep.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use operond_core::{Gone, Operation, OperationId, Stored};
use operond_store::Changed;
use tokio::sync::watch;

/// All waiters of an engine, by operation.
pub(crate) struct Waiters {
    shards: Vec<Shard>,
    hasher: std::hash::RandomState,
    count: AtomicUsize,
    max: usize,
}

/// A committed change: the operation as it is (or was last), and whether it is gone.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(crate) operation: Arc<Operation>,
    pub(crate) gone: Option<Gone>,
}

/// A place among the waiters of one operation, given up when dropped.
pub(crate) struct Subscription {
    waiters: Arc<Waiters>,
    id: OperationId,
    receiver: watch::Receiver<Option<News>>,
}

type Shard = Mutex<HashMap<OperationId, watch::Sender<Option<News>>>>;

impl Waiters {
    /// Room for `max` waiters.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            hasher: std::hash::RandomState::new(),
            count: AtomicUsize::new(0),
            max,
        })
    }

    /// Registers a waiter; whatever is committed from now on reaches it. `None` when there are too many.
    pub(crate) fn subscribe(self: &Arc<Self>, id: &OperationId) -> Option<Subscription> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut shard = self.shard(id).lock().expect("no panic while held");
        let receiver = match shard.entry(id.clone()) {
            Entry::Occupied(entry) => entry.get().subscribe(),
            Entry::Vacant(entry) => entry.insert(watch::Sender::new(None)).subscribe(),
        };
        Some(Subscription { waiters: Arc::clone(self), id: id.clone(), receiver })
    }

    /// Tells the waiters of an operation that it changed.
    pub(crate) fn publish(&self, changed: &Changed) {
        let id = &changed.operation.id;
        let shard = self.shard(id).lock().expect("no panic while held");
        if let Some(sender) = shard.get(id) {
            let gone = match changed.stored {
                Stored::Live(_) => None,
                Stored::Gone(gone) => Some(gone),
            };
            sender.send_replace(Some(News { operation: Arc::clone(&changed.operation), gone }));
        }
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn shard(&self, id: &OperationId) -> &Shard {
        let hash = self.hasher.hash_one(id);
        &self.shards[usize::try_from(hash % SHARDS as u64).expect("fewer shards than addresses")]
    }
}

impl Subscription {
    /// The next change; several in quick succession come as the last of them.
    pub(crate) async fn next(&mut self) -> News {
        loop {
            self.receiver.changed().await.expect("the sender stays while somebody is subscribed");
            if let Some(news) = self.receiver.borrow_and_update().clone() {
                return news;
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut shard = self.waiters.shard(&self.id).lock().expect("no panic while held");
        // The receiver being dropped still counts.
        if shard.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            shard.remove(&self.id);
        }
        drop(shard);
        self.waiters.count.fetch_sub(1, Ordering::Relaxed);
    }
}

const SHARDS: usize = 64;
