//! It is a store, as the suite has it, and does what the memory store does.

use std::sync::Arc;

use operond_store::conformance::{self, Archived, Differential, Subject};
use operond_store::{Archive, ManualClock, MemoryStore, Store};
use operond_store_sqlite::{Options, SqliteArchive, SqliteStore};
use tempfile::TempDir;

use crate::fixture::{START, path_in, wait};

/// A directory that outlives the handles of its store.
struct InDirectory(TempDir);

impl InDirectory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, clock: Arc<ManualClock>, options: Options) -> SqliteStore {
        SqliteStore::open(path_in(self.0.path()), options, clock).unwrap()
    }
}

impl Subject for InDirectory {
    fn open(&mut self, clock: Arc<ManualClock>) -> Arc<dyn Store> {
        Arc::new(Self::open(self, clock, Options::default()))
    }
}

impl Archived for InDirectory {
    fn archive(&mut self) -> Arc<dyn Archive> {
        Arc::new(SqliteArchive::open(path_in(self.0.path())).unwrap())
    }

    fn move_house(&mut self) -> Arc<dyn Archive> {
        *self = Self::new();
        self.archive()
    }
}

conformance::suite!(InDirectory::new());
conformance::restart_suite!(InDirectory::new());
conformance::copy_suite!(InDirectory::new());

/// Holds it against the memory store, then closes it, opens it again, and compares everything once more.
fn agrees_with_memory(options: Options) {
    let clock = Arc::new(ManualClock::new(START));
    let directory = InDirectory::new();
    let memory = MemoryStore::new(Arc::clone(&clock));
    let sqlite = directory.open(Arc::clone(&clock), options);
    let history = Differential::from_env(100_000).run(&clock, &memory, &sqlite);
    assert!(history.operations() > 2_500, "{} operations", history.operations());
    wait(sqlite.close()).unwrap();
    history.compare(&memory, &directory.open(Arc::clone(&clock), options));
}

#[test]
fn it_does_what_the_memory_store_does() {
    agrees_with_memory(Options::default());
}

#[test]
fn a_log_that_begins_anew_all_the_time_makes_no_difference() {
    agrees_with_memory(Options { log_bytes_max: 64 << 10, readers: 1, ..Options::default() });
}

/// Twenty thousand filters, half of them over what is read out of payloads.
#[test]
fn it_lists_and_counts_what_the_memory_store_does() {
    let clock = Arc::new(ManualClock::new(START));
    let directory = InDirectory::new();
    let memory = MemoryStore::new(Arc::clone(&clock));
    let sqlite = directory.open(Arc::clone(&clock), Options::default());
    let made_up = Differential::from_env(3_000);
    made_up.run(&clock, &memory, &sqlite);
    let listed = made_up.lists(20_000, &memory, &sqlite);
    assert!(listed > 10_000, "{listed} operations listed");
}
