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
        for (id, scopes) in &wants.ids {
            self.operation(id)?;
            if !scopes.iter().all(|scope| self.rows.reach(scope, id))
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

#[cfg(test)]
mod tests {
    use operond_core::{Command, Kind, NewOperation, Scope, Spec, Timestamp};
    use operond_store::{Accepted, CreateRequest, Lookup, Missing, Refusal, Request};
    use rusqlite::StatementStatus;

    use super::*;
    use crate::migrate::{STEPS, migrate};
    use crate::readers::get;

    /// What has been carried out how often.
    fn carried_out(connection: &Connection) -> HashMap<&'static str, i32> {
        let runs = |sql| connection.prepare_cached(sql).unwrap().get_status(StatementStatus::Run);
        sql::ALL.iter().map(|(name, sql)| (*name, runs(sql))).filter(|(_, runs)| *runs > 0).collect()
    }

    #[test]
    fn a_foreign_operation_takes_the_statements_of_one_that_is_not_there() {
        let now = Now::at(Timestamp::from_micros(1));
        let asked = |stored: bool| {
            let connection = Connection::open_in_memory().unwrap();
            migrate(&connection, STEPS).unwrap();
            connection.set_prepared_statement_cache_capacity(sql::ALL.len());
            let spec = Spec::new(Kind::new("k").unwrap()).into();
            let new = NewOperation { spec, metadata: None, claim: None };
            let create = Request::Create(CreateRequest { new, entropy: [1; 13], key: None }.into());
            let mut id = OperationId::generate(1, [2; 13]);
            if stored {
                let replies = apply(&connection, &Batch { requests: vec![create] }, now).unwrap().replies;
                let [Ok(Accepted::Created { operation, .. })] = &*replies else { panic!("{replies:?}") };
                id = operation.id.clone();
            }
            connection.flush_prepared_statement_cache();
            let strangers = ["t", "u"].map(|name| Scope::of_tenant(Tenant::parse("tenant", name).unwrap()));
            let ask = |scope: &Scope| Request::Command(scope.clone(), id.clone(), Command::Delete.into());
            // The same one again and again, too: it must not matter what is loaded already.
            let requests = strangers.iter().chain(&strangers).map(ask).collect();
            let replies = apply(&connection, &Batch { requests }, now).unwrap().replies;
            assert_eq!(replies, vec![Err(Refusal::NotFound(Missing::Never)); 4]);
            let by_commands = carried_out(&connection);
            assert_eq!(get(&connection, &strangers[0], &id).unwrap(), Lookup::Never);
            [by_commands, carried_out(&connection)]
        };
        let [absent, foreign] = [asked(false), asked(true)];
        assert_eq!(foreign, absent);
        assert_eq!(absent[0], HashMap::from([("OPERATION_BY_ID", 1), ("TOMBSTONE", 1)]));
        assert_eq!(absent[1], HashMap::from([("OPERATION_BY_ID", 2), ("TOMBSTONE", 2)]));
    }
}
