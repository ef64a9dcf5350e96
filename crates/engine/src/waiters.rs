//! Who waits for which operation. A wake-up cannot be missed: register, then read, then sleep.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use operond_core::{Gone, Operation, OperationId, Stored, Timestamp};
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
#[derive(Debug)]
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
    receiver: watch::Receiver<Told>,
    /// How many doubts there had been when it looked last.
    doubts: u64,
    /// It is to look, and has not looked yet: a waiter that is interrupted over it begins anew.
    unsure: bool,
    /// When the state that this waiter saw last was modified: every change that callers see moves that.
    seen: Timestamp,
}

type Shard = Mutex<HashMap<OperationId, Topic>>;

/// Those who wait for one operation. They are counted here, under the shard's lock: a receiver that
/// is being dropped still counts for its channel, and two that go at once would take each other for
/// one that stays.
struct Topic {
    sender: watch::Sender<Told>,
    waiters: usize,
}

/// What the waiters of an operation were told. Neither part replaces the other: a doubt may be about
/// something newer than the change that is published after it.
#[derive(Debug, Default)]
struct Told {
    /// The newest change.
    change: Option<Changed>,
    /// How often it may have changed otherwise.
    doubts: u64,
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
        let topic = shard
            .entry(id.clone())
            .or_insert_with(|| Topic { sender: watch::Sender::new(Told::default()), waiters: 0 });
        topic.waiters += 1;
        let receiver = topic.sender.subscribe();
        let doubts = receiver.borrow().doubts;
        Some(Subscription { room, id: id.clone(), receiver, doubts, unsure: false, seen: Timestamp::default() })
    }

    /// Tells the waiters of an operation that it changed. Changes may come in any order.
    pub(crate) fn publish(&self, changed: &Changed) {
        let id = &changed.operation.id;
        let shard = self.shard(id).lock().expect("no panic while held");
        if let Some(topic) = shard.get(id) {
            topic.sender.send_if_modified(|told| told.change(changed));
        }
    }

    /// Has the waiters of an operation look for themselves.
    pub(crate) fn doubt(&self, id: &OperationId) {
        let shard = self.shard(id).lock().expect("no panic while held");
        if let Some(topic) = shard.get(id) {
            topic.sender.send_if_modified(Told::doubt);
        }
    }

    /// Has every waiter look for itself.
    pub(crate) fn doubt_all(&self) {
        for shard in &self.shards {
            let shard = shard.lock().expect("no panic while held");
            for topic in shard.values() {
                topic.sender.send_if_modified(Told::doubt);
            }
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

impl Told {
    /// Takes a change in; false when it is an older one than is known.
    fn change(&mut self, changed: &Changed) -> bool {
        let newer = self.change.as_ref().is_none_or(|known| {
            let gone = |change: &Changed| matches!(change.stored, Stored::Gone(_));
            !gone(known) && (gone(changed) || changed.operation.revision > known.operation.revision)
        });
        if newer {
            self.change = Some(changed.clone());
        }
        newer
    }

    /// Takes a doubt in; false when there can be none: nothing follows the end of an operation that
    /// those who wait for it still want to know.
    fn doubt(&mut self) -> bool {
        let doubtful = !self.ended();
        self.doubts += u64::from(doubtful);
        doubtful
    }

    fn ended(&self) -> bool {
        self.change.as_ref().is_some_and(|change| change.operation.done())
    }
}

impl Subscription {
    /// The next change; several in quick succession come as the last of them.
    pub(crate) async fn next(&mut self) -> News {
        if self.unsure {
            return News::Unsure;
        }
        self.receiver.changed().await.expect("the sender stays while somebody is subscribed");
        let told = self.receiver.borrow_and_update();
        let in_doubt = std::mem::replace(&mut self.doubts, told.doubts) != told.doubts;
        match &told.change {
            Some(change) if told.ended() || !in_doubt => match change.stored {
                Stored::Live(_) => News::Changed(Arc::clone(&change.operation)),
                Stored::Gone(gone) => News::Gone(Arc::clone(&change.operation), gone),
            },
            _ => {
                self.unsure = true;
                News::Unsure
            }
        }
    }

    /// Whose waiter it is.
    pub(crate) fn id(&self) -> &OperationId {
        &self.id
    }

    /// The waiter sees this state; false when it saw one before that was as new to callers.
    pub(crate) fn saw(&mut self, operation: &Operation) -> bool {
        let newer = operation.modified_at > self.seen;
        self.unsure = false;
        self.seen = self.seen.max(operation.modified_at);
        newer
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
    use operond_core::{Any, Kind, NewOperation, Outcome, Phase, Spec, create};

    use super::*;

    fn id() -> OperationId {
        OperationId::parse("id", "op1").unwrap()
    }

    /// The operation as its change of this number left it.
    fn changed(revision: u64, done: bool) -> Changed {
        let new = NewOperation { spec: Spec::new(Kind::new("render").unwrap()).into(), metadata: None, claim: None };
        let at = Timestamp::from_micros(i64::try_from(revision).unwrap());
        let mut operation = Operation { revision, ..create(&new, id(), at) };
        if done {
            let outcome = Outcome::Response(Any::empty());
            operation.phase = Phase::Done { outcome, finished_at: at, expires_at: None };
        }
        let operation = Arc::new(operation);
        Changed { stored: Stored::Live(Arc::clone(&operation)), operation, bare: false }
    }

    fn gone(revision: u64) -> Changed {
        Changed { stored: Stored::Gone(Gone::Deleted), ..changed(revision, true) }
    }

    /// What one waiter is told by what is told: the revisions, 0 for what it has to look up.
    async fn told(tell: impl FnOnce(&Waiters)) -> Vec<u64> {
        let waiters = Waiters::new(1);
        let mut subscription = waiters.subscribe(&id()).unwrap();
        tell(&waiters);
        let mut told = Vec::new();
        while subscription.receiver.has_changed().unwrap() {
            told.push(match subscription.next().await {
                News::Changed(operation) | News::Gone(operation, _) => operation.revision,
                News::Unsure => {
                    subscription.saw(&changed(1, false).operation);
                    0
                }
            });
        }
        told
    }

    #[tokio::test]
    async fn a_change_that_is_told_late_replaces_no_newer_one() {
        for (newer, older) in [(changed(7, false), changed(6, false)), (gone(7), changed(8, false))] {
            let late = |waiters: &Waiters| {
                waiters.publish(&newer);
                waiters.publish(&older);
            };
            assert_eq!(told(late).await, [7]);
        }
    }

    #[tokio::test]
    async fn a_change_that_is_told_after_a_doubt_does_not_remove_it() {
        let doubtful = |waiters: &Waiters| {
            waiters.doubt_all();
            waiters.publish(&changed(6, false));
        };
        assert_eq!(told(doubtful).await, [0]);
    }

    #[tokio::test]
    async fn a_doubt_hides_no_end() {
        for end in [changed(7, true), gone(7)] {
            let doubtful = |waiters: &Waiters| {
                waiters.publish(&end);
                waiters.doubt_all();
            };
            assert_eq!(told(doubtful).await, [7]);
        }
    }

    #[test]
    fn a_waiter_sees_nothing_twice_and_nothing_older_after_something_newer() {
        let mut subscription = Waiters::new(1).subscribe(&id()).unwrap();
        let saw = [5, 5, 4, 6].map(|revision| subscription.saw(&changed(revision, false).operation));
        assert_eq!(saw, [true, false, false, true]);
    }

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
