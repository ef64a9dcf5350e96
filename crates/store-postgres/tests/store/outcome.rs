//! Commits whose end nobody is told of: what was answered holds, and nothing is done twice.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Cancel, Command, Fingerprint, IdempotencyKey, Kind, LeaseSecret, NewOperation, Operation, OperationId, Principal,
    Reason, Scope, Spec, Worker,
};
use operond_store::{
    Accepted, Applied, Batch, ClaimRequest, CreateRequest, Error, ListQuery, Lookup, Refusal, Request, Store,
};
use operond_store_postgres::PostgresStore;
use operond_store_postgres::cluster::{Cluster, Kind as ClusterKind, Settings};
use tokio::time::Instant;

use crate::fixture::{RUNTIME, fresh, migrated, open, until, wait};
use crate::proxy::{Cut, Proxy};

/// A batch that creates `count` operations of random numbers from `first` on.
pub(crate) fn creates(first: u8, count: u8) -> Arc<Batch> {
    let create = |n| {
        let spec = Arc::new(Spec::new(Kind::new("k").unwrap()));
        let new = NewOperation { spec, metadata: None, claim: None };
        Request::Create(Box::new(CreateRequest { new, entropy: [n; 13], key: None }))
    };
    Arc::new(Batch { requests: (first..first + count).map(create).collect() })
}

pub(crate) fn created(applied: &Applied) -> Vec<Arc<Operation>> {
    let created = applied.replies.iter().map(|reply| match reply {
        Ok(Accepted::Created { operation, .. }) => Arc::clone(operation),
        other => panic!("creates are accepted, got {other:?}"),
    });
    created.collect()
}

pub(crate) fn stored(store: &PostgresStore) -> Vec<OperationId> {
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
    wait(store.update(creates(0, 0))).unwrap();
    proxy.cut(when);
    let answered = created(&wait(store.update(creates(0, 3))).expect("what is in doubt is looked up"));
    assert!(proxy.has_cut());
    let stored = stored(&store);
    (answered, stored, store)
}

#[test]
fn f25_a_commit_whose_answer_is_lost_is_answered_and_not_done_again() {
    let (answered, stored, store) = cut(Cut::BehindCommit);
    assert_eq!(stored.len(), 3, "done again, there would be six");
    for operation in answered {
        assert_eq!(wait(store.get(&Scope::default(), &operation.id)).unwrap(), Lookup::Found(operation));
    }
}

#[test]
fn f25_a_commit_that_never_arrives_is_done_over_another_connection() {
    let (answered, stored, store) = cut(Cut::BeforeCommit);
    assert_eq!(stored.len(), 3);
    for operation in answered {
        assert_eq!(wait(store.get(&Scope::default(), &operation.id)).unwrap(), Lookup::Found(operation));
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
        wait(store.update(creates(0, 0))).unwrap();
        let waiting = Self { cluster, store };
        waiting.standby("nobody");
        waiting
    }

    fn standby(&self, name: &str) {
        self.cluster.configure("synchronous_standby_names", name);
    }

    /// Begins to create, and cancels the wait of its commit: the database says success, and warns.
    fn create_and_cancel_the_wait(&self) -> tokio::task::JoinHandle<Result<Applied, Error>> {
        let creating = self.store.update(creates(0, 1));
        // The store has it, whoever waits; the answer is waited for elsewhere.
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(wait(creating)).unwrap());
            self.cancel_one_that_waits();
            let answer = receiver.recv().unwrap();
            RUNTIME.spawn(async move { answer })
        })
    }

    /// How many commits wait for the standby.
    fn that_wait(&self) -> String {
        self.cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    }

    fn cancel_one_that_waits(&self) {
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        until("a commit waits for the standby", || self.cluster.psql(cancel).trim() != "0");
    }
}

#[test]
fn f24_a_commit_that_the_database_warns_of_is_no_success() {
    let waiting = Waiting::new();
    let answer = RUNTIME.block_on(waiting.create_and_cancel_the_wait()).unwrap();
    assert!(matches!(answer, Err(Error::Unknown(_))), "{answer:?}");
    waiting.standby("");
    // The wait is over for whoever is left in it; what is there is there once.
    until("it is there, once", || stored(&waiting.store).len() == 1);
    assert!(wait(waiting.store.update(creates(0, 2))).is_ok(), "it goes on");
}

/// A batch that creates one operation under a key, whenever it is asked.
fn create_with_key(entropy: u8) -> Arc<Batch> {
    let spec = Arc::new(Spec::new(Kind::new("k").unwrap()));
    let new = NewOperation { spec, metadata: None, claim: None };
    let key = (IdempotencyKey::parse("key", "once").unwrap(), Fingerprint(vec![7; 4]));
    let create = CreateRequest { new, entropy: [entropy; 13], key: Some(key) };
    Arc::new(Batch { requests: vec![Request::Create(Box::new(create))] })
}

