//! What a store of operations must do, and the parts that every store shares.
//!
//! A store keeps rows. It never decides a transition: it picks the rows a [`Batch`] speaks of,
//! hands them to [`Rows::run`] (which calls `operond_core::decide`), and writes what came out by
//! id and revision, all in one transaction. So the rules exist once, and any two stores can be
//! held against each other by the same commands.
//!
//! [`MemoryStore`] is the reference model and a product: it is what tests and short-lived
//! embedded engines use. The feature `conformance` has the suite that every store passes.
//!
//! What it is not: a queue or a cache (those are the engine's), or any driver.

mod archive;
mod clock;
pub mod columns;
#[cfg(feature = "conformance")]
pub mod conformance;
mod documents;
mod error;
mod feed;
mod filter;
mod list;
mod memory;
pub mod pack;
mod request;
mod rows;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use operond_core::{Gone, Operation, OperationId, Scope, Tenant};

pub use archive::{Archive, Bookmark, CopyOf, Counts, Identity, Most, Row, Standing, Tombstone, Walk};
pub use clock::{Clock, ManualClock, StoreTime, SystemClock};
pub use documents::{Collection, Document, DocumentWrite, Stale};
pub use error::{Cause, Error};
pub use feed::{Feed, News};
pub use filter::{Decoded, Face, Filter, FilterError, NoPayloads, Payloads, Range, States, Value};
pub use list::{Count, CountQuery, Counting, Cursor, Filling, ListQuery, Order, Page, payload_bytes};
pub use memory::MemoryStore;
pub use request::{
    Accepted, Applied, Batch, Changed, ClaimRequest, CreateRequest, Missing, Refusal, Reply, Request, Transition,
};
pub use rows::{ClaimWant, KeyWrite, OperationWrite, Rows, Wants};

/// What an asynchronous method of a store returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Where operations are kept.
///
/// All methods may be called at the same time from many tasks. A future that is dropped before it
/// is ready leaves its work either done whole or not done; `update` once begun goes on.
pub trait Store: Send + Sync + 'static {
    /// Carries out a batch in one transaction: either every request in it or none.
    ///
    /// The store loads the rows that [`Batch::wants`] names (all under lock, or with a check of
    /// the revision when written), calls [`Rows::run`] with its own clock's [`operond_core::Now`],
    /// writes [`Rows::writes`] and [`Rows::key_writes`], and commits durably before it returns:
    /// what is answered survives kill -9 and power loss. On a conflict with another writer it may
    /// start over; `run` is a pure function of the rows.
    ///
    /// The clock never goes back: not within a process, nor below what was stored before.
    ///
    /// Errors: nothing of the batch was stored; but see [`Error::Unknown`].
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied>;

    /// The operation as last committed, or what became of it. Never settles. What is outside of the scope is
    /// looked for as long as what is not there, and told as that.
    fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup>;

    /// One page, in key order (`created_at`, `id`), without inputs. Never settles.
    ///
    /// Walks the query's [`Range`] and asks the filter about each operation in it ([`Page::fill`]).
    /// Stops after `limit` operations, when their payloads pass `bytes_max` (but holds one at
    /// least), or after looking at `scan_max` operations or
    /// [`SCAN_BYTES_MAX`](operond_core::limits::SCAN_BYTES_MAX): so it may hold few or none, and yet
    /// not be the last. What existed throughout a series of pages is neither skipped nor repeated.
    fn list(&self, query: &ListQuery) -> Answer<'_, Page>;

    /// How many operations there are, as of one instant. Out of an index alone where the query is
    /// its range ([`Count::by_index`]), else by looking at each ([`Count::by_looking`]).
    fn count(&self, query: &CountQuery) -> Answer<'_, Count>;

    /// Removes at most `limit` tombstones past [`operond_core::limits::TOMBSTONE_LIFE`] and keys
    /// past [`operond_core::limits::KEY_LIFE_MIN`] whose operation is done or gone; says how many.
    fn purge(&self, limit: usize) -> Answer<'_, usize>;

    /// Every document of a collection, by name (in the order of its bytes).
    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>>;

    /// Writes all of these documents or none, one after the other in one transaction, durable as
    /// after [`Store::update`]; answers with them as they are stored, in the order of `writes`.
    ///
    /// Refuses when one has another version than its write replaces: the first of them is named.
    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>>;

    /// Fails when the store cannot serve now; else what an operator should know of it, such as what
    /// it may lose. Nothing where all is as it should be.
    fn ping(&self) -> Answer<'_, Vec<String>>;

    /// What this store is.
    fn properties(&self) -> &Properties;

    /// Finishes what is under way and lets go of files and connections. Later calls fail with
    /// [`Error::Unavailable`].
    fn close(&self) -> Answer<'_, ()>;
}

/// What a store is, fixed while it is open.
#[derive(Clone)]
pub struct Properties {
    /// 256 random bits made with the store: seals page tokens. Not for logs.
    pub seal_key: [u8; 32],
    /// Tells of what others write to it. `None` where nobody else does: what was written through
    /// this handle may be cached.
    pub others: Option<Arc<dyn Feed>>,
    /// Most requests in one batch; 1 at least.
    pub batch_max: usize,
    /// It can carry out so many batches at the same time that it is worth asking for; 1 at least.
    /// Each is judged on its own: two that speak of one operation are carried out in any order.
    pub batches_at_once: usize,
}

impl Properties {
    /// A store that one handle writes to, one batch after the other.
    #[must_use]
    pub fn alone(seal_key: [u8; 32]) -> Self {
        Self { seal_key, others: None, batch_max: BATCH_MAX, batches_at_once: 1 }
    }
}

/// Requests in one batch of a store that has no reason for fewer.
const BATCH_MAX: usize = 1024;

/// What [`Store::get`] finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// It is there.
    Found(Arc<Operation>),
    /// It was there; whose it was and how it went.
    Gone(Tenant, Gone),
    /// Never heard of, forgotten, or outside of the scope.
    Never,
}

impl Lookup {
    /// What is found of an operation that is not there, whose tombstone is this one.
    #[must_use]
    pub fn of_tombstone(scope: &Scope, tombstone: Option<(Tenant, Gone)>) -> Self {
        match tombstone.filter(|(tenant, _)| scope.covers_tenant(tenant)) {
            Some((tenant, gone)) => Self::Gone(tenant, gone),
            None => Self::Never,
        }
    }
}
