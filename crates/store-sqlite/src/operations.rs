//! The tables `operations`, `specs` and `tombstones`: reading one, writing one.

use std::sync::Arc;

use operond_core::{Gone, Operation, OperationId, Tenant, Timestamp};
use operond_store::Cause;
use operond_store::columns::{Place, write_facts, write_key, write_place, write_spec};
use rusqlite::{Connection, Row, Statement, params};

use crate::columns::{self, Binder};
use crate::fault::{Damage, Fault};
use crate::sql;

/// The operation, if it is there.
pub(crate) fn load(connection: &Connection, id: &OperationId) -> Result<Option<Arc<Operation>>, Fault> {
    let mut statement = connection.prepare_cached(sql::OPERATION_BY_ID)?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let operation = columns::operation(row).map_err(|cause| Damage::of_operation(id, cause))?;
    Ok(Some(Arc::new(operation)))
}

/// The operation in the row `seq`, read by [`sql::OPERATION_BY_SEQ`] without its input; `id` names
/// it in an error.
pub(crate) fn load_for_list(statement: &mut Statement<'_>, seq: i64, id: &str) -> Result<Arc<Operation>, Fault> {
    let damage = |cause: Cause| Damage::of(format!("operation {id}"), cause);
    let mut rows = statement.query([seq])?;
    let row = rows.next()?.ok_or_else(|| damage("it is in an index and not in its table".into()))?;
    Ok(Arc::new(columns::operation(row).map_err(damage)?))
}

/// What became of an operation that is not there.
pub(crate) fn tombstone(connection: &Connection, id: &OperationId) -> Result<Option<(Tenant, Gone)>, Fault> {
    let mut statement = connection.prepare_cached(sql::TOMBSTONE)?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(how(row).map_err(|cause| Damage::of_operation(id, cause))?))
}

/// Whose an operation was and how it went, out of the first columns of its tombstone.
pub(crate) fn how(row: &Row<'_>) -> Result<(Tenant, Gone), Cause> {
    let tenant = Tenant::parse("tenant", row.get_ref(0)?.as_str()?)?;
    match row.get(1)? {
        DELETED => Ok((tenant, Gone::Deleted)),
        EXPIRED => Ok((tenant, Gone::Expired)),
        _ => Err("it went in an unknown way".into()),
    }
}

/// Takes the next operations whose timers are due out of `statement`: instant and id.
pub(crate) fn due(
    connection: &Connection,
    statement: &'static str,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(i64, OperationId)>, Fault> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(params![now.micros(), sql_limit(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get(0)?, read_id(row, 1)?));
    }
    Ok(found)
}

/// The id in a column of an index.
pub(crate) fn read_id(row: &Row<'_>, column: usize) -> Result<OperationId, Fault> {
    let text: String = row.get(column).map_err(|cause| Damage::of("an index", cause))?;
    Ok(OperationId::parse("id", &text).map_err(|invalid| Damage::of(format!("operation {text:?}"), invalid))?)
}

/// Writes a new operation.
pub(crate) fn insert(connection: &Connection, operation: &Operation, now: Timestamp) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(sql::INSERT_OPERATION)?;
    let mut row = Binder::new(&mut statement);
    write_key(operation, &mut row)?;
    write_place(Place::of(operation, now), &mut row)?;
    write_facts(operation, &mut row)?;
    row.execute()?;
    let mut statement = connection.prepare_cached(sql::INSERT_SPEC)?;
    let mut row = Binder::new(&mut statement);
    row.bind(connection.last_insert_rowid())?;
    write_spec(&operation.spec, &mut row)?;
    row.execute()?;
    Ok(())
}

/// Writes an operation in place of the one with revision `previous`, which was at `was`.
pub(crate) fn update(
    connection: &Connection,
    operation: &Operation,
    previous: u64,
    was: Option<Place>,
    now: Timestamp,
) -> Result<(), Fault> {
    let place = Place::of(operation, now);
    let stays = was == Some(place);
    let mut statement = connection.prepare_cached(if stays { sql::UPDATE_FACTS } else { sql::UPDATE_OPERATION })?;
    let mut row = Binder::new(&mut statement);
    write_facts(operation, &mut row)?;
    if !stays {
        write_place(place, &mut row)?;
    }
    row.bind(operation.id.as_str())?;
    row.bind(previous.cast_signed())?;
    one_row(row.execute()?, &operation.id, previous)
}

/// Removes an operation with revision `previous` and remembers how it went.
pub(crate) fn remove(
    connection: &Connection,
    operation: &Operation,
    previous: u64,
    gone: Gone,
    now: Timestamp,
) -> Result<(), Fault> {
    let id = operation.id.as_str();
    connection.prepare_cached(sql::DELETE_SPEC)?.execute([id])?;
    let deleted = connection.prepare_cached(sql::DELETE_OPERATION)?.execute(params![id, previous.cast_signed()])?;
    one_row(deleted, &operation.id, previous)?;
    bury(connection, &operation.id, &operation.spec.tenant, gone, now)
}

/// Remembers how an operation went.
pub(crate) fn bury(
    connection: &Connection,
    id: &OperationId,
    tenant: &Tenant,
    gone: Gone,
    at: Timestamp,
) -> Result<(), Fault> {
    let gone = match gone {
        Gone::Deleted => DELETED,
        Gone::Expired => EXPIRED,
    };
    let mut statement = connection.prepare_cached(sql::INSERT_TOMBSTONE)?;
    statement.execute(params![id.as_str(), tenant.as_str(), gone, at.micros()])?;
    Ok(())
}

/// Takes a row that cannot be read out of the way of claims and timers: there it would come first
/// again and again, and no operation behind it would get its turn. Who asks for it by its id still
/// hears that it is damaged.
pub(crate) fn set_aside(connection: &Connection, id: &OperationId) -> Result<(), Fault> {
    connection.prepare_cached(sql::SET_ASIDE)?.execute([id.as_str()])?;
    Ok(())
}

/// A limit as SQL takes it.
pub(crate) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Nobody else writes: a row that is not as it was read means that this store is wrong about itself.
fn one_row(written: usize, id: &OperationId, revision: u64) -> Result<(), Fault> {
    if written == 1 {
        return Ok(());
    }
    Err(Fault::Broken(format!("operation {id} was read with revision {revision} and is no longer stored with it")))
}

const DELETED: i64 = 1;
const EXPIRED: i64 = 2;

#[cfg(test)]
mod tests {
    use operond_core::{Kind, NewOperation, Spec, create};

    use super::*;
    use crate::migrate::{STEPS, migrate};

    #[test]
    fn a_write_on_another_revision_than_was_read_is_an_error() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, STEPS).unwrap();
        let now = Timestamp::from_micros(1);
        let new = NewOperation { spec: Spec::new(Kind::new("k").unwrap()).into(), metadata: None, claim: None };
        let operation = create(&new, OperationId::generate(1, [1; 13]), now);
        insert(&connection, &operation, now).unwrap();
        let stale = update(&connection, &operation, 7, None, now).unwrap_err();
        assert!(matches!(&stale, Fault::Broken(what) if what.contains(operation.id.as_str())), "{stale:?}");
        assert_eq!(load(&connection, &operation.id).unwrap().as_deref(), Some(&operation));
        update(&connection, &operation, operation.revision, None, now).unwrap();
        assert!(matches!(remove(&connection, &operation, 7, Gone::Deleted, now), Err(Fault::Broken(_))));
    }
}
