//! Somebody else's transaction holds a lock for long (an operator at `psql`, a backup, a change by hand): what needs
//! what it holds is UNAVAILABLE in bounded time, and the rest goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use operond_proto::operond::v1::{CancelRequest, ClaimRequest, DeleteRequest};
use operond_store_postgres::cluster::{Cluster, Kind};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::support::served::migrated;
use crate::support::{Psql, Served, claim, claimed, complete, create, get, operations, seconds, work};

/// Whatever is locked, a call is answered within this time.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// What needs nothing that is locked is held up for less than this.
const BESIDE_MAX: Duration = Duration::from_secs(5);
const CLIENTS: usize = 8;

/// Commands on the held operation are refused again and again, and no command beside them is.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_whose_row_somebody_holds_is_unavailable_and_the_others_go_on() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let (a, b) = (Served::start(&store, &[]), Served::start(&store, &[]));
    let held = operations(&a.http).create(create("held")).await.unwrap().into_inner().id;
    let mut somebody = Psql::open(&store).unwrap();
    somebody.run(&format!("BEGIN; SELECT id FROM operations WHERE id = '{held}' FOR UPDATE"));

    let stop = Arc::new(AtomicBool::new(false));
    let [neighbours, others] = [&a, &b].map(|server| {
        let mut creators = JoinSet::new();
        for _ in 0..CLIENTS {
            creators.spawn(creates(server.http.clone(), Arc::clone(&stop)));
        }
        creators
    });
    let cancel = || CancelRequest { id: held.clone(), reason: String::new() };
    for _ in 0..3 {
        let (took, refused) = timed(operations(&a.http).cancel(cancel())).await;
        println!("a command on the held operation: {took:?}");
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
        assert!(took < ANSWER_MAX, "{took:?}");
        assert!(!operations(&a.http).get(get(&held)).await.unwrap().into_inner().done, "it can be read meanwhile");
    }
    stop.store(true, Ordering::SeqCst);
    let neighbours = tell("creates on the same server", &neighbours.join_all().await.concat());
    let others = tell("creates on another server", &others.join_all().await.concat());
    for went in [neighbours, others] {
        assert!(went.all > 0 && went.refused == 0 && went.longest < BESIDE_MAX, "{went:?}");
    }

    somebody.run("ROLLBACK");
    assert!(operations(&a.http).cancel(cancel()).await.unwrap().into_inner().done);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_somebody_locks_a_whole_table_calls_are_unavailable_and_afterwards_all_goes_on() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let server = Served::start(&store, &[]);
    let url = &server.http;
    let id = operations(url).create(create("held")).await.unwrap().into_inner().id;
    let lease = claimed(url, "held").await.lease;
    let mut somebody = Psql::open(&store).unwrap();
    somebody.run("BEGIN; LOCK TABLE operations IN ACCESS EXCLUSIVE MODE");
    let at_once = ClaimRequest { wait: seconds(0), ..claim("held") };
    let (mut creator, mut worker, mut reader) = (operations(url), work(url), operations(url));
    let (created, claims, completed, read) = tokio::join!(
        timed(creator.create(create("held"))),
        timed(worker.claim(at_once)),
        async { timed(work(url).complete(complete(&lease))).await },
        timed(reader.get(get(&id))),
    );
    for (took, code) in [code(created), code(claims), code(completed), code(read)] {
        println!("with the table locked: {code:?} after {took:?}");
        assert!(code == Some(Code::Unavailable) && took < ANSWER_MAX, "{code:?} after {took:?}");
    }
    somebody.run("ROLLBACK");
    // What waited for the lock when it was let go may still be under way: the lease is what it was.
    assert!(work(url).complete(complete(&lease)).await.unwrap().into_inner().done);
    operations(url).create(create("afterwards")).await.unwrap();
    claimed(url, "afterwards").await;
}

/// A transaction that fails before its commit is sent leaves nothing to the one behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_stops_one_command_half_way_fails_no_other_command() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let server = Served::start(&store, &[]);
    let url = &server.http;
    let id = operations(url).create(create("held")).await.unwrap().into_inner().id;
    let lease = claimed(url, "held").await.lease;
    work(url).complete(complete(&lease)).await.unwrap();
    let mut somebody = Psql::open(&store).unwrap();
    // No delete was carried out before: its statements are not prepared yet.
    somebody.run("BEGIN; LOCK TABLE tombstones IN ACCESS EXCLUSIVE MODE");
    let refused = operations(url).delete(DeleteRequest { id: id.clone() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    for _ in 0..10 {
        operations(url).create(create("other")).await.expect("nothing of it is locked");
    }
    somebody.run("ROLLBACK");
    operations(url).delete(DeleteRequest { id }).await.unwrap();
    let log = server.log();
    assert!(!log.contains("25P02") && !log.contains("already a transaction in progress"), "{log}");
}

/// How calls went, as a whole.
#[derive(Debug)]
struct Went {
    all: usize,
    refused: usize,
    longest: Duration,
}

fn tell(what: &str, calls: &[(Duration, Option<Code>)]) -> Went {
    assert!(calls.iter().all(|(_, code)| code.is_none_or(|code| code == Code::Unavailable)), "{calls:?}");
    let refused = calls.iter().filter(|(_, code)| code.is_some()).count();
    let longest = calls.iter().map(|(took, _)| *took).max().unwrap_or_default();
    println!("{what}: {} in all, {refused} of them unavailable, the longest took {longest:?}", calls.len());
    Went { all: calls.len(), refused, longest }
}

async fn creates(url: String, stop: Arc<AtomicBool>) -> Vec<(Duration, Option<Code>)> {
    let mut operations = operations(&url);
    let mut calls = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        calls.push(code(timed(operations.create(create("free"))).await));
    }
    calls
}

async fn timed<T>(call: impl Future<Output = Result<T, Status>>) -> (Duration, Result<T, Status>) {
    let began = Instant::now();
    let answer = call.await;
    (began.elapsed(), answer)
}

fn code<T>((took, answer): (Duration, Result<T, Status>)) -> (Duration, Option<Code>) {
    (took, answer.err().map(|refused| refused.code()))
}
