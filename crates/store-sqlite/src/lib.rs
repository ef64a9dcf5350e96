//! Operations in one SQLite file: a store for one server, durable at every answer.
//!
//! ```
//! use operond_store::SystemClock;
//! use operond_store_sqlite::{Options, SqliteStore};
//!
//! let directory = tempfile::tempdir()?;
//! let store = SqliteStore::open(directory.path().join("operond.db"), Options::default(), SystemClock::new())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! One thread writes, a batch at a time, each in one transaction and one sync; a few threads read;
//! one moves the write-ahead log into the database. None of them needs an async runtime, and all
//! end with the store. A lock file beside the database keeps a second server out.
//!
//! What it is not: a place for rules (`operond_core` has them), a queue that groups requests into
//! batches (that is the engine's), or a cache.

mod archive;
mod batch;
mod claims;
mod columns;
mod disk;
mod documents;
mod fault;
mod health;
mod keys;
mod list;
mod log;
mod meta;
mod migrate;
mod open;
mod operations;
mod readers;
mod sql;
mod writer;

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures_channel::oneshot::{self, Receiver, Sender};
use operond_core::{OperationId, Scope};
use operond_store::{
    Answer, Applied, Batch, Clock, Collection, Count, CountQuery, Document, DocumentWrite, Error, ListQuery, Lookup,
    Page, Properties, Stale, Store,
};

pub use archive::SqliteArchive;
pub use open::{OpenError, Options};

use health::Health;
use readers::{Read, ReadQueue};
use writer::Job;

/// A store in one SQLite file. Dropped, it finishes what was asked of it and closes the file;
/// [`Store::close`] does the same without keeping a thread waiting.
pub struct SqliteStore {
    properties: Properties,
    clock_stepped: bool,
    health: Arc<Health>,
    reads: Arc<ReadQueue>,
    jobs: SyncSender<Job>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, and makes the file when it is not there (not its
    /// directory). Blocks for as long as it takes to read the log that a crash left: well under a
    /// second.
    pub fn open(path: impl AsRef<Path>, options: Options, clock: impl Clock) -> Result<Self, OpenError> {
        open::open(path.as_ref(), options, clock)
    }

    /// The machine's clock stood over an hour ahead of the newest commit when the store was
    /// opened: retention removes nothing for an hour, and the operator should know.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        self.clock_stepped
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(Sender<Result<T, Error>>) -> Job + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.jobs.try_send(job(reply)).map_err(|error| match error {
                TrySendError::Full(_) => Error::Unavailable("too many batches are waiting for the writer".into()),
                TrySendError::Disconnected(_) => self.closed(),
            })?;
            self.answer(answer).await
        })
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(Sender<Result<T, Error>>) -> Read + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.reads.push(read(reply))?;
            self.answer(answer).await
        })
    }

    /// A thread that went away without an answer has either closed or panicked.
    async fn answer<T>(&self, answer: Receiver<Result<T, Error>>) -> Result<T, Error> {
        answer.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn closed(&self) -> Error {
        self.health.check().err().unwrap_or_else(|| Error::Unavailable("the store is closed".into()))
    }
}

impl Store for SqliteStore {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        self.ask(|reply| Job::Update(batch, reply))
    }

    fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read(|reply| Read::Get(scope, id, reply))
    }

    fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
        let query = Box::new(query.clone());
        self.read(|reply| Read::List(query, reply))
    }

    fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
        let query = Box::new(query.clone());
        self.read(|reply| Read::Count(query, reply))
    }

    fn purge(&self, limit: usize) -> Answer<'_, usize> {
        self.ask(move |reply| Job::Purge(limit, reply))
    }

    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
        self.read(move |reply| Read::Documents(collection, reply))
    }

    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
        self.ask(|reply| Job::PutDocuments(writes, reply))
    }

    fn ping(&self) -> Answer<'_, Vec<String>> {
        self.ask(Job::Ping)
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn close(&self) -> Answer<'_, ()> {
        self.ask(Job::Close)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let (reply, _nobody_waits) = oneshot::channel();
        // It fails only where the writer has ended.
        let _ended = self.jobs.send(Job::Close(reply));
        self.reads.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the writer of the store had panicked");
        }
    }
}
