//! Pages and counts: keys out of an index, and row by row what the filter has to look at.

use std::cmp;

use operond_core::State;
use operond_store::columns::state_code;
use operond_store::{Count, CountQuery, Cursor, ListQuery, Order, Page, Range};
use rusqlite::{CachedStatement, Connection, Rows, ToSql, Transaction, TransactionBehavior, params};

use crate::fault::Fault;
use crate::operations::load_for_list;
use crate::sql;

/// One page, as of one instant.
pub(crate) fn page(connection: &Connection, query: &ListQuery) -> Result<Page, Fault> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let range = query.range();
    let mut keys = Keys::prepare(&transaction, &range, query.order)?;
    let mut row = transaction.prepare_cached(sql::OPERATION_BY_SEQ)?;
    let keys = keys.behind(query.after.as_ref())?;
    let page = Page::fill(query, keys.map(|key| key.and_then(|(seq, id)| load_for_list(&mut row, seq, &id))))?;
    Ok(page)
}

/// How many there are, as of one instant.
pub(crate) fn count(connection: &Connection, query: &CountQuery) -> Result<Count, Fault> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let range = query.range();
    let mut keys = Keys::prepare(&transaction, &range, Order::default())?;
    let keys = keys.behind(None)?;
    if range.whole {
        return Count::by_index(query, keys);
    }
    let mut row = transaction.prepare_cached(sql::OPERATION_BY_SEQ)?;
    Count::by_looking(query, keys.map(|key| key.and_then(|(seq, id)| load_for_list(&mut row, seq, &id))))
}

/// The keys of what is in a range, read as they are asked for.
struct Keys<'c, 'q> {
    statement: CachedStatement<'c>,
    range: &'q Range,
    order: Order,
}

impl<'c, 'q> Keys<'c, 'q> {
    fn prepare(connection: &'c Connection, range: &'q Range, order: Order) -> Result<Self, Fault> {
        let statement = match (order, &range.tenant, &range.kind) {
            (Order::NewestFirst, Some(_), _) => sql::LIST_TENANT_NEWEST,
            (Order::OldestFirst, Some(_), _) => sql::LIST_TENANT_OLDEST,
            (Order::NewestFirst, None, None) => sql::LIST_NEWEST,
            (Order::OldestFirst, None, None) => sql::LIST_OLDEST,
            (Order::NewestFirst, None, Some(_)) => sql::LIST_KIND_NEWEST,
            (Order::OldestFirst, None, Some(_)) => sql::LIST_KIND_OLDEST,
        };
        Ok(Self { statement: connection.prepare_cached(statement)?, range, order })
    }

    /// Row and id of each that comes behind a place.
    fn behind(&mut self, after: Option<&Cursor>) -> Result<impl Iterator<Item = Result<(i64, String), Fault>>, Fault> {
        let (from, to) = (self.range.created_at.start(), self.range.created_at.end());
        // Keys are pairs, and no id is empty: with an empty one a bound takes in nothing of its instant
        // or all of it.
        let (first, last) = ((from.micros(), ""), (to.micros().saturating_add(1), ""));
        let after = after.map(|cursor| (cursor.created_at.micros(), cursor.id.as_str()));
        let (begin, end) = match self.order {
            Order::NewestFirst => (after.map_or(last, |after| cmp::min(after, last)), first),
            Order::OldestFirst => (after.map_or(first, |after| cmp::max(after, first)), last),
        };
        let states = State::ALL.into_iter().filter(|state| self.range.states.contains(*state));
        let mask = states.fold(0, |mask, state| mask | 1_i64 << state_code(state));
        let mut parameters: Vec<&dyn ToSql> = params![begin.0, begin.1, end.0, end.1, mask].to_vec();
        let whose = self.range.tenant.as_ref().or(self.range.kind.as_ref());
        parameters.extend(whose.map(|whose| whose as &dyn ToSql));
        let mut rows = self.statement.query(&*parameters)?;
        Ok(std::iter::from_fn(move || next_key(&mut rows).transpose()))
    }
}

fn next_key(rows: &mut Rows<'_>) -> Result<Option<(i64, String)>, Fault> {
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((row.get(2)?, row.get(1)?)))
}

// The lists name the code of each state.
const _: () = assert!(State::ALL.len() == 7);
