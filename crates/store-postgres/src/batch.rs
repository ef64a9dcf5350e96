//! One batch in one transaction: load the rows it speaks of, let the rules run, write what came out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use futures::future::{BoxFuture, try_join, try_join_all, try_join3};
use operond_core::{Gone, KeyRecord, Operation, OperationId, Tenant, Timestamp};
use operond_store::columns::{FACTS, KEY, PLACE, Place, SPEC, write_facts, write_key, write_place, write_spec};
use operond_store::pack::Packed;
use operond_store::{Applied, Batch, ClaimWant, Missing, News, OperationWrite, Rows, Wants};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::columns::{self, Arrays, id_in, read_id};
use crate::fault::Fault;
use crate::keys::{self, KeyArrays, Scope, sql_limit};
use crate::session::Session;
use crate::set_aside::SetAside;
use crate::time::Time;
use crate::{sql, tombstones};

/// What a batch needs beside its connection.
pub(crate) struct Context<'c> {
    pub(crate) time: &'c Time,
    pub(crate) set_aside: &'c SetAside,
    /// Whether operations that somebody else has locked are waited for. Those that are not are refused.
    pub(crate) patient: bool,
}

/// Begins a transaction and judges `batch` in it. What it wants to be written is in the rows that come
/// back, which stay locked until the transaction ends.
pub(crate) async fn judge(session: &Session, batch: &Batch, context: &Context<'_>) -> Result<Judged, Fault> {
    let mut loaded = Loaded { session, context, operations: HashMap::new(), held: Vec::new(), begun: false };
    let wants = batch.wants();
    let keys = loaded.keys(&wants).await?;
    let tombstones = loaded.operations(&wants, &keys).await?;
    let (candidates, due) = loaded.offers(&wants).await?;
    let begun = loaded.begun;
    // Read now, when every row is locked: nothing that was stored before is later than this.
    let mut rows = Rows::new(context.time.now());
    loaded.operations.into_values().for_each(|operation| rows.load(operation));
    loaded.held.into_iter().for_each(|id| rows.hold(id));
    for ((tenant, key), record) in &keys {
        rows.load_key(tenant.clone(), key.clone(), record.clone());
    }
    candidates.into_iter().for_each(|candidates| rows.offer(candidates));
    rows.offer_due(due);
    let replies = rows.run(batch, |id| tombstones.get(id).map_or(Missing::Never, |(_, gone)| Missing::Gone(*gone)));
    let applied = rows.applied(replies);
    Ok(Judged { rows, applied, keys: keys.into_keys().collect(), begun })
}

/// A batch that is judged and not yet written.
pub(crate) struct Judged {
    rows: Rows,
    applied: Applied,
    /// Those that are there already.
    keys: BTreeSet<Scope>,
    /// Something was asked, and the transaction is open.
    begun: bool,
}

impl Judged {
    /// What to answer once everything is committed.
    pub(crate) fn into_applied(self) -> Applied {
        self.applied
    }

    /// Whether a transaction is open.
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    /// Whether there is nothing to be written.
    pub(crate) fn changes_nothing(&self) -> bool {
        self.rows.writes().next().is_none() && self.rows.key_writes().next().is_none()
    }

    /// Writes everything and commits, under the number `n` of `stream`, in one go: the database stops at
    /// the first statement that fails, and then commits nothing.
    pub(crate) async fn commit(&self, session: &Session, stream: &str, n: i64) -> Result<(), Fault> {
        let at = self.applied.at;
        let writes = match Writes::of(self, at) {
            Ok(writes) => writes,
            Err(fault) => return Err(self.abandon(session, fault).await),
        };
        let mut statements = writes.statements();
        let (n, micros, news) = (n, at.micros(), News::of(&self.applied).pack());
        statements.push(Write { sql: &sql::INSERT_NEWS, parameters: vec![&stream, &n, &micros, &news], rows: 1 });
        let mut prepared = Vec::with_capacity(statements.len());
        for write in &statements {
            match session.prepared(write.sql).await {
                Ok(statement) => prepared.push(statement),
                Err(error) => return Err(self.abandon(session, error.into()).await),
            }
        }
        let executed = prepared.iter().zip(&statements).map(|(statement, write)| write.execute(session, statement));
        let begin = async { if self.begun { Ok(()) } else { session.client.batch_execute("BEGIN").await } };
        // Sent in this order without waiting in between.
        let ((), rows, ()) = try_join3(begin, try_join_all(executed), session.client.batch_execute("COMMIT")).await?;
        let expected = statements.iter().map(|write| write.rows);
        for ((rows, expected), write) in rows.into_iter().zip(expected).zip(&statements) {
            if rows != expected {
                // The rows were locked, so this cannot be. What is stored now is not what was answered for.
                return Err(Fault::Broken(format!("{rows} rows instead of {expected} were written by {}", write.sql)));
            }
        }
        Ok(())
    }

