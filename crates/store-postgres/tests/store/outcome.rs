//! Commits whose end nobody is told of: what was answered holds, and nothing is done twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use operond_core::{Kind, NewOperation, Operation, OperationId, Spec};
use operond_store::{Accepted, Applied, Batch, CreateRequest, Error, ListQuery, Lookup, Request, Store};
use operond_store_postgres::PostgresStore;
use operond_store_postgres::cluster::{Cluster, Kind as ClusterKind, Settings};

use crate::fixture::{RUNTIME, fresh, migrated, open, wait};
use crate::proxy::{Cut, Proxy};

fn creates(count: u8) -> Arc<Batch> {
    let create = |n| {
        let spec = Arc::new(Spec::new(Kind::new("k").unwrap()));
        let new = NewOperation { spec, metadata: None, claim: None };
        Request::Create(Box::new(CreateRequest { new, entropy: [n; 13], key: None }))
    };
    Arc::new(Batch { requests: (0..count).map(create).collect() })
}

fn created(applied: &Applied) -> Vec<Arc<Operation>> {
    let created = applied.replies.iter().map(|reply| match reply {
        Ok(Accepted::Created { operation, .. }) => Arc::clone(operation),
        other => panic!("creates are accepted, got {other:?}"),
    });
    created.collect()
}

fn stored(store: &PostgresStore) -> Vec<OperationId> {
    let page = wait(store.list(&ListQuery::default())).unwrap();
    page.operations.iter().map(|operation| operation.id.clone()).collect()
}

/// Cuts a commit; says what was answered, and what is stored.
fn cut(when: Cut) -> (Vec<Arc<Operation>>, Vec<OperationId>, PostgresStore) {
    let port = Cluster::shared(ClusterKind::Fast).port();
    let url = fresh();
    let proxy = Proxy::to(port);
    let store = open(&proxy.url(&url, port));
    // A first one, so that the connection is there.
    wait(store.update(creates(0))).unwrap();
    proxy.cut(when);
    let answered = created(&wait(store.update(creates(3))).expect("what is in doubt is looked up"));
    assert!(proxy.has_cut());
    let stored = stored(&store);
    (answered, stored, store)
}

#[test]
fn f25_a_commit_whose_answer_is_lost_is_answered_and_not_done_again() {
    let (answered, stored, store) = cut(Cut::BehindCommit);
    assert_eq!(stored.len(), 3, "done again, there would be six");
    for operation in answered {
        assert_eq!(wait(store.get(&operation.id)).unwrap(), Lookup::Found(operation));
    }
}

#[test]
fn f25_a_commit_that_never_arrives_is_done_over_another_connection() {
    let (answered, stored, store) = cut(Cut::BeforeCommit);
    assert_eq!(stored.len(), 3);
    for operation in answered {
        assert_eq!(wait(store.get(&operation.id)).unwrap(), Lookup::Found(operation));
    }
}

/// A cluster whose commits wait for a standby that is not there.
struct Waiting {
    cluster: Cluster,
    store: PostgresStore,
}

impl Waiting {
    fn new() -> Self {
        let cluster = Cluster::start(&Settings::of(ClusterKind::Durable));
        let store = open(&migrated(cluster.fresh_schema()));
        // Before the commits wait: connections and streams are there.
        wait(store.update(creates(0))).unwrap();
        let waiting = Self { cluster, store };
        waiting.standby("nobody");
        waiting
    }

    fn standby(&self, name: &str) {
        self.cluster.configure("synchronous_standby_names", name);
    }

    /// Begins to create, and cancels the wait of its commit: the database says success, and warns.
    fn create_and_cancel_the_wait(&self) -> tokio::task::JoinHandle<Result<Applied, Error>> {
        let creating = self.store.update(creates(1));
        // The store has it, whoever waits; the answer is waited for elsewhere.
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(wait(creating)).unwrap());
            self.cancel_one_that_waits();
            let answer = receiver.recv().unwrap();
            RUNTIME.spawn(async move { answer })
        })
    }

    fn cancel_one_that_waits(&self) {
        let until = Instant::now() + Duration::from_secs(4);
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while self.cluster.psql(cancel).trim() == "0" {
            assert!(Instant::now() < until, "no commit waits for the standby");
        }
    }
}

#[test]
fn f24_a_commit_that_the_database_warns_of_is_no_success() {
    let waiting = Waiting::new();
    let answer = RUNTIME.block_on(waiting.create_and_cancel_the_wait()).unwrap();
    assert!(matches!(answer, Err(Error::Unknown(_))), "{answer:?}");
    waiting.standby("");
    // The wait is over for whoever is left in it; what is there is there once.
    let until = Instant::now() + Duration::from_secs(10);
    while stored(&waiting.store).len() != 1 {
        assert!(Instant::now() < until, "{:?}", stored(&waiting.store));
    }
    assert!(wait(waiting.store.update(creates(2))).is_ok(), "it goes on");
}
