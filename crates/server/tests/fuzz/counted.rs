//! The in-memory store, and what was written to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use operond_core::{OperationId, Scope};
use operond_store::{
    Accepted, Answer, Applied, Batch, Clock, Collection, Count, CountQuery, Document, DocumentWrite, ListQuery, Lookup,
    MemoryStore, Page, Properties, Request, Stale, Store,
};

pub(crate) struct Counted {
    inner: MemoryStore,
    properties: Properties,
    ids: AtomicUsize,
    created: AtomicUsize,
    written: AtomicUsize,
    last: Mutex<Option<OperationId>>,
}

/// What was written since somebody looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    /// Operations that are new.
    pub(crate) created: usize,
    /// Changes of operations and documents.
    pub(crate) written: usize,
}

impl Counted {
    pub(crate) fn new(clock: impl Clock) -> Self {
        Self {
            inner: MemoryStore::new(clock),
            // The same each time, so that page tokens are, too.
            properties: Properties::alone([7; 32]),
            ids: AtomicUsize::new(0),
            created: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            last: Mutex::new(None),
        }
    }

    pub(crate) fn take(&self) -> Writes {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
        Writes { created: take(&self.created), written: take(&self.written) }
    }

    /// The operation that was changed last; the newest of those that were changed together.
    pub(crate) fn last(&self) -> Option<OperationId> {
        self.last.lock().unwrap().clone()
    }

    /// Ids and leases by counting instead of by chance, so that inputs with those in them come again.
    fn with_known_ids(&self, batch: Arc<Batch>) -> Arc<Batch> {
        if !batch.requests.iter().any(|request| matches!(request, Request::Create(_))) {
            return batch;
        }
        let mut batch = Arc::unwrap_or_clone(batch);
        for request in &mut batch.requests {
            if let Request::Create(create) = request {
                let number = self.ids.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                create.entropy.fill(0);
                create.entropy[..number.len()].copy_from_slice(&number);
                if let Some(claim) = &mut create.new.claim {
                    claim.secret.0.fill(number[0]);
                }
            }
        }
        Arc::new(batch)
    }

    fn note(&self, applied: &Applied) {
        let new = |reply: &&_| matches!(reply, Ok(Accepted::Created { repeated: false, .. }));
        self.created.fetch_add(applied.replies.iter().filter(new).count(), Ordering::Relaxed);
        self.written.fetch_add(applied.changed.len(), Ordering::Relaxed);
        // They come in the order of a map.
        if let Some(id) = applied.changed.iter().map(|changed| &changed.operation.id).max() {
            *self.last.lock().unwrap() = Some(id.clone());
        }
    }
}

impl Store for Counted {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        Box::pin(async {
            // What is due is settled whatever becomes of the commands (CONTRACT §3): that is not their doing.
            let due = Batch { requests: vec![Request::Settle(DUE_MAX)] };
            let mut changed = self.inner.update(Arc::new(due)).await?.changed;
            let applied = self.inner.update(self.with_known_ids(batch)).await?;
            self.note(&applied);
            changed.extend(applied.changed);
            Ok(Applied { changed, ..applied })
        })
    }

    fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup> {
        self.inner.get(scope, id)
    }

    fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
        self.inner.list(query)
    }

    fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
        self.inner.count(query)
    }

    fn purge(&self, limit: usize) -> Answer<'_, usize> {
        self.inner.purge(limit)
    }

    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
        self.inner.documents(collection)
    }

    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
        Box::pin(async {
            let put = self.inner.put_documents(writes).await?;
            self.written.fetch_add(put.as_ref().map_or(0, Vec::len), Ordering::Relaxed);
            Ok(put)
        })
    }

    fn ping(&self) -> Answer<'_, Vec<String>> {
        self.inner.ping()
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn close(&self) -> Answer<'_, ()> {
        self.inner.close()
    }
}

/// More than there are operations.
const DUE_MAX: usize = 10_000;
