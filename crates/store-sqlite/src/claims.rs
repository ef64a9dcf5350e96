//! Which operations are offered to a worker: tenants in turn, of each the longest claimable.
//!
//! The index of claimable operations holds nothing that is still behind a backoff, so one step of
//! the search is one tenant that has something. No claim looks at more tenants than it wants
//! operations, however many there are.

use std::collections::VecDeque;

use operond_core::{Kind, OperationId, Tenant, Timestamp};
use operond_store::ClaimWant;
use rusqlite::{Connection, OptionalExtension, params};

use crate::fault::Fault;
use crate::operations::{read_id, sql_limit};
use crate::sql;

/// Makes operations claimable whose backoff is over.
pub(crate) fn end_backoffs(connection: &Connection, now: Timestamp) -> Result<(), Fault> {
    connection.prepare_cached(sql::END_BACKOFFS)?.execute(params![now.micros(), BACKOFFS_ENDED_MAX])?;
    Ok(())
}

/// At most `want.max` candidates, in their order.
pub(crate) fn candidates(connection: &Connection, want: &ClaimWant) -> Result<Vec<OperationId>, Fault> {
    let mut kinds: Vec<&Kind> = want.kinds.iter().collect();
    kinds.sort_unstable();
    kinds.dedup();
    let tenants = match &want.tenant {
        Some(tenant) => vec![(tenant.as_str().to_owned(), kinds)],
        None => tenants_in_turn(connection, &kinds, want.after.as_ref(), want.max)?,
    };
    let each = want.max.div_ceil(tenants.len().max(1));
    let mut turns: VecDeque<Turn<'_>> =
        tenants.into_iter().map(|(tenant, kinds)| Turn::new(tenant, kinds, each)).collect();
    let mut found = Vec::new();
    while found.len() < want.max {
        let Some(mut turn) = turns.pop_front() else { break };
        if let Some(id) = turn.next(connection)? {
            found.push(id);
            turns.push_back(turn);
        }
    }
    Ok(found)
}

/// At most `most` tenants behind `after`, going round, each with those of `kinds` that it has something of.
fn tenants_in_turn<'k>(
    connection: &Connection,
    kinds: &[&'k Kind],
    after: Option<&Tenant>,
    most: usize,
) -> Result<Vec<(String, Vec<&'k Kind>)>, Fault> {
    let start = after.map_or(BEFORE_ALL, Tenant::as_str);
    let mut tenants = tenants_behind(connection, kinds, start, most)?;
    if start != BEFORE_ALL && tenants.len() < most {
        let mut rest = tenants_behind(connection, kinds, BEFORE_ALL, most - tenants.len())?;
        rest.retain(|(tenant, _)| tenant.as_str() <= start);
        tenants.extend(rest);
    }
    Ok(tenants)
}

/// At most `most` tenants behind `start` in the order of their names.
fn tenants_behind<'k>(
    connection: &Connection,
    kinds: &[&'k Kind],
    start: &str,
    most: usize,
) -> Result<Vec<(String, Vec<&'k Kind>)>, Fault> {
    let mut heads = Vec::with_capacity(kinds.len());
    for &kind in kinds {
        heads.push((kind, next_tenant(connection, kind, start)?));
    }
    let mut tenants = Vec::new();
    while tenants.len() < most {
        let Some(tenant) = heads.iter().filter_map(|(_, head)| head.clone()).min() else { break };
        let mut has = Vec::new();
        for (kind, head) in heads.iter_mut().filter(|(_, head)| head.as_ref() == Some(&tenant)) {
            *head = next_tenant(connection, kind, &tenant)?;
            has.push(*kind);
        }
        tenants.push((tenant, has));
    }
    Ok(tenants)
}

fn next_tenant(connection: &Connection, kind: &Kind, behind: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached(sql::NEXT_TENANT)?;
    statement.query_row([kind.as_str(), behind], |row| row.get(0)).optional()
}

/// What is left of one tenant's operations, over all wanted kinds.
struct Turn<'k> {
    tenant: String,
    queues: Vec<Queue<'k>>,
}

impl<'k> Turn<'k> {
    fn new(tenant: String, kinds: Vec<&'k Kind>, each: usize) -> Self {
        let queue = |kind| Queue { kind, read: VecDeque::new(), place: None, ended: false, each };
        Self { tenant, queues: kinds.into_iter().map(queue).collect() }
    }

    /// The longest claimable one that was not taken yet.
    fn next(&mut self, connection: &Connection) -> Result<Option<OperationId>, Fault> {
        for queue in &mut self.queues {
            queue.fill(connection, &self.tenant)?;
        }
        let first =
            self.queues.iter_mut().filter(|queue| !queue.read.is_empty()).min_by(|a, b| a.read[0].cmp(&b.read[0]));
        Ok(first.and_then(|queue| queue.read.pop_front()).map(|(_, id)| id))
    }
}

/// One tenant's operations of one kind, read a few at a time.
struct Queue<'k> {
    kind: &'k Kind,
    read: VecDeque<(i64, OperationId)>,
    /// The last one read.
    place: Option<(i64, OperationId)>,
    ended: bool,
    each: usize,
}

impl Queue<'_> {
    fn fill(&mut self, connection: &Connection, tenant: &str) -> Result<(), Fault> {
        if self.ended || !self.read.is_empty() {
            return Ok(());
        }
        let (available_at, id) = self.place.as_ref().map_or((i64::MIN, ""), |(at, id)| (*at, id.as_str()));
        let mut statement = connection.prepare_cached(sql::CLAIMABLE)?;
        let limit = sql_limit(self.each);
        let mut rows = statement.query(params![self.kind.as_str(), tenant, available_at, id, limit])?;
        while let Some(row) = rows.next()? {
            self.read.push_back((row.get(0)?, read_id(row, 1)?));
        }
        self.ended = self.read.len() < self.each;
        self.place = self.read.back().cloned();
        Ok(())
    }
}

/// Comes before every name of a tenant: none is empty.
const BEFORE_ALL: &str = "";
/// Backoffs that one batch ends at most; those that ended first come first.
const BACKOFFS_ENDED_MAX: i64 = 4096;
