//! A store that is slow, full or broken on demand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use operond_core::{Operation, OperationId};
use operond_store::{
    Answer, Applied, Batch, Collection, Count, CountQuery, Document, DocumentWrite, Error, Feed, ListQuery, Lookup,
    MemoryStore, News, Page, Properties, Request, Stale, Store,
};

use crate::support::{Virtual, pass};

/// What happens to a batch that is not of timers alone.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// It is refused because of a create in it.
    Full,
    /// It is refused because of a damaged row.
    Corrupt,
    /// It is refused.
    Away,
    /// It is refused, and the store is of no use any more.
    Fatal,
    /// It is stored, and nobody is told.
    Unknown,
    /// It ends the writer.
    Panic,
}

pub(crate) struct Rigged {
    inner: MemoryStore,
    properties: Properties,
    takes: Mutex<Duration>,
    read_takes: Mutex<Duration>,
    full: AtomicBool,
    damaged: Mutex<Option<OperationId>>,
    faults: Mutex<VecDeque<Fault>>,
    read: Mutex<Vec<Weak<Operation>>>,
    pub(crate) purged: AtomicUsize,
    pub(crate) claims: AtomicUsize,
    pub(crate) wanted_max: AtomicUsize,
}

/// A feed that never tells of anything.
struct Silent;

impl Feed for Silent {
    fn next(&self) -> Answer<'_, News> {
        Box::pin(std::future::pending())
    }
}

impl Rigged {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(None)
    }

    /// Others write to the same store, and nobody tells of it.
    pub(crate) fn shared() -> Arc<Self> {
        Self::with(Some(Arc::new(Silent)))
    }

    fn with(others: Option<Arc<dyn Feed>>) -> Arc<Self> {
        let inner = MemoryStore::new(Virtual::new());
        let properties = Properties { others, ..inner.properties().clone() };
        Arc::new(Self {
            inner,
            properties,
            takes: Mutex::default(),
            read_takes: Mutex::default(),
            full: AtomicBool::new(false),
            damaged: Mutex::default(),
            faults: Mutex::default(),
            read: Mutex::default(),
            purged: AtomicUsize::new(0),
            claims: AtomicUsize::new(0),
            wanted_max: AtomicUsize::new(0),
        })
    }

    /// So long takes every batch from now on, after its commit.
    pub(crate) fn take(&self, length: Duration) {
        *self.takes.lock().unwrap() = length;
    }

    /// So long takes every read from now on, after it has looked.
    pub(crate) fn read_takes(&self, length: Duration) {
        *self.read_takes.lock().unwrap() = length;
    }

    /// Creates are refused from now on, or are not.
    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// The row of `id` cannot be read any more.
    pub(crate) fn damage(&self, id: &OperationId) {
        *self.damaged.lock().unwrap() = Some(id.clone());
    }

    /// What happens to the next batches.
    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// How many operations that were read from here somebody still holds.
    pub(crate) fn read_and_held(&self) -> usize {
        self.read.lock().unwrap().iter().filter(|read| read.strong_count() > 0).count()
    }

    /// How often an operation was found here.
    pub(crate) fn reads(&self) -> usize {
        self.read.lock().unwrap().len()
    }

    fn fault(&self, batch: &Batch) -> Option<Fault> {
        let requests = &batch.requests;
        if self.full.load(Ordering::SeqCst) && requests.iter().any(|request| matches!(request, Request::Create(_))) {
            return Some(Fault::Full);
        }
        let damaged = self.damaged.lock().unwrap();
        if requests.iter().any(|request| matches!(request, Request::Command(id, _) if Some(id) == damaged.as_ref())) {
            return Some(Fault::Corrupt);
        }
        let timers = requests.iter().all(|request| matches!(request, Request::Settle(_)));
        if timers { None } else { self.faults.lock().unwrap().pop_front() }
    }

    fn note(&self, batch: &Batch) {
        let wanted = |request: &Request| match request {
            Request::Claim(claim) => Some(claim.secrets.len()),
            _ => None,
        };
        self.claims.fetch_add(batch.requests.iter().filter_map(wanted).count(), Ordering::SeqCst);
        self.wanted_max.fetch_max(batch.requests.iter().filter_map(wanted).sum(), Ordering::SeqCst);
    }
}

impl Store for Rigged {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        Box::pin(async move {
            self.note(&batch);
            match self.fault(&batch) {
                None => {}
                Some(Fault::Full) => return Err(Error::Full("no room".into())),
                Some(Fault::Corrupt) => return Err(Error::Corrupt("a damaged row".into())),
                Some(Fault::Away) => return Err(Error::Unavailable("away".into())),
                Some(Fault::Fatal) => return Err(Error::Fatal("a sync failed".into())),
                Some(Fault::Unknown) => {
                    self.inner.update(batch).await?;
                    return Err(Error::Unknown("the line went dead".into()));
                }
                Some(Fault::Panic) => panic!("a fault of the store's own"),
            }
            let applied = self.inner.update(batch).await;
            let takes = *self.takes.lock().unwrap();
            if !takes.is_zero() {
                pass(takes).await;
            }
            applied
        })
    }

    fn get(&self, id: &OperationId) -> Answer<'_, Lookup> {
        let id = id.clone();
        Box::pin(async move {
            let found = match self.inner.get(&id).await? {
                // A copy of its own, as a store on a disk would read it.
                Lookup::Found(operation) => {
                    let copy = Arc::new((*operation).clone());
                    self.read.lock().unwrap().push(Arc::downgrade(&copy));
                    Lookup::Found(copy)
                }
                other => other,
            };
            let takes = *self.read_takes.lock().unwrap();
            if !takes.is_zero() {
                pass(takes).await;
            }
            Ok(found)
        })
    }

    fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
        self.inner.list(query)
    }

    fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
        self.inner.count(query)
    }

    /// There is always more.
    fn purge(&self, limit: usize) -> Answer<'_, usize> {
        self.purged.fetch_add(limit, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(limit)))
    }

    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
        self.inner.documents(collection)
    }

    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
        self.inner.put_documents(writes)
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.inner.ping()
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn close(&self) -> Answer<'_, ()> {
        self.inner.close()
    }
}
