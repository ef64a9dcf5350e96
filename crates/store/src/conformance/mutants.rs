//! Stores with a flaw each: the negative controls of the suite.
//!
//! A case that a flaw of its subject does not break says nothing about that subject. The tests of
//! this crate show for each [`Flaw`] a case that it breaks.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operond_core::{Command, Now, OperationId, Scope, Stored, Timestamp, decide};

use super::Subject;
use super::make::{DAY, id};
use crate::clock::{ManualClock, StoreTime};
use crate::documents::{Collection, Document, DocumentWrite, Stale};
use crate::list::{Count, CountQuery, Cursor, ListQuery, Order, Page};
use crate::memory::{Tables, ready};
use crate::request::{Applied, Batch, Refusal, Reply, Request};
use crate::rows::{ClaimWant, Rows, Wants};
use crate::{Answer, Error, Lookup, Properties, Store};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Acknowledges every third batch without storing it.
    AcknowledgesBeforeCommit,
    /// Stores nothing of a command that is refused, not even what settling changed.
    DropsWhatARefusalSettled,
    /// Stores nothing of a change that nobody is woken for.
    DropsBareChanges,
    /// Reads rows as they were before the last batch, and writes whatever is there now.
    IgnoresTheRevision,
    /// Writes new operations over old ones.
    OverwritesTakenIds,
    /// Stores the first half of a batch that fails.
    CommitsHalfOfABatch,
    /// Offers every candidate twice.
    OffersTwice,
    /// Offers those first that have been claimable for the shortest time.
    OffersTheNewestFirst,
    /// Begins with the same tenant each time.
    ForgetsWhoseTurnItIs,
    /// Keeps no idempotency keys.
    ForgetsKeys,
    /// Keeps no tombstones.
    ForgetsTombstones,
    /// Forgets tombstones and keys a day too early.
    PurgesTooEarly,
    /// Pages begin behind the last one's instant, not behind its last operation.
    PagesByInstantAlone,
    /// Shows inputs in lists.
    ListsInputs,
    /// Settles when it is asked what is stored.
    SettlesWhileReading,
    /// Keeps whole milliseconds.
    RoundsInstants,
    /// Goes by the calendar alone when it is opened.
    ForgetsTheTime,
    /// Removes what has expired, however far the calendar stepped.
    NeverHoldsRetention,
    /// Makes a new seal key each time it is opened.
    ForgetsItsSealKey,
    /// Writes documents over newer ones.
    IgnoresVersions,
    /// Stores those documents of a refused write that came first.
    PutsHalfOfTheDocuments,
    /// Finds operations outside of the scope.
    LooksUpForeignOnes,
    /// Says of an operation that somebody holds it to whoever asks.
    TellsStrangersWhatIsHeld,
    /// Lists operations outside of the scope.
    ListsForeignOnes,
    /// Offers a worker of one tenant operations of others.
    OffersForeignOnes,
    /// Serves on when it is closed.
    NeverCloses,
}

impl Flaw {
    /// Every flaw.
    pub const ALL: &[Self] = &[
        Self::AcknowledgesBeforeCommit,
        Self::DropsWhatARefusalSettled,
        Self::DropsBareChanges,
        Self::IgnoresTheRevision,
        Self::OverwritesTakenIds,
        Self::CommitsHalfOfABatch,
        Self::OffersTwice,
        Self::OffersTheNewestFirst,
        Self::ForgetsWhoseTurnItIs,
        Self::ForgetsKeys,
        Self::ForgetsTombstones,
        Self::PurgesTooEarly,
        Self::PagesByInstantAlone,
        Self::ListsInputs,
        Self::SettlesWhileReading,
        Self::RoundsInstants,
        Self::ForgetsTheTime,
        Self::NeverHoldsRetention,
        Self::ForgetsItsSealKey,
        Self::IgnoresVersions,
        Self::PutsHalfOfTheDocuments,
        Self::LooksUpForeignOnes,
        Self::TellsStrangersWhatIsHeld,
        Self::ListsForeignOnes,
        Self::OffersForeignOnes,
        Self::NeverCloses,
    ];
}

/// What a store in memory keeps from one opening to the next, here with a flaw, or with none to
/// show that it is the flaw that is noticed.
pub struct Mutant {
    flaw: Option<Flaw>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    tables: Tables,
    before_last: Tables,
    /// What somebody else has locked.
    held: HashSet<OperationId>,
    last_stored: Option<Timestamp>,
    batches: u64,
    openings: u8,
}

struct FlawedStore {
    flaw: Option<Flaw>,
    time: StoreTime,
    properties: Properties,
    kept: Arc<Mutex<Kept>>,
    closed: Mutex<bool>,
}

