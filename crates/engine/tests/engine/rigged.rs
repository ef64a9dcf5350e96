//! A store that is slow, full or broken on demand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use operond_core::{Operation, OperationId, Scope};
use operond_store::{
    Answer, Applied, Batch, Collection, Count, CountQuery, Document, DocumentWrite, Error, Feed, ListQuery, Lookup,
    MemoryStore, News, Page, Properties, Request, Stale, Store,
};

use tokio::sync::mpsc;

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
    inner: Arc<MemoryStore>,
    properties: Properties,
    takes: Mutex<Duration>,
    /// How long each of the next batches takes, before `takes` holds again.
    next_take: Mutex<VecDeque<Duration>>,
    read_takes: Mutex<Duration>,
    full: AtomicBool,
    stays_open: AtomicBool,
    away: AtomicBool,
    reads_fail: AtomicBool,
    pub(crate) looks: AtomicUsize,
    damaged: Mutex<Option<OperationId>>,
    faults: Mutex<VecDeque<Fault>>,
    read: Mutex<Vec<Weak<Operation>>>,
    pub(crate) purged: AtomicUsize,
    pub(crate) claims: AtomicUsize,
    pub(crate) wanted_max: AtomicUsize,
    pub(crate) largest: AtomicUsize,
    pub(crate) batches: AtOnce,
    pub(crate) settles: AtOnce,
    pub(crate) purges: AtOnce,
}

/// How many there are at the same time, and the most that there were.
#[derive(Default)]
pub(crate) struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl AtOnce {
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    async fn count<T>(&self, counts: bool, future: impl Future<Output = T>) -> T {
        let now = self.now.fetch_add(usize::from(counts), Ordering::SeqCst) + usize::from(counts);
        self.most.fetch_max(now, Ordering::SeqCst);
        let output = future.await;
        self.now.fetch_sub(usize::from(counts), Ordering::SeqCst);
        output
    }
}

/// A feed that tells what a test says others did, and fails when there is nothing to tell; for a test that has gone it
/// is silent.
struct Told(tokio::sync::Mutex<mpsc::Receiver<Option<News>>>);

/// Says what others did.
pub(crate) struct Teller {
    to: mpsc::Sender<Option<News>>,
    feed: Weak<Told>,
}

impl Feed for Told {
    fn next(&self) -> Answer<'_, News> {
        Box::pin(async {
            match self.0.lock().await.recv().await {
                Some(news) => news.ok_or_else(|| Error::Unavailable("cannot hear".into())),
                None => std::future::pending().await,
            }
        })
    }
}

impl Teller {
    pub(crate) fn tell(&self, news: News) {
        self.to.try_send(Some(news)).unwrap();
    }

    pub(crate) fn fail(&self) {
        self.to.try_send(None).unwrap();
    }

    /// Whether an engine listens.
    pub(crate) fn heard(&self) -> bool {
        self.feed.upgrade().is_some_and(|feed| feed.0.try_lock().is_err())
    }
}

