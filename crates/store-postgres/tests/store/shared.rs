//! Several servers on one database, as far as the store can tell: each here is a store of its own.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use operond_core::{
    Fingerprint, IdempotencyKey, Kind, LeaseSecret, NewOperation, Operation, OperationId, Scope, Spec, State, Worker,
};
use operond_store::{
    Accepted, Applied, Batch, ClaimRequest, Collection, CreateRequest, DocumentWrite, Lookup, News, Reply, Request,
    Store,
};
use operond_store_postgres::PostgresStore;

use crate::fixture::{fresh, open, until, wait};

fn kind() -> Kind {
    Kind::new("k").unwrap()
}

fn create(entropy: u16, spec: Spec, key: Option<&str>) -> Request {
    let mut random = [0; 13];
    random[..2].copy_from_slice(&entropy.to_le_bytes());
    let new = NewOperation { spec: Arc::new(spec), metadata: None, claim: None };
    let key = key.map(|key| (IdempotencyKey::parse("key", key).unwrap(), Fingerprint(vec![7; 4])));
    Request::Create(Box::new(CreateRequest { new, entropy: random, key }))
}

fn claim(max: usize) -> Request {
    Request::Claim(ClaimRequest {
        kinds: [kind()].into(),
        tenant: None,
        after: None,
        worker: Worker::new("w").unwrap(),
        duration: Duration::from_secs(600),
        secrets: vec![LeaseSecret([1; 16]); max],
    })
}

fn ask(store: &PostgresStore, requests: Vec<Request>) -> Applied {
    wait(store.update(Arc::new(Batch { requests }))).unwrap()
}

fn created(reply: &Reply) -> Arc<Operation> {
    match reply {
        Ok(Accepted::Created { operation, .. }) => Arc::clone(operation),
        other => panic!("a create is accepted, got {other:?}"),
    }
}

/// Asks the feed of `store` until it has told of what `enough` wants.
fn told(store: &PostgresStore, enough: impl Fn(&News) -> bool) -> News {
    let feed = store.properties().others.clone().expect("others write to it");
    let mut news = News::default();
    while !enough(&news) {
        news.add(wait(feed.next()).unwrap());
    }
    news
}

#[test]
fn a_server_is_told_of_what_another_one_writes() {
    let url = fresh();
    let (here, there) = (open(&url), open(&url));
    let operation = created(&ask(&there, vec![create(1, Spec::new(kind()), None)]).replies[0]);
    let news = told(&here, |news| !news.operations.is_empty());
    assert_eq!((news.operations, news.claimable), (vec![operation.id.clone()], vec![kind()]));
    assert!(!news.missed);
    assert_eq!(wait(here.get(&Scope::default(), &operation.id)).unwrap(), Lookup::Found(operation));

    let write =
        DocumentWrite { collection: Collection::Kinds, name: "k".into(), replaces: 0, bytes: Arc::from(&b"x"[..]) };
    wait(there.put_documents(vec![write])).unwrap().unwrap();
    assert_eq!(told(&here, |news| !news.documents.is_empty()).documents, [Collection::Kinds]);
}

#[test]
fn f06_claimers_of_two_servers_never_get_one_operation_twice() {
    const OPERATIONS: u16 = 400;
    let url = fresh();
    let stores = [open(&url), open(&url)];
    ask(&stores[0], (0..OPERATIONS).map(|n| create(n, Spec::new(kind()), None)).collect());
    let claimed: Vec<Vec<OperationId>> = thread::scope(|scope| {
        let claimers: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn({
                    let store = &stores[n % 2];
                    move || {
                        let mut mine = Vec::new();
                        loop {
                            let Ok(Accepted::Claimed(some)) = &ask(store, vec![claim(5)]).replies[0] else {
                                panic!("a claim")
                            };
                            if some.is_empty() {
                                return mine;
                            }
                            mine.extend(some.iter().map(|operation| operation.id.clone()));
                        }
                    }
                })
            })
            .collect();
        claimers.into_iter().map(|claimer| claimer.join().unwrap()).collect()
    });
    let all: Vec<&OperationId> = claimed.iter().flatten().collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "none twice");
    // What another server had in hand at that moment it claimed itself.
    assert_eq!(all.len(), usize::from(OPERATIONS));
}

#[test]
fn f10_creates_of_two_servers_with_one_key_create_once() {
    let url = fresh();
    let stores = [open(&url), open(&url)];
    for round in 0..20 {
        let key = format!("key {round}");
        let made: Vec<Arc<Operation>> = thread::scope(|scope| {
            let creators: Vec<_> = (0..4)
                .map(|n| {
                    scope.spawn({
                        let (store, key) = (&stores[usize::from(n) % 2], &key);
                        move || {
                            created(&ask(store, vec![create(100 * round + n, Spec::new(kind()), Some(key))]).replies[0])
                        }
                    })
                })
                .collect();
            creators.into_iter().map(|creator| creator.join().unwrap()).collect()
        });
        assert!(made.windows(2).all(|pair| pair[0].id == pair[1].id), "{made:?}");
    }
}

#[test]
fn a_timer_that_two_servers_look_for_fires_once() {
    const OPERATIONS: u16 = 100;
    let url = fresh();
    let stores = [open(&url), open(&url)];
    let spec = || Spec { queue_timeout: Some(Duration::from_secs(1)), ..Spec::new(kind()) };
    let made = ask(&stores[0], (0..OPERATIONS).map(|n| create(n, spec(), None)).collect());
    let made: Vec<Arc<Operation>> = made.replies.iter().map(created).collect();
    let settled: usize = thread::scope(|scope| {
        let settlers: Vec<_> = stores
            .iter()
            .map(|store| {
                scope.spawn(|| {
                    let mut settled = 0;
                    until("all of them are done", || {
                        let Ok(Accepted::Settled(some)) = ask(store, vec![Request::Settle(7)]).replies[0] else {
                            panic!("a settle")
                        };
                        settled += some;
                        made.iter().all(|one| matches!(wait(store.get(&Scope::default(), &one.id)), Ok(Lookup::Found(now)) if now.done()))
                    });
                    settled
                })
            })
            .collect();
        settlers.into_iter().map(|settler| settler.join().unwrap()).sum()
    });
    assert_eq!(settled, made.len(), "each was settled by one of them");
    for before in made {
        let Lookup::Found(now) = wait(stores[1].get(&Scope::default(), &before.id)).unwrap() else {
            panic!("it is there")
        };
        assert_eq!((now.state(), now.revision, now.events.len()), (State::Failed, before.revision + 1, 2));
    }
}
