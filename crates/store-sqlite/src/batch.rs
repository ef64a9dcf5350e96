//! One batch in one transaction: load the rows it speaks of, let the rules run, write what came out.

use std::collections::HashMap;

use operond_core::{Gone, Now, OperationId, Tenant};
use operond_store::columns::Place;
use operond_store::{Applied, Batch, OperationWrite, Rows, Wants};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::fault::{Damage, Fault};
use crate::operations::{self, bury, insert, remove, tombstone, update};
use crate::{claims, keys, sql};

/// Carries `batch` out; when this returns `Ok`, it is on the disk.
pub(crate) fn apply(connection: &Connection, batch: &Batch, now: Now) -> Result<Applied, Fault> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let mut loaded = Loaded::new(&transaction, now);
    loaded.load(&batch.wants())?;
    let Loaded { mut rows, places, tombstones, .. } = loaded;
    let replies = rows.run(batch, |id| tombstones.get(id).cloned());
    write(&transaction, &rows, &places, now)?;
    transaction.commit()?;
    Ok(rows.applied(replies))
}

struct Loaded<'c> {
    connection: &'c Connection,
    now: Now,
    rows: Rows,
    /// Where each operation was, to tell whether its indexes must be touched.
    places: HashMap<OperationId, Place>,
    tombstones: HashMap<OperationId, (Tenant, Gone)>,
}

impl<'c> Loaded<'c> {
    fn new(connection: &'c Connection, now: Now) -> Self {
        Self { connection, now, rows: Rows::new(now), places: HashMap::new(), tombstones: HashMap::new() }
    }

    fn load(&mut self, wants: &Wants) -> Result<(), Fault> {
        for id in &wants.ids {
            if !self.operation(id)?
                && let Some(tombstone) = tombstone(self.connection, id)?
            {
                self.tombstones.insert(id.clone(), tombstone);
            }
        }
        for (tenant, key) in &wants.keys {
            if let Some(record) = keys::load(self.connection, tenant, key)? {
                self.operation(&record.operation)?;
                self.rows.load_key(tenant.clone(), key.clone(), record);
            }
        }
        if !wants.claims.is_empty() {
            claims::end_backoffs(self.connection, self.now.at)?;
        }
        for want in &wants.claims {
            let candidates = claims::candidates(self.connection, want)?;
            let candidates = self.readable(candidates)?;
            self.rows.offer(candidates);
        }
        if wants.due > 0 {
            let due = self.due(wants.due)?;
            let due = self.readable(due)?;
            self.rows.offer_due(due);
        }
        Ok(())
    }

    /// Hands the operation in; says whether it is there.
    fn operation(&mut self, id: &OperationId) -> Result<bool, Fault> {
        if self.rows.has(id) {
            return Ok(true);
        }
        let Some(operation) = operations::load(self.connection, id)? else { return Ok(false) };
        self.places.insert(id.clone(), Place::of(&operation, self.now.at));
        self.rows.load(operation);
        Ok(true)
    }

    /// The earliest due timers, those of retention among them unless it is held.
    fn due(&self, limit: usize) -> Result<Vec<OperationId>, Fault> {
        let mut due = operations::due(self.connection, sql::DUE, self.now.at, limit)?;
        if !self.now.retention_held {
            due.extend(operations::due(self.connection, sql::EXPIRED, self.now.at, limit)?);
            due.sort_unstable();
            due.truncate(limit);
        }
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }

    /// Hands the operations in that nobody asked for by name, and sets aside those that cannot be read.
    fn readable(&mut self, mut ids: Vec<OperationId>) -> Result<Vec<OperationId>, Fault> {
        let mut damaged = Vec::new();
        for id in &ids {
            match self.operation(id) {
                Ok(true) => {}
                Ok(false) => damaged.push((id.clone(), Damage::of_operation(id, "it is in an index only"))),
                Err(Fault::Damaged(damage)) => damaged.push((id.clone(), damage)),
                Err(fault) => return Err(fault),
            }
        }
        for (id, damage) in damaged {
            tracing::error!(operation = %id, %damage, "set aside: it can be neither claimed nor timed out");
            operations::set_aside(self.connection, &id)?;
            ids.retain(|other| *other != id);
        }
        Ok(ids)
    }
}

fn write(connection: &Connection, rows: &Rows, places: &HashMap<OperationId, Place>, now: Now) -> Result<(), Fault> {
    let mut writes: Vec<OperationWrite<'_>> = rows.writes().collect();
    // Neighbours in the indexes are written one after the other.
    writes.sort_unstable_by(|a, b| a.operation.id.cmp(&b.operation.id));
    for OperationWrite { previous, operation, gone } in &writes {
        match (*previous, *gone) {
            (None, None) => insert(connection, operation, now.at)?,
            (Some(previous), None) => {
                update(connection, operation, previous, places.get(&operation.id).copied(), now.at)?;
            }
            (Some(previous), Some(gone)) => remove(connection, operation, previous, gone, now.at)?,
            (None, Some(gone)) => bury(connection, &operation.id, &operation.spec.tenant, gone, now.at)?,
        }
    }
    let mut wrote = !writes.is_empty();
    for key in rows.key_writes() {
        keys::put(connection, &key)?;
        wrote = true;
    }
    if wrote {
        crate::meta::note_time(connection, now.at)?;
    }
    Ok(())
}
