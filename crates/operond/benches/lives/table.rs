//! What one would write by hand instead: one table of jobs, through the same driver.
//!
//! It keeps nothing that a life of an operation does not need: no leases, no retries, no cancelling. Every change is a
//! statement of its own, prepared and committed as it is; callers and workers find out by asking every
//! few milliseconds, or are woken by notifications.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use crate::load::loops;

/// How callers and workers learn of what happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They ask every few milliseconds.
    Polling,
    /// The transaction that did it notifies them.
    Notify,
}

/// A table in use: its connections and its workers, until it is dropped.
pub(crate) struct Table {
    jobs: Arc<Jobs>,
    /// Connections and workers.
    _tasks: JoinSet<Result<()>>,
}

/// What callers and workers share.
struct Jobs {
    way: Way,
    callers: Pool,
    workers: Pool,
    wakes: Arc<Wakes>,
}

impl Table {
    /// Makes the table in an empty schema, and connects; as many workers as callers, up to [`CONNECTIONS_MAX`] of each.
    pub(crate) async fn start(url: &str, way: Way, concurrency: usize) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let connections = concurrency.min(CONNECTIONS_MAX);
        connect(url, &mut tasks).await?.batch_execute(TABLE).await?;
        let callers = Pool::connect(url, way, connections, &mut tasks).await?;
        let workers = Pool::connect(url, way, connections, &mut tasks).await?;
        let wakes = Arc::default();
        if way == Way::Notify {
            listen(url, Arc::clone(&wakes), &mut tasks).await?;
        }
        let jobs = Arc::new(Jobs { way, callers, workers, wakes });
        for _ in 0..connections {
            tasks.spawn(work(Arc::clone(&jobs)));
        }
        Ok(Self { jobs, _tasks: tasks })
    }

    /// Whole lives of jobs in `concurrency` loops for `length`; latencies in µs.
    pub(crate) async fn lives(&self, concurrency: usize, length: Duration) -> Result<Histogram<u64>> {
        loops(concurrency, length, |_caller| {
            let jobs = Arc::clone(&self.jobs);
            move || live(Arc::clone(&jobs))
        })
        .await
    }
}

async fn live(jobs: Arc<Jobs>) -> Result<()> {
    let id = jobs.callers.get().await.insert().await?;
    loop {
        match jobs.way {
            Way::Polling => sleep(POLL).await,
            Way::Notify => jobs.wakes.done(id).await,
        }
        if jobs.callers.get().await.is_done(id).await? {
            return Ok(());
        }
    }
}

async fn work(jobs: Arc<Jobs>) -> Result<()> {
    loop {
        if jobs.way == Way::Notify {
            jobs.wakes.queued().await;
        }
        // Between two statements of a job its connection is of no use to others: there is one for each worker.
        let connection = jobs.workers.get().await;
        match connection.claim().await? {
            Some(id) => connection.finish(id).await?,
            None if jobs.way == Way::Polling => {
                drop(connection);
                sleep(POLL).await;
            }
            None => {}
        }
    }
}

/// A connection and what is prepared on it.
struct Connection {
    client: Client,
    insert: Statement,
    claim: Statement,
    finish: Statement,
    result: Statement,
}

impl Connection {
    async fn prepare(client: Client, way: Way) -> Result<Self> {
        let (insert, finish) = match way {
            Way::Polling => (INSERT, FINISH),
            Way::Notify => (INSERT_AND_NOTIFY, FINISH_AND_NOTIFY),
        };
        Ok(Self {
            insert: client.prepare(insert).await?,
            claim: client.prepare(CLAIM).await?,
            finish: client.prepare(finish).await?,
            result: client.prepare(RESULT).await?,
            client,
        })
    }

    async fn insert(&self) -> Result<i64> {
        Ok(self.client.query_one(&self.insert, &[&"life"]).await?.try_get(0)?)
    }

