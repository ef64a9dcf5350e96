//! Operations in a PostgreSQL database: a store for as many servers as share it.
//!
//! ```no_run
//! use operond_store_postgres::{Options, PostgresStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let url = "postgres://operond@127.0.0.1/operond";
//! PostgresStore::migrate(url).await?;
//! let store = PostgresStore::open(url, Options::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A few connections write, each a batch in one transaction at a time; a few read; one watches what
//! other servers write, and what time it is in the database, whose clock is the store's. Everything
//! runs as tasks of the runtime in which the store was opened; its futures may be awaited anywhere.
//!
//! What it is not: a place for rules (`operond_core` has them), a queue that groups requests into
//! batches (that is the engine's), a cache, or a manager of the database.

mod address;
mod archive;
mod batch;
#[cfg(feature = "cluster")]
pub mod cluster;
mod columns;
mod documents;
mod durability;
mod fault;
mod gets;
mod held;
mod keys;
mod lane;
mod list;
mod look;
mod migrate;
mod open;
mod passed;
mod presence;
mod session;
mod set_aside;
mod sql;
mod time;
mod tombstones;
mod wanted;
mod watch;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use operond_core::{OperationId, Scope};
use operond_store::{
    Answer, Applied, Batch, Clock, Collection, Count, CountQuery, Document, DocumentWrite, Error, ListQuery, Lookup,
    Page, Properties, Stale, Store,
};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub use address::without_password;
pub use archive::PostgresArchive;
pub use durability::Durability;
pub use migrate::Schema;
pub use open::{OpenError, Options};

use fault::Fault;
use gets::Gets;
use lane::{Lanes, within};
use presence::{ABSENT_AFTER, Presence};
use session::Connector;
use time::Time;
use watch::Told;

/// A store in a PostgreSQL database. [`Store::close`] it, so that what is under way is finished.
pub struct PostgresStore {
    inner: Arc<Inner>,
    properties: Properties,
    runtime: Handle,
    /// Calls, which go on when their callers are gone, and the watcher.
    tasks: TaskTracker,
    closed: AtomicBool,
}

struct Inner {
    connector: Connector,
    lanes: Lanes,
    gets: Gets,
    pool: deadpool_postgres::Pool,
    time: Arc<Time>,
    presence: Arc<Presence>,
    told: Arc<Told>,
}

impl PostgresStore {
    /// Opens the store in the database at `url`, which was migrated before. Goes by the database's
    /// clock. Must be called inside a tokio runtime with IO and time, which serves it from then on.
    pub async fn open(url: &str, options: Options) -> Result<Self, OpenError> {
        open::open(url, options, None).await
    }

    /// The same, but goes by `clock`: for tests, and where no other server shares the database.
    pub async fn open_on(url: &str, options: Options, clock: impl Clock) -> Result<Self, OpenError> {
        open::open(url, options, open::given(clock)).await
    }

    /// Takes the steps to the newest schema that the database at `url` lacks, all or none of them;
    /// says how many. Servers of the release before may go on working meanwhile and afterwards.
    pub async fn migrate(url: &str) -> Result<usize, OpenError> {
        open::migrate_up(url).await
    }

    /// How the schema of the database at `url` stands.
    pub async fn schema(url: &str) -> Result<Schema, OpenError> {
        open::schema_of(url).await
    }

    /// What the database promises to keep, by its settings of a few seconds ago at most.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.inner.presence.durability()
    }

    /// The database's clock stood over an hour ahead of what was stored last: retention removes
    /// nothing for an hour, and the operator should know.
    #[must_use]
    pub fn clock_stepped(&self) -> bool {
        self.inner.time.stepped()
    }

    /// How far this machine's calendar is from the store's time, which alone decides about operations.
    #[must_use]
    pub fn clock_skew(&self) -> Duration {
        self.inner.time.skew()
    }

    /// Has a task do it, on the store's own runtime: whole, whoever waits for it.
    fn task<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        if self.closed.load(Ordering::SeqCst) {
            return Box::pin(async { Err(closed()) });
        }
        let task = self.tasks.spawn_on(work(Arc::clone(&self.inner)), &self.runtime);
        // A task that ended without an answer has panicked, or its runtime has ended.
        Box::pin(async move { task.await.unwrap_or_else(|ended| Err(Error::Unknown(ended.into()))) })
    }
}

