//! Pages and counts: what is in the range of a filter, read a few rows at a time until it is enough.

use std::cmp;
use std::sync::Arc;

use deadpool_postgres::Transaction;
use operond_core::State;
use operond_store::columns::state_code;
use operond_store::{Count, CountQuery, Counting, Cursor, Filling, ListQuery, Order, Page, Range, payload_bytes};
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Portal};

use crate::columns;
use crate::fault::Fault;
use crate::keys::sql_limit;
use crate::sql;

/// One page, as of one instant.
pub(crate) async fn page(client: &mut deadpool_postgres::Client, query: &ListQuery) -> Result<Page, Fault> {
    let mut filling = Filling::new(query);
    let transaction = snapshot(client).await?;
    let range = query.range();
    let mut operations = Operations::open(&transaction, &range, query.order, query.after.as_ref()).await?;
    'page: loop {
        let (some, last) = operations.next(&transaction).await?;
        for operation in some {
            if !filling.take(operation) {
                break 'page;
            }
        }
        if last {
            break;
        }
    }
    Ok(filling.page())
}

/// How many there are, as of one instant.
pub(crate) async fn count(client: &mut deadpool_postgres::Client, query: &CountQuery) -> Result<Count, Fault> {
    let range = query.range();
    if range.whole {
        return count_keys(client, query, &range).await;
    }
    let mut counting = Counting::new(query);
    let transaction = snapshot(client).await?;
    let mut operations = Operations::open(&transaction, &range, Order::default(), None).await?;
    'count: loop {
        let (some, last) = operations.next(&transaction).await?;
        for operation in some {
            if !counting.take(&operation) {
                break 'count;
            }
        }
        if last {
            break;
        }
    }
    Ok(counting.count())
}

async fn count_keys(client: &deadpool_postgres::Client, query: &CountQuery, range: &Range) -> Result<Count, Fault> {
    let bounds = Bounds::of(range, Order::OldestFirst, None);
    // One more than may be told, to know whether there is one.
    let most = sql_limit(query.count_max).saturating_add(1);
    let statement = match (&range.tenant, &range.kind) {
        (Some(_), _) => &sql::COUNT_TENANT,
        (None, Some(_)) => &sql::COUNT_KIND,
        (None, None) => &sql::COUNT,
    };
    let mut parameters = bounds.parameters();
    parameters.push(&most);
    let statement = client.prepare_cached(statement).await?;
    let found: i64 = client.query_one(&statement, &parameters).await?.try_get(0)?;
    let more = found == most;
    Ok(Count { count: (found - i64::from(more)).cast_unsigned(), more })
}

async fn snapshot(client: &mut deadpool_postgres::Client) -> Result<Transaction<'_>, Fault> {
    Ok(client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?)
}

/// What is in a range, read as it is asked for.
struct Operations {
    portal: Portal,
    /// How many rows to ask for: about as many as [`BYTES_AT_ONCE`] hold, by those that were read.
    rows: usize,
}

impl Operations {
    async fn open(
        transaction: &Transaction<'_>,
        range: &Range,
        order: Order,
        after: Option<&Cursor>,
    ) -> Result<Self, Fault> {
        let bounds = Bounds::of(range, order, after);
        let sql = match (order, &range.tenant, &range.kind) {
            (Order::NewestFirst, Some(_), _) => &sql::LIST_TENANT_NEWEST,
            (Order::OldestFirst, Some(_), _) => &sql::LIST_TENANT_OLDEST,
            (Order::NewestFirst, None, None) => &sql::LIST_NEWEST,
            (Order::OldestFirst, None, None) => &sql::LIST_OLDEST,
            (Order::NewestFirst, None, Some(_)) => &sql::LIST_KIND_NEWEST,
            (Order::OldestFirst, None, Some(_)) => &sql::LIST_KIND_OLDEST,
        };
        let statement = transaction.prepare_cached(sql).await?;
        Ok(Self { portal: transaction.bind(&statement, &bounds.parameters()).await?, rows: ROWS_FIRST })
    }

    /// The next few, and whether they are the last ones.
    async fn next(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> Result<(Vec<Arc<operond_core::Operation>>, bool), Fault> {
        let wanted = i32::try_from(self.rows).unwrap_or(i32::MAX);
        let rows = transaction.query_portal(&self.portal, wanted).await?;
        let last = rows.len() < self.rows;
        let operations: Vec<_> =
            rows.iter().map(|row| columns::operation(row).map(Arc::new)).collect::<Result<_, _>>()?;
        let bytes: usize = operations.iter().map(|operation| payload_bytes(operation)).sum();
        let each = bytes / operations.len().max(1);
        self.rows = (BYTES_AT_ONCE / each.max(1)).clamp(1, ROWS_MAX);
        Ok((operations, last))
    }
}

/// Where a list begins and ends, and in which states: the parameters of its statement.
struct Bounds<'q> {
    begin: (i64, &'q str),
    end: (i64, &'q str),
    mask: i64,
    /// A tenant or a kind, whichever the statement is about.
    whose: Option<&'q str>,
}

impl<'q> Bounds<'q> {
    fn of(range: &'q Range, order: Order, after: Option<&'q Cursor>) -> Self {
        let (from, to) = (range.created_at.start(), range.created_at.end());
        // Keys are pairs, and no id is empty: with an empty one a bound takes in nothing of its instant
        // or all of it.
        let (first, last) = ((from.micros(), ""), (to.micros().saturating_add(1), ""));
        let after = after.map(|cursor| (cursor.created_at.micros(), cursor.id.as_str()));
        let (begin, end) = match order {
            Order::NewestFirst => (after.map_or(last, |after| cmp::min(after, last)), first),
            Order::OldestFirst => (after.map_or(first, |after| cmp::max(after, first)), last),
        };
        let states = State::ALL.into_iter().filter(|state| range.states.contains(*state));
        let mask = states.fold(0, |mask, state| mask | 1_i64 << state_code(state));
        Self { begin, end, mask, whose: range.tenant.as_deref().or(range.kind.as_deref()) }
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&self.begin.0, &self.begin.1, &self.end.0, &self.end.1, &self.mask];
        parameters.extend(self.whose.as_ref().map(|whose| whose as &(dyn ToSql + Sync)));
        parameters
    }
}

// The statements name the code of each state.
const _: () = assert!(State::ALL.len() == 7);

/// Rows that are asked for first.
const ROWS_FIRST: usize = 32;
/// Rows that are asked for at a time, however small.
const ROWS_MAX: usize = 500;
/// Bytes of payload that are asked for at a time, about.
const BYTES_AT_ONCE: usize = 2 << 20;
