//! An engine over the in-memory store, on virtual time: what takes minutes is over at once.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Kind, OperationId, Principal, Reason, Spec, Tenant, Timestamp, Worker};
use operond_engine::{Ask, Claimed, Create, Engine, Options};
use operond_store::{Clock, MemoryStore, Store};
use tokio::time::Instant;

/// The runtime's clock, which stands still while there is something to do.
pub(crate) struct Virtual(Instant);

impl Virtual {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Virtual {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

pub(crate) fn engine() -> Engine {
    engine_over(Arc::new(MemoryStore::new(Virtual::new())))
}

pub(crate) fn engine_over(store: Arc<dyn Store>) -> Engine {
    Engine::start(store, Options::default())
}

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::parse("tenant", name).unwrap()
}

pub(crate) fn kind(name: &str) -> Kind {
    Kind::new(name).unwrap()
}

pub(crate) fn spec(name: &str) -> Spec {
    Spec::new(kind(name))
}

pub(crate) fn of_tenant(tenant: &str) -> Spec {
    Spec { tenant: self::tenant(tenant), ..spec("render") }
}

pub(crate) fn ask(worker: &str) -> Ask {
    Ask::new([kind("render")], Worker::new(worker).unwrap())
}

pub(crate) fn at_once(worker: &str) -> Ask {
    Ask { wait: Duration::ZERO, ..ask(worker) }
}

pub(crate) async fn created(engine: &Engine, spec: Spec) -> OperationId {
    engine.create(Create::new(spec)).await.unwrap().id.clone()
}

pub(crate) async fn claimed(engine: &Engine, worker: &str) -> Claimed {
    engine.claim(ask(worker)).await.unwrap().pop().expect("there is work")
}

pub(crate) async fn cancel(engine: &Engine, id: &OperationId) {
    engine.cancel(id, Principal::default(), Reason::default()).await.unwrap();
}

/// Lets `length` go by, and with it everything that is to happen meanwhile.
pub(crate) async fn pass(length: Duration) {
    tokio::time::timeout(length, std::future::pending::<()>()).await.unwrap_err();
}

/// Lets everybody else go on until they wait for something.
pub(crate) async fn settle_down() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
