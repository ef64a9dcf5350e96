//! Two primaries at once: one that was taken over from and does not know it.

use operond_store::Store;
use operond_store_postgres::cluster::{Cluster, Kind, Settings};

use crate::fixture::{migrated, open, until, wait};
use crate::outcome::{created, creates};

#[test]
fn f27_a_primary_that_was_taken_over_from_is_not_used_again() {
    let configuration = vec!["log_connections = on".to_owned()];
    let mut old = Cluster::start(&Settings { configuration, ..Settings::of(Kind::Fast) });
    let url = migrated(old.url_in_schema("shared"));
    let mut new = Cluster::standby_of(&old);
    let here = |port: u16| format!("127.0.0.1:{port}");
    let store = open(&url.replace(&here(old.port()), &format!("{},{}", here(old.port()), here(new.port()))));
    new.psql("SELECT pg_promote()");
    // A host that answers is kept to: only without the old primary the new one is met.
    old.kill();
    until("it meets the new primary", || lands_at(&new, &store));
    old.start_again();
    new.kill();
    let connected = || old.log().matches("application_name=operond").count();
    let (before, rows) = (connected(), old.psql(COUNT));
    until("it has looked at the old primary, again and again", || {
        let answer = wait(store.update(creates(0, 1)));
        assert!(answer.is_err(), "it went back to the old primary: {answer:?}");
        connected() >= before + 3
    });
    assert_eq!(old.psql(COUNT), rows);
    new.start_again();
    until("it goes on with the new primary", || lands_at(&new, &store));
}

/// Creates, and says whether it was done and is to be found there.
fn lands_at(cluster: &Cluster, store: &dyn Store) -> bool {
    let Ok(applied) = wait(store.update(creates(0, 1))) else { return false };
    let id = &created(&applied)[0].id;
    let found = cluster.psql(&format!("SELECT count(*) FROM shared.operations WHERE id = '{id}'"));
    assert_eq!(found, "1", "it was written elsewhere");
    true
}

const COUNT: &str = "SELECT count(*) FROM shared.operations";
