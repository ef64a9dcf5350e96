//! Opening: the address, the schema, what the database promises, and the tasks that work on it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use operond_core::Timestamp;
use operond_store::{Clock, Properties};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tokio_util::task::TaskTracker;

use crate::PostgresStore;
use crate::address::{Address, chain};
use crate::durability::Durability;
use crate::fault::Fault;
use crate::gets::Gets;
use crate::lane::Lanes;
use crate::look;
use crate::migrate::{STEPS, Schema, migrate, schema};
use crate::passed::Passed;
use crate::presence::Presence;
use crate::session::{Connector, Session};
use crate::sql;
use crate::time::Time;
use crate::watch::{Told, Watcher};

/// How a store is to work.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections that write, each one transaction at a time; 1 at least.
    pub writers: usize,
    /// Connections that read; 1 at least.
    pub readers: usize,
    /// When finding work takes the database longer than this, what is dead in its indexes is looked for, and passed.
    /// [`Duration::MAX`] for never.
    pub slow_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { writers: 4, readers: 8, slow_after: SLOW_AFTER }
    }
}

/// Why a database could not be opened as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL cannot be used.
    #[error("{url} is not an address of a database: {why}; write postgres://USER@HOST:PORT/DATABASE")]
    Address {
        /// As it may be shown.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No host answered, or none that takes writes.
    #[error("cannot reach {url}: {why}; check that PostgreSQL listens there")]
    Unreachable {
        /// Where it was tried.
        url: String,
        /// What came of it.
        why: String,
    },
    /// It answers, and no protected connection to it can be made.
    #[error(
        "{url} cannot be trusted: {why}; check sslrootcert, that the database has ssl = on, and that its certificate is \
         for the host as the URL names it"
    )]
    Untrusted {
        /// Where it was tried.
        url: String,
        /// What came of the handshake.
        why: String,
    },
    /// It answers, and takes no writes.
    #[error("{url} is read-only (a standby, or default_transaction_read_only): name the primary, or all hosts")]
    ReadOnly {
        /// Where it was tried.
        url: String,
    },
    /// It does not let us in.
    #[error("{url} refuses: {why}; check the user, the password and the database's name")]
    Refused {
        /// Where it was tried.
        url: String,
        /// What it said.
        why: String,
    },
    /// It has too many connections.
    #[error("{url} has no connection left: {why}; raise max_connections, or let fewer servers connect")]
    Crowded {
        /// Where it was tried.
        url: String,
        /// What it said.
        why: String,
    },
    /// Its tables are not there yet, or are those of an older release.
    #[error("{url} has schema version {found}, this release needs {known}; run: operond migrate up --store URL")]
    Older {
        /// The database.
        url: String,
        /// Its version; 0 for none.
        found: i64,
        /// The version needed.
        known: i64,
    },
    /// A newer release changed it so that this one no longer understands it.
    #[error(
        "{url} has schema version {found}, which needs a release that knows {serves}; this one knows {known}: use the newer release"
    )]
    Newer {
        /// The database.
        url: String,
        /// Its version.
        found: i64,
        /// The version that a release must know at least.
        serves: i64,
        /// The newest version known here.
        known: i64,
    },
    /// A copy into it was begun and not finished.
    #[error(
        "{url} is an unfinished copy of {source_name}; finish it before it is served: operond copy --from … --to {url}"
    )]
    Unfinished {
        /// The database.
        url: String,
        /// What is copied.
        source_name: String,
    },
    /// It refused something else.
    #[error("cannot {doing} {url}: {why}")]
    Failed {
        /// The database.
        url: String,
        /// What was being done.
        doing: &'static str,
        /// What it said.
        why: String,
    },
}

/// Where time comes from.
pub(crate) type Given = Option<Box<dyn FnOnce(Option<Timestamp>) -> Time + Send>>;

/// A clock of one's own in the place of the database's.
pub(crate) fn given(clock: impl Clock) -> Given {
    Some(Box::new(move |last_stored| Time::given(clock, last_stored)))
}

