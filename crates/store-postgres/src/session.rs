//! One connection to the database: how it is made, and what holds for everything that is asked over it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
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
        Self { address: Arc::new(address), runtime, drivers: TaskTracker::new(), timeline: Arc::default() }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Connects to a host that takes writes.
    pub(crate) async fn session(&self) -> Result<Session, Fault> {
        let warned = Arc::default();
        let (client, _driver) = self.connect(&self.address.config, Arc::clone(&warned)).await?;
        self.check_timeline(&client).await?;
        Ok(Session { client, statements: Mutex::default(), warned })
    }

    /// Refuses a primary that another one has taken over from, and that does not know it yet: it would
    /// show what is no longer so. A relative of PostgreSQL may have no timelines.
    pub(crate) async fn check_timeline(&self, client: &Client) -> Result<(), Fault> {
        let Ok(row) = client.query_one(TIMELINE, &[]).await else { return Ok(()) };
        let timeline = u32::from_str_radix(row.try_get(0)?, 16).unwrap_or(0);
        let newest = self.timeline.fetch_max(timeline, Ordering::SeqCst).max(timeline);
        if timeline < newest { Err(Fault::Overtaken { timeline, newest }) } else { Ok(()) }
    }

    async fn connect(
        &self,
        config: &Config,
        warned: Arc<AtomicBool>,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
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
        Ok((client, driver))
    }

    /// Ready when no connection is left.
    pub(crate) async fn ended(&self) {
        self.drivers.close();
        self.drivers.wait().await;
    }
}

/// The pool's connections are made here, too.
impl deadpool_postgres::Connect for Connector {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move { Self::connect(self, &config, Arc::default()).await })
    }
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + 'a>>;

impl Session {
    /// What is written over it from now on may be lost by a crash, and waits for neither disk nor standby.
    pub(crate) async fn hurry(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute("SET synchronous_commit = off").await
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
