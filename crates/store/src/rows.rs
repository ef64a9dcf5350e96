//! One batch at work: the rows it speaks of, the rules applied to them, and what must be written.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use operond_core::{
    Change, Claim, Command, Decision, Gone, IdempotencyKey, KeyJudgement, KeyRecord, Kind, Now, Operation, OperationId,
    Rejection, Scope, Stored, Tenant, create, decide, judge_key,
};

use crate::request::{
    Accepted, Applied, Batch, Changed, ClaimRequest, CreateRequest, Missing, Refusal, Reply, Request, Transition,
};

/// What a store must load before [`Rows::run`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Operations, each with the scopes of those who ask for it. Where it is not in all of them its tombstone is looked
    /// for as well, whether it is there or not: to whoever does not reach it, it is one that is not, in the same time.
    pub ids: BTreeMap<OperationId, Vec<Scope>>,
    /// Idempotency keys, each with the operation it names.
    pub keys: Vec<(Tenant, IdempotencyKey)>,
    /// Candidates for workers.
    pub claims: Vec<ClaimWant>,
    /// So many operations with due timers, the earliest first (instant, then id). Those due for
    /// retention are left out while it is held.
    pub due: usize,
}

/// Candidates for workers of the same kinds, found together so that none is offered twice.
///
/// A candidate is queued with `available_at` not after now. Order: tenants in turn, beginning
/// behind `after` in the order of their names (by bytes) and going round until there are enough
/// or no more; at each turn the tenant's operation that has been claimable longest
/// (`available_at`, then id), whichever of the kinds it is of. Wants of other kinds are answered
/// on their own: an operation offered to two of them goes to the first claim that takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimWant {
    /// Of which kinds.
    pub kinds: Arc<[Kind]>,
    /// Of this tenant alone: there is nobody to take turns with. Of all of them if absent.
    pub tenant: Option<Tenant>,
    /// The tenant that was served last.
    pub after: Option<Tenant>,
    /// How many are wanted.
    pub max: usize,
}

/// The rows of one batch.
#[derive(Debug)]
pub struct Rows {
    now: Now,
    operations: HashMap<OperationId, Row>,
    keys: HashMap<(Tenant, IdempotencyKey), KeyRow>,
    candidates: Vec<VecDeque<OperationId>>,
    due: Vec<OperationId>,
    held: HashMap<OperationId, (Tenant, Kind)>,
    /// The place of the request that is being carried out.
    request: usize,
    transitions: Vec<Transition>,
}

/// An operation to be written: insert where `previous` is `None`, else by id and that revision.
#[derive(Clone, Debug)]
pub struct OperationWrite<'a> {
    /// The revision that was loaded.
    pub previous: Option<u64>,
    /// The operation as it is now (for one that is gone: as it was last).
    pub operation: &'a Arc<Operation>,
    /// Remove the row and keep a tombstone instead.
    pub gone: Option<Gone>,
}

/// A key to be written, in place of one that may be there.
#[derive(Clone, Debug)]
pub struct KeyWrite<'a> {
    /// Its scope.
    pub tenant: &'a Tenant,
    /// The key.
    pub key: &'a IdempotencyKey,
    /// What it stands for.
    pub record: &'a KeyRecord,
}

#[derive(Debug)]
struct Row {
    operation: Arc<Operation>,
    previous: Option<u64>,
    gone: Option<Gone>,
    written: bool,
    seen: bool,
}

#[derive(Debug)]
struct KeyRow {
    record: KeyRecord,
    written: bool,
}

impl Transition {
    /// What `decision` does to the operation `before` it; `None` where that is not worth a line.
    fn of(request: usize, before: &Arc<Operation>, decision: &Decision) -> Option<Self> {
        let event = |change: &Change| match change {
            Change::Event(what) => Some(*what),
            Change::Bare | Change::Updated => None,
        };
        let events: Vec<_> = decision.changes.iter().filter_map(event).collect();
        let (operation, to) = match &decision.stored {
            Stored::Live(operation) => (operation, Some(operation.state())),
            Stored::Gone(_) => (before, None),
        };
        let happened = !events.is_empty() || to.is_none();
        let from = Some(before.state());
        happened.then(|| Self { request, operation: Arc::clone(operation), from, to, events })
    }
}

