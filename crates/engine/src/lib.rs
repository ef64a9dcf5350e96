//! The embeddable engine: commands in batches, waiters, leases and timers over a store.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use operond_core::{Any, Completion, Kind, Spec, State, Worker};
//! use operond_engine::{Ask, Create, Engine, Options};
//! use operond_store::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::start(Arc::new(MemoryStore::default()), Options::default());
//! let created = engine.create(Create::new(Spec::new(Kind::new("render")?))).await?;
//!
//! let ask = Ask::new([Kind::new("render")?], Worker::new("worker-1")?);
//! let claimed = engine.claim(ask).await?.remove(0);
//! engine.complete(&claimed.lease.text, Completion::Response(Any::empty()), None).await?;
//!
//! let done = engine.wait(&created.id, Duration::from_secs(1)).await?;
//! assert_eq!(done.state(), State::Succeeded);
//! engine.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! What it is not: a server (no wire format, no authentication), and not a place for rules, which
//! are `operond_core`'s.

mod attendance;
mod audit;
mod calls;
mod claims;
mod commit;
mod digest;
mod documents;
mod entropy;
mod error;
mod leases;
mod others;
mod outage;
mod reads;
mod recent;
mod under_way;
mod waiters;
mod writer;

use std::sync::Arc;

use operond_core::{LeaseKey, Retention, Scope};
use operond_store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use audit::{Audit, Origin};
pub use calls::Create;
pub use documents::DocumentsChanged;
pub use error::{Error, Unavailable};
pub use leases::{Ask, Claimed, LeaseGrant, Report, Standing};
pub use reads::Watch;

use attendance::Attendance;
use documents::Readers;
use others::Listener;
use outage::Outage;
use recent::Recent;
use waiters::Waiters;
use writer::{Message, Writer};

/// How an engine runs.
#[derive(Clone)]
pub struct Options {
    /// Retention of operations that ask for none, by outcome.
    pub retention: Retention,
    /// Commands that may wait to be written; more are refused as overload.
    pub queue_max: usize,
    /// Waits, watches and held calls at the same time; more are answered at once.
    pub waiters_max: usize,
    /// About how many bytes of recent operations are kept in memory.
    pub recent_bytes_max: u64,
    /// Who keeps an audit.
    pub audit: Option<Arc<dyn Audit>>,
}

/// A running engine; a cheap handle to share. It must be started inside a tokio runtime.
///
/// A handle reaches what its scope covers, and everything at first: see [`Engine::within`].
#[derive(Clone)]
pub struct Engine {
    scope: Scope,
    origin: Option<Origin>,
    shared: Arc<Shared>,
    queue: mpsc::Sender<Message>,
}

struct Shared {
    store: Arc<dyn Store>,
    options: Options,
    waiters: Arc<Waiters>,
    documents: Readers,
    recent: Option<Recent>,
    outage: Outage,
    attendance: Attendance,
    /// Leases that were claimed for workers who hung up. Not bounded itself: there are no more of
    /// them than claims that were being answered.
    returns: mpsc::UnboundedSender<LeaseKey>,
    closing: CancellationToken,
    fatal: CancellationToken,
    tasks: TaskTracker,
}

/// Sees to it that nobody waits in vain for a task of the engine that has ended, not even when it panicked.
struct Ending {
    shared: Arc<Shared>,
    well: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            queue_max: 8192,
            waiters_max: 200_000,
            recent_bytes_max: 32 << 20,
            audit: None,
        }
    }
}

impl Engine {
    /// Begins to serve `store`.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, options: Options) -> Self {
        let (queue, receiver) = mpsc::channel(options.queue_max);
        #[expect(clippy::disallowed_methods, reason = "bounded by the claims that are being answered; must never fail")]
        let (returns, returned) = mpsc::unbounded_channel();
        let properties = store.properties();
        // What several write, or one writes in several batches, need not be told in the order of its commits.
        let ordered = properties.others.is_none() && properties.batches_at_once == 1;
        let recent = ordered.then(|| Recent::new(options.recent_bytes_max));
        let shared = Arc::new(Shared {
            waiters: Waiters::new(options.waiters_max),
            documents: Readers::default(),
            store,
            options,
            recent,
            outage: Outage::default(),
            attendance: Attendance::default(),
            returns,
            closing: CancellationToken::new(),
            fatal: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.spawn(Writer::new(Arc::clone(&shared), receiver, returned).serve());
        if let Some(feed) = &shared.store.properties().others {
            shared.spawn(Listener::new(Arc::clone(&shared), queue.downgrade()).listen(Arc::clone(feed)));
        }
        shared.tasks.close();
        Self { scope: Scope::default(), origin: None, shared, queue }
    }

    /// The same engine, for somebody who reaches `scope` alone, whatever this handle reaches. To them an operation
    /// outside of it is one that never was, and the lease of one was never given.
    #[must_use]
    pub fn within(&self, scope: Scope) -> Self {
        Self { scope, ..self.clone() }
    }

    /// The same handle, whose commands the audit is told `origin` of.
    #[must_use]
    pub fn on_behalf_of(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// Whether somebody keeps an audit.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        self.shared.options.audit.is_some()
    }

    /// Answers whoever waits with what there is, commits what is queued, and closes the store.
    pub async fn shutdown(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.wait().await;
    }

    /// Ready when the store can no longer be trusted (a failed fsync), or the engine itself broke
    /// down: the process should end at once and recover from what is on disk.
    pub async fn failed(&self) {
        self.shared.fatal.cancelled().await;
    }

    /// Fails when the engine cannot serve now; else what an operator should know of its store.
    pub async fn ping(&self) -> Result<Vec<String>, Error> {
        if self.shared.closing.is_cancelled() {
            return Err(Error::Unavailable(Unavailable::ShuttingDown));
        }
        if self.shared.fatal.is_cancelled() {
            return Err(Error::Unavailable(Unavailable::Store));
        }
        Ok(self.shared.store.ping().await?)
    }

    /// How many waits, watches and held calls there are.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.shared.waiters.count()
    }

    /// Retention of operations that ask for none.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.shared.options.retention
    }

    /// 256 bits that belong to the store: for sealing page tokens.
    #[must_use]
    pub fn seal_key(&self) -> &[u8; 32] {
        &self.shared.store.properties().seal_key
    }
}

impl Shared {
    /// Begins a task that ends with the engine. If it ends before, by a panic, so does the engine.
    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let ending = Ending { shared: Arc::clone(self), well: false };
        self.tasks.spawn(async move {
            task.await;
            ending.well();
        });
    }
}

impl Ending {
    /// The task ended as it should.
    fn well(mut self) {
        self.well = true;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.well {
            self.shared.fatal.cancel();
        }
        self.shared.closing.cancel();
    }
}

/// The README's Rust is compiled and run with the doc tests of this crate, which it is about.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
