//! How fast operations past their retention are removed, and what that does to reads, on a cluster that
//! writes to its disk.
//!
//! `cargo bench -p operond-store-postgres --bench retention [-- OPERATIONS]`; 100,000 when none are given.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use operond_core::{
    Any, Claim, Command, Complete, Completion, Digest, Kind, LeaseKey, LeaseSecret, NewOperation, Operation,
    OperationId, Retention, Scope, Spec, Worker,
};
use operond_store::conformance::block_on;
use operond_store::{Accepted, Batch, CreateRequest, Request, Store};
use operond_store_postgres::cluster::{self, Cluster};
use operond_store_postgres::{Options, PostgresStore};

fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let benching = std::env::args().any(|argument| argument == "--bench");
    // `cargo test --all-targets` runs it, too: to see that it works.
    let operations = if benching { asked.unwrap_or(100_000) } else { 2_000 };
    let runtime = tokio::runtime::Runtime::new().expect("the system gives threads");
    let url = Cluster::shared(cluster::Kind::Durable).fresh_schema();
    runtime.block_on(PostgresStore::migrate(&url)).expect("a fresh schema takes every step");
    let store = runtime.block_on(PostgresStore::open(&url, Options::default())).expect("it opens");

    let kept = finished(&store, 1_000, None);
    let quiet = reads(&store, &kept, || thread::park_timeout(Duration::from_secs(if benching { 3 } else { 0 })));
    let last = finished(&store, operations, Some(Duration::from_secs(1)));
    let due = last.iter().map(|operation| operation.modified_at).max().expect("some").after(Duration::from_secs(1));
    while ask(&store, vec![Request::Settle(0)]).at < due {}

    let began = Instant::now();
    let mut removed = 0;
    let busy = reads(&store, &kept, || {
        loop {
            let Ok(Accepted::Settled(some)) = ask(&store, vec![Request::Settle(SETTLED)]).replies.remove(0) else {
                panic!("settling is never refused")
            };
            removed += some;
            if some < SETTLED {
                return;
            }
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    println!("operations removed                {removed}");
    println!(
        "removed a second                  {:.0}  (aim: 2,000)",
        f64::from(u32::try_from(removed).unwrap_or(u32::MAX)) / seconds
    );
    println!("a read beside it, p50 / p99       {:.2} / {:.2} ms", busy.0, busy.1);
    println!("a read with nothing beside it     {:.2} / {:.2} ms", quiet.0, quiet.1);
    block_on(store.close()).expect("it closes");
}

/// Makes `count` operations that are done, kept for `retention`; gives back some of the last ones.
fn finished(store: &PostgresStore, count: usize, retention: Option<Duration>) -> Vec<Arc<Operation>> {
    let mut last = Vec::new();
    let mut left = count;
    while left > 0 {
        let some = left.min(BATCH);
        left -= some;
        let started = ask(store, (0..some).map(|_| start(retention)).collect());
        let complete = started.replies.iter().map(|reply| match reply {
            Ok(Accepted::Created { operation, .. }) => complete(operation),
            other => panic!("a start is accepted, got {other:?}"),
        });
        let done = ask(store, complete.collect());
        last = done.changed.into_iter().map(|changed| changed.operation).collect();
    }
    last
}

fn start(retention: Option<Duration>) -> Request {
    let mut spec = Spec::new(Kind::new("work").expect("a kind"));
    spec.retention = Retention::same(retention);
    let worker = Worker::new("bench").expect("a worker");
    let claim = Claim { worker, duration: Duration::from_secs(60), secret: LeaseSecret([7; 16]) };
    let new = NewOperation { spec: Arc::new(spec), metadata: None, claim: Some(claim) };
    Request::Create(Box::new(CreateRequest { new, entropy: random(), key: None }))
}

fn complete(operation: &Operation) -> Request {
    let lease = operation.lease.as_ref().expect("it was started");
    let lease = LeaseKey { operation: operation.id.clone(), token: lease.token, secret: lease.secret };
    let result = Completion::Response(Any::empty());
    let complete = Complete { lease, result, metadata: None, digest: Digest([1; 16]) };
    Request::Command(Scope::default(), operation.id.clone(), Box::new(Command::Complete(complete)))
}

fn ask(store: &PostgresStore, requests: Vec<Request>) -> operond_store::Applied {
    block_on(store.update(Arc::new(Batch { requests }))).expect("it is stored")
}

/// Reads one operation after the other while `work` goes on; p50 and p99 in ms.
fn reads(store: &PostgresStore, operations: &[Arc<Operation>], work: impl FnOnce()) -> (f64, f64) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut took = Vec::new();
            let ids: Vec<OperationId> = operations.iter().map(|operation| operation.id.clone()).collect();
            for id in ids.iter().cycle() {
                if ended.load(Ordering::SeqCst) && !took.is_empty() {
                    break;
                }
                let asked = Instant::now();
                block_on(store.get(&Scope::default(), id)).expect("it is read");
                took.push(asked.elapsed().as_secs_f64() * 1_000.0);
            }
            took.sort_unstable_by(f64::total_cmp);
            (took[took.len() / 2], took[took.len() * 99 / 100])
        });
        work();
        ended.store(true, Ordering::SeqCst);
        reader.join().expect("the reader does not panic")
    })
}

fn random() -> [u8; 13] {
    let mut random = [0; 13];
    getrandom::fill(&mut random).expect("the system has randomness");
    random
}

/// As many as the engine has settled in one transaction.
const SETTLED: usize = 256;
/// Operations made in one transaction.
const BATCH: usize = 500;
