//! The table `tombstones`.

use std::collections::HashMap;

use operond_core::{Gone, OperationId, Tenant};

use crate::columns::read_id;
use crate::fault::{Damage, Fault};
use crate::session::Session;
use crate::sql;

/// What became of those of these operations that are gone, and whose they were.
pub(crate) async fn load(session: &Session, ids: &[&str]) -> Result<HashMap<OperationId, (Tenant, Gone)>, Fault> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let statement = session.prepared(&sql::TOMBSTONES).await?;
    session.client.query(&statement, &[&ids]).await?.iter().map(read).collect()
}

/// One tombstone, out of a row of [`sql::TOMBSTONES`].
pub(crate) fn read(row: &tokio_postgres::Row) -> Result<(OperationId, (Tenant, Gone)), Fault> {
    let id = read_id(row, 0)?;
    let what = || format!("the tombstone of {id}");
    let tenant = Tenant::parse("tenant", row.try_get(1)?).map_err(|invalid| Damage::of(what(), invalid))?;
    let gone = match row.try_get::<_, i64>(2)? {
        DELETED => Gone::Deleted,
        EXPIRED => Gone::Expired,
        _ => return Err(Damage::of(what(), "it went in an unknown way").into()),
    };
    Ok((id, (tenant, gone)))
}

/// What the column holds.
pub(crate) const fn code(gone: Gone) -> i64 {
    match gone {
        Gone::Deleted => DELETED,
        Gone::Expired => EXPIRED,
    }
}

const DELETED: i64 = 1;
const EXPIRED: i64 = 2;