/// Opens the store in the database at `url`.
pub(crate) async fn open(url: &str, options: Options, given: Given) -> Result<PostgresStore, OpenError> {
    let runtime = Handle::current();
    let connector = Connector::new(Address::parse(url)?, runtime.clone());
    let shown = connector.address().shown.clone();
    let failed = |doing| {
        let url = shown.clone();
        move |error: tokio_postgres::Error| OpenError::Failed { url, doing, why: chain(&error) }
    };
    let session = session(&connector).await?;
    let durability = Durability::read(&session).await.map_err(failed("read the settings of"))?;
    let meta = Meta::read(&session).await.map_err(failed("read"))?;
    if let Some(source_name) = meta.unfinished {
        return Err(OpenError::Unfinished { url: shown, source_name });
    }
    let time = Arc::new(match given {
        Some(given) => given(meta.last_stored),
        None => Time::of_database(meta.now, meta.last_stored),
    });
    let presence = Arc::new(Presence::new(durability));
    let told = Arc::new(Told::default());
    let mut watcher = Watcher::new(connector.clone(), Arc::clone(&time), Arc::clone(&presence), Arc::clone(&told));
    watcher.begin(&session).await.map_err(failed("read what is new in"))?;
    let tasks = TaskTracker::new();
    tasks.spawn_on(watcher.run(session), &runtime);
    let properties = Properties {
        seal_key: meta.seal_key,
        others: Some(Arc::clone(&told) as _),
        batch_max: BATCH_MAX,
        batches_at_once: options.writers.max(1),
    };
    let passed = Passed::new(options.slow_after);
    let writers = properties.batches_at_once;
    let lanes = Lanes::new(connector.clone(), Arc::clone(&time), Arc::clone(&presence), passed, writers);
    let pool = pool(&connector, &presence, options.readers.max(1));
    let inner = Arc::new(crate::Inner { connector, lanes, gets: Gets::default(), pool, time, presence, told });
    tasks.spawn_on(look::run(Arc::clone(&inner)), &runtime);
    Ok(PostgresStore { inner, properties, runtime, tasks, closed: AtomicBool::new(false) })
}

/// Takes the steps to the newest schema that the database at `url` lacks; says how many.
pub(crate) async fn migrate_up(url: &str) -> Result<usize, OpenError> {
    let connector = Connector::new(Address::parse(url)?, Handle::current());
    let shown = connector.address().shown.clone();
    let mut session = connect(&connector).await?;
    // Two that begin at the same time on an empty database come into each other's way once.
    let mut again = true;
    loop {
        match migrate(&mut session, STEPS).await {
            Ok(taken) => return Ok(taken),
            Err(error) if std::mem::take(&mut again) && is_race(&error) => {}
            Err(error) => return Err(OpenError::Failed { url: shown, doing: "migrate", why: chain(&error) }),
        }
    }
}

/// A connection to the database at `url`, whose schema this release serves.
pub(crate) async fn session(connector: &Connector) -> Result<Session, OpenError> {
    let session = connect(connector).await?;
    let shown = &connector.address().shown;
    let failed = |error: tokio_postgres::Error| OpenError::Failed {
        url: shown.clone(),
        doing: "read the schema of",
        why: chain(&error),
    };
    check(schema(&session).await.map_err(failed)?, shown)?;
    Ok(session)
}

/// How the schema of the database at `url` stands.
pub(crate) async fn schema_of(url: &str) -> Result<Schema, OpenError> {
    let connector = Connector::new(Address::parse(url)?, Handle::current());
    let session = connect(&connector).await?;
    let failed = |error: tokio_postgres::Error| OpenError::Failed {
        url: connector.address().shown.clone(),
        doing: "read the schema of",
        why: chain(&error),
    };
    schema(&session).await.map_err(failed)
}

fn is_race(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::UNIQUE_VIOLATION | &SqlState::DUPLICATE_TABLE | &SqlState::DUPLICATE_OBJECT))
}

