//! Transactions that the database does not let pass, or does not tell the end of: what callers hear, and what is so.

use std::time::{Duration, Instant};

use operond_proto::operond::v1::{CountRequest, CreateRequest, WaitRequest};
use operond_store_postgres::cluster::{Cluster, Kind, Settings};
use tonic::{Code, Status};

use crate::support::served::migrated;
use crate::support::{Psql, Served, claimed, complete, create, get, operations, seconds, work};

#[tokio::test(flavor = "multi_thread")]
async fn f26_conflicts_without_end_are_told_as_a_store_that_is_not_available() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let mut psql = Psql::open(&store).unwrap();
    psql.run(
        "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'another transaction was there' USING ERRCODE = '40001'; END $$",
    );
    psql.run("CREATE TRIGGER trouble BEFORE INSERT ON operations FOR EACH ROW EXECUTE FUNCTION trouble()");
    let server = Served::start(&store, &[]);
    let refused = operations(&server.http).create(create("conflict")).await.unwrap_err();
    assert!(is_unavailable(&refused), "{refused:?}");
    psql.run("DROP TRIGGER trouble ON operations");
    assert_eq!(count(&server).await, 0);
    operations(&server.http).create(create("conflict")).await.unwrap();
    claimed(&server.http, "conflict").await;
}

/// The outcome is not known, and is told as that; whoever asks the same again is answered as if the first had been.
#[tokio::test(flavor = "multi_thread")]
async fn f24_commits_that_wait_for_a_standby_are_not_known_and_are_what_they_were_when_there_is_one() {
    let cluster = Cluster::start(&Settings::of(Kind::Durable));
    let server = Served::start(&migrated(&cluster), &[]);
    let url = &server.http;
    let id = operations(url).create(create("standby")).await.unwrap().into_inner().id;
    let lease = claimed(url, "standby").await.lease;
    let mut waiter = operations(url);
    let waiting = tokio::spawn({
        let wait = WaitRequest { id: id.clone(), timeout: seconds(60) };
        async move { waiter.wait(wait).await.unwrap().into_inner() }
    });
    cluster.configure("synchronous_standby_names", "nobody");
    let began = Instant::now();
    let new = || CreateRequest { idempotency_key: Some("once".into()), ..create("standby") };
    let (completed, created) = tokio::join!(async { work(url).complete(complete(&lease)).await }, async {
        operations(url).create(new()).await
    },);
    println!("told after {:?}", began.elapsed());
    assert!(began.elapsed() < TOLD_MAX, "{:?}", began.elapsed());
    for refused in [completed.unwrap_err(), created.unwrap_err()] {
        assert!(is_unavailable(&refused), "{refused:?}");
    }
    assert!(!operations(url).get(get(&id)).await.unwrap().into_inner().done, "no standby has it");
    assert!(!cluster.log().contains("due to user request"), "somebody cancelled a commit: {}", cluster.log());
    cluster.configure("synchronous_standby_names", "");
    assert!(work(url).complete(complete(&lease)).await.unwrap().into_inner().done);
    assert!(waiting.await.unwrap().done, "who waited is told");
    let first = operations(url).create(new()).await.unwrap().into_inner().id;
    assert_eq!(operations(url).create(new()).await.unwrap().into_inner().id, first);
    assert_eq!(count(&server).await, 2, "the key is one operation");
}

fn is_unavailable(refused: &Status) -> bool {
    let details = String::from_utf8_lossy(refused.details());
    refused.code() == Code::Unavailable && details.contains("STORE_UNAVAILABLE")
}

async fn count(server: &Served) -> i64 {
    operations(&server.http).count(CountRequest::default()).await.unwrap().into_inner().count
}

/// A commit is waited for for five seconds, and looked for for ten; a claim may be under way before.
const TOLD_MAX: Duration = Duration::from_secs(40);
