//! kill -9 at random instants: whatever was acknowledged is there afterwards (FAILURES 14, 15, 32).

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operond_core::{ID_ENTROPY_BYTES, Kind, NewOperation, Spec};
use operond_proto::operond::v1::operation::Result as Outcome;
use operond_proto::operond::v1::{
    CancelRequest, ClaimRequest, CompleteRequest, CreateRequest, GetOperationRequest, Operation, complete_request,
};
use operond_store::{Batch, CreateRequest as StoreCreate, Request, Store, SystemClock};
use operond_store_sqlite::{Options as StoreOptions, SqliteStore};
use tokio::task::JoinSet;

use crate::support::{Random, Server, claim, create, operations, seed, text, work};

/// What the server acknowledged of an operation.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    cancel: bool,
    response: Option<String>,
}

type Ledger = Arc<Mutex<HashMap<String, Acknowledged>>>;

const CYCLES: usize = 100;
/// How many operations are in the file before the first crash.
const BALLAST: usize = 100_000;
const BATCH: usize = 1000;
const PRODUCERS: usize = 6;
const WORKERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn f32_nothing_acknowledged_is_lost_in_a_hundred_kills() {
    let seed = seed();
    let mut random = Random::of(seed, 0);
    let data = tempfile::tempdir().unwrap();
    load_ballast(data.path()).await;
    let mut server = Server::start_in(data.path(), &[]);

    let all = Ledger::default();
    let mut starts = Vec::new();
    for cycle in 0..CYCLES {
        let ledger = Ledger::default();
        let unanswered = Arc::new(Mutex::new(Vec::new()));
        let load = load(&server.http, cycle, &ledger, &unanswered);
        let lifetime = Duration::from_millis(100 + random.next() % 500);
        tokio::time::timeout(lifetime, std::future::pending::<()>()).await.unwrap_err();
        server.kill();
        load.join_all().await;
        starts.push(server.start_again());
        let acknowledged = ledger.lock().unwrap().clone();
        assert!(!acknowledged.is_empty(), "cycle {cycle} acknowledged nothing (seed {seed})");
        check(&server.http, &acknowledged, seed).await;
        f14_a_create_without_an_answer_is_repeated_with_its_key(&server.http, unanswered).await;
        all.lock().unwrap().extend(acknowledged);
    }
    let acknowledged = all.lock().unwrap().clone();
    check(&server.http, &acknowledged, seed).await;
    starts.sort();
    let (median, longest) = (starts[starts.len() / 2], starts[starts.len() - 1]);
    println!("{} operations acknowledged; ready again in {median:?} (longest {longest:?})", acknowledged.len());
    assert!(median < Duration::from_secs(1), "ready again in {median:?}");
}

/// Producers that create and sometimes cancel, workers that complete; all end when the server is gone.
fn load(url: &str, cycle: usize, ledger: &Ledger, unanswered: &Arc<Mutex<Vec<CreateRequest>>>) -> JoinSet<()> {
    let mut load = JoinSet::new();
    for producer in 0..PRODUCERS {
        load.spawn(produce(url.to_owned(), format!("{cycle}-{producer}"), Arc::clone(ledger), Arc::clone(unanswered)));
    }
    for _ in 0..WORKERS {
        load.spawn(carry_out(url.to_owned(), Arc::clone(ledger)));
    }
    load
}

async fn produce(url: String, name: String, ledger: Ledger, unanswered: Arc<Mutex<Vec<CreateRequest>>>) {
    let mut operations = operations(&url);
    for n in 0_u32.. {
        let key = format!("{name}-{n}");
        let request = CreateRequest { idempotency_key: Some(key), ..create("crash") };
        let Ok(created) = operations.create(request.clone()).await else {
            unanswered.lock().unwrap().push(request);
            return;
        };
        let id = created.into_inner().id;
        ledger.lock().unwrap().insert(id.clone(), Acknowledged::default());
        if n.is_multiple_of(3) {
            let cancel = CancelRequest { id: id.clone(), reason: String::new() };
            match operations.cancel(cancel).await {
                Ok(_) => ledger.lock().unwrap().get_mut(&id).unwrap().cancel = true,
                Err(_) => return,
            }
        }
    }
}

