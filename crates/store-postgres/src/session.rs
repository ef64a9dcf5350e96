//! One connection to the database: how it is made, and what holds for everything that is asked over it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Statement};
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::fault::Fault;

/// Makes connections. A cheap handle.
#[derive(Clone)]
pub(crate) struct Connector {
    address: Arc<Address>,
    /// What drives connections runs here; each ends with its client.
    runtime: Handle,
    drivers: TaskTracker,
    /// The highest timeline that was met: a fail-over begins a new one.
    timeline: Arc<AtomicU32>,
    /// The host that is tried first: the one that was the right one last.
    first: Arc<AtomicUsize>,
}

/// A connection. Dropped, it ends, and with it a transaction that was not committed.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// By the text's place in memory: every statement is one text for the life of the process.
    statements: Mutex<HashMap<usize, Statement>>,
    warned: Arc<AtomicBool>,
}

impl Connector {
    pub(crate) fn new(address: Address, runtime: Handle) -> Self {
        let (timeline, first) = (Arc::default(), Arc::default());
        Self { address: Arc::new(address), runtime, drivers: TaskTracker::new(), timeline, first }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Connects to a host that takes writes.
    pub(crate) async fn session(&self) -> Result<Session, Fault> {
        let warned = Arc::default();
        let (client, _driver) = self.connect(&warned).await?;
        Ok(Session { client, statements: Mutex::default(), warned })
    }

    /// Refuses a primary that another one has taken over from, and that does not know it yet: it would
    /// show what is no longer so. A relative of PostgreSQL may have no timelines.
    async fn check_timeline(&self, client: &Client) -> Result<(), Fault> {
        let Ok(row) = client.query_one(TIMELINE, &[]).await else { return Ok(()) };
        let timeline = u32::from_str_radix(row.try_get(0)?, 16).unwrap_or(0);
        let newest = self.timeline.fetch_max(timeline, Ordering::SeqCst).max(timeline);
        if timeline < newest { Err(Fault::Overtaken { timeline, newest }) } else { Ok(()) }
    }

    /// Goes through the hosts. One that stands still takes the connection and never answers: the others get their turn
    /// all the same, here or, when the caller has no more time, at the next call.
    async fn connect(&self, warned: &Arc<AtomicBool>) -> Result<(Client, JoinHandle<()>), Fault> {
        let hosts = &self.address.hosts;
        let first = self.first.load(Ordering::SeqCst);
        let mut last = Fault::Late("a host");
        for index in (0..hosts.len()).map(|turn| (first + turn) % hosts.len()) {
            match timeout(self.address.host_max, self.connect_to(&hosts[index], Arc::clone(warned))).await {
                Ok(Ok(connected)) => {
                    self.first.store(index, Ordering::SeqCst);
                    return Ok(connected);
                }
                Ok(Err(fault)) => last = fault,
                Err(_elapsed) => last = Fault::Late("a host"),
            }
            // Unless somebody else has found the right one meanwhile.
            let next = (index + 1) % hosts.len();
            let _found = self.first.compare_exchange(index, next, Ordering::SeqCst, Ordering::SeqCst);
        }
        Err(last)
    }

    async fn connect_to(&self, config: &Config, warned: Arc<AtomicBool>) -> Result<(Client, JoinHandle<()>), Fault> {
        let (client, driver) = match &self.address.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                (client, self.drivers.spawn_on(drive(connection, warned), &self.runtime))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, self.drivers.spawn_on(drive(connection, warned), &self.runtime))
            }
        };
        let settled = join_all(SETTINGS.iter().map(|setting| client.batch_execute(setting))).await;
        // A relative of PostgreSQL may not know a setting; one that cannot be reached fails at the next question.
        for (setting, error) in SETTINGS.iter().zip(settled).filter_map(|(setting, set)| Some((setting, set.err()?))) {
            tracing::debug!(setting, %error, "a setting was not taken");
        }
        self.check_timeline(&client).await?;
        Ok((client, driver))
    }

    /// Ready when no connection is left.
    pub(crate) async fn ended(&self) {
        self.drivers.close();
        self.drivers.wait().await;
    }
}

/// The pool's connections are made here, too; it says how long that may take.
impl deadpool_postgres::Connect for Connector {
    fn connect(&self, _config: &Config) -> Connecting<'_> {
        Box::pin(async move {
            loop {
                match Self::connect(self, &Arc::default()).await {
                    Ok(connected) => return Ok(connected),
                    Err(Fault::Driver(error)) => return Err(error),
                    // What the driver has no error for.
                    Err(fault) => tracing::debug!(?fault, "no host yet"),
                }
                sleep(AGAIN).await;
            }
        })
    }
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + 'a>>;

impl Session {
    /// What is written over it from now on may be lost by a crash, and waits for neither disk nor standby.
    pub(crate) async fn hurry(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(HURRY).await
    }

    /// The prepared form of a statement, made at its first use.
    pub(crate) async fn prepared(&self, sql: &'static str) -> Result<Statement, tokio_postgres::Error> {
        let place = sql.as_ptr().addr();
        let known = self.statements().get(&place).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements().insert(place, statement.clone());
        Ok(statement)
    }

    fn statements(&self) -> MutexGuard<'_, HashMap<usize, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what the database has warned of so far.
    pub(crate) fn forget_warnings(&self) {
        self.warned.store(false, Ordering::SeqCst);
    }

    /// The database has warned. At the end of a transaction that means: it is committed here, and no
    /// standby has it yet (SQLSTATE 01000). A fail-over can lose it.
    pub(crate) fn warned(&self) -> bool {
        self.warned.load(Ordering::SeqCst)
    }
}

/// Moves messages until the client is dropped or the connection breaks. What a warning comes before
/// is answered after it is noted.
async fn drive<S, T>(mut connection: Connection<S, T>, warned: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) if notice.parsed_severity() == Some(Severity::Warning) => {
                warned.store(true, Ordering::SeqCst);
                tracing::warn!(code = notice.code().code(), "the database warns: {}", notice.message());
            }
            Ok(_) => {}
            // Whoever asked something over it hears of it.
            Err(_broken) => return,
        }
    }
}

/// What is written from then on may be lost by a crash, and waits for neither disk nor standby.
pub(crate) const HURRY: &str = "SET synchronous_commit = off";
/// The pause before the hosts are gone through again.
const AGAIN: Duration = Duration::from_millis(100);
/// The first digits of a file of the log are its timeline.
const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// What every connection is told first. A statement waits for no lock and takes no time without a
/// bound: servers lock rows for milliseconds, so who waits longer waits for somebody else. A transaction of a server that stands still ends, so that others get at its rows. Plans are
/// made once and go by the indexes, whatever was counted in a table that was empty a minute ago.
const SETTINGS: &[&str] = &[
    "SET lock_timeout = '500ms'",
    "SET statement_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '5s'",
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_seqscan = off",
    "SET enable_bitmapscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET enable_sort = off",
    "SET enable_material = off",
    "SET enable_memoize = off",
    "SET jit = off",
];
