//! It is a store, as the suite has it, and does what the memory store does.

use std::sync::Arc;

use operond_core::OperationId;
use operond_store::conformance::{self, Archived, Differential, Subject};
use operond_store::{Archive, ManualClock, MemoryStore, Store};
use operond_store_postgres::{Options, PostgresArchive};

use crate::fixture::{RUNTIME, START, fresh, open_with, passing, small, wait};
use crate::outcome::Holder;

/// A schema that outlives the handles of its store, and those who have something in it locked.
struct InSchema {
    url: String,
    options: Options,
    holders: Vec<Holder>,
}

impl InSchema {
    fn new() -> Self {
        Self { url: fresh(), options: small(), holders: Vec::new() }
    }

    /// The same with a store that always passes over what is dead in the indexes.
    fn passing() -> Self {
        Self { options: passing(), ..Self::new() }
    }
}

impl Subject for InSchema {
    fn open(&mut self, clock: Arc<ManualClock>) -> Arc<dyn Store> {
        Arc::new(open_with(&self.url, self.options, clock))
    }

    fn hold(&mut self, id: &OperationId) -> bool {
        self.holders.push(Holder::of(&self.url, id));
        true
    }
}

impl Archived for InSchema {
    fn archive(&mut self) -> Arc<dyn Archive> {
        Arc::new(RUNTIME.block_on(PostgresArchive::open(&self.url)).unwrap())
    }

    fn move_house(&mut self) -> Arc<dyn Archive> {
        self.url = fresh();
        self.archive()
    }
}

conformance::suite!(InSchema::new());
conformance::restart_suite!(InSchema::new());
conformance::copy_suite!(InSchema::new());

mod passing {
    use super::*;

    conformance::suite!(InSchema::passing());

    #[test]
    fn it_does_what_the_memory_store_does() {
        agrees_with_memory(passing());
    }
}

#[test]
fn it_does_what_the_memory_store_does() {
    agrees_with_memory(small());
}

/// Held against the memory store, then closed, opened again, and compared once more.
fn agrees_with_memory(options: Options) {
    let clock = Arc::new(ManualClock::new(START));
    let url = fresh();
    let memory = MemoryStore::new(Arc::clone(&clock));
    let postgres = open_with(&url, options, Arc::clone(&clock));
    let history = Differential::from_env(100_000).run(&clock, &memory, &postgres);
    assert!(history.operations() > 5_000, "{} operations", history.operations());
    wait(postgres.close()).unwrap();
    history.compare(&memory, &open_with(&url, options, Arc::clone(&clock)));
}

/// Two thousand filters, half of them over what is read out of payloads.
#[test]
fn it_lists_and_counts_what_the_memory_store_does() {
    let clock = Arc::new(ManualClock::new(START));
    let memory = MemoryStore::new(Arc::clone(&clock));
    let postgres = open_with(&fresh(), small(), Arc::clone(&clock));
    let made_up = Differential::from_env(3_000);
    made_up.run(&clock, &memory, &postgres);
    let listed = made_up.lists(2_000, &memory, &postgres);
    assert!(listed > 1_000, "{listed} operations listed");
}
