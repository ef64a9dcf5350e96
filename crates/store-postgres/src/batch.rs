//! One batch in one transaction: load the rows it speaks of, let the rules run, write what came out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use futures::future::try_join;
use operond_core::{Gone, KeyRecord, Operation, OperationId, Tenant, Timestamp};
use operond_store::pack::Packed;
use operond_store::{Applied, Batch, ClaimWant, KeyWrite, Missing, News, OperationWrite, Rows, Wants};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::columns::{self, id_in, read_id};
use crate::fault::Fault;
use crate::keys::{self, Scope, sql_limit};
use crate::session::Session;
use crate::set_aside::SetAside;
use crate::time::Time;
use crate::writes::{self, Write, Writes};
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
        let writes = self.writes()?;
        let mut statements = writes.statements();
        let (n, micros, news) = (n, at.micros(), News::of(&self.applied).pack());
        statements.push(Write { sql: &sql::INSERT_NEWS, parameters: vec![&stream, &n, &micros, &news], rows: 1 });
        writes::commit(session, &statements, self.begun).await
    }

    fn writes(&self) -> Result<Writes<'_>, Fault> {
        let mut writes = Writes::new();
        let mut sorted: Vec<OperationWrite<'_>> = self.rows.writes().collect();
        // Neighbours in the indexes are written one after the other.
        sorted.sort_unstable_by(|a, b| a.operation.id.cmp(&b.operation.id));
        for write in &sorted {
            writes.operation(write, self.applied.at)?;
        }
        let mut keys: Vec<KeyWrite<'_>> = self.rows.key_writes().collect();
        keys.sort_unstable_by(|a, b| (a.tenant, a.key).cmp(&(b.tenant, b.key)));
        for write in &keys {
            let there = self.keys.contains(&(write.tenant.clone(), write.key.clone()));
            if there { writes.other_keys.push(write) } else { writes.new_keys.push(write) }
        }
        Ok(writes)
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

/// Backoffs that one batch ends at most; those that ended first come first.
const BACKOFFS_ENDED_MAX: i64 = 4096;
