//! The one row of the table `meta`.

use operond_core::Timestamp;
use operond_store::pack::Packed;
use operond_store::{Bookmark, Identity};
use rusqlite::{Connection, params};

use crate::sql;

/// What a store knows of itself.
#[derive(Debug)]
pub(crate) struct Meta {
    /// Seals page tokens.
    pub(crate) seal_key: [u8; 32],
    /// The clock at the newest commit; absent in a new store.
    pub(crate) last_stored: Option<Timestamp>,
    /// What it is a copy of, and how far that is, packed, unless it is finished.
    pub(crate) copy: Option<(String, Option<Vec<u8>>)>,
}

/// Reads the row; `fresh_key` becomes the seal key of a store that has none yet.
pub(crate) fn load(connection: &Connection, fresh_key: &[u8; 32]) -> rusqlite::Result<Meta> {
    connection.execute(sql::INSERT_META, params![fresh_key])?;
    read(connection)
}

/// Reads the row, which is there.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Meta> {
    connection.query_row(sql::META, [], |row| {
        let last_stored: Option<i64> = row.get(1)?;
        let source: Option<String> = row.get(2)?;
        let copy = source.map(|source| Ok::<_, rusqlite::Error>((source, row.get(3)?))).transpose()?;
        Ok(Meta { seal_key: row.get(0)?, last_stored: last_stored.map(Timestamp::from_micros), copy })
    })
}

/// Remembers how late it is, so that the store's clock never goes back behind it.
pub(crate) fn note_time(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached(sql::NOTE_TIME)?.execute([now.micros()])?;
    Ok(())
}

/// Marks the store as an unfinished copy, unless it is one already; says whether it was none.
pub(crate) fn begin_copy(connection: &Connection, source: &str, identity: &Identity) -> rusqlite::Result<bool> {
    let newest = identity.newest.map(Timestamp::micros);
    let marked =
        connection.execute(sql::BEGIN_COPY, params![identity.seal_key, newest, source, Bookmark::START.pack()])?;
    Ok(marked == 1)
}

/// Notes how far an unfinished copy is; says whether there is one.
pub(crate) fn move_copy(connection: &Connection, place: &Bookmark) -> rusqlite::Result<bool> {
    Ok(connection.prepare_cached(sql::MOVE_COPY)?.execute([place.pack()])? == 1)
}

/// Marks an unfinished copy as finished; says whether there was one.
pub(crate) fn finish_copy(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(connection.execute(sql::FINISH_COPY, [])? == 1)
}
