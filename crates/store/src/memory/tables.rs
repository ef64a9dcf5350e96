//! The rows and their indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use operond_core::limits::{KEY_LIFE_MIN, TOMBSTONE_LIFE};
use operond_core::{Gone, IdempotencyKey, KeyRecord, Now, Operation, OperationId, Scope, Tenant, Timer, Timestamp};

use super::documents::Documents;
use super::queue::Queue;
use crate::filter::Range;
use crate::list::{Count, CountQuery, Cursor, ListQuery, Order, Page};
use crate::request::{Applied, Batch};
use crate::rows::{ClaimWant, KeyWrite, OperationWrite, Rows, Wants};
use crate::{Error, Lookup};

/// Everything a store in memory holds. A clone is a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    operations: HashMap<OperationId, Arc<Operation>>,
    by_creation: BTreeSet<Cursor>,
    queue: Queue,
    /// Timers other than retention, which may be held.
    due: BTreeSet<(Timestamp, OperationId)>,
    expiring: BTreeSet<(Timestamp, OperationId)>,
    tombstones: HashMap<OperationId, (Tenant, Gone)>,
    tombstones_by_age: BTreeSet<(Timestamp, OperationId)>,
    keys: BTreeMap<(Tenant, IdempotencyKey), KeyRecord>,
    keys_by_age: BTreeSet<(Timestamp, Tenant, IdempotencyKey)>,
    pub(crate) documents: Documents,
}

impl Tables {
    /// [`crate::Store::update`].
    pub(crate) fn update(&mut self, batch: &Batch, now: Now) -> Result<Applied, Error> {
        let mut rows = self.rows(&batch.wants(), now);
        let replies = rows.run(batch, |id| self.tombstone(id));
        if !rows.writes().all(|write| self.agrees(&write)) {
            return Err(Error::Unavailable("a new operation's id is taken".into()));
        }
        for write in rows.writes() {
            self.put(&write, now.at);
        }
        for write in rows.key_writes() {
            self.put_key(&write);
        }
        Ok(rows.applied(replies))
    }

    /// Loads what is wanted.
    pub(crate) fn rows(&self, wants: &Wants, now: Now) -> Rows {
        let mut rows = Rows::new(now);
        self.load(&mut rows, wants.ids.keys());
        for (tenant, key) in &wants.keys {
            if let Some(record) = self.keys.get(&(tenant.clone(), key.clone())) {
                self.load(&mut rows, [&record.operation]);
                rows.load_key(tenant.clone(), key.clone(), record.clone());
            }
        }
        for want in &wants.claims {
            let candidates = self.candidates(want, now.at);
            self.load(&mut rows, &candidates);
            rows.offer(candidates);
        }
        let due = self.due(wants.due, now);
        self.load(&mut rows, &due);
        rows.offer_due(due);
        rows
    }

    /// Who may be claimed, in the order of `want`.
    pub(crate) fn candidates(&self, want: &ClaimWant, now: Timestamp) -> Vec<OperationId> {
        self.queue.candidates(want, now)
    }

    /// What became of an operation that is not there, and whose it was.
    pub(crate) fn tombstone(&self, id: &OperationId) -> Option<(Tenant, Gone)> {
        self.tombstones.get(id).cloned()
    }

    /// Whether what was loaded is still what is stored.
    pub(crate) fn agrees(&self, write: &OperationWrite<'_>) -> bool {
        self.operations.get(&write.operation.id).map(|operation| operation.revision) == write.previous
    }

    /// Writes an operation, or its tombstone.
    pub(crate) fn put(&mut self, write: &OperationWrite<'_>, at: Timestamp) {
        let operation = write.operation;
        if let Some(previous) = self.operations.remove(&operation.id) {
            self.unlist(&previous);
        }
        match write.gone {
            None => self.enlist(operation),
            Some(gone) => {
                self.tombstones.insert(operation.id.clone(), (operation.spec.tenant.clone(), gone));
                self.tombstones_by_age.insert((at, operation.id.clone()));
            }
        }
    }

    /// Writes an idempotency key.
    pub(crate) fn put_key(&mut self, write: &KeyWrite<'_>) {
        let (tenant, key) = (write.tenant.clone(), write.key.clone());
        if let Some(previous) = self.keys.insert((tenant.clone(), key.clone()), write.record.clone()) {
            self.keys_by_age.remove(&(previous.created_at, tenant.clone(), key.clone()));
        }
        self.keys_by_age.insert((write.record.created_at, tenant, key));
    }

    /// [`crate::Store::get`].
    pub(crate) fn lookup(&self, scope: &Scope, id: &OperationId) -> Lookup {
        match self.operations.get(id).filter(|operation| scope.covers(&operation.spec)) {
            Some(operation) => Lookup::Found(Arc::clone(operation)),
            None => Lookup::of_tombstone(scope, self.tombstone(id)),
        }
    }

