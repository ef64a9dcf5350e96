//! What a server passes over in the indexes, and is alive: put back in an old place, where nothing was left.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Command, Digest, Kind, LeaseKey, LeaseSecret, Operation, Release, Scope, Worker};
use operond_store::{Accepted, Batch, ClaimRequest, Request, Store};
use operond_store_postgres::PostgresStore;
use tokio::time::Instant;

use crate::fixture::{fresh, open, open_as, passing, until, wait};
use crate::outcome::creates;

fn ask(store: &PostgresStore, request: Request) -> Accepted {
    let applied = wait(store.update(Arc::new(Batch { requests: vec![request] }))).unwrap();
    applied.replies.into_iter().next().expect("one reply").expect("it is accepted")
}

fn claim(store: &PostgresStore) -> Option<Arc<Operation>> {
    let claim = ClaimRequest {
        kinds: [Kind::new("k").unwrap()].into(),
        tenant: None,
        after: None,
        worker: Worker::new("w").unwrap(),
        duration: Duration::from_secs(600),
        secrets: vec![LeaseSecret([1; 16])],
    };
    let Accepted::Claimed(claimed) = ask(store, Request::Claim(claim)) else { panic!("a claim") };
    claimed.into_iter().next()
}

fn release(store: &PostgresStore, operation: &Operation) {
    let lease = operation.lease.as_ref().expect("it is claimed");
    let lease = LeaseKey { operation: operation.id.clone(), token: lease.token, secret: lease.secret };
    let release = Command::Release(Release { lease, digest: Digest([1; 16]) });
    ask(store, Request::Command(Scope::default(), operation.id.clone(), Box::new(release)));
}

/// A store that passes over everything that was there, another one, and an operation that is claimed.
fn scene() -> (PostgresStore, PostgresStore, Arc<Operation>) {
    let url = fresh();
    let (here, there) = (open_as(&url, passing()), open(&url));
    wait(there.update(creates(0, 1))).unwrap();
    let claimed = claim(&here).expect("it was created");
    pass(&here);
    (here, there, claimed)
}

/// Long enough for everything that can be claimed now to be passed once it is claimed.
fn pass(store: &PostgresStore) {
    let began = Instant::now();
    until("it has passed what was there", || {
        assert_eq!(claim(store), None);
        began.elapsed() > Duration::from_millis(600)
    });
}

#[test]
fn what_a_server_itself_puts_back_is_claimed_at_once() {
    let (here, _there, mut claimed) = scene();
    for _ in 0..10 {
        release(&here, &claimed);
        claimed = claim(&here).expect("it is not passed");
        pass(&here);
    }
}

#[test]
fn what_another_server_puts_back_is_claimed_a_little_later() {
    let (here, there, mut claimed) = scene();
    let mut later = 0;
    for _ in 0..5 {
        release(&there, &claimed);
        let mut found = claim(&here);
        later += u32::from(found.is_none());
        until("everything is looked through again", || {
            found = found.take().or_else(|| claim(&here));
            found.is_some()
        });
        claimed = found.expect("it is found");
        pass(&here);
    }
    assert!(later > 0, "it was never passed");
}
