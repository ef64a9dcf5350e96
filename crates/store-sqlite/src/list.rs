//! Pages of operations: first the keys, out of an index; then row by row until the page is full.

use operond_core::State;
use operond_store::{ListQuery, Order, Page};
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior, params};

use crate::columns::state_code;
use crate::fault::Fault;
use crate::operations::{load_for_list, sql_limit};
use crate::sql;

/// One page, as of one instant.
pub(crate) fn page(connection: &Connection, query: &ListQuery) -> Result<Page, Fault> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let keys = keys(&transaction, query)?;
    let mut row = transaction.prepare_cached(sql::OPERATION_BY_SEQ)?;
    let page = Page::fill(query, keys.iter().map(|(seq, id)| load_for_list(&mut row, *seq, id)))?;
    drop(row);
    transaction.commit()?;
    Ok(page)
}

/// Row and id of the operations on the page and of the one behind it.
fn keys(connection: &Connection, query: &ListQuery) -> Result<Vec<(i64, String)>, Fault> {
    let statement = match (query.order, &query.kind, query.state) {
        (Order::NewestFirst, None, None) => sql::LIST_NEWEST,
        (Order::OldestFirst, None, None) => sql::LIST_OLDEST,
        (Order::NewestFirst, Some(_), None) => sql::LIST_KIND_NEWEST,
        (Order::OldestFirst, Some(_), None) => sql::LIST_KIND_OLDEST,
        (Order::NewestFirst, None, Some(_)) => sql::LIST_STATE_NEWEST,
        (Order::OldestFirst, None, Some(_)) => sql::LIST_STATE_OLDEST,
        (Order::NewestFirst, Some(_), Some(_)) => sql::LIST_KIND_STATE_NEWEST,
        (Order::OldestFirst, Some(_), Some(_)) => sql::LIST_KIND_STATE_OLDEST,
    };
    // No operation was created at the ends of time: there every list begins.
    let (created_at, id) = match (&query.after, query.order) {
        (Some(cursor), _) => (cursor.created_at.micros(), cursor.id.as_str()),
        (None, Order::NewestFirst) => (i64::MAX, ""),
        (None, Order::OldestFirst) => (i64::MIN, ""),
    };
    let limit = sql_limit(query.limit.max(1).saturating_add(1));
    let kind = query.kind.as_ref().map(operond_core::Kind::as_str);
    let state = query.state.map(state_code);
    let mut parameters: Vec<&dyn ToSql> = params![created_at, id, limit].to_vec();
    parameters.extend(kind.as_ref().map(|kind| kind as &dyn ToSql));
    parameters.extend(state.as_ref().map(|state| state as &dyn ToSql));
    let mut statement = connection.prepare_cached(statement)?;
    let rows = statement.query_map(&*parameters, |row| Ok((row.get(2)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

// The lists over all states name their codes.
const _: () = assert!(State::ALL.len() == 7);