    /// [`crate::Store::list`].
    pub(crate) fn list(&self, query: &ListQuery) -> Page {
        let range = query.range();
        let operations = self.in_range(&range, query.order, query.after.as_ref());
        let Ok(page) = Page::fill(query, operations.map(|operation| Ok::<_, Infallible>(Arc::clone(operation))));
        page
    }

    /// [`crate::Store::count`].
    pub(crate) fn count(&self, query: &CountQuery) -> Count {
        let range = query.range();
        let operations =
            self.in_range(&range, Order::default(), None).map(|found| Ok::<_, Infallible>(Arc::clone(found)));
        let Ok(count) =
            if range.whole { Count::by_index(query, operations) } else { Count::by_looking(query, operations) };
        count
    }

    /// What is in `range`, in this order, behind `after`.
    fn in_range<'a>(
        &'a self,
        range: &'a Range,
        order: Order,
        after: Option<&Cursor>,
    ) -> impl Iterator<Item = &'a Arc<Operation>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let cursors: Box<dyn Iterator<Item = &Cursor>> = match order {
            Order::OldestFirst => Box::new(self.by_creation.range::<Cursor, _>((after, Bound::Unbounded))),
            Order::NewestFirst => Box::new(self.by_creation.range::<Cursor, _>((Bound::Unbounded, after)).rev()),
        };
        cursors.map(|cursor| &self.operations[&cursor.id]).filter(|operation| range.contains(operation))
    }

    /// [`crate::Store::purge`].
    pub(crate) fn purge(&mut self, now: Timestamp, limit: usize) -> usize {
        let tombstones = self.purge_tombstones(now.before(TOMBSTONE_LIFE), limit);
        tombstones + self.purge_keys(now.before(KEY_LIFE_MIN), limit - tombstones)
    }

    fn load<'a>(&self, rows: &mut Rows, ids: impl IntoIterator<Item = &'a OperationId>) {
        for id in ids {
            if let Some(operation) = self.operations.get(id) {
                rows.load(Arc::clone(operation));
            }
        }
    }

    fn due(&self, limit: usize, now: Now) -> Vec<OperationId> {
        let first = |timers: &BTreeSet<(Timestamp, OperationId)>| -> Vec<(Timestamp, OperationId)> {
            timers.iter().take_while(|(at, _)| *at <= now.at).take(limit).cloned().collect()
        };
        let mut due = first(&self.due);
        if !now.retention_held {
            due.extend(first(&self.expiring));
            due.sort_unstable();
            due.truncate(limit);
        }
        due.into_iter().map(|(_, id)| id).collect()
    }

    fn enlist(&mut self, operation: &Arc<Operation>) {
        self.by_creation.insert(Cursor::of(operation));
        self.queue.insert(operation);
        if let Some((at, timers)) = self.timers(operation) {
            timers.insert((at, operation.id.clone()));
        }
        self.operations.insert(operation.id.clone(), Arc::clone(operation));
    }

    fn unlist(&mut self, operation: &Operation) {
        self.by_creation.remove(&Cursor::of(operation));
        self.queue.remove(operation);
        if let Some((at, timers)) = self.timers(operation) {
            timers.remove(&(at, operation.id.clone()));
        }
    }

    /// When its next timer is due, and the index that belongs into.
    fn timers(&mut self, operation: &Operation) -> Option<(Timestamp, &mut BTreeSet<(Timestamp, OperationId)>)> {
        let (at, timer) = operation.next_timer()?;
        Some((at, if timer == Timer::Retention { &mut self.expiring } else { &mut self.due }))
    }

    fn purge_tombstones(&mut self, until: Timestamp, limit: usize) -> usize {
        let old = self.tombstones_by_age.iter().take_while(|(at, _)| *at <= until).take(limit);
        let old: Vec<_> = old.cloned().collect();
        for row in &old {
            self.tombstones.remove(&row.1);
            self.tombstones_by_age.remove(row);
        }
        old.len()
    }

    fn purge_keys(&mut self, until: Timestamp, limit: usize) -> usize {
        let old = self.keys_by_age.iter().take_while(|(at, _, _)| *at <= until);
        let unfinished = |id| self.operations.get(id).is_some_and(|operation| !operation.done());
        let free = old.filter(|(_, tenant, key)| !unfinished(&self.keys[&(tenant.clone(), key.clone())].operation));
        let free: Vec<_> = free.take(limit).cloned().collect();
        for row in &free {
            self.keys_by_age.remove(row);
            self.keys.remove(&(row.1.clone(), row.2.clone()));
        }
        free.len()
    }
}
