//! A database for each test, and how it is waited for.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use operond_core::Timestamp;
use operond_store::ManualClock;
use operond_store::conformance::block_on;
use operond_store_postgres::cluster::{Cluster, Kind};
use operond_store_postgres::{Options, PostgresStore};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// When the clocks of tests begin.
pub(crate) const START: Timestamp = Timestamp::from_micros(1_750_000_000_123_457);

/// What every store of these tests runs on; the tests themselves have no runtime.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("the system gives threads")
});

/// A migrated schema of its own, in a cluster that forgets at a crash: quick.
pub(crate) fn fresh() -> String {
    migrated(Cluster::shared(Kind::Fast).fresh_schema())
}

pub(crate) fn migrated(url: String) -> String {
    RUNTIME.block_on(PostgresStore::migrate(&url)).expect("a fresh schema takes every step");
    url
}

/// Opens the store at `url` on a clock that the test moves.
pub(crate) fn open_with(url: &str, options: Options, clock: Arc<ManualClock>) -> PostgresStore {
    RUNTIME.block_on(PostgresStore::open_on(url, options, clock)).expect("a migrated schema opens")
}

/// Opens the store at `url` on the database's clock.
pub(crate) fn open(url: &str) -> PostgresStore {
    open_as(url, small())
}

pub(crate) fn open_as(url: &str, options: Options) -> PostgresStore {
    RUNTIME.block_on(PostgresStore::open(url, options)).expect("a migrated schema opens")
}

/// Few connections: many tests share a cluster.
pub(crate) fn small() -> Options {
    Options { writers: 2, readers: 2, ..Options::default() }
}

/// The same, and whatever is dead in the indexes is passed, as where finding work is slow.
pub(crate) fn passing() -> Options {
    Options { slow_after: Duration::ZERO, ..small() }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    block_on(future)
}

/// Asks until `holds`, which itself takes a while; not for ever.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
    }
}

/// Only what hangs takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