impl Mutant {
    /// A subject whose stores have `flaw`.
    #[must_use]
    pub fn new(flaw: Option<Flaw>) -> Self {
        Self { flaw, kept: Arc::default() }
    }
}

impl Subject for Mutant {
    fn open(&mut self, clock: Arc<ManualClock>) -> Arc<dyn Store> {
        let mut kept = self.kept.lock().expect("no panic while held");
        kept.openings += 1;
        let has = |flaw| self.flaw == Some(flaw);
        let seal_key = if has(Flaw::ForgetsItsSealKey) { [kept.openings; 32] } else { [7; 32] };
        let last_stored = kept.last_stored.filter(|_| !has(Flaw::ForgetsTheTime));
        Arc::new(FlawedStore {
            flaw: self.flaw,
            time: StoreTime::new(clock, last_stored),
            properties: Properties::alone(seal_key),
            kept: Arc::clone(&self.kept),
            closed: Mutex::new(false),
        })
    }

    fn hold(&mut self, id: &OperationId) -> bool {
        self.kept.lock().expect("no panic while held").held.insert(id.clone())
    }
}

impl Store for FlawedStore {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        ready(self.with(|kept| self.carry_out(kept, &batch)))
    }

    fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup> {
        ready(self.with(|kept| Ok(self.look_up(kept, scope, id))))
    }

    fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
        ready(self.with(|kept| Ok(self.read_page(kept, query))))
    }

    fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
        ready(self.with(|kept| Ok(kept.tables.count(query))))
    }

    fn purge(&self, limit: usize) -> Answer<'_, usize> {
        let early = if self.has(Flaw::PurgesTooEarly) { DAY } else { Duration::ZERO };
        ready(self.with(|kept| Ok(kept.tables.purge(self.now().at.after(early), limit))))
    }

    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
        ready(self.with(|kept| Ok(kept.tables.documents.all(collection))))
    }

    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
        ready(self.with(|kept| Ok(self.put(kept, writes))))
    }

    fn ping(&self) -> Answer<'_, Vec<String>> {
        ready(self.with(|_| Ok(Vec::new())))
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn close(&self) -> Answer<'_, ()> {
        *self.closed.lock().expect("no panic while held") = !self.has(Flaw::NeverCloses);
        ready(Ok(()))
    }
}

impl FlawedStore {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> Result<T, Error>) -> Result<T, Error> {
        if *self.closed.lock().expect("no panic while held") {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        work(&mut self.kept.lock().expect("no panic while held"))
    }

    fn now(&self) -> Now {
        let mut now = self.time.now();
        if self.has(Flaw::RoundsInstants) {
            now.at = Timestamp::from_micros(now.at.micros() / 1_000 * 1_000);
        }
        now.retention_held &= !self.has(Flaw::NeverHoldsRetention);
        now
    }

    fn carry_out(&self, kept: &mut Kept, batch: &Batch) -> Result<Applied, Error> {
        let now = self.now();
        let source = if self.has(Flaw::IgnoresTheRevision) { &kept.before_last } else { &kept.tables };
        let mut rows = self.load(source, &kept.held, &batch.wants(), now);
        let mut replies = rows.run(batch, |id| source.tombstone(id));
        if self.has(Flaw::TellsStrangersWhatIsHeld) {
            let held = |request: &Request| matches!(request, Request::Command(_, id, _) if kept.held.contains(id));
            let told = batch.requests.iter().zip(&mut replies).filter(|(request, _)| held(request));
            told.for_each(|(_, reply)| *reply = Err(Refusal::Held));
        }
        kept.before_last = kept.tables.clone();
        kept.batches += 1;
        kept.last_stored = Some(now.at);
        if self.has(Flaw::AcknowledgesBeforeCommit) && kept.batches.is_multiple_of(3) {
            return Ok(rows.applied(replies));
        }
        let blind = self.has(Flaw::IgnoresTheRevision) || self.has(Flaw::OverwritesTakenIds);
        if !blind && !rows.writes().all(|write| kept.tables.agrees(&write)) {
            if self.has(Flaw::CommitsHalfOfABatch) {
                let half = rows.writes().filter(|write| kept.before_last.agrees(write));
                half.for_each(|write| kept.tables.put(&write, now.at));
            }
            return Err(Error::Unavailable("a new operation's id is taken".into()));
        }
        self.write(&mut kept.tables, &rows, batch, &replies, now);
        Ok(rows.applied(replies))
    }