    async fn claim(&self) -> Result<Option<i64>> {
        let row = self.client.query_opt(&self.claim, &[&"life"]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn finish(&self, id: i64) -> Result<()> {
        self.client.query(&self.finish, &[&id, &b"output".as_slice()]).await?;
        Ok(())
    }

    async fn is_done(&self, id: i64) -> Result<bool> {
        Ok(self.client.query_opt(&self.result, &[&id]).await?.is_some())
    }
}

/// Connections, each of one task at a time.
struct Pool {
    free: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

/// A connection that goes back to its pool when dropped.
struct Borrowed<'p> {
    connection: Option<Connection>,
    pool: &'p Pool,
    _free: SemaphorePermit<'p>,
}

impl Pool {
    async fn connect(url: &str, way: Way, connections: usize, tasks: &mut JoinSet<Result<()>>) -> Result<Self> {
        let mut idle = Vec::with_capacity(connections);
        for _ in 0..connections {
            idle.push(Connection::prepare(connect(url, tasks).await?, way).await?);
        }
        Ok(Self { free: Semaphore::new(connections), idle: Mutex::new(idle) })
    }

    async fn get(&self) -> Borrowed<'_> {
        let free = self.free.acquire().await.expect("nobody closes it");
        let connection = self.idle.lock().expect("nobody panics with it").pop();
        Borrowed { connection, pool: self, _free: free }
    }
}

impl std::ops::Deref for Borrowed<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("who has a permit has a connection")
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.pool.idle.lock().expect("nobody panics with it").extend(self.connection.take());
    }
}

/// Who is woken by notifications; where one was missed they look again after a while.
struct Wakes {
    /// One permit for each job that was queued.
    queued: Semaphore,
    done: Mutex<HashMap<i64, Done>>,
}

/// A job that is done, or will be.
enum Done {
    /// Nobody has waited for it yet.
    Early,
    Awaited(oneshot::Sender<()>),
}

impl Default for Wakes {
    fn default() -> Self {
        Self { queued: Semaphore::new(0), done: Mutex::default() }
    }
}

impl Wakes {
    async fn queued(&self) {
        if let Ok(permit) = timeout(MISSED, self.queued.acquire()).await {
            permit.expect("nobody closes it").forget();
        }
    }

    async fn done(&self, id: i64) {
        let (wake, woken) = oneshot::channel();
        let before = self.done.lock().expect("nobody panics with it").insert(id, Done::Awaited(wake));
        if !matches!(before, Some(Done::Early)) {
            let _missed = timeout(MISSED, woken).await;
        }
        self.done.lock().expect("nobody panics with it").remove(&id);
    }

    fn wake(&self, channel: &str, payload: &str) -> Result<()> {
        if channel == "queued" {
            self.queued.add_permits(1);
            return Ok(());
        }
        let id = payload.parse()?;
        let mut done = self.done.lock().expect("nobody panics with it");
        match done.remove(&id) {
            Some(Done::Awaited(wake)) => drop(wake.send(())),
            _ => drop(done.insert(id, Done::Early)),
        }
        Ok(())
    }
}

async fn connect(url: &str, tasks: &mut JoinSet<Result<()>>) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tasks.spawn(async move { Ok(connection.await?) });
    Ok(client)
}

/// Passes notifications on, over a connection of its own.
async fn listen(url: &str, wakes: Arc<Wakes>, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    tasks.spawn(async move {
        loop {
            let message = poll_fn(|context| connection.poll_message(context)).await;
            if let AsyncMessage::Notification(told) = message.context("the listener's connection ended")?? {
                wakes.wake(told.channel(), told.payload())?;
            }
        }
    });
    client.batch_execute("LISTEN queued; LISTEN done").await?;
    // The connection ends with its client.
    tasks.spawn(async move {
        let _client = client;
        std::future::pending().await
    });
    Ok(())
}

const TABLE: &str = "
CREATE TABLE jobs (
    id          bigserial PRIMARY KEY,
    kind        text NOT NULL,
    state       text NOT NULL DEFAULT 'queued',
    input       bytea,
    output      bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz
);
CREATE INDEX jobs_queued ON jobs (kind, id) WHERE state = 'queued'";
const INSERT: &str = "INSERT INTO jobs (kind) VALUES ($1) RETURNING id";
const CLAIM: &str = "
UPDATE jobs SET state = 'running', started_at = now()
WHERE id = (SELECT id FROM jobs WHERE state = 'queued' AND kind = $1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, input";
const FINISH: &str = "UPDATE jobs SET state = 'done', output = $2, finished_at = now() WHERE id = $1";
const RESULT: &str = "SELECT output FROM jobs WHERE id = $1 AND state = 'done'";
const INSERT_AND_NOTIFY: &str = "
WITH job AS (INSERT INTO jobs (kind) VALUES ($1) RETURNING id)
SELECT id, pg_notify('queued', '') FROM job";
const FINISH_AND_NOTIFY: &str = "
WITH job AS (UPDATE jobs SET state = 'done', output = $2, finished_at = now() WHERE id = $1 RETURNING id)
SELECT pg_notify('done', id::text) FROM job";

/// How often somebody asks.
const POLL: Duration = Duration::from_millis(5);
/// How soon somebody looks who was not notified.
const MISSED: Duration = Duration::from_secs(1);
/// Of callers, and of workers.
pub(crate) const CONNECTIONS_MAX: usize = 64;