impl Rigged {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(Arc::new(MemoryStore::new(Virtual::new())), |_| {})
    }

    /// Takes batches of at most `batch_max`, and so many at once.
    pub(crate) fn taking(batch_max: usize, batches_at_once: usize) -> Arc<Self> {
        Self::with(Arc::new(MemoryStore::new(Virtual::new())), |properties| {
            (properties.batch_max, properties.batches_at_once) = (batch_max, batches_at_once);
        })
    }

    /// The same store twice, as two servers have it. What the first one hears of the other is said by a test.
    pub(crate) fn shared() -> (Arc<Self>, Arc<Self>, Teller) {
        let inner = Arc::new(MemoryStore::new(Virtual::new()));
        let feed = || {
            let (to, told) = mpsc::channel(16);
            (to, Arc::new(Told(tokio::sync::Mutex::new(told))))
        };
        let ((to, here), (_, elsewhere)) = (feed(), feed());
        let teller = Teller { to, feed: Arc::downgrade(&here) };
        let heard = |feed| |properties: &mut Properties| properties.others = Some(feed);
        let (first, second) = (Self::with(Arc::clone(&inner), heard(here)), Self::with(inner, heard(elsewhere)));
        first.stay_open();
        second.stay_open();
        (first, second, teller)
    }

    fn with(inner: Arc<MemoryStore>, set: impl FnOnce(&mut Properties)) -> Arc<Self> {
        let mut properties = inner.properties().clone();
        set(&mut properties);
        Arc::new(Self {
            inner,
            properties,
            takes: Mutex::default(),
            next_take: Mutex::default(),
            read_takes: Mutex::default(),
            full: AtomicBool::new(false),
            stays_open: AtomicBool::new(false),
            away: AtomicBool::new(false),
            reads_fail: AtomicBool::new(false),
            looks: AtomicUsize::new(0),
            damaged: Mutex::default(),
            faults: Mutex::default(),
            read: Mutex::default(),
            purged: AtomicUsize::new(0),
            claims: AtomicUsize::new(0),
            wanted_max: AtomicUsize::new(0),
            largest: AtomicUsize::new(0),
            batches: AtOnce::default(),
            settles: AtOnce::default(),
            purges: AtOnce::default(),
        })
    }

    /// So long takes every batch from now on, after its commit.
    pub(crate) fn take(&self, length: Duration) {
        *self.takes.lock().unwrap() = length;
    }

    /// So long takes each of the next batches, after its commit.
    pub(crate) fn next_take(&self, milliseconds: impl IntoIterator<Item = u64>) {
        self.next_take.lock().unwrap().extend(milliseconds.into_iter().map(Duration::from_millis));
    }

    /// So long takes every read from now on, after it has looked.
    pub(crate) fn read_takes(&self, length: Duration) {
        *self.read_takes.lock().unwrap() = length;
    }

    /// Creates are refused from now on, or are not.
    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// It cannot be reached from now on, or can.
    pub(crate) fn be_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
        self.fail_reads(away);
    }

    /// Nothing can be read from now on, or can.
    pub(crate) fn fail_reads(&self, fail: bool) {
        self.reads_fail.store(fail, Ordering::SeqCst);
    }

    /// It can be looked at after it was closed.
    pub(crate) fn stay_open(&self) {
        self.stays_open.store(true, Ordering::SeqCst);
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
        if self.away.load(Ordering::SeqCst) {
            return Some(Fault::Away);
        }
        if self.full.load(Ordering::SeqCst) && requests.iter().any(|request| matches!(request, Request::Create(_))) {
            return Some(Fault::Full);
        }
        let damaged = self.damaged.lock().unwrap();
        if requests.iter().any(|request| matches!(request, Request::Command(_, id, _) if Some(id) == damaged.as_ref()))
        {
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
        self.largest.fetch_max(batch.requests.len(), Ordering::SeqCst);
    }

    async fn carry_out(&self, batch: Arc<Batch>) -> Result<Applied, Error> {
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
        let next = self.next_take.lock().unwrap().pop_front();
        self.pause(next).await;
        applied
    }

    async fn pause(&self, length: Option<Duration>) {
        let length = length.unwrap_or(*self.takes.lock().unwrap());
        if !length.is_zero() {
            pass(length).await;
        }
    }
}

impl Store for Rigged {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        self.note(&batch);
        let settles = batch.requests.iter().any(|request| matches!(request, Request::Settle(_)));
        Box::pin(self.batches.count(true, self.settles.count(settles, self.carry_out(batch))))
    }

    fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup> {
        let (scope, id) = (scope.clone(), id.clone());
        self.looks.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if self.reads_fail.load(Ordering::SeqCst) {
                return Err(Error::Unavailable("away".into()));
            }
            let found = match self.inner.get(&scope, &id).await? {
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
        Box::pin(self.purges.count(true, async move {
            self.pause(None).await;
            Ok(limit)
        }))
    }

    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
        self.inner.documents(collection)
    }

    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
        self.inner.put_documents(writes)
    }

    fn ping(&self) -> Answer<'_, Vec<String>> {
        self.inner.ping()
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn close(&self) -> Answer<'_, ()> {
        match self.stays_open.load(Ordering::SeqCst) {
            true => Box::pin(std::future::ready(Ok(()))),
            false => self.inner.close(),
        }
    }
}
