//! Whole lives while somebody holds an old snapshot, so that what was claimed and settled stays in the indexes as dead
//! entries: with and without passing over them.
//!
//! `cargo bench -p operond-store-postgres --bench bloat [-- ENTRIES]`; 1,000,000 when none are given.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use operond_core::{
    Any, Command, Complete, Completion, Digest, Kind, LeaseKey, LeaseSecret, NewOperation, Operation, Scope, Spec,
    Tenant, Worker,
};
use operond_store::conformance::block_on;
use operond_store::{Accepted, Batch, ClaimRequest, CreateRequest, Request, Store};
use operond_store_postgres::cluster::{self, Cluster};
use operond_store_postgres::{Options, PostgresStore};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let benching = std::env::args().any(|argument| argument == "--bench");
    // `cargo test --all-targets` runs it, too: to see that it works.
    let (entries, time) = if benching { (asked.unwrap_or(1_000_000), 10_000) } else { (1_000, 10) };
    let time = Duration::from_millis(time);
    let runtime = Runtime::new().expect("the system gives threads");
    let url = Cluster::shared(cluster::Kind::Durable).fresh_schema();
    runtime.block_on(PostgresStore::migrate(&url)).expect("a fresh schema takes every step");
    let measure = |name: &str, options: Options| {
        let store = runtime.block_on(PostgresStore::open(&url, options)).expect("it opens");
        // It notices that finding work is slow, and looks around.
        lives(&store, time / 5);
        let claims = lives(&store, time);
        let [p50, p99] = [claims.len() / 2, claims.len() * 99 / 100].map(|place| claims[place] * 1_000.0);
        let lives = f64::from(u32::try_from(claims.len()).unwrap_or(u32::MAX)) / time.as_secs_f64();
        println!("{name:40} {lives:8.0} lives a second, a claim {p50:.2} / {p99:.2} ms");
        block_on(store.close()).expect("it closes");
    };
    let never = Options { slow_after: Duration::MAX, ..Options::default() };
    measure("no dead entries", Options::default());
    let _snapshot = runtime.block_on(bloat(&url, entries));
    measure(&format!("{entries} dead entries, stepped over"), never);
    measure(&format!("{entries} dead entries, passed"), Options::default());
}

/// Makes entries of every index that work is found by, and kills them; nobody can remove them as long as the connection
/// lives that comes back.
async fn bloat(url: &str, entries: i64) -> Client {
    let (client, snapshot) = (connect(url).await, connect(url).await);
    client.execute(FILL, &[&entries]).await.expect("the rows are written");
    snapshot.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM streams").await.expect("it begins");
    client.execute("DELETE FROM operations WHERE id LIKE 'dead%'", &[]).await.expect("the rows are removed");
    client.batch_execute("CHECKPOINT").await.expect("a superuser may");
    snapshot
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("it connects");
    #[expect(clippy::disallowed_methods, reason = "it ends with the process")]
    tokio::task::spawn(connection);
    client
}

/// Has four callers create, claim and complete for so long, once at least; how long their claims took, the shortest first.
fn lives(store: &PostgresStore, time: Duration) -> Vec<f64> {
    let end = Instant::now() + time;
    let caller = |n: usize| {
        let mut claims = Vec::new();
        while claims.is_empty() || Instant::now() < end {
            ask(store, create(TENANTS[n]));
            let asked = Instant::now();
            let Accepted::Claimed(claimed) = ask(store, claim()) else { panic!("a claim") };
            claims.push(asked.elapsed().as_secs_f64());
            // Another caller may have been quicker, and does this one's work, too.
            claimed.iter().for_each(|operation| drop(ask(store, complete(operation))));
        }
        claims
    };
    let mut claims: Vec<f64> = thread::scope(|scope| {
        let callers: Vec<_> = (0..TENANTS.len()).map(|n| scope.spawn(move || caller(n))).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller does not panic")).collect()
    });
    claims.sort_unstable_by(f64::total_cmp);
    claims
}

fn create(tenant: &str) -> Request {
    let tenant = Tenant::parse("tenant", tenant).expect("a tenant");
    let spec = Spec { tenant, ..Spec::new(kind()) };
    let mut entropy = [0; 13];
    getrandom::fill(&mut entropy).expect("the system has randomness");
    let new = NewOperation { spec: Arc::new(spec), metadata: None, claim: None };
    Request::Create(Box::new(CreateRequest { new, entropy, key: None }))
}

fn claim() -> Request {
    Request::Claim(ClaimRequest {
        kinds: [kind()].into(),
        tenant: None,
        after: None,
        worker: Worker::new("bench").expect("a worker"),
        duration: Duration::from_secs(60),
        secrets: vec![LeaseSecret([7; 16])],
    })
}

fn complete(operation: &Operation) -> Request {
    let lease = operation.lease.as_ref().expect("it was claimed");
    let lease = LeaseKey { operation: operation.id.clone(), token: lease.token, secret: lease.secret };
    let result = Completion::Response(Any::empty());
    let complete = Complete { lease, result, metadata: None, digest: Digest([1; 16]) };
    Request::Command(Scope::default(), operation.id.clone(), Box::new(Command::Complete(complete)))
}

fn ask(store: &PostgresStore, request: Request) -> Accepted {
    let applied = block_on(store.update(Arc::new(Batch { requests: vec![request] }))).expect("it is stored");
    applied.replies.into_iter().next().expect("one reply").expect("it is accepted")
}

fn kind() -> Kind {
    Kind::new("work").expect("a kind")
}

/// A caller each.
const TENANTS: [&str; 4] = ["a", "b", "c", "d"];
/// Rows as they are before a claim, whose timers and backoffs are over.
const FILL: &str = "INSERT INTO operations (id, tenant, kind, created_at, state, claimable, available_at, due_at, \
    expires_at, revision, modified_at, backoff, attempt, events) \
    SELECT 'dead' || n, (ARRAY['a', 'b', 'c', 'd'])[n % 4 + 1], 'work', n, 1, n % 5 <> 0, n, n, n, 1, n, 0, 0, '' \
    FROM generate_series(1, $1::bigint) AS n";
