//! Operations in memory: the model that other stores are held against, and a store for tests and
//! for embedded engines that need not outlive their process.

mod documents;
mod queue;
mod tables;

use std::sync::{Arc, Mutex};

use operond_core::{OperationId, Scope};

pub(crate) use tables::Tables;

use crate::clock::{Clock, StoreTime, SystemClock};
use crate::documents::{Collection, Document, DocumentWrite, Stale};
use crate::list::{Count, CountQuery, ListQuery, Page};
use crate::request::{Applied, Batch};
use crate::{Answer, Error, Lookup, Properties, Store};

/// A store without a disk: what it holds goes with it.
///
/// Its futures are ready at once; no runtime is needed.
pub struct MemoryStore {
    time: StoreTime,
    properties: Properties,
    /// `None` once closed.
    tables: Mutex<Option<Tables>>,
}

impl MemoryStore {
    /// An empty store that goes by `clock`.
    #[must_use]
    pub fn new(clock: impl Clock) -> Self {
        let mut seal_key = [0; 32];
        getrandom::fill(&mut seal_key).expect("the system has randomness");
        Self {
            time: StoreTime::new(clock, None),
            properties: Properties::alone(seal_key),
            tables: Mutex::new(Some(Tables::default())),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Tables) -> Result<T, Error>) -> Result<T, Error> {
        let mut tables = self.tables.lock().expect("no panic while held");
        work(tables.as_mut().ok_or_else(|| Error::Unavailable("the store is closed".into()))?)
    }
}

impl Default for MemoryStore {
    /// An empty store that goes by the machine's clocks.
    fn default() -> Self {
        Self::new(SystemClock::new())
    }
}

impl Store for MemoryStore {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        // The clock is read under the lock, so that batches are judged in the order of their times.
        ready(self.with(|tables| tables.update(&batch, self.time.now())))
    }

    fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup> {
        ready(self.with(|tables| Ok(tables.lookup(scope, id))))
    }

    fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
        ready(self.with(|tables| Ok(tables.list(query))))
    }

    fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
        ready(self.with(|tables| Ok(tables.count(query))))
    }

    fn purge(&self, limit: usize) -> Answer<'_, usize> {
        ready(self.with(|tables| Ok(tables.purge(self.time.now().at, limit))))
    }

    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
        ready(self.with(|tables| Ok(tables.documents.all(collection))))
    }

    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
        ready(self.with(|tables| Ok(tables.documents.put(writes, self.time.now().at))))
    }

    fn ping(&self) -> Answer<'_, Vec<String>> {
        ready(self.with(|_| Ok(Vec::new())))
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn close(&self) -> Answer<'_, ()> {
        *self.tables.lock().expect("no panic while held") = None;
        ready(Ok(()))
    }
}

pub(crate) fn ready<T: Send + 'static>(result: Result<T, Error>) -> Answer<'static, T> {
    Box::pin(std::future::ready(result))
}
