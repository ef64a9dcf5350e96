//! How many operations of a tenant are not done: counted by the store now and then, and guessed in between.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rate::{Bucket, Rate};

/// The active operations of one tenant, as far as is known here. It takes operations for active that are done since
/// they were counted, and does not know what other servers have created since: when a quota looks used up it is counted
/// anew, but creates at other servers can overshoot it by what they create within [`FRESH`].
pub(super) struct Active {
    /// Had by whoever has the store count.
    counting: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

struct Known {
    counted: Option<Counted>,
    /// Creates that were answered since the count began.
    since: u64,
    /// Creates that are under way: a count may or may not have seen them.
    under_way: u64,
    /// How often may be counted.
    counts: Bucket,
}

#[derive(Clone, Copy)]
struct Counted {
    count: u64,
    at: Instant,
}

/// Room for one more operation, until it is created. Whether it was is not always known, so it is taken to be: the
/// next count knows.
pub(crate) struct Reservation {
    active: Arc<Active>,
    created: bool,
}

impl Active {
    pub(super) fn new(now: Instant) -> Self {
        let known = Known { counted: None, since: 0, under_way: 0, counts: Bucket::full(COUNTS, now) };
        Self { counting: tokio::sync::Mutex::default(), known: Mutex::new(known) }
    }

    /// Room for one more where fewer than `limit` are active; none if there is none. `count` has the store count them.
    pub(super) async fn reserve<E, F>(
        self: &Arc<Self>,
        limit: u64,
        count: impl Fn() -> F,
    ) -> Result<Option<Reservation>, E>
    where
        F: Future<Output = Result<u64, E>>,
    {
        // One counts, for the others it is fresh enough.
        if self.is_stale()
            && let Ok(_counting) = self.counting.try_lock()
        {
            self.count_anew(count()).await?;
        }
        if let Some(reservation) = self.take(limit) {
            return Ok(Some(reservation));
        }
        let _counting = self.counting.lock().await;
        // Somebody may have counted meanwhile.
        if let Some(reservation) = self.take(limit) {
            return Ok(Some(reservation));
        }
        self.count_anew(count()).await?;
        Ok(self.take(limit))
    }

    fn is_stale(&self) -> bool {
        let now = Instant::now();
        self.known().counted.is_some_and(|counted| now.saturating_duration_since(counted.at) >= FRESH)
    }

    fn take(self: &Arc<Self>, limit: u64) -> Option<Reservation> {
        let mut known = self.known();
        let active = known.counted?.count.saturating_add(known.since).saturating_add(known.under_way);
        if active >= limit {
            return None;
        }
        known.under_way += 1;
        Some(Reservation { active: Arc::clone(self), created: true })
    }

    /// Has the store count, unless it has had to very often just now.
    async fn count_anew<E>(&self, count: impl Future<Output = Result<u64, E>>) -> Result<(), E> {
        let at = Instant::now();
        let before = {
            let mut known = self.known();
            if known.counted.is_some() && known.counts.take(COUNTS, at).is_err() {
                return Ok(());
            }
            known.since
        };
        let count = count.await?;
        let mut known = self.known();
        known.counted = Some(Counted { count, at });
        // What was created while the store counted may be counted twice: rather so than not at all. Nothing is taken off
        // before: the caller may hang up on the way here.
        known.since -= before;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic leaves numbers there that the next count puts right.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Gives the room back: nothing is going to be created.
    pub(super) fn give_back(mut self) {
        self.created = false;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut known = self.active.known();
        known.under_way -= 1;
        known.since += u64::from(self.created);
    }
}

/// How long a count is believed while there is room.
const FRESH: Duration = Duration::from_secs(1);
/// How often the store counts for one tenant at most: nobody is refused for an old count for longer than a tenth of a
/// second, and nobody who is over quota keeps the store busy.
const COUNTS: Rate = Rate::per_second(NonZeroU32::new(10).expect("it is not 0"));

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::future::pending;

    use tokio::time::{advance, timeout};

