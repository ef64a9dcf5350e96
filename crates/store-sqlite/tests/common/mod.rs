//! What the tests of this store share.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use operond_core::{
    Any, Cancel, Command, Complete, Completion, Digest, ID_ENTROPY_BYTES, Kind, LeaseKey, LeaseSecret, NewOperation,
    Operation, OperationId, Principal, Reason, Spec, Tenant, Timestamp, Worker,
};
use operond_store::{
    Accepted, Applied, Batch, ClaimRequest, CreateRequest, Error, Lookup, ManualClock, Reply, Request, Store,
};
use operond_store_sqlite::{OpenError, Options, SqliteStore};
use tempfile::TempDir;

/// A store in a directory of its own, and its clock.
pub struct Fixture {
    pub store: SqliteStore,
    pub clock: Arc<ManualClock>,
    pub directory: TempDir,
    dice: u64,
}

pub const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

impl Fixture {
    pub fn new(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let store = SqliteStore::open(path_in(directory.path()), options, Arc::clone(&clock)).unwrap();
        Self { store, clock, directory, dice: 0 }
    }

    pub fn path(&self) -> PathBuf {
        path_in(self.directory.path())
    }

    /// Lets go of the file and opens it again.
    pub fn reopen(self, options: Options) -> Self {
        let Self { store, clock, directory, dice } = self;
        drop(store);
        let store = SqliteStore::open(path_in(directory.path()), options, Arc::clone(&clock)).unwrap();
        Self { store, clock, directory, dice }
    }

    /// Creates `count` operations in one batch.
    pub fn create(&mut self, count: usize, spec: &Spec) -> Result<Vec<Arc<Operation>>, Error> {
        let requests = (0..count).map(|_| create(spec, self.entropy())).collect();
        Ok(update(&self.store, requests)?.replies.into_iter().map(created).collect())
    }

    pub fn claim(&mut self, kind: &str, max: usize) -> Vec<Arc<Operation>> {
        self.claim_after(&[kind], None, max)
    }

    pub fn claim_after(&mut self, kinds: &[&str], after: Option<&str>, max: usize) -> Vec<Arc<Operation>> {
        let request = ClaimRequest {
            kinds: kinds.iter().map(|kind| Kind::new(kind).unwrap()).collect(),
            after: after.map(tenant),
            worker: Worker::new("w").unwrap(),
            duration: Duration::from_secs(30),
            secrets: (0..max).map(|n| LeaseSecret([n.to_le_bytes()[0]; 16])).collect(),
        };
        let applied = update(&self.store, vec![Request::Claim(request)]).unwrap();
        match applied.replies.into_iter().next() {
            Some(Ok(Accepted::Claimed(claimed))) => claimed,
            other => panic!("a claim was answered by {other:?}"),
        }
    }

    /// Completes `operation` as its worker.
    pub fn complete(&self, operation: &Operation) -> Result<Reply, Error> {
        Ok(update(&self.store, vec![complete(operation)])?.replies.remove(0))
    }

    pub fn cancel(&self, id: &OperationId) -> Reply {
        let cancel = Command::Cancel(Cancel { by: Principal::default(), reason: Reason::default() });
        update(&self.store, vec![Request::Command(id.clone(), Box::new(cancel))]).unwrap().replies.remove(0)
    }

    pub fn get(&self, id: &OperationId) -> Lookup {
        wait(self.store.get(id)).unwrap()
    }

    fn entropy(&mut self) -> [u8; ID_ENTROPY_BYTES] {
        self.dice += 1;
        let mut entropy = [0; ID_ENTROPY_BYTES];
        entropy[..8].copy_from_slice(&self.dice.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        entropy
    }
}

pub fn path_in(directory: &Path) -> PathBuf {
    directory.join("operond.db")
}

/// The error of a file that cannot be opened.
pub fn refused(path: &Path) -> OpenError {
    match SqliteStore::open(path, Options::default(), Arc::new(ManualClock::new(START))) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

pub fn spec(kind: &str) -> Spec {
    Spec {
        input: Some(Any::new("type.googleapis.com/t.Input", [7; 300].as_slice())),
        ..Spec::new(Kind::new(kind).unwrap())
    }
}

pub fn tenant(name: &str) -> Tenant {
    Tenant::parse("tenant", name).unwrap()
}

pub fn create(spec: &Spec, entropy: [u8; ID_ENTROPY_BYTES]) -> Request {
    let metadata = Some(Any::new("type.googleapis.com/t.Metadata", [1; 40].as_slice()));
    let new = NewOperation { spec: Arc::new(spec.clone()), metadata, claim: None };
    Request::Create(Box::new(CreateRequest { new, entropy, key: None }))
}

pub fn complete(operation: &Operation) -> Request {
    complete_with(operation, &[9; 100])
}

pub fn complete_with(operation: &Operation, response: &[u8]) -> Request {
    let lease = operation.lease.as_ref().unwrap();
    let lease = LeaseKey { operation: operation.id.clone(), token: lease.token, secret: lease.secret };
    let result = Completion::Response(Any::new("type.googleapis.com/t.Response", response));
    let complete = Complete { lease, result, metadata: None, digest: Digest([3; 16]) };
    Request::Command(operation.id.clone(), Box::new(Command::Complete(complete)))
}

pub fn update(store: &dyn Store, requests: Vec<Request>) -> Result<Applied, Error> {
    wait(store.update(Arc::new(Batch { requests })))
}

fn created(reply: Reply) -> Arc<Operation> {
    match reply {
        Ok(Accepted::Created { operation, repeated: false }) => operation,
        other => panic!("a create was answered by {other:?}"),
    }
}

/// Waits for an answer on this thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
