//! The table `keys`, and removing what need not be remembered any longer.

use std::collections::HashMap;

use operond_core::limits::{KEY_LIFE_MIN, TOMBSTONE_LIFE};
use operond_core::{Fingerprint, IdempotencyKey, KeyRecord, OperationId, Tenant, Timestamp};
use operond_store::pack::Packed;
use operond_store::{Cause, KeyWrite};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::fault::{Damage, Fault};
use crate::session::Session;
use crate::sql;

/// A key, and whose it is.
pub(crate) type Scope = (Tenant, IdempotencyKey);

/// Locks and reads those of these keys that are there.
pub(crate) async fn load(session: &Session, wanted: &[Scope]) -> Result<HashMap<Scope, KeyRecord>, Fault> {
    let tenants: Vec<&str> = wanted.iter().map(|(tenant, _)| tenant.as_str()).collect();
    let keys: Vec<&str> = wanted.iter().map(|(_, key)| key.as_str()).collect();
    let statement = session.prepared(&sql::LOCK_KEYS).await?;
    let rows = session.client.query(&statement, &[&tenants, &keys]).await?;
    rows.iter().map(read).collect()
}

/// One key, out of a row of [`sql::LOCK_KEYS`].
pub(crate) fn read(row: &Row) -> Result<(Scope, KeyRecord), Fault> {
    let (tenant, key): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    let damage = |cause: Cause| Damage::of(format!("idempotency key {key:?} of tenant {tenant:?}"), cause);
    let scope = || Ok::<_, Cause>((Tenant::parse("tenant", tenant)?, IdempotencyKey::parse("key", key)?));
    let record = || {
        Ok::<_, Cause>(KeyRecord {
            operation: OperationId::parse("operation", row.try_get(2)?)?,
            created_at: Timestamp::from_micros(row.try_get(3)?),
            fingerprint: Fingerprint::unpack(row.try_get(4)?)?,
        })
    };
    Ok((scope().map_err(damage)?, record().map_err(damage)?))
}

/// Keys to be written, as arrays.
#[derive(Default)]
pub(crate) struct KeyArrays<'o> {
    tenants: Vec<&'o str>,
    keys: Vec<&'o str>,
    operations: Vec<&'o str>,
    created_at: Vec<i64>,
    fingerprints: Vec<Vec<u8>>,
}

impl<'o> KeyArrays<'o> {
    pub(crate) fn push(&mut self, write: &KeyWrite<'o>) {
        self.tenants.push(write.tenant.as_str());
        self.keys.push(write.key.as_str());
        self.operations.push(write.record.operation.as_str());
        self.created_at.push(write.record.created_at.micros());
        self.fingerprints.push(write.record.fingerprint.pack());
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![&self.tenants, &self.keys, &self.operations, &self.created_at, &self.fingerprints]
    }
}

/// Where the search for keys to be purged goes on: old keys of unfinished operations stay, and
/// would otherwise be looked at again and again.
#[derive(Debug, Default)]
pub(crate) struct KeyPurge {
    behind: Option<(i64, String, String)>,
}

/// Removes at most `limit` tombstones and keys that are past their lives; says how many.
pub(crate) async fn purge(
    session: &Session,
    place: &mut KeyPurge,
    now: Timestamp,
    limit: usize,
) -> Result<usize, Fault> {
    let latest = now.before(TOMBSTONE_LIFE).micros();
    let statement = session.prepared(&sql::PURGE_TOMBSTONES).await?;
    let tombstones = session.client.execute(&statement, &[&latest, &sql_limit(limit)]).await?;
    let tombstones = usize::try_from(tombstones).unwrap_or(limit).min(limit);
    Ok(tombstones + place.purge(session, now.before(KEY_LIFE_MIN).micros(), limit - tombstones).await?)
}

impl KeyPurge {
    /// Looks at `limit` keys, at least [`KEYS_LOOKED_AT`]: from where it stopped last to the end,
    /// and once from the beginning.
    async fn purge(&mut self, session: &Session, latest: i64, limit: usize) -> Result<usize, Fault> {
        let most = limit.clamp(KEYS_LOOKED_AT, KEYS_LOOKED_AT_ONCE);
        let mut removed = 0;
        let mut rounds = if self.behind.is_some() { 2 } else { 1 };
        while rounds > 0 && removed < limit {
            let old = self.old_keys(session, latest, most).await?;
            let looked_at_all = old.len() < most;
            let (mut tenants, mut keys) = (Vec::new(), Vec::new());
            for (created_at, tenant, key, free) in old {
                if removed + keys.len() == limit {
                    return Ok(removed + remove(session, &tenants, &keys, latest).await?);
                }
                if free {
                    tenants.push(tenant.clone());
                    keys.push(key.clone());
                }
                self.behind = Some((created_at, tenant, key));
            }
            removed += remove(session, &tenants, &keys, latest).await?;
            if looked_at_all {
                self.behind = None;
                rounds -= 1;
            } else if limit <= most {
                break;
            }
        }
        Ok(removed)
    }

    /// Creation, tenant, key, and whether it may go.
    async fn old_keys(
        &self,
        session: &Session,
        latest: i64,
        most: usize,
    ) -> Result<Vec<(i64, String, String, bool)>, Fault> {
        let (created_at, tenant, key) =
            self.behind.as_ref().map_or((i64::MIN, "", ""), |(at, tenant, key)| (*at, tenant, key));
        let statement = session.prepared(&sql::OLD_KEYS).await?;
        let rows = session.client.query(&statement, &[&latest, &created_at, &tenant, &key, &sql_limit(most)]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect()
    }
}

async fn remove(session: &Session, tenants: &[String], keys: &[String], latest: i64) -> Result<usize, Fault> {
    if keys.is_empty() {
        return Ok(0);
    }
    let statement = session.prepared(&sql::PURGE_KEYS).await?;
    let removed = session.client.execute(&statement, &[&tenants, &keys, &latest]).await?;
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}

/// A limit as SQL takes it.
pub(crate) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Keys that one purge looks at, removed or not, also when it may remove fewer …
const KEYS_LOOKED_AT: usize = 1_000;
/// … and so many at a time, when it may remove more.
const KEYS_LOOKED_AT_ONCE: usize = 10_000;