    /// Ends the transaction, of whose writes nothing was sent: the connection is to be used again.
    async fn abandon(&self, session: &Session, fault: Fault) -> Fault {
        if !self.begun || fault.ends_the_connection() {
            return fault;
        }
        session.client.batch_execute("ROLLBACK").await.err().map_or(fault, Fault::from)
    }
}

/// What is loaded for a batch.
struct Loaded<'c> {
    session: &'c Session,
    context: &'c Context<'c>,
    operations: HashMap<OperationId, Arc<Operation>>,
    /// Those that somebody else has locked.
    held: Vec<OperationId>,
    begun: bool,
}

impl Loaded<'_> {
    async fn begin(&mut self) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.begun, true) {
            self.session.client.batch_execute("BEGIN").await?;
        }
        Ok(())
    }

    /// Asks in the transaction, which begins with the first question.
    async fn query(&mut self, statement: &Statement, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Fault> {
        let client = &self.session.client;
        if std::mem::replace(&mut self.begun, true) {
            return Ok(client.query(statement, parameters).await?);
        }
        let ((), rows) = try_join(client.batch_execute("BEGIN"), client.query(statement, parameters)).await?;
        Ok(rows)
    }

    /// Keys before operations, both in order: two batches never wait for each other.
    async fn keys(&mut self, wants: &Wants) -> Result<HashMap<Scope, KeyRecord>, Fault> {
        if wants.keys.is_empty() {
            return Ok(HashMap::new());
        }
        self.begin().await?;
        keys::load(self.session, &wants.keys).await
    }

    /// Locks and loads the operations that are asked for by name; says what became of those that are gone.
    async fn operations(
        &mut self,
        wants: &Wants,
        keys: &HashMap<Scope, KeyRecord>,
    ) -> Result<HashMap<OperationId, (Tenant, Gone)>, Fault> {
        let ids: BTreeSet<&OperationId> =
            wants.ids.iter().chain(keys.values().map(|record| &record.operation)).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let texts: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let lock = if self.context.patient { &sql::LOCK_OPERATIONS } else { &sql::LOCK_FREE_OPERATIONS };
        let statement = self.session.prepared(lock).await?;
        for row in &self.query(&statement, &[&texts]).await? {
            self.keep(columns::operation(row)?);
        }
        let missing: Vec<&str> =
            ids.iter().filter(|id| !self.operations.contains_key(**id)).map(|id| id.as_str()).collect();
        if !self.context.patient && !missing.is_empty() {
            let statement = self.session.prepared(&sql::OPERATIONS_THERE).await?;
            for row in &self.query(&statement, &[&missing]).await? {
                self.held.push(read_id(row, 0)?);
            }
        }
        tombstones::load(self.session, &missing).await
    }

    /// Finds candidates for each claim, and what is due.
    async fn offers(&mut self, wants: &Wants) -> Result<(Vec<Vec<OperationId>>, Vec<OperationId>), Fault> {
        let now = self.context.time.now();
        let mut candidates = Vec::with_capacity(wants.claims.len());
        if !wants.claims.is_empty() {
            self.begin().await?;
            let statement = self.session.prepared(&sql::END_BACKOFFS).await?;
            self.session.client.execute(&statement, &[&now.at.micros(), &BACKOFFS_ENDED_MAX]).await?;
        }
        for want in &wants.claims {
            candidates.push(self.candidates(want).await?);
        }
        let mut due = Vec::new();
        if wants.due > 0 {
            due = self.due(&sql::DUE, now.at, wants.due).await?;
            if !now.retention_held {
                due.extend(self.due(&sql::EXPIRED, now.at, wants.due).await?);
                due.sort_unstable();
                due.truncate(wants.due);
            }
        }
        Ok((candidates, due.into_iter().map(|(_, id)| id).collect()))
    }

    /// At most `want.max` candidates, in their order.
    async fn candidates(&mut self, want: &ClaimWant) -> Result<Vec<OperationId>, Fault> {
        let fair = self.turns(want, false).await?;
        if fair.are_enough(want.max) {
            return Ok(fair.take(want.max));
        }
        // Some tenants had little: the others give more.
        Ok(self.turns(want, true).await?.take(want.max))
    }

    async fn turns(&mut self, want: &ClaimWant, all: bool) -> Result<Turns, Fault> {
        let kinds: BTreeSet<&str> = want.kinds.iter().map(operond_core::Kind::as_str).collect();
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let after = want.after.as_ref().map_or("", Tenant::as_str);
        let statement = self.session.prepared(&sql::CANDIDATES).await?;
        let set_aside = self.context.set_aside.ids();
        let max = sql_limit(want.max);
        let rows = self.query(&statement, &[&kinds, &after, &max, &set_aside, &all]).await?;
        let mut turns = Turns::default();
        for row in &rows {
            turns.each = usize::try_from(row.try_get::<_, i64>(row.len() - 1)?).unwrap_or(usize::MAX);
            if let Some(operation) = self.readable(row)? {
                turns.add(row.try_get(row.len() - 2)?, &operation);
                self.keep(operation);
            }
        }
        Ok(turns)
    }

    /// What is due by a timer: the instant, and the operation.
    async fn due(
        &mut self,
        statement: &'static str,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(i64, OperationId)>, Fault> {
        let statement = self.session.prepared(statement).await?;
        let set_aside = self.context.set_aside.ids();
        let mut due = Vec::new();
        for row in &self.query(&statement, &[&now.micros(), &sql_limit(limit), &set_aside]).await? {
            if let Some(operation) = self.readable(row)? {
                due.push((row.try_get(row.len() - 1)?, operation.id.clone()));
                self.keep(operation);
            }
        }
        Ok(due)
    }

    /// An operation that nobody asked for by name; one that cannot be read is set aside.
    fn readable(&self, row: &Row) -> Result<Option<Operation>, Fault> {
        match columns::operation(row) {
            Ok(operation) => Ok(Some(operation)),
            Err(Fault::Damaged(damage)) => {
                self.context.set_aside.add(id_in(row), &damage);
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    fn keep(&mut self, operation: Operation) {
        self.operations.entry(operation.id.clone()).or_insert_with(|| Arc::new(operation));
    }
}

/// Candidates by the turns of their tenants.
#[derive(Default)]
struct Turns {
    by_turn: BTreeMap<i64, Vec<(Timestamp, OperationId)>>,
    /// So many of a kind each tenant gave at most.
    each: usize,
}

impl Turns {
    fn add(&mut self, turn: i64, operation: &Operation) {
        self.by_turn.entry(turn).or_default().push((operation.available_at, operation.id.clone()));
    }

    /// Whether `max` can be taken, or all there are, without asking a tenant for more than it gave.
    /// Of each kind it gave its first ones; so behind as many there may be one of another kind before.
    fn are_enough(&self, max: usize) -> bool {
        let known: usize = self.by_turn.values().map(|found| found.len().min(self.each)).sum();
        known >= max || self.by_turn.values().all(|found| found.len() < self.each)
    }

    /// One of each tenant in turn, of each the longest claimable first.
    fn take(self, max: usize) -> Vec<OperationId> {
        let mut turns: VecDeque<VecDeque<_>> = VecDeque::new();
        for mut found in self.by_turn.into_values() {
            found.sort_unstable();
            turns.push_back(found.into());
        }
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(mut turn) = turns.pop_front()
        {
            if let Some((_, id)) = turn.pop_front() {
                taken.push(id);
                turns.push_back(turn);
            }
        }
        taken
    }
}

/// Everything that a batch writes, as arrays.
struct Writes<'o> {
    inserted: Arrays<'o>,
    specs: Arrays<'o>,
    updated: Arrays<'o>,
    removed: Vec<&'o str>,
    removed_revisions: Vec<i64>,
    buried: Vec<&'o str>,
    buried_tenants: Vec<&'o str>,
    buried_how: Vec<i64>,
    buried_at: Vec<i64>,
    new_keys: KeyArrays<'o>,
    other_keys: KeyArrays<'o>,
    counts: [u64; 2],
}

/// A statement to be carried out, and how many rows it must write.
struct Write<'w> {
    sql: &'static str,
    parameters: Vec<&'w (dyn ToSql + Sync)>,
    rows: u64,
}

impl Write<'_> {
    fn execute<'a>(
        &'a self,
        session: &'a Session,
        statement: &'a Statement,
    ) -> BoxFuture<'a, Result<u64, tokio_postgres::Error>> {
        Box::pin(session.client.execute(statement, &self.parameters))
    }
}

