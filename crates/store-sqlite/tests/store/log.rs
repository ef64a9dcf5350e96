//! The write-ahead log stays short, whatever the load.

use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::thread;

use operond_core::{Any, Scope, Spec};
use operond_store::{Face, Filter, ListQuery, Store};
use operond_store_sqlite::Options;

use crate::fixture::{Fixture, spec, wait};

#[test]
fn the_log_stays_within_twice_its_limit_while_others_read() {
    const LIMIT: u64 = 4 << 20;
    let mut fixture = Fixture::new(Options { log_bytes_max: LIMIT, ..Options::default() });
    let log = fixture.directory.path().join("operond.db-wal");
    let input = Any::new("type.googleapis.com/t.Input", [7; 8_000].as_slice());
    let spec = Spec { input: Some(input), ..spec("k") };
    let first = fixture.create(1, &spec).unwrap().remove(0);
    let filter = Arc::new(Filter::parse("kind = k", Face::Native).unwrap());
    let page = ListQuery { filter, bytes_max: usize::MAX, ..ListQuery::default() };
    let store: &dyn Store = &fixture.store;
    let mut longest = 0;
    let (reads_on, read_on) = sync_channel::<()>(0);
    thread::scope(|scope| {
        let (first, page) = (&first, &page);
        scope.spawn(move || {
            while read_on.try_recv() == Err(TryRecvError::Empty) {
                wait(store.get(&Scope::default(), &first.id)).unwrap();
                wait(store.list(page)).unwrap();
            }
        });
        for round in 0..120_u8 {
            let requests = (0..64_u8).map(|n| {
                let mut entropy = [round; operond_core::ID_ENTROPY_BYTES];
                entropy[0] = n;
                crate::fixture::create(&spec, entropy)
            });
            crate::fixture::update(store, requests.collect()).unwrap();
            longest = longest.max(log.metadata().unwrap().len());
        }
        drop(reads_on);
    });
    let stored = fixture.path().metadata().unwrap().len();
    assert!(stored > 8 * LIMIT, "only {stored} bytes went through the log");
    assert!(longest <= 2 * LIMIT, "the log was {longest} bytes long");
}

#[test]
fn pages_of_deleted_operations_go_back_to_the_file_system() {
    let mut fixture = Fixture::new(Options::default());
    let input = Any::new("type.googleapis.com/t.Input", [7; 500_000].as_slice());
    fixture.create(20, &Spec { input: Some(input), ..spec("k") }).unwrap();
    let claimed = fixture.claim("k", 20);
    let most = {
        fixture = fixture.reopen(Options::default());
        fixture.path().metadata().unwrap().len()
    };
    for operation in &claimed {
        fixture.complete(operation).unwrap().unwrap();
        fixture.delete(&operation.id).unwrap();
    }
    // The store frees pages when nobody asks for anything: so this waits without asking.
    let (_quiet, never) = sync_channel::<()>(1);
    let mut left = most;
    for _ in 0..200 {
        let _timeout = never.recv_timeout(std::time::Duration::from_millis(50));
        left = fixture.path().metadata().unwrap().len();
        if left < most / 4 {
            return;
        }
    }
    panic!("the file is still {left} bytes long, of {most}");
}
