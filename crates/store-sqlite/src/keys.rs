//! The table `keys`, and removing what need not be remembered any longer.

use operond_core::limits::{KEY_LIFE_MIN, TOMBSTONE_LIFE};
use operond_core::{Fingerprint, IdempotencyKey, KeyRecord, OperationId, Tenant, Timestamp};
use operond_store::pack::Packed;
use operond_store::{Cause, KeyWrite};
use rusqlite::{Connection, Row, params};

use crate::fault::{Damage, Fault};
use crate::operations::sql_limit;
use crate::sql;

/// What a key stands for, if it is there.
pub(crate) fn load(connection: &Connection, tenant: &Tenant, key: &IdempotencyKey) -> Result<Option<KeyRecord>, Fault> {
    let mut statement = connection.prepare_cached(sql::KEY)?;
    let mut rows = statement.query([tenant.as_str(), key.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let damage = |cause| Damage::of(format!("idempotency key {key:?} of tenant {tenant:?}"), cause);
    Ok(Some(record(row).map_err(damage)?))
}

/// What a key stands for, out of the first columns of its row.
pub(crate) fn record(row: &Row<'_>) -> Result<KeyRecord, Cause> {
    Ok(KeyRecord {
        operation: OperationId::parse("operation", row.get_ref(0)?.as_str()?)?,
        created_at: Timestamp::from_micros(row.get(1)?),
        fingerprint: Fingerprint::unpack(row.get_ref(2)?.as_blob()?)?,
    })
}

/// Writes a key, in place of one that may be there.
pub(crate) fn put(connection: &Connection, write: &KeyWrite<'_>) -> Result<(), Fault> {
    connection.prepare_cached(sql::PUT_KEY)?.execute(params![
        write.tenant.as_str(),
        write.key.as_str(),
        write.record.operation.as_str(),
        write.record.created_at.micros(),
        write.record.fingerprint.pack(),
    ])?;
    Ok(())
}

/// Where the search for keys to be purged goes on: old keys of unfinished operations stay, and
/// would otherwise be looked at again and again.
#[derive(Debug, Default)]
pub(crate) struct KeyPurge {
    behind: Option<(i64, String, String)>,
}

/// Removes at most `limit` tombstones and keys that are past their lives; says how many.
pub(crate) fn purge(
    connection: &Connection,
    place: &mut KeyPurge,
    now: Timestamp,
    limit: usize,
) -> Result<usize, Fault> {
    let latest = now.before(TOMBSTONE_LIFE).micros();
    let mut statement = connection.prepare_cached(sql::PURGE_TOMBSTONES)?;
    let tombstones = statement.execute(params![latest, sql_limit(limit)])?;
    Ok(tombstones + place.purge(connection, now.before(KEY_LIFE_MIN).micros(), limit - tombstones)?)
}

impl KeyPurge {
    /// Looks at `limit` keys, at least [`KEYS_LOOKED_AT`]: from where it stopped last to the end,
    /// and once from the beginning.
    fn purge(&mut self, connection: &Connection, latest: i64, limit: usize) -> Result<usize, Fault> {
        let mut budget = limit.max(KEYS_LOOKED_AT);
        let mut removed = 0;
        let mut rounds = if self.behind.is_some() { 2 } else { 1 };
        while rounds > 0 && budget > 0 && removed < limit {
            let old = self.old_keys(connection, latest, budget)?;
            let ended = old.len() < budget;
            for key in old {
                if removed == limit {
                    return Ok(removed);
                }
                removed += connection.prepare_cached(sql::PURGE_KEY)?.execute([&key.1, &key.2])?;
                budget -= 1;
                self.behind = Some(key);
            }
            if ended {
                self.behind = None;
                rounds -= 1;
            }
        }
        Ok(removed)
    }

    fn old_keys(&self, connection: &Connection, latest: i64, most: usize) -> Result<Vec<(i64, String, String)>, Fault> {
        let (created_at, tenant, key) =
            self.behind.as_ref().map_or((i64::MIN, "", ""), |(at, tenant, key)| (*at, tenant, key));
        let mut statement = connection.prepare_cached(sql::OLD_KEYS)?;
        let rows = statement.query_map(params![latest, created_at, tenant, key, sql_limit(most)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// Keys that one purge looks at, removed or not, also when it may remove fewer.
const KEYS_LOOKED_AT: usize = 1000;
