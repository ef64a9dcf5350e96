//! Stores that fail at will, around one that is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use operond_core::{OperationId, Scope};

use crate::documents::{Collection, Document, DocumentWrite, Stale};
use crate::list::{Count, CountQuery, ListQuery, Page};
use crate::request::{Applied, Batch};
use crate::{Answer, Error, Lookup, Properties, Store};

/// Fails one update before it happens: [`Error::Unavailable`], nothing stored.
pub struct FailNth {
    store: Arc<dyn Store>,
    countdown: Countdown,
}

/// Carries one update out and loses the reply: [`Error::Unknown`], everything stored.
pub struct LoseReply {
    store: Arc<dyn Store>,
    countdown: Countdown,
}

/// Counts down to the update that fails; 0 when none does.
struct Countdown(AtomicU64);

impl FailNth {
    /// Fails the `nth` update from now on, counted from 1; none when 0.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, nth: u64) -> Self {
        Self { store, countdown: Countdown(AtomicU64::new(nth)) }
    }

    /// Sets anew which update fails, counted from here.
    pub fn fail(&self, nth: u64) {
        self.countdown.set(nth);
    }
}

impl LoseReply {
    /// Loses the reply to the `nth` update from now on, counted from 1; none when 0.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, nth: u64) -> Self {
        Self { store, countdown: Countdown(AtomicU64::new(nth)) }
    }

    /// Sets anew which reply is lost, counted from here.
    pub fn lose(&self, nth: u64) {
        self.countdown.set(nth);
    }
}

impl Countdown {
    fn set(&self, nth: u64) {
        self.0.store(nth, Ordering::SeqCst);
    }

    /// Counts one update; says whether it is the one.
    fn strikes(&self) -> bool {
        let before = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        before == Ok(1)
    }
}

/// Everything but `update`.
macro_rules! as_the_store_within {
    () => {
        fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup> {
            self.store.get(scope, id)
        }

        fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
            self.store.list(query)
        }

        fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
            self.store.count(query)
        }

        fn purge(&self, limit: usize) -> Answer<'_, usize> {
            self.store.purge(limit)
        }

        fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
            self.store.documents(collection)
        }

        fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
            self.store.put_documents(writes)
        }

        fn ping(&self) -> Answer<'_, Vec<String>> {
            self.store.ping()
        }

        fn properties(&self) -> &Properties {
            self.store.properties()
        }

        fn close(&self) -> Answer<'_, ()> {
            self.store.close()
        }
    };
}

impl Store for FailNth {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        if self.countdown.strikes() {
            let error = Error::Unavailable("this update was chosen to fail".into());
            return Box::pin(std::future::ready(Err(error)));
        }
        self.store.update(batch)
    }

    as_the_store_within!();
}

impl Store for LoseReply {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        let update = self.store.update(batch);
        if !self.countdown.strikes() {
            return update;
        }
        Box::pin(async move {
            update.await?;
            Err(Error::Unknown("this reply was chosen to be lost".into()))
        })
    }

    as_the_store_within!();
}

#[cfg(test)]
mod tests {
    use operond_core::{Kind, Spec};

    use super::*;
    use crate::MemoryStore;
    use crate::conformance::block_on;
    use crate::conformance::make::{batch, create, new_operation};
    use crate::conformance::rig::query;
    use crate::request::Request;

    fn one(n: u8) -> Arc<Batch> {
        let request: Request = create(new_operation(Spec::new(Kind::new("work").unwrap())), [n; 13]);
        batch(vec![request])
    }

    fn stored(store: &dyn Store) -> usize {
        block_on(store.list(&query())).unwrap().operations.len()
    }

    #[test]
    fn only_the_chosen_update_fails_and_it_stores_nothing() {
        let store = FailNth::new(Arc::new(MemoryStore::default()), 2);
        assert!(block_on(store.update(one(1))).is_ok());
        assert!(matches!(block_on(store.update(one(2))), Err(Error::Unavailable(_))));
        assert!(block_on(store.update(one(3))).is_ok());
        store.fail(1);
        assert!(block_on(store.update(one(4))).is_err());
        assert_eq!(stored(&store), 2);
    }

    #[test]
    fn only_the_chosen_reply_is_lost_and_its_update_is_stored() {
        let store = LoseReply::new(Arc::new(MemoryStore::default()), 2);
        assert!(block_on(store.update(one(1))).is_ok());
        assert!(matches!(block_on(store.update(one(2))), Err(Error::Unknown(_))));
        assert!(block_on(store.update(one(3))).is_ok());
        store.lose(1);
        assert!(block_on(store.update(one(4))).is_err());
        assert_eq!(stored(&store), 4);
    }
}
