//! One batch in one transaction: load the rows it speaks of, let the rules run, write what came out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, LazyLock};

use futures::future::{try_join, try_join_all};
use operond_core::{Gone, KeyRecord, Kind, Operation, OperationId, Tenant, Timestamp};
use operond_store::pack::Packed;
use operond_store::{Applied, Batch, ClaimWant, KeyWrite, News, OperationWrite, Rows, Wants};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::columns::{self, id_in};
use crate::fault::Fault;
use crate::keys::{self, Scope, sql_limit};
use crate::passed::{Passed, Spans};
use crate::session::Session;
use crate::set_aside::SetAside;
use crate::time::Time;
use crate::wanted::{self, There, Wanted};
use crate::writes::{self, Write, Writes};
use crate::{sql, tombstones};

/// What a batch needs beside its connection.
pub(crate) struct Context<'c> {
    pub(crate) time: &'c Time,
    pub(crate) set_aside: &'c SetAside,
    pub(crate) passed: &'c Passed,
    /// Whether operations that somebody else has locked are waited for. Those that are not are refused.
    pub(crate) patient: bool,
}

/// Begins a transaction and judges `batch` in it. What it wants to be written is in the rows that come
/// back, which stay locked until the transaction ends.
pub(crate) async fn judge(session: &Session, batch: &Batch, context: &Context<'_>) -> Result<Judged, Fault> {
    let mut loaded = Loaded { session, context, operations: HashMap::new(), held: Vec::new(), begun: false };
    let wants = batch.wants();
    let keys = loaded.keys(&wants).await?;
    let Found { gone, candidates, due } = loaded.load(&wants, &keys).await?;
    let begun = loaded.begun;
    // Read now, when every row is locked: nothing that was stored before is later than this.
    let mut rows = Rows::new(context.time.now());
    loaded.operations.into_values().for_each(|operation| rows.load(operation));
    loaded.held.into_iter().for_each(|(id, tenant, kind)| rows.hold(id, tenant, kind));
    for ((tenant, key), record) in &keys {
        rows.load_key(tenant.clone(), key.clone(), record.clone());
    }
    candidates.into_iter().for_each(|candidates| rows.offer(candidates));
    rows.offer_due(due);
    let replies = rows.run(batch, |id| gone.get(id).cloned());
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
    /// Those that are there and not to be had: somebody else has them locked, or they are foreign.
    held: Vec<There>,
    begun: bool,
}

/// What is found for a batch beside what is loaded.
struct Found {
    /// What became of those asked for by name that are gone.
    gone: HashMap<OperationId, (Tenant, Gone)>,
    /// Of each claim, at most as many as it wants, in their order.
    candidates: Vec<Vec<OperationId>>,
    /// The longest due first.
    due: Vec<OperationId>,
}

/// Something to be asked of the database.
struct Question<'q> {
    about: About,
    sql: &'static str,
    parameters: Parameters<'q>,
}

type Parameters<'q> = Vec<Box<dyn ToSql + Sync + Send + 'q>>;

enum About {
    Names,
    Backoffs,
    Claim,
    Timers,
}

impl About {
    /// Whether it steps over what is dead in an index.
    fn is_search(&self) -> bool {
        match self {
            Self::Names => false,
            Self::Backoffs | Self::Claim | Self::Timers => true,
        }
    }
}

