//! Two primaries at once: one that was taken over from and does not know it.

use operond_store::Store;
use operond_store_postgres::cluster::{Cluster, Kind, Settings};

use crate::fixture::{migrated, open, until, wait};
use crate::outcome::{created, creates};

const END_CONNECTIONS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                               WHERE application_name = 'operond'";

#[test]
fn f27_a_primary_that_was_taken_over_from_is_not_used_again() {
    let old = Cluster::start(&Settings::of(Kind::Fast));
    let url = migrated(old.url_in_schema("shared"));
    let new = Cluster::standby_of(&old);
    let here = |port: u16| format!("127.0.0.1:{port}");
    let store = open(&url.replace(&here(old.port()), &format!("{},{}", here(old.port()), here(new.port()))));
    new.psql("SELECT pg_promote()");
    // It goes to one or the other; having met the new one it never goes back.
    let mut n = 0;
    let mut lands_at_the_new_one = || {
        n = (n + 1) % 200;
        let Ok(applied) = wait(store.update(creates(n, 1))) else { return None };
        let id = &created(&applied)[0].id;
        Some(new.psql(&format!("SELECT count(*) FROM shared.operations WHERE id = '{id}'")).trim() == "1")
    };
    let end_connections = || [&old, &new].map(|cluster| cluster.psql(END_CONNECTIONS));
    until("it meets the new primary", || {
        end_connections();
        lands_at_the_new_one() == Some(true)
    });
    for _ in 0..12 {
        end_connections();
        let mut landed = None;
        until("it takes a write again", || {
            landed = lands_at_the_new_one();
            landed.is_some()
        });
        assert_eq!(landed, Some(true), "it went back to the old primary");
    }
}
