//! What tells whoever copies a database that a server has it.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Kind, NewOperation, Spec, Timestamp};
use operond_store::{Archive, Batch, CreateRequest, Request, Store};
use operond_store_postgres::{OpenError, PostgresArchive, PostgresStore};

use crate::fixture::{RUNTIME, fresh, open, small, wait};

fn archive(url: &str) -> PostgresArchive {
    RUNTIME.block_on(PostgresArchive::open(url)).unwrap()
}

/// How long ago a server said that it is there.
fn served(url: &str) -> Option<Duration> {
    wait(archive(url).standing()).unwrap().served
}

/// When it was stored.
fn create(store: &PostgresStore, entropy: u8) -> Timestamp {
    let new = NewOperation { spec: Spec::new(Kind::new("k").unwrap()).into(), metadata: None, claim: None };
    let request = Request::Create(Box::new(CreateRequest { new, entropy: [entropy; 13], key: None }));
    wait(store.update(Arc::new(Batch { requests: vec![request] }))).unwrap().at
}

#[test]
fn a_server_is_seen_until_it_stops_in_good_order() {
    let url = fresh();
    assert_eq!(served(&url), None, "nobody was there");
    let store = open(&url);
    create(&store, 1);
    assert!(served(&url).is_some_and(|ago| ago < Duration::from_secs(10)), "{:?}", served(&url));
    wait(store.close()).unwrap();
    assert_eq!(served(&url), None);
}

#[test]
fn what_a_server_wrote_last_counts_as_stored_although_it_had_no_time_to_note_it() {
    let url = fresh();
    let store = open(&url);
    let newest = || wait(archive(&url).standing()).unwrap().identity.newest;
    for entropy in 1..20 {
        let at = create(&store, entropy);
        assert!(newest() >= Some(at), "{at} is stored");
    }
    let before = newest();
    wait(store.close()).unwrap();
    assert!(newest() >= before);
}

#[test]
fn a_server_does_not_open_an_unfinished_copy() {
    let url = fresh();
    let to = archive(&url);
    let identity = wait(archive(&fresh()).standing()).unwrap().identity;
    wait(to.begin("sqlite:the-source".into(), identity)).unwrap();
    let refused = RUNTIME.block_on(PostgresStore::open(&url, small())).err().unwrap();
    assert!(matches!(refused, OpenError::Unfinished { .. }), "{refused}");
    assert!(refused.to_string().contains("unfinished copy of sqlite:the-source"), "{refused}");
    wait(to.finish()).unwrap();
    RUNTIME.block_on(PostgresStore::open(&url, small())).unwrap();
}