    fn load(&self, tables: &Tables, held: &HashSet<OperationId>, wants: &Wants, now: Now) -> Rows {
        let mut wants = wants.clone();
        let claims = std::mem::take(&mut wants.claims);
        let candidates: Vec<_> = claims.iter().map(|want| self.candidates(tables, want, now.at)).collect();
        wants.ids.extend(candidates.iter().flatten().map(|id| (id.clone(), Vec::new())));
        wants.ids.retain(|id, _| !held.contains(id));
        let mut rows = tables.rows(&wants, now);
        for id in held {
            if let Lookup::Found(operation) = tables.lookup(&Scope::default(), id) {
                rows.hold(id.clone(), operation.spec.tenant.clone(), operation.spec.kind.clone());
            }
        }
        candidates.into_iter().for_each(|candidates| rows.offer(candidates));
        rows
    }

    fn candidates(&self, tables: &Tables, want: &ClaimWant, now: Timestamp) -> Vec<OperationId> {
        let mut want = want.clone();
        let max = want.max;
        if self.has(Flaw::ForgetsWhoseTurnItIs) {
            want.after = None;
        }
        if self.has(Flaw::OffersForeignOnes) {
            want.tenant = None;
        }
        if self.has(Flaw::OffersTheNewestFirst) {
            want.max = usize::MAX;
        }
        let mut candidates = tables.candidates(&want, now);
        if self.has(Flaw::OffersTheNewestFirst) {
            candidates.reverse();
        }
        if self.has(Flaw::OffersTwice) {
            candidates = candidates.into_iter().flat_map(|id| [id.clone(), id]).collect();
        }
        candidates.truncate(max);
        candidates
    }

    fn write(&self, tables: &mut Tables, rows: &Rows, batch: &Batch, replies: &[Reply], now: Now) {
        let dropped = match self.flaw {
            Some(Flaw::DropsWhatARefusalSettled) => refused(batch, replies),
            Some(Flaw::DropsBareChanges) => {
                let bare = rows.applied(vec![]).changed.into_iter().filter(|changed| changed.bare);
                bare.map(|changed| changed.operation.id.clone()).collect()
            }
            _ => HashSet::new(),
        };
        for write in rows.writes().filter(|write| !dropped.contains(&write.operation.id)) {
            tables.put(&write, now.at);
        }
        if !self.has(Flaw::ForgetsKeys) {
            rows.key_writes().for_each(|write| tables.put_key(&write));
        }
        if self.has(Flaw::ForgetsTombstones) {
            tables.purge(Timestamp::from_micros(i64::MAX), usize::MAX);
        }
    }

    fn look_up(&self, kept: &mut Kept, scope: &Scope, id: &OperationId) -> Lookup {
        let everything = Scope::default();
        let found = kept.tables.lookup(if self.has(Flaw::LooksUpForeignOnes) { &everything } else { scope }, id);
        match found {
            Lookup::Found(operation) if self.has(Flaw::SettlesWhileReading) => {
                match decide(&operation, &Command::Settle, self.now()).stored {
                    Stored::Live(settled) => Lookup::Found(settled),
                    Stored::Gone(gone) => Lookup::Gone(operation.spec.tenant.clone(), gone),
                }
            }
            found => found,
        }
    }

    fn put(&self, kept: &mut Kept, mut writes: Vec<DocumentWrite>) -> Result<Vec<Document>, Stale> {
        let at = self.now().at;
        kept.last_stored = Some(at);
        let documents = &mut kept.tables.documents;
        if self.has(Flaw::IgnoresVersions) {
            for write in &mut writes {
                let there = documents.all(write.collection).into_iter().find(|document| document.name == write.name);
                write.replaces = there.map_or(0, |document| document.version);
            }
        }
        if self.has(Flaw::PutsHalfOfTheDocuments) {
            return writes.into_iter().map(|write| documents.put_one(write, at)).collect();
        }
        documents.put(writes, at)
    }

    fn read_page(&self, kept: &Kept, query: &ListQuery) -> Page {
        let mut query = query.clone();
        if self.has(Flaw::PagesByInstantAlone) {
            let edge = if query.order == Order::OldestFirst { "\u{10FFFF}" } else { " " };
            query.after = query.after.map(|after| Cursor { id: id(edge), ..after });
        }
        if self.has(Flaw::ListsForeignOnes) {
            query.scope = Scope::default();
        }
        let mut page = kept.tables.list(&query);
        if self.has(Flaw::ListsInputs) {
            for operation in &mut page.operations {
                if let Lookup::Found(whole) = kept.tables.lookup(&query.scope, &operation.id) {
                    *operation = whole;
                }
            }
        }
        page
    }
}

/// What the refused commands of a batch were about.
fn refused(batch: &Batch, replies: &[Reply]) -> HashSet<OperationId> {
    let refused = batch.requests.iter().zip(replies).filter(|(_, reply)| reply.is_err());
    let about = |(request, _): (&Request, &Reply)| match request {
        Request::Command(_, id, _) => Some(id.clone()),
        Request::Create(_) | Request::Repeat(_) | Request::Claim(_) | Request::Settle(_) => None,
    };
    refused.filter_map(about).collect()
}