async fn connect(connector: &Connector) -> Result<Session, OpenError> {
    let url = connector.address().shown.clone();
    match timeout(CONNECT_MAX, connector.session()).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(Fault::Driver(error))) => Err(refusal(url, &error)),
        Ok(Err(fault)) => Err(OpenError::Unreachable { url, why: chain(&operond_store::Error::from(fault)) }),
        Err(_elapsed) => Err(OpenError::Unreachable { url, why: format!("no answer within {CONNECT_MAX:?}") }),
    }
}

/// What a refused connection means to who wanted it.
fn refusal(url: String, error: &tokio_postgres::Error) -> OpenError {
    let why = chain(error);
    let Some(code) = error.code() else {
        // The driver's own words, for it has no others: of a host that does not take writes, and of TLS.
        return if why.contains("does not allow writes") {
            OpenError::ReadOnly { url }
        } else if why.contains("TLS handshake") {
            OpenError::Untrusted { url, why }
        } else {
            OpenError::Unreachable { url, why }
        };
    };
    match *code {
        SqlState::TOO_MANY_CONNECTIONS => OpenError::Crowded { url, why },
        SqlState::CANNOT_CONNECT_NOW => OpenError::Unreachable { url, why },
        _ => OpenError::Refused { url, why },
    }
}

fn check(schema: Schema, url: &str) -> Result<(), OpenError> {
    let Schema { version: found, serves, known } = schema;
    match url.to_owned() {
        url if schema.is_too_new() => Err(OpenError::Newer { url, found, serves, known }),
        url if schema.is_too_old() => Err(OpenError::Older { url, found, known }),
        _ => Ok(()),
    }
}

fn pool(connector: &Connector, presence: &Arc<Presence>, readers: usize) -> Pool {
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(connector.address().config.clone(), connector.clone(), config);
    let timeouts = Timeouts { wait: Some(READ_WAIT_MAX), create: Some(CONNECT_MAX), recycle: Some(READ_WAIT_MAX) };
    let pool = Pool::builder(manager).max_size(readers).timeouts(timeouts).runtime(Runtime::Tokio1);
    let presence = Arc::clone(presence);
    let check = Hook::sync_fn(move |_client, metrics| {
        let old = presence.is_from_before(Instant::from_std(metrics.created));
        if old { Err(HookError::message("the connection is from before an outage")) } else { Ok(()) }
    });
    pool.pre_recycle(check).build().expect("a pool with timeouts has a runtime")
}

/// The one row about the store itself, and the time.
struct Meta {
    seal_key: [u8; 32],
    last_stored: Option<Timestamp>,
    /// What it is an unfinished copy of.
    unfinished: Option<String>,
    now: Timestamp,
}

impl Meta {
    async fn read(session: &Session) -> Result<Self, tokio_postgres::Error> {
        let row = session.client.query_one(sql::META.as_str(), &[]).await?;
        let now = session.client.query_one(sql::NOW.as_str(), &[]).await?;
        Ok(Self {
            seal_key: seal_key(row.try_get(0)?),
            last_stored: row.try_get::<_, Option<i64>>(1)?.map(Timestamp::from_micros),
            unfinished: row.try_get::<_, Option<&[u8]>>(3)?.map(|_place| row.try_get(2)).transpose()?,
            now: Timestamp::from_micros(now.try_get(0)?),
        })
    }
}

pub(crate) fn seal_key(stored: &[u8]) -> [u8; 32] {
    let mut seal_key = [0; 32];
    let length = stored.len().min(seal_key.len());
    seal_key[..length].copy_from_slice(&stored[..length]);
    seal_key
}

/// Some 25,000 dead entries; it takes a millisecond or less without them.
const SLOW_AFTER: Duration = Duration::from_millis(5);
/// Most requests in one transaction: it holds its rows' locks for as long as it takes.
const BATCH_MAX: usize = 500;
/// For all hosts together.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a read waits for a connection.
const READ_WAIT_MAX: Duration = Duration::from_secs(3);