impl<'o> Writes<'o> {
    fn of(judged: &'o Judged, now: Timestamp) -> Result<Self, Fault> {
        let mut writes = Self {
            inserted: Arrays::of(&[KEY, PLACE, FACTS]),
            specs: Arrays::of(&[sql::ID, SPEC]),
            updated: Arrays::of(&[sql::ID, sql::PREVIOUS, PLACE, FACTS]),
            removed: Vec::new(),
            removed_revisions: Vec::new(),
            buried: Vec::new(),
            buried_tenants: Vec::new(),
            buried_how: Vec::new(),
            buried_at: Vec::new(),
            new_keys: KeyArrays::default(),
            other_keys: KeyArrays::default(),
            counts: [0; 2],
        };
        let mut sorted: Vec<OperationWrite<'o>> = judged.rows.writes().collect();
        // Neighbours in the indexes are written one after the other.
        sorted.sort_unstable_by(|a, b| a.operation.id.cmp(&b.operation.id));
        for write in &sorted {
            writes.operation(write, now)?;
        }
        let mut keys: Vec<_> = judged.rows.key_writes().collect();
        keys.sort_unstable_by(|a, b| (a.tenant, a.key).cmp(&(b.tenant, b.key)));
        for write in &keys {
            let there = judged.keys.contains(&(write.tenant.clone(), write.key.clone()));
            if there { writes.other_keys.push(write) } else { writes.new_keys.push(write) }
        }
        Ok(writes)
    }