impl Batch {
    /// What must be loaded for this batch.
    #[must_use]
    pub fn wants(&self) -> Wants {
        let mut wants = Wants::default();
        for request in &self.requests {
            match request {
                Request::Create(create) | Request::Repeat(create) => {
                    if let Some((key, _)) = &create.key {
                        wants.keys.push((create.new.spec.tenant.clone(), key.clone()));
                    }
                }
                Request::Command(scope, id, _) => wants.ids.entry(id.clone()).or_default().push(scope.clone()),
                Request::Claim(claim) => wants.claim(claim),
                Request::Settle(limit) => wants.due = wants.due.saturating_add(*limit),
            }
        }
        wants
    }
}

impl Wants {
    fn claim(&mut self, claim: &ClaimRequest) {
        let max = claim.secrets.len();
        match self.claims.iter_mut().find(|want| want.serves(claim)) {
            Some(want) => want.max += max,
            None => {
                let (kinds, tenant) = (Arc::clone(&claim.kinds), claim.tenant.clone());
                self.claims.push(ClaimWant { kinds, tenant, after: claim.after.clone(), max });
            }
        }
    }
}

impl ClaimWant {
    fn serves(&self, claim: &ClaimRequest) -> bool {
        self.kinds == claim.kinds && self.tenant == claim.tenant && self.after == claim.after
    }
}

