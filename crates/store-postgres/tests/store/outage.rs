//! A database that goes away and comes back.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Claim, EventKind, Kind, LeaseSecret, NewOperation, Scope, Spec, State, Worker};
use operond_store::{Accepted, Batch, CreateRequest, Error, Lookup, Request, Store};
use operond_store_postgres::cluster::{self, Cluster, Settings};
use tokio::time::Instant;

use crate::fixture::{migrated, open, until, wait};

fn ask(store: &dyn Store, request: Request) -> Result<Accepted, Error> {
    let applied = wait(store.update(Arc::new(Batch { requests: vec![request] })))?;
    Ok(applied.replies.into_iter().next().expect("one reply").expect("it is accepted"))
}

fn start(lease: Duration) -> Request {
    let spec = Arc::new(Spec::new(Kind::new("k").unwrap()));
    let claim = Claim { worker: Worker::new("w").unwrap(), duration: lease, secret: LeaseSecret([1; 16]) };
    let new = NewOperation { spec, metadata: None, claim: Some(claim) };
    Request::Create(Box::new(CreateRequest { new, entropy: [7; 13], key: None }))
}

#[test]
fn a_lease_that_ends_while_the_database_is_away_is_kept() {
    let mut cluster = Cluster::start(&Settings::of(cluster::Kind::Fast));
    let store = open(&migrated(cluster.fresh_schema()));
    let lease = Duration::from_secs(1);
    let Ok(Accepted::Created { operation, .. }) = ask(&store, start(lease)) else { panic!("it is created") };
    let began = Instant::now();
    cluster.kill();
    until("the lease is over, and more than an outage takes to be noticed", || {
        let answer = ask(&store, Request::Settle(1));
        assert!(matches!(answer, Err(Error::Unavailable(_))), "while it is away: {answer:?}");
        began.elapsed() > 2 * lease
    });
    cluster.start_again();
    until("it is back, and has looked for what is due", || {
        matches!(ask(&store, Request::Settle(10)), Ok(Accepted::Settled(1)))
    });
    let Ok(Lookup::Found(kept)) = wait(store.get(&Scope::default(), &operation.id)) else { panic!("it is there") };
    assert_eq!(kept.state(), State::Running, "{:?}", kept.events);
    assert_eq!(kept.events.last().map(|event| event.what), Some(EventKind::Restarted));
    assert_eq!(kept.lease.as_ref().map(|lease| lease.token), operation.lease.as_ref().map(|lease| lease.token));
}

#[test]
fn while_the_database_does_not_answer_every_call_is_refused_at_once() {
    let mut cluster = Cluster::start(&Settings::of(cluster::Kind::Fast));
    let store = open(&migrated(cluster.fresh_schema()));
    ask(&store, start(Duration::from_secs(60))).unwrap();
    cluster.pause();
    until("it has noticed", || wait(store.ping()).is_err());
    let began = Instant::now();
    for _ in 0..100 {
        assert!(matches!(wait(store.ping()), Err(Error::Unavailable(_))));
        assert!(matches!(ask(&store, Request::Settle(1)), Err(Error::Unavailable(_))));
    }
    // A hundred of each: not one of them waited for a connection.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    cluster.resume();
    until("it goes on", || ask(&store, Request::Settle(1)).is_ok() && wait(store.ping()).is_ok());
}
