//! The table `documents`.

use operond_core::Timestamp;
use operond_store::{Collection, Document, DocumentWrite, Stale};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::fault::Fault;
use crate::session::Session;
use crate::sql;

/// All of a collection.
pub(crate) async fn all(client: &deadpool_postgres::Client, collection: Collection) -> Result<Vec<Document>, Fault> {
    let statement = client.prepare_cached(&sql::DOCUMENTS).await?;
    let rows = client.query(&statement, &[&i64::from(collection.code())]).await?;
    rows.iter().map(|row| read(row, collection)).collect()
}

/// One document, out of a row of [`sql::DOCUMENTS`].
pub(crate) fn read(row: &Row, collection: Collection) -> Result<Document, Fault> {
    Ok(Document {
        collection,
        name: row.try_get::<_, &str>(0)?.into(),
        version: row.try_get::<_, i64>(1)?.cast_unsigned(),
        modified_at: Timestamp::from_micros(row.try_get(2)?),
        bytes: row.try_get::<_, &[u8]>(3)?.into(),
    })
}

/// A document as the columns of its row.
pub(crate) struct Values<'d> {
    collection: i64,
    name: &'d str,
    version: i64,
    modified_at: i64,
    bytes: &'d [u8],
}

impl<'d> Values<'d> {
    pub(crate) fn of(document: &'d Document) -> Self {
        Self {
            collection: document.collection.code().into(),
            name: &document.name,
            version: document.version.cast_signed(),
            modified_at: document.modified_at.micros(),
            bytes: &document.bytes,
        }
    }

    pub(crate) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![&self.collection, &self.name, &self.version, &self.modified_at, &self.bytes]
    }
}

/// Writes all of them, in a transaction that is open, or finds out why they are not to be written.
pub(crate) async fn write(
    session: &Session,
    writes: &[DocumentWrite],
    now: Timestamp,
) -> Result<Result<Vec<Document>, Stale>, Fault> {
    let mut written = Vec::with_capacity(writes.len());
    for write in writes {
        let (collection, name) = (i64::from(write.collection.code()), &*write.name);
        let statement = session.prepared(&sql::LOCK_DOCUMENT).await?;
        let row = session.client.query_opt(&statement, &[&collection, &name]).await?;
        let found = row.map(|row| row.try_get::<_, i64>(0)).transpose()?.unwrap_or(0).cast_unsigned();
        let document = match write.clone().over(found, now) {
            Ok(document) => document,
            Err(stale) => return Ok(Err(stale)),
        };
        let sql = if found == 0 { &sql::INSERT_DOCUMENT } else { &sql::UPDATE_DOCUMENT };
        let statement = session.prepared(sql).await?;
        session.client.execute(&statement, &Values::of(&document).parameters()).await?;
        written.push(document);
    }
    Ok(Ok(written))
}