    use super::*;

    /// A store that counts, and counts how often.
    #[derive(Default)]
    struct Store {
        active: Cell<u64>,
        asked: Cell<u32>,
    }

    impl Store {
        async fn count(&self) -> Result<u64, Infallible> {
            self.asked.set(self.asked.get() + 1);
            Ok(self.active.get())
        }
    }

    async fn create(active: &Arc<Active>, store: &Store, limit: u64) -> bool {
        let reserved = active.reserve(limit, || store.count()).await.unwrap();
        store.active.set(store.active.get() + u64::from(reserved.is_some()));
        reserved.is_some()
    }

    fn active() -> Arc<Active> {
        Arc::new(Active::new(Instant::now()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_counts_once_a_second_while_there_is_room() {
        let (active, store) = (active(), Store::default());
        for second in 1..=3 {
            for _ in 0..1_000 {
                assert!(create(&active, &store, 1_000_000).await);
            }
            assert_eq!(store.asked.get(), second);
            advance(FRESH).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_freed_elsewhere_is_seen_before_anybody_is_refused() {
        let (active, store) = (active(), Store::default());
        for _ in 0..3 {
            assert!(create(&active, &store, 3).await);
        }
        assert!(!create(&active, &store, 3).await);
        store.active.set(2);
        assert!(create(&active, &store, 3).await);
        assert!(!create(&active, &store, 3).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_over_quota_does_not_have_the_store_count_all_the_time_but_a_refusal_is_never_old() {
        let (active, store) = (active(), Store::default());
        store.active.set(5);
        for _ in 0..1_000 {
            assert!(!create(&active, &store, 5).await);
        }
        // The first one is not one of them: without it nothing is known.
        assert_eq!(store.asked.get(), 11);
        store.active.set(4);
        assert!(!create(&active, &store, 5).await);
        advance(Duration::from_millis(100)).await;
        assert!(create(&active, &store, 5).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_counts_while_the_store_counts() {
        let (active, store) = (active(), Store::default());
        let reserve = async || active.reserve(2, || store.count()).await.unwrap();
        let first = reserve().await.unwrap();
        let second = reserve().await.unwrap();
        assert!(reserve().await.is_none(), "the store knows of neither, this server of both");
        second.give_back();
        let after = |known: MutexGuard<'_, Known>| (known.since, known.under_way);
        assert_eq!(after(active.known()), (0, 1));
        let second = reserve().await.unwrap();
        drop((first, second));
        store.active.set(2);
        assert!(reserve().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_while_the_store_counts_is_not_forgotten() {
        let active = active();
        let reserve = async || active.reserve(2, async || Ok::<_, Infallible>(0)).await.unwrap();
        let under_way = Cell::new(reserve().await);
        advance(FRESH).await;
        let counts = async || {
            drop(under_way.take());
            Ok::<_, Infallible>(0)
        };
        let _under_way = active.reserve(2, counts).await.unwrap().unwrap();
        assert_eq!(active.known().since, 1, "the store may not have seen it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_store_cannot_count_is_not_forgotten() {
        let active = active();
        let fails = Cell::new(false);
        let reserve = async || active.reserve(2, async || if fails.get() { Err("away") } else { Ok(0) }).await;
        for _ in 0..2 {
            assert!(reserve().await.unwrap().is_some());
        }
        fails.set(true);
        assert_eq!(reserve().await.err(), Some("away"));
        assert_eq!(active.known().since, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_while_the_store_counts_takes_nothing_off() {
        let active = active();
        for _ in 0..2 {
            assert!(active.reserve(2, async || Ok::<_, Infallible>(0)).await.unwrap().is_some());
        }
        advance(FRESH).await;
        for _ in 0..20 {
            let given_up = timeout(Duration::ZERO, active.reserve(2, pending::<Result<u64, Infallible>>)).await;
            assert!(given_up.map_or(true, |reserved| reserved.unwrap().is_none()));
        }
        assert_eq!(active.known().since, 2);
    }
}