impl Store for PostgresStore {
    fn update(&self, batch: Arc<Batch>) -> Answer<'_, Applied> {
        self.task(|inner| async move { inner.lanes.update(batch).await })
    }

    fn get(&self, scope: &Scope, id: &OperationId) -> Answer<'_, Lookup> {
        if self.closed.load(Ordering::SeqCst) {
            return Box::pin(async { Err(closed()) });
        }
        let (answer, reading) = Gets::ask(&self.inner, scope, id);
        if let Some(reading) = reading {
            self.tasks.spawn_on(reading.go_on(), &self.runtime);
        }
        Box::pin(async move { answer.await.unwrap_or_else(|ended| Err(Error::Unknown(ended.into()))) })
    }

    fn list(&self, query: &ListQuery) -> Answer<'_, Page> {
        let query = query.clone();
        self.task(|inner| async move { Ok(inner.with_reader(async |client| list::page(client, &query).await).await?) })
    }

    fn count(&self, query: &CountQuery) -> Answer<'_, Count> {
        let query = query.clone();
        self.task(|inner| async move { Ok(inner.with_reader(async |client| list::count(client, &query).await).await?) })
    }

    fn purge(&self, limit: usize) -> Answer<'_, usize> {
        self.task(move |inner| async move { inner.lanes.purge(limit).await })
    }

    fn documents(&self, collection: Collection) -> Answer<'_, Vec<Document>> {
        self.task(move |inner| async move {
            Ok(inner.with_reader(async |client| documents::all(client, collection).await).await?)
        })
    }

    fn put_documents(&self, writes: Vec<DocumentWrite>) -> Answer<'_, Result<Vec<Document>, Stale>> {
        self.task(|inner| async move { inner.lanes.put_documents(writes).await })
    }

    fn ping(&self) -> Answer<'_, Vec<String>> {
        self.task(|inner| async move { Ok(inner.ping().await?) })
    }

    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn close(&self) -> Answer<'_, ()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Box::pin(async { Err(closed()) });
        }
        let (inner, tasks) = (Arc::clone(&self.inner), self.tasks.clone());
        let closing = self.runtime.spawn(async move {
            inner.told.close();
            tasks.close();
            tasks.wait().await;
            Ok(inner.close().await?)
        });
        Box::pin(async move { closing.await.unwrap_or_else(|ended| Err(Error::Unknown(ended.into()))) })
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.inner.told.close();
    }
}

impl Inner {
    /// A connection that reads.
    async fn reader(&self) -> Result<deadpool_postgres::Client, Fault> {
        if self.presence.is_away() {
            return Err(Fault::Away);
        }
        Ok(self.pool.get().await?)
    }

    /// Reads over a connection of its own, until the database goes away: one that stands still would never answer. A
    /// single session may stand still as well; it is not used again.
    async fn with_reader<T>(
        &self,
        read: impl AsyncFnOnce(&mut deadpool_postgres::Client) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut client = self.while_there(self.reader()).await?;
        let read = self.while_there(within(READ_MAX, "a read", read(&mut client))).await;
        if let Err(Fault::Late(_)) = read {
            drop(deadpool_postgres::Client::take(client));
        }
        read
    }

    async fn while_there<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        tokio::select! {
            done = work => done,
            () = self.presence.gone_away() => Err(Fault::Away),
        }
    }

    async fn ping(&self) -> Result<Vec<String>, Fault> {
        self.with_reader(async |client| Ok(client.batch_execute("SELECT 1").await?)).await?;
        Ok(self.presence.durability().to_string().lines().map(Into::into).collect())
    }

    /// Notes how late it was, then ends every connection.
    async fn close(&self) -> Result<(), Fault> {
        let noted = self.leave().await;
        self.lanes.close();
        self.pool.close();
        // One whose commit waits for a standby does not end before there is one.
        if timeout(END_MAX, self.connector.ended()).await.is_err() {
            tracing::warn!("connections to the database are left behind: something that was asked is not answered yet");
        }
        noted
    }

    /// Its streams stay, so that others read the last of what was written; but it looks as long gone as
    /// it must be for the store to be copied.
    async fn leave(&self) -> Result<(), Fault> {
        let streams: Vec<String> = self.presence.written().into_iter().map(|(id, _)| id).collect();
        let seen_at = self.time.now().at.before(ABSENT_AFTER).micros();
        self.with_reader(async |client| {
            // It does not matter enough to wait for a standby.
            client.batch_execute(session::HURRY).await?;
            client.execute(sql::NOTE_TIME.as_str(), &[&self.lanes.written_at()]).await?;
            client.execute(sql::TOUCH_STREAMS.as_str(), &[&streams, &seen_at]).await?;
            Ok(())
        })
        .await
    }
}

/// For what the database bounds itself, and a little more for the way there and back.
const READ_MAX: Duration = Duration::from_secs(12);

/// For connections that nobody uses any more.
const END_MAX: Duration = Duration::from_secs(3);

/// What is asked of it behind its end.
fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