    fn operation(&mut self, write: &OperationWrite<'o>, now: Timestamp) -> Result<(), Fault> {
        use operond_store::columns::Sink as _;

        let operation: &'o Operation = write.operation;
        match (write.previous, write.gone) {
            (None, None) => {
                self.counts[0] += 1;
                write_key(operation, &mut self.inserted)?;
                write_place(Place::of(operation, now), &mut self.inserted)?;
                write_facts(operation, &mut self.inserted)?;
                self.specs.text(Some(operation.id.as_str()))?;
                write_spec(&operation.spec, &mut self.specs)?;
            }
            (Some(previous), None) => {
                self.counts[1] += 1;
                self.updated.text(Some(operation.id.as_str()))?;
                self.updated.number(Some(previous.cast_signed()))?;
                write_place(Place::of(operation, now), &mut self.updated)?;
                write_facts(operation, &mut self.updated)?;
            }
            (previous, Some(gone)) => {
                if let Some(previous) = previous {
                    self.removed.push(operation.id.as_str());
                    self.removed_revisions.push(previous.cast_signed());
                }
                self.buried.push(operation.id.as_str());
                self.buried_tenants.push(operation.spec.tenant.as_str());
                self.buried_how.push(tombstones::code(gone));
                self.buried_at.push(now.micros());
            }
        }
        Ok(())
    }

    /// What is to be carried out, in order.
    fn statements(&self) -> Vec<Write<'_>> {
        let mut statements: Vec<Write<'_>> = Vec::new();
        let mut add = |sql: &'static str, parameters, rows: u64| {
            if rows > 0 {
                statements.push(Write { sql, parameters, rows });
            }
        };
        let [inserted, updated] = self.counts;
        let removed = self.removed.len() as u64;
        add(&sql::INSERT_OPERATIONS, self.inserted.parameters(), inserted);
        add(&sql::INSERT_SPECS, self.specs.parameters(), inserted);
        add(&sql::UPDATE_OPERATIONS, self.updated.parameters(), updated);
        add(&sql::DELETE_OPERATIONS, vec![&self.removed, &self.removed_revisions], removed);
        add(&sql::DELETE_SPECS, vec![&self.removed], removed);
        let buried = vec![&self.buried as _, &self.buried_tenants as _, &self.buried_how as _, &self.buried_at as _];
        add(&sql::PUT_TOMBSTONES, buried, self.buried.len() as u64);
        add(&sql::INSERT_KEYS, self.new_keys.parameters(), self.new_keys.len() as u64);
        add(&sql::UPDATE_KEYS, self.other_keys.parameters(), self.other_keys.len() as u64);
        statements
    }
}

/// Backoffs that one batch ends at most; those that ended first come first.
const BACKOFFS_ENDED_MAX: i64 = 4096;
