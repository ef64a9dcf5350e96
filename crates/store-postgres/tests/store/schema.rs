//! The schema: brought up by command, by two at once, and beside the release before and the next one.

use operond_store_postgres::cluster::{Cluster, Kind, Settings};
use operond_store_postgres::{OpenError, PostgresStore};

use crate::fixture::{RUNTIME, fresh, migrated, open, small, until, wait};

fn opened(url: &str) -> Result<PostgresStore, OpenError> {
    RUNTIME.block_on(PostgresStore::open(url, small()))
}

/// Changes what the schema in `url` says of itself.
fn pretend(url: &str, version: i64, serves: i64) {
    RUNTIME.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        RUNTIME.spawn(connection);
        let sql = "UPDATE operond_meta SET version = $1, serves = $2";
        assert_eq!(client.execute(sql, &[&version, &serves]).await.unwrap(), 1);
    });
}

#[test]
fn a_schema_is_brought_up_once() {
    let url = Cluster::shared(Kind::Fast).fresh_schema();
    let migrate = || RUNTIME.block_on(PostgresStore::migrate(&url)).unwrap();
    assert!(migrate() > 0);
    assert_eq!(migrate(), 0);
    let schema = RUNTIME.block_on(PostgresStore::schema(&url)).unwrap();
    assert!(!schema.is_too_old() && !schema.is_too_new(), "{schema:?}");
}

#[test]
fn two_that_bring_a_schema_up_at_the_same_time_take_turns() {
    for _ in 0..5 {
        let url = Cluster::shared(Kind::Fast).fresh_schema();
        let migrate = || {
            RUNTIME.spawn({
                let url = url.clone();
                async move { PostgresStore::migrate(&url).await }
            })
        };
        let both = [migrate(), migrate()];
        let taken: usize = both.map(|one| RUNTIME.block_on(one).unwrap().unwrap()).iter().sum();
        let known = RUNTIME.block_on(PostgresStore::schema(&url)).unwrap().known;
        assert_eq!(i64::try_from(taken), Ok(known), "each step was taken once");
    }
}

#[test]
fn a_database_without_the_schema_is_not_served() {
    let url = Cluster::shared(Kind::Fast).fresh_schema();
    let error = opened(&url).err().unwrap();
    assert!(matches!(error, OpenError::Older { found: 0, .. }), "{error:?}");
    assert!(error.to_string().contains("operond migrate up"), "{error}");
}

/// A step is made so that the release before goes on working: it says so, and is believed.
#[test]
fn f53_a_schema_of_the_next_release_is_served_where_it_says_that_this_one_may() {
    let url = fresh();
    let known = RUNTIME.block_on(PostgresStore::schema(&url)).unwrap().known;
    pretend(&url, known + 1, known);
    wait(operond_store::Store::ping(&open(&url))).unwrap();
    pretend(&url, known + 2, known + 1);
    let error = opened(&url).err().unwrap();
    assert!(
        matches!(error, OpenError::Newer { found, serves, .. } if found == known + 2 && serves == known + 1),
        "{error:?}"
    );
}

#[test]
fn what_a_database_may_lose_is_told() {
    let fast = open(&fresh()).durability();
    assert!(fast.fsync_off && fast.full_page_writes_off && fast.no_synchronous_standby);
    assert!(!fast.holds());
    assert_eq!(fast.to_string().lines().count(), 3, "{fast}");
    let durable = Cluster::start(&Settings::of(Kind::Durable));
    let url = migrated(durable.fresh_schema());
    let alone = open(&url).durability();
    assert!(!alone.fsync_off && !alone.synchronous_commit_off && alone.no_synchronous_standby, "{alone:?}");
    let standby = Cluster::standby_of(&durable);
    durable.configure("synchronous_standby_names", "*");
    let store = open(&url);
    assert!(store.durability().holds(), "{}", store.durability());
    assert_eq!(wait(operond_store::Store::ping(&store)).unwrap(), [""; 0]);
    // It is looked at again and again.
    durable.configure("synchronous_standby_names", "");
    until("it says that it may lose something", || !store.durability().holds());
    assert_eq!(wait(operond_store::Store::ping(&store)).unwrap().len(), 1);
    drop(standby);
}

/// It is looked at how connections begin: the one that looks has it off for itself.
#[test]
fn a_database_that_acknowledges_before_it_has_written_is_told_by_whoever_says_so() {
    let cluster = Cluster::start(&Settings::of(Kind::Durable));
    let url = migrated(cluster.fresh_schema());
    for who in ["DATABASE postgres", "ROLE operond"] {
        for (value, off) in
            [("off", true), ("local", true), ("remote_write", true), ("on", false), ("remote_apply", false)]
        {
            cluster.psql(&format!("ALTER {who} SET synchronous_commit = {value}"));
            let durability = open(&url).durability();
            assert_eq!(durability.synchronous_commit_off, off, "{who} {value}");
            assert_eq!(durability.to_string().contains("set synchronous_commit = on"), off, "{durability}");
        }
        cluster.psql(&format!("ALTER {who} RESET synchronous_commit"));
    }
    let store = open(&url);
    assert!(!store.durability().synchronous_commit_off);
    for (value, off) in [("off", true), ("on", false)] {
        cluster.configure("synchronous_commit", value);
        until("a server that runs sees it", || store.durability().synchronous_commit_off == off);
    }
}
