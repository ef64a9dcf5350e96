//! Reads that the database does not answer: they are told in bounded time, those behind them sooner, and afterwards all
//! is well. A server has eight connections that read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use operond_proto::operond::v1::ListRequest;
use operond_store_postgres::cluster::{Cluster, Kind, Settings};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::support::served::migrated;
use crate::support::{Psql, Served, create, get, operations};

const READERS: usize = 8;
/// Who finds no connection free waits three seconds for one.
const BEHIND_MAX: Duration = Duration::from_secs(8);
/// What is under way is given up after twelve.
const ANSWER_MAX: Duration = Duration::from_secs(25);
/// For what takes a moment; only a failure takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Reads that somebody's lock holds up.
const HELD_UP: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'operond' \
                       AND wait_event_type = 'Lock' AND query NOT LIKE '%FOR UPDATE%'";

/// Each waits for the lock for half a second, and is behind others.
#[tokio::test(flavor = "multi_thread")]
async fn reads_that_wait_for_a_lock_are_told_and_so_are_those_behind_them() {
    let store = migrated(Cluster::shared(Kind::Fast));
    let server = Served::start(&store, &[]);
    let id = operations(&server.http).create(create("read")).await.unwrap().into_inner().id;
    let mut somebody = Psql::open(&store).unwrap();
    somebody.run("BEGIN; LOCK TABLE specs IN ACCESS EXCLUSIVE MODE");
    let mut reads = JoinSet::new();
    for _ in 0..4 * READERS {
        let (url, id) = (server.http.clone(), id.clone());
        reads.spawn(async move { timed(list(&url)).await });
        let url = server.http.clone();
        reads.spawn(async move { timed(read(&url, &id)).await });
    }
    for (took, answer) in reads.join_all().await {
        told(answer);
        assert!(took < ANSWER_MAX, "{took:?}");
    }
    somebody.run("ROLLBACK");
    list(&server.http).await.unwrap();
    read(&server.http, &id).await.unwrap();
}

/// The processes of all eight stand still, and the rest of the database is well.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_stand_still_keep_reads_for_seconds_and_the_next_ones_not_at_all() {
    let cluster = Cluster::start(&Settings::of(Kind::Fast));
    let store = migrated(&cluster);
    let server = Served::start(&store, &[]);
    let url = &server.http;
    let id = operations(url).create(create("read")).await.unwrap().into_inner().id;
    let (mut somebody, mut beside) = (Psql::open(&store).unwrap(), Psql::open(&store).unwrap());
    somebody.run("BEGIN; LOCK TABLE specs IN ACCESS EXCLUSIVE MODE");
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..2 * READERS {
        readers.spawn(lists(url.clone(), Arc::clone(&stop)));
    }
    let (began, mut frozen) = (Instant::now(), BTreeSet::new());
    while frozen.len() < READERS {
        assert!(began.elapsed() < PATIENCE, "{} of {READERS} were caught", frozen.len());
        for session in beside.run(HELD_UP).lines() {
            signal(session, Signal::STOP);
            frozen.insert(session.to_owned());
        }
    }
    somebody.run("ROLLBACK");
    for (took, ninth) in [timed(list(url)).await, timed(read(url, &id)).await] {
        println!("behind those that stand still: told after {took:?}");
        told(ninth);
        assert!(took < BEHIND_MAX, "{took:?}");
    }
    operations(url).create(create("written")).await.expect("what writes has connections of its own");
    stop.store(true, Ordering::SeqCst);
    let longest = readers.join_all().await.into_iter().max().unwrap();
    println!("those that stood still were told after {longest:?}");
    assert!(longest < ANSWER_MAX, "{longest:?}");
    list(url).await.expect("there are new connections");
    read(url, &id).await.expect("there are new connections");
    frozen.iter().for_each(|session| signal(session, Signal::CONT));
    list(url).await.unwrap();
}

/// Lists until it is to stop; how long the longest took.
async fn lists(url: String, stop: Arc<AtomicBool>) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::SeqCst) {
        let (took, answer) = timed(list(&url)).await;
        if answer.is_err() {
            told(answer);
        }
        longest = longest.max(took);
    }
    longest
}

async fn list(url: &str) -> Result<(), Status> {
    operations(url).list(ListRequest::default()).await.map(drop)
}

async fn read(url: &str, id: &str) -> Result<(), Status> {
    operations(url).get(get(id)).await.map(drop)
}

/// That it was not to be had now.
#[track_caller]
fn told(answer: Result<(), Status>) {
    let refused = answer.expect_err("nothing can be read");
    let details = String::from_utf8_lossy(refused.details());
    assert!(refused.code() == Code::Unavailable && details.contains("STORE_UNAVAILABLE"), "{refused:?}");
}

async fn timed<T>(call: impl Future<Output = T>) -> (Duration, T) {
    let began = Instant::now();
    let answer = call.await;
    (began.elapsed(), answer)
}

/// A session that has ended of its own accord is none any more.
fn signal(session: &str, signal: Signal) {
    let _ended = kill_process(session.parse().ok().and_then(Pid::from_raw).unwrap(), signal);
}