#[test]
fn f24_a_commit_that_waits_for_its_standby_for_long_is_not_known_until_there_is_one() {
    let waiting = Waiting::new();
    let began = Instant::now();
    let answer = wait(waiting.store.update(create_with_key(1)));
    assert!(matches!(answer, Err(Error::Unknown(_))), "{answer:?}");
    // Five seconds for the commit, ten to look for it, and a busy machine.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(waiting.that_wait(), "1", "it was left to wait");
    assert_eq!(stored(&waiting.store), [], "nobody is shown what no standby has");
    let log = waiting.cluster.log();
    assert!(!log.contains("due to user request"), "somebody cancelled it: {log}");
    waiting.standby("");
    let repeated = created(&wait(waiting.store.update(create_with_key(2))).unwrap());
    assert_eq!(stored(&waiting.store), [repeated[0].id.clone()], "it is there, once");
    assert!(repeated[0].id.as_str().ends_with(&stored_by(1)), "{:?} is not of the first one", repeated[0].id);
}

/// How ids end that were made of this.
fn stored_by(entropy: u8) -> String {
    OperationId::generate(1, [entropy; 13]).as_str()[12..].to_owned()
}

/// Its connection cannot be ended.
#[test]
fn a_store_closes_while_a_commit_waits_for_its_standby() {
    let waiting = Waiting::new();
    wait(waiting.store.update(creates(1, 1))).unwrap_err();
    assert_eq!(waiting.that_wait(), "1");
    let (sender, closed) = std::sync::mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _told = sender.send(wait(waiting.store.close()));
        });
        let closed = closed.recv_timeout(Duration::from_secs(60));
        waiting.standby("");
        closed.expect("it closes, although a commit waits").unwrap();
    });
}

#[test]
fn f24_a_commit_whose_standby_comes_while_it_is_looked_for_is_answered() {
    let waiting = Waiting::new();
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| wait(waiting.store.update(create_with_key(1))));
        let looks = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO news%'";
        until("it is looked for", || waiting.cluster.psql(looks) != "0");
        waiting.standby("");
        answer.join().unwrap()
    });
    assert_eq!(stored(&waiting.store), [created(&answer.expect("it is found"))[0].id.clone()]);
}

/// Somebody's transaction that has an operation locked, until it is dropped.
pub(crate) struct Holder {
    _open: tokio_postgres::Client,
}

impl Holder {
    pub(crate) fn of(url: &str, id: &OperationId) -> Self {
        RUNTIME.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
            RUNTIME.spawn(connection);
            client.batch_execute("BEGIN").await.unwrap();
            client.query("SELECT 1 FROM operations WHERE id = $1 FOR UPDATE", &[&id.as_str()]).await.unwrap();
            Self { _open: client }
        })
    }
}

#[test]
fn an_operation_that_somebody_holds_is_refused_and_does_not_hold_up_its_batch() {
    let url = fresh();
    let store = open(&url);
    let made = created(&wait(store.update(creates(0, 3))).unwrap());
    let holder = Holder::of(&url, &made[0].id);
    let cancel = |operation: &Arc<Operation>| {
        let cancel = Cancel { by: Principal::default(), reason: Reason::default() };
        Request::Command(Scope::default(), operation.id.clone(), Box::new(Command::Cancel(cancel)))
    };
    let both = Arc::new(Batch { requests: vec![cancel(&made[0]), cancel(&made[1])] });
    let replies = wait(store.update(Arc::clone(&both))).unwrap().replies;
    assert_eq!(replies[0], Err(Refusal::Held));
    assert!(matches!(&replies[1], Ok(Accepted::Operation(cancelled)) if cancelled.done()), "{:?}", replies[1]);
    // A worker gets what nobody holds.
    let claim = ClaimRequest {
        kinds: [Kind::new("k").unwrap()].into(),
        tenant: None,
        after: None,
        worker: Worker::new("w").unwrap(),
        duration: Duration::from_secs(30),
        secrets: vec![LeaseSecret([1; 16]); 3],
    };
    let claimed = wait(store.update(Arc::new(Batch { requests: vec![Request::Claim(claim)] }))).unwrap();
    assert!(
        matches!(&claimed.replies[0], Ok(Accepted::Claimed(claimed)) if claimed.len() == 1),
        "{:?}",
        claimed.replies
    );
    drop(holder);
    until("nobody holds it any more", || {
        wait(store.update(Arc::clone(&both))).unwrap().replies[0] != Err(Refusal::Held)
    });
}
