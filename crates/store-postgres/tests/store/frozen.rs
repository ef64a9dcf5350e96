//! A primary that stands still while another one takes over, and then goes on without knowing of it.

use operond_core::Scope;
use operond_store::{Error, Lookup, Store};
use operond_store_postgres::PostgresStore;
use operond_store_postgres::cluster::{Cluster, Kind, Settings};
use tokio::time::Instant;

use crate::fixture::{migrated, open, until, wait};
use crate::outcome::{created, creates};

/// A primary, its standby, and a store that knows both and has connections of every sort to the primary.
fn pair() -> (Cluster, Cluster, PostgresStore) {
    let old = Cluster::start(&Settings::of(Kind::Fast));
    let url = migrated(old.url_in_schema("shared"));
    let new = Cluster::standby_of(&old);
    let here = |port: u16| format!("127.0.0.1:{port}");
    let store = open(&url.replace(&here(old.port()), &format!("{},{}", here(old.port()), here(new.port()))));
    let first = created(&wait(store.update(creates(0, 1))).unwrap())[0].id.clone();
    assert!(matches!(wait(store.get(&Scope::default(), &first)), Ok(Lookup::Found(_))));
    (old, new, store)
}

#[test]
fn f27_who_reads_is_not_shown_what_a_primary_was_when_it_froze() {
    let (mut old, new, store) = pair();
    old.pause();
    new.psql("SELECT pg_promote()");
    let mut later = None;
    until("a write is taken by the new primary", || {
        let applied = wait(store.update(creates(1, 1))).ok();
        later = applied.map(|applied| created(&applied)[0].id.clone());
        later.is_some()
    });
    old.resume();
    // Each connection of the pool has its turn.
    for _ in 0..20 {
        assert!(matches!(wait(store.get(&Scope::default(), later.as_ref().unwrap())), Ok(Lookup::Found(_))));
    }
}

#[test]
fn a_read_that_is_under_way_when_the_database_stands_still_is_refused() {
    let (mut old, _new, store) = pair();
    old.pause();
    let began = Instant::now();
    assert!(matches!(wait(store.ping()), Err(Error::Unavailable(_))));
    assert!(began.elapsed().as_secs() < 9, "{:?}", began.elapsed());
    old.resume();
}

#[test]
fn a_host_that_stands_still_does_not_keep_the_others_from_their_turn() {
    let (mut old, new, _store) = pair();
    new.psql("SELECT pg_promote()");
    old.pause();
    let here = |port: u16| format!("127.0.0.1:{port}");
    let hosts = format!("{},{}", here(old.port()), here(new.port()));
    let url = format!("postgres://operond@{hosts}/postgres?options=-c%20search_path%3Dshared");
    let store = open(&url);
    assert_eq!(created(&wait(store.update(creates(2, 1))).unwrap()).len(), 1);
    old.resume();
}
