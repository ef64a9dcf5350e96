//! What the tests of this store share.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Any, Command, Complete, Completion, Digest, Heartbeat, ID_ENTROPY_BYTES, Kind, LeaseKey, LeaseSecret, NewOperation,
    Operation, OperationId, Scope, Spec, Timestamp, Worker,
};
pub(crate) use operond_store::conformance::block_on as wait;
use operond_store::{
    Accepted, Applied, Batch, ClaimRequest, CreateRequest, Error, Lookup, ManualClock, Reply, Request, Store,
};
use operond_store_sqlite::{OpenError, Options, SqliteStore};
use tempfile::TempDir;

/// A store in a directory of its own, and its clock.
pub(crate) struct Fixture {
    pub(crate) store: SqliteStore,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) directory: TempDir,
    dice: u64,
}

pub(crate) const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

impl Fixture {
    pub(crate) fn new(options: Options) -> Self {
        Self::within(tempfile::tempdir().unwrap(), options)
    }

    pub(crate) fn within(directory: TempDir, options: Options) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let store = SqliteStore::open(path_in(directory.path()), options, Arc::clone(&clock)).unwrap();
        Self { store, clock, directory, dice: 0 }
    }

    pub(crate) fn path(&self) -> PathBuf {
        path_in(self.directory.path())
    }

    /// Lets go of the file and opens it again.
    pub(crate) fn reopen(self, options: Options) -> Self {
        let Self { store, clock, directory, dice } = self;
        drop(store);
        let store = SqliteStore::open(path_in(directory.path()), options, Arc::clone(&clock)).unwrap();
        Self { store, clock, directory, dice }
    }

    /// Creates `count` operations in one batch.
    pub(crate) fn create(&mut self, count: usize, spec: &Spec) -> Result<Vec<Arc<Operation>>, Error> {
        let requests = (0..count).map(|_| create(spec, self.entropy())).collect();
        Ok(update(&self.store, requests)?.replies.into_iter().map(created).collect())
    }

    pub(crate) fn claim(&mut self, kind: &str, max: usize) -> Vec<Arc<Operation>> {
        let request = ClaimRequest {
            kinds: [Kind::new(kind).unwrap()].into(),
            tenant: None,
            after: None,
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
    pub(crate) fn complete(&self, operation: &Operation) -> Result<Reply, Error> {
        Ok(update(&self.store, vec![complete(operation)])?.replies.remove(0))
    }

    pub(crate) fn delete(&self, id: &OperationId) -> Reply {
        let delete = Request::Command(Scope::default(), id.clone(), Box::new(Command::Delete));
        update(&self.store, vec![delete]).unwrap().replies.remove(0)
    }

    pub(crate) fn get(&self, id: &OperationId) -> Lookup {
        wait(self.store.get(&Scope::default(), id)).unwrap()
    }

    fn entropy(&mut self) -> [u8; ID_ENTROPY_BYTES] {
        self.dice += 1;
        let mut entropy = [0; ID_ENTROPY_BYTES];
        entropy[..8].copy_from_slice(&self.dice.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        entropy
    }
}

pub(crate) fn path_in(directory: &Path) -> PathBuf {
    directory.join("operond.db")
}

/// The error of a file that cannot be opened.
pub(crate) fn refused(path: &Path) -> OpenError {
    match SqliteStore::open(path, Options::default(), Arc::new(ManualClock::new(START))) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

pub(crate) fn spec(kind: &str) -> Spec {
    Spec {
        input: Some(Any::new("type.googleapis.com/t.Input", [7; 300].as_slice())),
        ..Spec::new(Kind::new(kind).unwrap())
    }
}

pub(crate) fn create(spec: &Spec, entropy: [u8; ID_ENTROPY_BYTES]) -> Request {
    let metadata = Some(Any::new("type.googleapis.com/t.Metadata", [1; 40].as_slice()));
    let new = NewOperation { spec: Arc::new(spec.clone()), metadata, claim: None };
    Request::Create(Box::new(CreateRequest { new, entropy, key: None }))
}

pub(crate) fn heartbeat(operation: &Operation) -> Request {
    let heartbeat = Heartbeat { lease: lease_key(operation), duration: None, metadata: None, progress: None };
    Request::Command(Scope::default(), operation.id.clone(), Box::new(Command::Heartbeat(heartbeat)))
}

pub(crate) fn complete(operation: &Operation) -> Request {
    let lease = lease_key(operation);
    let result = Completion::Response(Any::new("type.googleapis.com/t.Response", [9; 100].as_slice()));
    let complete = Complete { lease, result, metadata: None, digest: Digest([3; 16]) };
    Request::Command(Scope::default(), operation.id.clone(), Box::new(Command::Complete(complete)))
}

fn lease_key(operation: &Operation) -> LeaseKey {
    let lease = operation.lease.as_ref().unwrap();
    LeaseKey { operation: operation.id.clone(), token: lease.token, secret: lease.secret }
}

pub(crate) fn update(store: &dyn Store, requests: Vec<Request>) -> Result<Applied, Error> {
    wait(store.update(Arc::new(Batch { requests })))
}

fn created(reply: Reply) -> Arc<Operation> {
    match reply {
        Ok(Accepted::Created { operation, repeated: false }) => operation,
        other => panic!("a create was answered by {other:?}"),
    }
}
