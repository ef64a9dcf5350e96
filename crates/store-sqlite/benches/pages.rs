//! What a page of a list costs, by the number of operations that are stored: CPU time of the whole
//! process, which does nothing else.
//!
//! `cargo bench -p operond-store-sqlite --bench pages [-- SIZE…]`; 10,000 and 1,000,000 operations
//! when no sizes are given.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Any, Claim, Command, Complete, Completion, Digest, Kind, LeaseKey, LeaseSecret, NewOperation, Operation, Scope,
    Spec, Status, Worker,
};
use operond_store::conformance::block_on;
use operond_store::{
    Accepted, Batch, CreateRequest, Face, Filter, ListQuery, Order, Reply, Request, Store, SystemClock,
};
use operond_store_sqlite::{Options, SqliteStore};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let asked: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = match std::env::args().any(|argument| argument == "--bench") {
        true if asked.is_empty() => vec![10_000, 1_000_000],
        true => asked,
        // `cargo test --all-targets` runs it, too: to see that it works.
        false => vec![5_000],
    };
    let columns: Vec<_> = sizes.into_iter().map(|size| (size, measure(size))).collect();
    print!("{:92}", format!("CPU µs of a page of {PAGE}"));
    for (size, _) in &columns {
        print!("{size:>12}");
    }
    println!();
    for (row, (text, order)) in lists().into_iter().enumerate() {
        print!("{:92}", format!("{text:?} {order:?}"));
        for (_, figures) in &columns {
            print!("{:>12.0}", figures[row]);
        }
        println!();
    }
}

/// Every list that an index serves; the interval is open, so that it holds what is there.
fn lists() -> Vec<(&'static str, Order)> {
    let filters = [
        "",
        "kind = k3",
        "state = SUCCEEDED",
        "kind = k3 AND state = FAILED",
        "done = false",
        "error:*",
        "created_at >= 2020-01-01T00:00:00Z AND created_at < 2200-01-01T00:00:00Z",
    ];
    filters.into_iter().flat_map(|text| [(text, Order::NewestFirst), (text, Order::OldestFirst)]).collect()
}

/// The figure of each list, out of a store of so many operations.
fn measure(size: u64) -> Vec<f64> {
    let directory = tempfile::tempdir().expect("a directory for the store");
    let path = directory.path().join("operond.db");
    let store = SqliteStore::open(path, Options::default(), SystemClock::new()).expect("a new store opens");
    for first in (0..size).step_by(BATCH) {
        fill(&store, first..size.min(first + BATCH as u64));
    }
    lists().into_iter().map(|(text, order)| pages(&store, text, order)).collect()
}

/// CPU microseconds of the first page of this list.
fn pages(store: &SqliteStore, text: &str, order: Order) -> f64 {
    let filter = Arc::new(Filter::parse(text, Face::Native).expect("a filter of the grammar"));
    let query = ListQuery { filter, order, limit: PAGE, ..ListQuery::default() };
    let read = |pages: u32| {
        for _ in 0..pages {
            let page = block_on(store.list(&query)).expect("the store lists");
            assert_eq!(page.operations.len(), PAGE, "{text}: the store is too small for whole pages");
        }
    };
    read(PAGES / 10);
    let before = cpu();
    read(PAGES);
    (cpu() - before).as_secs_f64() * 1e6 / f64::from(PAGES)
}

/// Of ten operations six succeed, two fail, one is left with its worker and one in the queue.
fn fill(store: &SqliteStore, numbers: std::ops::Range<u64>) {
    let started = update(store, numbers.clone().map(start).collect());
    let ends = numbers.zip(started).filter_map(|(number, reply)| {
        let Ok(Accepted::Created { operation, .. }) = reply else { panic!("it was not created: {reply:?}") };
        end(number, &operation)
    });
    update(store, ends.collect());
}

fn start(number: u64) -> Request {
    let spec = Spec::new(Kind::new(&format!("k{}", number / 10 % 10)).expect("short"));
    let metadata = Some(Any::new("type.googleapis.com/google.protobuf.StringValue", [7; 100].as_slice()));
    let claim = Claim {
        worker: Worker::new("worker").expect("short"),
        duration: Duration::from_secs(3_600),
        secret: LeaseSecret([1; 16]),
    };
    let claim = (number % 10 != 9).then_some(claim);
    let mut entropy = [0; operond_core::ID_ENTROPY_BYTES];
    entropy[..8].copy_from_slice(&number.to_le_bytes());
    let new = NewOperation { spec: Arc::new(spec), metadata, claim };
    Request::Create(Box::new(CreateRequest { new, entropy, key: None }))
}

fn end(number: u64, operation: &Operation) -> Option<Request> {
    let result = match number % 10 {
        0..6 => Completion::Response(Any::empty()),
        6 | 7 => Completion::Error(Status::new(9, "it broke")),
        _ => return None,
    };
    let newest = operation.lease.as_ref().expect("it was started");
    let lease = LeaseKey { operation: operation.id.clone(), token: newest.token, secret: newest.secret };
    let complete = Complete { lease, result, metadata: None, digest: Digest([1; 16]) };
    Some(Request::Command(Scope::default(), operation.id.clone(), Box::new(Command::Complete(complete))))
}

fn update(store: &SqliteStore, requests: Vec<Request>) -> Vec<Reply> {
    block_on(store.update(Arc::new(Batch { requests }))).expect("the store takes a batch").replies
}

fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("a process has used some time")
}

const PAGE: usize = 100;
const PAGES: u32 = 300;
const BATCH: usize = 1_000;
