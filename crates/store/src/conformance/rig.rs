//! One store under test, its clock, and the calls that cases make.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use operond_core::{
    Command, Fingerprint, ID_ENTROPY_BYTES, IdempotencyKey, LeaseSecret, NewOperation, Operation, OperationId, Scope,
    Spec, Tenant, Timestamp,
};

use super::Subject;
use super::block_on::block_on;
use super::make;
use super::random::Random;
use crate::clock::ManualClock;
use crate::list::{Count, CountQuery, ListQuery, Order, Page};
use crate::request::{Accepted, Applied, ClaimRequest, CreateRequest, Reply, Request};
use crate::{Lookup, Store};

pub(crate) struct Rig<'a> {
    subject: &'a mut dyn Subject,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<dyn Store>,
    random: RefCell<Random>,
}

impl<'a> Rig<'a> {
    pub(crate) fn new(subject: &'a mut dyn Subject) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(START_MICROS)));
        let store = subject.open(Arc::clone(&clock));
        Self { subject, clock, store, random: RefCell::new(Random::new(1)) }
    }

    /// Closes the store and opens what it kept.
    pub(crate) fn reopen(&mut self) {
        block_on(self.store.close()).expect("an idle store closes");
        // Let go of it first: a store may allow one handle only.
        self.store = Arc::new(crate::MemoryStore::new(Arc::clone(&self.clock)));
        self.store = self.subject.open(Arc::clone(&self.clock));
    }

    /// Has somebody else lock it; says whether that is possible.
    pub(crate) fn hold(&mut self, id: &OperationId) -> bool {
        self.subject.hold(id)
    }

    /// What the store's clock shows while nobody stepped the calendar.
    pub(crate) fn now(&self) -> Timestamp {
        use crate::clock::Clock;
        self.clock.wall()
    }

    pub(crate) fn advance(&self, length: Duration) {
        self.clock.advance(length);
    }

    pub(crate) fn batch(&self, requests: Vec<Request>) -> Applied {
        let wanted = requests.len();
        let applied = block_on(self.store.update(make::batch(requests))).expect("a store that is well takes a batch");
        assert_eq!(applied.replies.len(), wanted, "one reply for each request");
        applied
    }

    pub(crate) fn ask(&self, request: Request) -> Reply {
        self.batch(vec![request]).replies.pop().expect("one reply for one request")
    }

    /// A random that no other create of this rig has.
    pub(crate) fn entropy(&self) -> [u8; ID_ENTROPY_BYTES] {
        self.random.borrow_mut().bytes()
    }

    pub(crate) fn secret(&self) -> LeaseSecret {
        LeaseSecret(self.random.borrow_mut().bytes())
    }

    /// The id that a create with `entropy` would give now.
    pub(crate) fn id_of(&self, entropy: [u8; ID_ENTROPY_BYTES]) -> OperationId {
        let millis = u64::try_from(self.now().micros() / 1_000).expect("a time after 1970");
        OperationId::generate(millis, entropy)
    }

    pub(crate) fn create(&self, kind: &str) -> Arc<Operation> {
        self.create_as(kind, |_| {})
    }

    pub(crate) fn create_as(&self, kind: &str, with: impl FnOnce(&mut Spec)) -> Arc<Operation> {
        let mut spec = Spec::new(make::kind(kind));
        with(&mut spec);
        self.create_new(make::new_operation(spec))
    }

    pub(crate) fn create_new(&self, new: NewOperation) -> Arc<Operation> {
        match self.ask(make::create(new, self.entropy())) {
            Ok(Accepted::Created { operation, repeated: false }) => operation,
            other => panic!("a create without a key creates, got {other:?}"),
        }
    }

    /// An operation that is already leased to its producer.
    pub(crate) fn start_as(&self, kind: &str, with: impl FnOnce(&mut Spec)) -> Arc<Operation> {
        let mut spec = Spec::new(make::kind(kind));
        with(&mut spec);
        let claim = Some(make::claim(self.secret()));
        self.create_new(NewOperation { spec: Arc::new(spec), metadata: None, claim })
    }

    pub(crate) fn start(&self, kind: &str) -> Arc<Operation> {
        self.start_as(kind, |_| {})
    }

    /// A create with an idempotency key; the content is told apart by `content` only.
    pub(crate) fn create_keyed(&self, spec: Spec, key: &IdempotencyKey, content: Fingerprint) -> Reply {
        self.ask(self.keyed(spec, key, content))
    }

    pub(crate) fn keyed(&self, spec: Spec, key: &IdempotencyKey, content: Fingerprint) -> Request {
        let new = make::new_operation(spec);
        let key = Some((key.clone(), content));
        Request::Create(Box::new(CreateRequest { new, entropy: self.entropy(), key }))
    }