impl Rows {
    /// No rows yet, at the store's `now`.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            now,
            operations: HashMap::new(),
            keys: HashMap::new(),
            candidates: Vec::new(),
            due: Vec::new(),
            held: HashMap::new(),
            request: 0,
            transitions: Vec::new(),
        }
    }

    /// Hands in an operation that the store has.
    pub fn load(&mut self, operation: Arc<Operation>) {
        let previous = Some(operation.revision);
        let row = Row { operation, previous, gone: None, written: false, seen: false };
        self.operations.entry(row.operation.id.clone()).or_insert(row);
    }

    /// Whether an operation was handed in.
    #[must_use]
    pub fn has(&self, id: &OperationId) -> bool {
        self.operations.contains_key(id)
    }

    /// Whether an operation was handed in, and is in this scope.
    #[must_use]
    pub fn reach(&self, scope: &Scope, id: &OperationId) -> bool {
        self.operations.get(id).is_some_and(|row| scope.covers(&row.operation.spec))
    }

    /// Says that an operation is there, whose and of which kind, and that somebody else has it locked: it is not
    /// handed in, and what is asked of it by those who reach it is refused. To others it is not there.
    pub fn hold(&mut self, id: OperationId, tenant: Tenant, kind: Kind) {
        self.held.insert(id, (tenant, kind));
    }

    /// Hands in an idempotency key that the store has.
    pub fn load_key(&mut self, tenant: Tenant, key: IdempotencyKey, record: KeyRecord) {
        self.keys.entry((tenant, key)).or_insert(KeyRow { record, written: false });
    }

    /// Hands in the candidates for the next [`ClaimWant`], in its order; their operations are loaded, too.
    pub fn offer(&mut self, candidates: impl IntoIterator<Item = OperationId>) {
        self.candidates.push(candidates.into_iter().collect());
    }

    /// Hands in the operations with due timers; they are loaded, too.
    pub fn offer_due(&mut self, due: impl IntoIterator<Item = OperationId>) {
        self.due.extend(due);
    }

    /// Carries the batch out on the rows handed in: one answer a request, in order.
    ///
    /// `tombstone` says what became of an operation that was wanted and not handed in, and whose it was. It is asked as
    /// well about one that was handed in and is outside of the scope of who wants it.
    pub fn run(&mut self, batch: &Batch, tombstone: impl Fn(&OperationId) -> Option<(Tenant, Gone)>) -> Vec<Reply> {
        let wants = batch.wants();
        let mut replies = Vec::with_capacity(batch.requests.len());
        for (place, request) in batch.requests.iter().enumerate() {
            self.request = place;
            replies.push(match request {
                Request::Create(create) => self.create(create),
                Request::Repeat(create) => self.repeated(create).unwrap_or(Err(Refusal::NotFound(Missing::Never))),
                Request::Command(scope, id, command) => self.command(scope, id, command, &tombstone),
                Request::Claim(claim) => {
                    let group = wants.claims.iter().position(|want| want.serves(claim));
                    Ok(Accepted::Claimed(self.claim(group.expect("every claim is in a group"), claim)))
                }
                Request::Settle(limit) => Ok(Accepted::Settled(self.settle(*limit))),
            });
        }
        replies
    }

    /// The operations to be written, after [`Rows::run`].
    pub fn writes(&self) -> impl Iterator<Item = OperationWrite<'_>> {
        self.operations.values().filter(|row| row.written).map(|row| OperationWrite {
            previous: row.previous,
            operation: &row.operation,
            gone: row.gone,
        })
    }

    /// The keys to be written, after [`Rows::run`].
    pub fn key_writes(&self) -> impl Iterator<Item = KeyWrite<'_>> {
        self.keys.iter().filter(|(_, row)| row.written).map(|((tenant, key), row)| KeyWrite {
            tenant,
            key,
            record: &row.record,
        })
    }

    /// What to answer once everything is committed.
    #[must_use]
    pub fn applied(&self, replies: Vec<Reply>) -> Applied {
        let changed = self.operations.values().filter(|row| row.written).map(|row| Changed {
            operation: Arc::clone(&row.operation),
            stored: match row.gone {
                Some(gone) => Stored::Gone(gone),
                None => Stored::Live(Arc::clone(&row.operation)),
            },
            bare: !row.seen,
        });
        Applied { at: self.now.at, replies, changed: changed.collect(), transitions: self.transitions.clone() }
    }

    /// The answer to a create whose key is not free.
    fn repeated(&mut self, request: &CreateRequest) -> Option<Reply> {
        let (key, fingerprint) = request.key.as_ref()?;
        let record = self.keys.get(&(request.new.spec.tenant.clone(), key.clone()))?.record.clone();
        // Whoever has the key knows of its operation: both are of one tenant.
        if self.held.contains_key(&record.operation) {
            return Some(Err(Refusal::Held));
        }
        let _settled = self.apply(&record.operation, &Command::Settle);
        let existing = self.live(&record.operation);
        match judge_key(&record, existing.as_deref(), fingerprint, self.now.at) {
            KeyJudgement::Free => None,
            KeyJudgement::Repeat => {
                let operation = existing.expect("only an operation that is there is repeated");
                Some(Ok(Accepted::Created { operation, repeated: true }))
            }
            KeyJudgement::Reused(field) => Some(Err(Refusal::KeyReused(field))),
            KeyJudgement::OperationGone => Some(Err(Refusal::OperationGone)),
        }
    }

    fn create(&mut self, request: &CreateRequest) -> Reply {
        if let Some(reply) = self.repeated(request) {
            return reply;
        }
        let operation = Arc::new(self.begin(request));
        if let Some((key, fingerprint)) = &request.key {
            let record = KeyRecord {
                operation: operation.id.clone(),
                created_at: operation.created_at,
                fingerprint: fingerprint.clone(),
            };
            let scope = (request.new.spec.tenant.clone(), key.clone());
            self.keys.insert(scope, KeyRow { record, written: true });
        }
        Ok(Accepted::Created { operation, repeated: false })
    }

    fn begin(&mut self, request: &CreateRequest) -> Operation {
        let millis = u64::try_from(self.now.at.micros() / 1_000).unwrap_or(0);
        let operation = create(&request.new, OperationId::generate(millis, request.entropy), self.now.at);
        let stored = Arc::new(operation.clone());
        self.transitions.push(Transition {
            request: self.request,
            operation: Arc::clone(&stored),
            from: None,
            to: Some(operation.state()),
            events: operation.events.iter().map(|event| event.what).collect(),
        });
        let row = Row { operation: stored, previous: None, gone: None, written: true, seen: true };
        self.operations.insert(operation.id.clone(), row);
        operation
    }

    fn command(
        &mut self,
        scope: &Scope,
        id: &OperationId,
        command: &Command,
        tombstone: impl Fn(&OperationId) -> Option<(Tenant, Gone)>,
    ) -> Reply {
        let held = self.held.get(id);
        if held.is_some_and(|(tenant, kind)| scope.covers_tenant(tenant) && scope.covers_kind(kind)) {
            return Err(Refusal::Held);
        }
        if !self.reach(scope, id) {
            // Foreign and absent are one. Nothing is settled: whoever asks has no say in when that happens.
            return Err(Refusal::NotFound(Missing::of(scope, tombstone(id))));
        }
        if *command == Command::Delete {
            // Those who wait for it are told how it ended, also when it ends only now.
            let _settled = self.apply(id, &Command::Settle);
        }
        match self.apply(id, command) {
            None => Err(Refusal::NotFound(self.gone(id).map_or(Missing::Never, Missing::Gone))),
            Some(Err(Rejection::Gone(gone))) => Err(Refusal::NotFound(Missing::Gone(gone))),
            Some(Err(rejection)) => Err(Refusal::Rejected(rejection)),
            Some(Ok(())) => Ok(self.live(id).map_or(Accepted::Deleted, Accepted::Operation)),
        }
    }

    /// How an operation went in this batch.
    fn gone(&self, id: &OperationId) -> Option<Gone> {
        self.operations.get(id)?.gone
    }

    fn claim(&mut self, group: usize, request: &ClaimRequest) -> Vec<Arc<Operation>> {
        let mut claimed = Vec::new();
        for &secret in &request.secrets {
            let claim = Command::Claim(Claim { worker: request.worker.clone(), duration: request.duration, secret });
            let Some(taken) = self.claim_next(group, &claim) else { break };
            claimed.extend(self.live(&taken));
        }
        claimed
    }

    /// The first candidate that the claim holds for: settling may have ended one, or taken it away.
    fn claim_next(&mut self, group: usize, claim: &Command) -> Option<OperationId> {
        loop {
            let candidate = self.candidates.get_mut(group)?.pop_front()?;
            if self.apply(&candidate, claim) == Some(Ok(())) {
                return Some(candidate);
            }
        }
    }

    fn settle(&mut self, limit: usize) -> usize {
        let due: Vec<_> = self.due.drain(..limit.min(self.due.len())).collect();
        for id in &due {
            let _settled = self.apply(id, &Command::Settle);
        }
        due.len()
    }

    /// Decides and keeps what came out; `None` when there is no such operation.
    fn apply(&mut self, id: &OperationId, command: &Command) -> Option<Result<(), Rejection>> {
        let row = self.operations.get_mut(id).filter(|row| row.gone.is_none())?;
        let decision = decide(&row.operation, command, self.now);
        row.seen |= decision.changes.iter().any(|change| *change != Change::Bare);
        self.transitions.extend(Transition::of(self.request, &row.operation, &decision));
        match decision.stored {
            Stored::Gone(gone) => {
                row.gone = Some(gone);
                row.written = true;
                row.seen = true;
            }
            Stored::Live(operation) => {
                row.written |= !decision.changes.is_empty();
                row.operation = operation;
            }
        }
        Some(decision.answer)
    }

    fn live(&self, id: &OperationId) -> Option<Arc<Operation>> {
        self.operations.get(id).filter(|row| row.gone.is_none()).map(|row| Arc::clone(&row.operation))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use operond_core::{NewOperation, Spec, Timestamp};

    use super::*;

    /// What a stranger is told of the operation `id`, and how often a tombstone was looked for, after `hand_in`.
    fn told(id: &OperationId, hand_in: impl FnOnce(&mut Rows)) -> (Vec<Reply>, usize) {
        let mut rows = Rows::new(Now::at(Timestamp::from_micros(2)));
        hand_in(&mut rows);
        let stranger = Scope::of_tenant(Tenant::parse("tenant", "u").unwrap());
        let asked = |command| Request::Command(stranger.clone(), id.clone(), Box::new(command));
        let looked_for = Cell::new(0);
        let tombstone = |_: &OperationId| {
            looked_for.set(looked_for.get() + 1);
            None
        };
        let replies = rows.run(&Batch { requests: vec![asked(Command::Delete), asked(Command::Settle)] }, tombstone);
        assert!(rows.writes().next().is_none());
        (replies, looked_for.get())
    }

    #[test]
    fn to_a_stranger_an_operation_takes_as_much_as_one_that_is_not_there() {
        let new = NewOperation { spec: Spec::new(Kind::new("k").unwrap()).into(), metadata: None, claim: None };
        let operation = Arc::new(create(&new, OperationId::generate(1, [1; 13]), Timestamp::from_micros(1)));
        let absent = told(&operation.id, |_| {});
        assert_eq!(absent, (vec![Err(Refusal::NotFound(Missing::Never)); 2], 2));
        assert_eq!(told(&operation.id, |rows| rows.load(Arc::clone(&operation))), absent);
        let held = |rows: &mut Rows| {
            rows.hold(operation.id.clone(), operation.spec.tenant.clone(), operation.spec.kind.clone());
        };
        assert_eq!(told(&operation.id, held), absent);
    }
}