impl Loaded<'_> {
    /// Asks in the transaction, which begins with the first question: all that is to be known at the same time in
    /// one go. The database would be idle while an answer is on its way and the next question on its way back.
    async fn ask(&mut self, questions: &[Question<'_>]) -> Result<Vec<Vec<Row>>, Fault> {
        let mut prepared = Vec::with_capacity(questions.len());
        for question in questions {
            prepared.push(self.session.prepared(question.sql).await?);
        }
        let client = &self.session.client;
        let asked = prepared.iter().zip(questions).map(|(statement, question)| async move {
            let parameters: Vec<&(dyn ToSql + Sync)> = question.parameters.iter().map(|value| &**value as _).collect();
            client.query(statement, &parameters).await
        });
        // The way there and back is in the time of the first answer; finding work is in that of the others.
        let begin = async { self.begin().await.map(|()| Instant::now()) };
        let (begun, rows) = try_join(begin, try_join_all(asked)).await?;
        if questions.iter().any(|question| question.about.is_search()) {
            self.context.passed.took(begun.elapsed());
        }
        self.begun = true;
        Ok(rows)
    }

    /// Sent before what is asked together with it.
    async fn begin(&self) -> Result<(), tokio_postgres::Error> {
        if self.begun { Ok(()) } else { self.session.client.batch_execute("BEGIN").await }
    }

    /// Keys before operations, both in order: two batches never wait for each other.
    async fn keys(&mut self, wants: &Wants) -> Result<HashMap<Scope, KeyRecord>, Fault> {
        if wants.keys.is_empty() {
            return Ok(HashMap::new());
        }
        let begin = async { Ok(self.begin().await?) };
        let ((), keys) = try_join(begin, keys::load(self.session, &wants.keys)).await?;
        self.begun = true;
        Ok(keys)
    }

    /// Locks and loads the operations that are asked for by name, those that claims may get, and those that are due.
    async fn load(&mut self, wants: &Wants, keys: &HashMap<Scope, KeyRecord>) -> Result<Found, Fault> {
        let wanted = Wanted::of(wants, keys.values());
        let questions = self.questions(wants, &wanted);
        if questions.is_empty() {
            return Ok(Found { gone: HashMap::new(), candidates: Vec::new(), due: Vec::new() });
        }
        let (mut turns, mut due) = (Vec::with_capacity(wants.claims.len()), Vec::new());
        for (question, rows) in questions.iter().zip(self.ask(&questions).await?) {
            match question.about {
                About::Names => self.named(&rows)?,
                About::Backoffs => {}
                About::Claim => turns.push(self.turns(&rows)?),
                About::Timers => due.extend(self.due(&rows)?),
            }
        }
        let missing = wanted.missing(&self.operations);
        let gone = tombstones::load(self.session, &missing).await?;
        self.find_held(&missing).await?;
        let mut candidates = Vec::with_capacity(turns.len());
        for (want, turns) in wants.claims.iter().zip(turns) {
            candidates.push(self.candidates(want, turns).await?);
        }
        due.sort_unstable();
        due.truncate(wants.due);
        Ok(Found { gone, candidates, due: due.into_iter().map(|(_, id)| id).collect() })
    }

    fn questions<'q>(&self, wants: &'q Wants, wanted: &'q Wanted) -> Vec<Question<'q>> {
        let now = self.context.time.now();
        let (set_aside, micros) = (self.context.set_aside.ids(), now.at.micros());
        let passed = self.context.passed.timers();
        let mut questions = Vec::new();
        let question = |about, sql, parameters| Question { about, sql, parameters };
        if !wanted.is_empty() {
            let [ids, tenants, kinds] = wanted.columns();
            let lock = if self.context.patient { &sql::LOCK_OPERATIONS } else { &sql::LOCK_FREE_OPERATIONS };
            questions.push(question(About::Names, lock, vec![Box::new(ids), Box::new(tenants), Box::new(kinds)]));
        }
        if !wants.claims.is_empty() {
            let parameters: Parameters<'_> =
                vec![Box::new(micros), Box::new(BACKOFFS_ENDED_MAX), Box::new(passed.backoff)];
            questions.push(question(About::Backoffs, &sql::END_BACKOFFS, parameters));
        }
        for want in &wants.claims {
            questions.push(of_claim(want, self.context, false));
        }
        let timers: &[(&'static LazyLock<String>, i64)] = match (wants.due > 0, now.retention_held) {
            (false, _) => &[],
            (true, true) => &[(&sql::DUE, passed.due)],
            (true, false) => &[(&sql::DUE, passed.due), (&sql::EXPIRED, passed.expires)],
        };
        for &(sql, from) in timers {
            let limit = sql_limit(wants.due);
            let parameters: Parameters<'_> =
                vec![Box::new(micros), Box::new(limit), Box::new(set_aside.clone()), Box::new(from)];
            questions.push(question(About::Timers, sql, parameters));
        }
        questions
    }

    fn named(&mut self, rows: &[Row]) -> Result<(), Fault> {
        for row in rows {
            self.keep(columns::operation(row)?);
        }
        Ok(())
    }

    /// Of those that were not to be had, who is there after all: somebody else has them locked.
    async fn find_held(&mut self, missing: &[&str]) -> Result<(), Fault> {
        if self.context.patient || missing.is_empty() {
            return Ok(());
        }
        let statement = self.session.prepared(&sql::OPERATIONS_THERE).await?;
        for row in &self.session.client.query(&statement, &[&missing]).await? {
            let held = wanted::there(row)?;
            // What was to be had for one who asks is missing to another.
            if !self.operations.contains_key(&held.0) {
                self.held.push(held);
            }
        }
        Ok(())
    }

    /// At most `want.max` candidates, in their order.
    async fn candidates(&mut self, want: &ClaimWant, fair: Turns) -> Result<Vec<OperationId>, Fault> {
        if fair.are_enough(want.max) {
            return Ok(fair.take(want.max));
        }
        // Some tenants had little: the others give more.
        let question = of_claim(want, self.context, true);
        let rows = self.ask(&[question]).await?.concat();
        Ok(self.turns(&rows)?.take(want.max))
    }

    fn turns(&mut self, rows: &[Row]) -> Result<Turns, Fault> {
        let mut turns = Turns::default();
        for row in rows {
            turns.each = usize::try_from(row.try_get::<_, i64>(row.len() - 1)?).unwrap_or(usize::MAX);
            if let Some(operation) = self.readable(row)? {
                turns.add(row.try_get(row.len() - 2)?, &operation);
                self.keep(operation);
            }
        }
        Ok(turns)
    }

    /// What is due by a timer: the instant, and the operation.
    fn due(&mut self, rows: &[Row]) -> Result<Vec<(i64, OperationId)>, Fault> {
        let mut due = Vec::new();
        for row in rows {
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

/// What to ask for a claim, with `all` of each tenant as many as are wanted.
fn of_claim<'q>(want: &'q ClaimWant, context: &Context<'_>, all: bool) -> Question<'q> {
    let kinds: BTreeSet<&str> = want.kinds.iter().map(Kind::as_str).collect();
    let (set_aside, max) = (context.set_aside.ids(), sql_limit(want.max));
    let after = want.after.as_ref().map_or("", Tenant::as_str);
    let about = About::Claim;
    if let Some(tenant) = &want.tenant {
        let from = context.passed.of_tenant(&kinds, tenant);
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let parameters: Parameters<'_> =
            vec![Box::new(kinds), Box::new(tenant.as_str()), Box::new(max), Box::new(set_aside), Box::new(from)];
        return Question { about, sql: &sql::CANDIDATES_OF_TENANT, parameters };
    }
    let spans = context.passed.spans(&kinds);
    let kinds: Vec<&str> = kinds.into_iter().collect();
    if let (None, [kind], 1) = (&spans, &*kinds, want.max) {
        let parameters: Parameters<'_> = vec![Box::new(*kind), Box::new(after), Box::new(set_aside)];
        return Question { about, sql: &sql::CANDIDATE, parameters };
    }
    let mut parameters: Parameters<'_> =
        vec![Box::new(kinds), Box::new(after), Box::new(max), Box::new(set_aside), Box::new(all)];
    let Some(Spans { kinds, tenants, from, until }) = spans else {
        return Question { about, sql: &sql::CANDIDATES, parameters };
    };
    let spans: Parameters<'_> = vec![Box::new(kinds), Box::new(tenants), Box::new(from), Box::new(until)];
    parameters.extend(spans);
    Question { about, sql: &sql::CANDIDATES_IN_SPANS, parameters }
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

#[cfg(test)]
mod tests;