    pub(crate) fn claiming(&self, kinds: &[&str], after: Option<Tenant>, count: usize) -> Request {
        self.claiming_in(None, kinds, after, count)
    }

    /// A claim for one tenant, or for all of them.
    pub(crate) fn claiming_in(
        &self,
        tenant: Option<Tenant>,
        kinds: &[&str],
        after: Option<Tenant>,
        count: usize,
    ) -> Request {
        Request::Claim(ClaimRequest {
            kinds: kinds.iter().map(|kind| make::kind(kind)).collect(),
            tenant,
            after,
            worker: make::worker("worker"),
            duration: make::LEASE,
            secrets: (0..count).map(|_| self.secret()).collect(),
        })
    }

    pub(crate) fn claim(&self, kinds: &[&str], count: usize) -> Vec<Arc<Operation>> {
        claimed(self.ask(self.claiming(kinds, None, count)))
    }

    pub(crate) fn claim_after(&self, after: &str, count: usize) -> Vec<Arc<Operation>> {
        claimed(self.ask(self.claiming(&["work"], Some(make::tenant(after)), count)))
    }

    /// The one operation that can be claimed.
    pub(crate) fn claim_one(&self, kind: &str) -> Arc<Operation> {
        let claimed = self.claim(&[kind], 1);
        Arc::clone(claimed.first().expect("an operation to be claimed"))
    }

    pub(crate) fn command(&self, id: &OperationId, command: Command) -> Reply {
        self.ask(make::command(id, command))
    }

    /// The operation after a command that is accepted.
    pub(crate) fn accept(&self, id: &OperationId, command: Command) -> Arc<Operation> {
        match self.command(id, command) {
            Ok(Accepted::Operation(operation)) => operation,
            other => panic!("the command is accepted, got {other:?}"),
        }
    }

    pub(crate) fn delete(&self, id: &OperationId) {
        assert_eq!(self.command(id, Command::Delete), Ok(Accepted::Deleted));
    }

    /// An operation that has ended with a response.
    pub(crate) fn finished(&self, kind: &str, with: impl FnOnce(&mut Spec)) -> Arc<Operation> {
        let started = self.start_as(kind, with);
        self.accept(&started.id, make::complete(&started))
    }

    pub(crate) fn settle(&self, limit: usize) -> usize {
        match self.ask(Request::Settle(limit)) {
            Ok(Accepted::Settled(count)) => count,
            other => panic!("settling is never refused, got {other:?}"),
        }
    }

    pub(crate) fn lookup(&self, id: &OperationId) -> Lookup {
        block_on(self.store.get(&Scope::default(), id)).expect("a store that is well looks up")
    }

    pub(crate) fn read(&self, id: &OperationId) -> Arc<Operation> {
        match self.lookup(id) {
            Lookup::Found(operation) => operation,
            other => panic!("{id} is there, got {other:?}"),
        }
    }

    pub(crate) fn list(&self, query: &ListQuery) -> Page {
        block_on(self.store.list(query)).expect("a store that is well lists")
    }

    pub(crate) fn count(&self, query: &CountQuery) -> Count {
        block_on(self.store.count(query)).expect("a store that is well counts")
    }

    pub(crate) fn purge(&self, limit: usize) -> usize {
        block_on(self.store.purge(limit)).expect("a store that is well purges")
    }

    /// Every operation, oldest first.
    pub(crate) fn everything(&self) -> Vec<Arc<Operation>> {
        self.list(&ListQuery { order: Order::OldestFirst, ..query() }).operations
    }
}

/// Everything, newest first, on one page.
pub(crate) fn query() -> ListQuery {
    ListQuery { limit: 1_000, bytes_max: usize::MAX, ..ListQuery::default() }
}

pub(crate) fn claimed(reply: Reply) -> Vec<Arc<Operation>> {
    match reply {
        Ok(Accepted::Claimed(operations)) => operations,
        other => panic!("a claim is never refused, got {other:?}"),
    }
}

pub(crate) fn created(reply: Reply) -> Arc<Operation> {
    match reply {
        Ok(Accepted::Created { operation, .. }) => operation,
        other => panic!("the create is accepted, got {other:?}"),
    }
}

pub(crate) fn ids<'a>(operations: impl IntoIterator<Item = &'a Arc<Operation>>) -> Vec<OperationId> {
    operations.into_iter().map(|operation| operation.id.clone()).collect()
}

/// A date in 2025 that is not on a whole second, nor on a whole millisecond.
const START_MICROS: i64 = 1_750_000_000_123_457;