async fn carry_out(url: String, ledger: Ledger) {
    let mut work = work(&url);
    loop {
        let request = ClaimRequest { max: Some(5), ..claim("crash") };
        let Ok(claimed) = work.claim(request).await else { return };
        for claim in claimed.into_inner().claims {
            let id = claim.operation.unwrap().id;
            let outcome = Some(complete_request::Outcome::Response(text(&id)));
            let complete = CompleteRequest { lease: claim.lease, metadata: None, outcome };
            match work.complete(complete).await {
                Ok(_) => ledger.lock().unwrap().entry(id.clone()).or_default().response = Some(id.clone()),
                // Refused because a cancel won is no loss; anything else ends this worker.
                Err(refused) if refused.code() == tonic::Code::FailedPrecondition => {}
                Err(_) => return,
            }
        }
    }
}

/// Reads everything that was acknowledged, many at a time.
async fn check(url: &str, acknowledged: &HashMap<String, Acknowledged>, seed: u64) {
    let ids: Vec<_> = acknowledged.iter().collect();
    let mut readers = JoinSet::new();
    for chunk in ids.chunks(ids.len().div_ceil(16).max(1)) {
        let chunk: Vec<_> = chunk.iter().map(|(id, facts)| ((*id).clone(), (*facts).clone())).collect();
        let mut operations = operations(url);
        readers.spawn(async move {
            for (id, facts) in chunk {
                let request = GetOperationRequest { id: id.clone(), ..GetOperationRequest::default() };
                let found = operations.get(request).await;
                let found = found.unwrap_or_else(|lost| panic!("{id} was acknowledged, now {lost} (seed {seed})"));
                check_one(&found.into_inner(), &facts, seed);
            }
        });
    }
    readers.join_all().await;
}

fn check_one(found: &Operation, facts: &Acknowledged, seed: u64) {
    if let Some(response) = &facts.response {
        assert_eq!(found.result, Some(Outcome::Response(text(response))), "{found:?} (seed {seed})");
    }
    if facts.cancel {
        let kept = found.cancel_requested.is_some() || found.done;
        assert!(kept, "the cancel of {found:?} was acknowledged (seed {seed})");
    }
}

/// The control of the test above: the check notices an operation that was acknowledged and is not there.
#[tokio::test(flavor = "multi_thread")]
async fn f32_control_a_lost_operation_is_noticed() {
    let server = Server::start();
    let lost = HashMap::from([("op-never-stored".to_owned(), Acknowledged::default())]);
    let url = server.http.clone();
    let checked = tokio::spawn(async move { check(&url, &lost, 0).await }).await;
    assert!(checked.is_err(), "nothing was noticed");
}

/// A create whose answer was lost may or may not have happened: its repeat leads to one operation.
async fn f14_a_create_without_an_answer_is_repeated_with_its_key(url: &str, asked: Arc<Mutex<Vec<CreateRequest>>>) {
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    let mut operations = operations(url);
    for request in asked {
        let first = operations.create(request.clone()).await.unwrap().into_inner();
        let second = operations.create(request).await.unwrap().into_inner();
        assert_eq!(first.id, second.id);
    }
}

/// Puts operations into the file past the server, which is quicker.
async fn load_ballast(data: &Path) {
    let store = SqliteStore::open(data.join("operond.db"), StoreOptions::default(), SystemClock::new()).unwrap();
    let new = NewOperation { spec: Spec::new(Kind::new("ballast").unwrap()).into(), metadata: None, claim: None };
    for batch in 0..BALLAST / BATCH {
        let request = |n: usize| {
            let mut entropy = [0; ID_ENTROPY_BYTES];
            entropy[..8].copy_from_slice(&(batch * BATCH + n).to_le_bytes());
            Request::Create(Box::new(StoreCreate { new: new.clone(), entropy, key: None }))
        };
        let requests = (0..BATCH).map(request).collect();
        store.update(Arc::new(Batch { requests })).await.unwrap();
    }
    store.close().await.unwrap();
}
