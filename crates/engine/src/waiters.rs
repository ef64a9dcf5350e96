//! Who waits for which operation. A wake-up cannot be missed: register, then read, then sleep.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use operond_core::{Gone, Operation, OperationId, Stored};
use operond_store::Changed;
use tokio::sync::{Notify, watch};

/// All waiters of an engine, by operation.
pub(crate) struct Waiters {
    shards: Vec<Shard>,
    hasher: std::hash::RandomState,
    count: AtomicUsize,
    max: usize,
    emptied: Notify,
}

/// What a waiter is told.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The operation changed; this is how it is now.
    Changed(Arc<Operation>),
    /// It is gone; this is how it was last.
    Gone(Arc<Operation>, Gone),
    /// It may have changed: look it up.
    Unsure,
}

/// Room for one who waits, given back when dropped.
pub(crate) struct Room(Arc<Waiters>);

/// A place among the waiters of one operation, given up when dropped.
pub(crate) struct Subscription {
    room: Room,
    id: OperationId,
    receiver: watch::Receiver<News>,
}

type Shard = Mutex<HashMap<OperationId, Topic>>;

/// Those who wait for one operation. They are counted here, under the shard's lock: a receiver that
/// is being dropped still counts for its channel, and two that go at once would take each other for
/// one that stays.
struct Topic {
    sender: watch::Sender<News>,
    waiters: usize,
}

impl Waiters {
    /// Room for `max` waiters.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            hasher: std::hash::RandomState::new(),
            count: AtomicUsize::new(0),
            max,
            emptied: Notify::new(),
        })
    }

    /// Room for one more; `None` when there are too many.
    pub(crate) fn room(self: &Arc<Self>) -> Option<Room> {
        let room = Room(Arc::clone(self));
        // The room counts already, and gives itself back where it is one too many.
        (self.count.fetch_add(1, Ordering::Relaxed) < self.max).then_some(room)
    }

    /// Registers a waiter; whatever is committed from now on reaches it. `None` when there are too many.
    pub(crate) fn subscribe(self: &Arc<Self>, id: &OperationId) -> Option<Subscription> {
        let room = self.room()?;
        let mut shard = self.shard(id).lock().expect("no panic while held");
        let topic =
            shard.entry(id.clone()).or_insert_with(|| Topic { sender: watch::Sender::new(News::Unsure), waiters: 0 });
        topic.waiters += 1;
        Some(Subscription { room, id: id.clone(), receiver: topic.sender.subscribe() })
    }

    /// Tells the waiters of an operation that it changed.
    pub(crate) fn publish(&self, changed: &Changed) {
        let id = &changed.operation.id;
        let shard = self.shard(id).lock().expect("no panic while held");
        if let Some(topic) = shard.get(id) {
            let operation = Arc::clone(&changed.operation);
            topic.sender.send_replace(match changed.stored {
                Stored::Live(_) => News::Changed(operation),
                Stored::Gone(gone) => News::Gone(operation, gone),
            });
        }
    }

    /// Has every waiter look for itself.
    pub(crate) fn publish_doubt(&self) {
        for shard in &self.shards {
            let shard = shard.lock().expect("no panic while held");
            shard.values().for_each(|topic| drop(topic.sender.send_replace(News::Unsure)));
        }
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Ready when nobody waits.
    pub(crate) async fn emptied(&self) {
        while self.count.load(Ordering::SeqCst) > 0 {
            self.emptied.notified().await;
        }
    }

    fn shard(&self, id: &OperationId) -> &Shard {
        let hash = self.hasher.hash_one(id);
        &self.shards[usize::try_from(hash % SHARDS as u64).expect("fewer shards than addresses")]
    }
}

impl Subscription {
    /// The next change; several in quick succession come as the last of them.
    pub(crate) async fn next(&mut self) -> News {
        self.receiver.changed().await.expect("the sender stays while somebody is subscribed");
        self.receiver.borrow_and_update().clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut shard = self.room.0.shard(&self.id).lock().expect("no panic while held");
        let topic = shard.get_mut(&self.id).expect("the topic stays while somebody is subscribed");
        topic.waiters -= 1;
        if topic.waiters == 0 {
            shard.remove(&self.id);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.emptied.notify_one();
        }
    }
}

const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_that_leave_at_the_same_time_leave_nothing_behind() {
        let waiters = Waiters::new(2);
        let (there, gone) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let visit = || {
            for round in 1..=5_000 {
                let id = OperationId::parse("id", &format!("op{round}")).unwrap();
                let subscription = waiters.subscribe(&id).unwrap();
                meet(&there, 2 * round);
                drop(subscription);
                meet(&gone, 2 * round);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(visit);
            scope.spawn(visit);
        });
        let left: usize = waiters.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert_eq!((left, waiters.count()), (0, 0));
    }

    /// Goes on, at the same moment as the others, once `all` have come.
    fn meet(arrived: &AtomicUsize, all: usize) {
        arrived.fetch_add(1, Ordering::SeqCst);
        for spin in 0.. {
            if arrived.load(Ordering::SeqCst) >= all {
                return;
            }
            if spin > 2_000 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}
