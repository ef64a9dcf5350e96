//! The one row of the table `meta`.

use operond_core::Timestamp;
use rusqlite::{Connection, params};

use crate::sql;

/// What a store knows of itself.
#[derive(Debug)]
pub(crate) struct Meta {
    /// Seals page tokens.
    pub(crate) seal_key: [u8; 32],
    /// The clock at the newest commit; absent in a new store.
    pub(crate) last_stored: Option<Timestamp>,
}

/// Reads the row; `fresh_key` becomes the seal key of a store that has none yet.
pub(crate) fn load(connection: &Connection, fresh_key: &[u8; 32]) -> rusqlite::Result<Meta> {
    connection.execute(sql::INSERT_META, params![fresh_key])?;
    connection.query_row(sql::META, [], |row| {
        let last_stored: Option<i64> = row.get(1)?;
        Ok(Meta { seal_key: row.get(0)?, last_stored: last_stored.map(Timestamp::from_micros) })
    })
}

/// Remembers how late it is, so that the store's clock never goes back behind it.
pub(crate) fn note_time(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached(sql::NOTE_TIME)?.execute([now.micros()])?;
    Ok(())
}
