//! The table `documents`.

use operond_core::Timestamp;
use operond_store::{Collection, Document, DocumentWrite, Stale};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::fault::Fault;
use crate::{meta, sql};

/// All documents of a collection, by name.
pub(crate) fn all(connection: &Connection, collection: Collection) -> Result<Vec<Document>, Fault> {
    let mut statement = connection.prepare_cached(sql::DOCUMENTS)?;
    let documents = statement.query_map([collection.code()], |row| document(row, collection))?;
    Ok(documents.collect::<Result<_, _>>()?)
}

/// Writes all of them or none; when this returns `Ok(Ok(…))`, they are on the disk.
pub(crate) fn put(
    connection: &Connection,
    writes: &[DocumentWrite],
    now: Timestamp,
) -> Result<Result<Vec<Document>, Stale>, Fault> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let mut written = Vec::with_capacity(writes.len());
    for write in writes {
        match write.clone().over(version(&transaction, write)?, now) {
            Ok(document) => {
                put_one(&transaction, &document)?;
                written.push(document);
            }
            // The transaction goes with what was written before.
            Err(conflict) => return Ok(Err(conflict)),
        }
    }
    meta::note_time(&transaction, now)?;
    transaction.commit()?;
    Ok(Ok(written))
}

/// The version that is stored; 0 for none.
fn version(connection: &Connection, write: &DocumentWrite) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(sql::DOCUMENT_VERSION)?;
    let key = params![write.collection.code(), &*write.name];
    let version: Option<i64> = statement.query_row(key, |row| row.get(0)).optional()?;
    Ok(version.unwrap_or(0).cast_unsigned())
}

/// Writes one as it is, in place of one that may be there.
pub(crate) fn put_one(connection: &Connection, document: &Document) -> rusqlite::Result<()> {
    connection.prepare_cached(sql::PUT_DOCUMENT)?.execute(params![
        document.collection.code(),
        &*document.name,
        document.version.cast_signed(),
        document.modified_at.micros(),
        &*document.bytes,
    ])?;
    Ok(())
}

/// One document, out of the first columns of a row.
pub(crate) fn document(row: &Row<'_>, collection: Collection) -> rusqlite::Result<Document> {
    Ok(Document {
        collection,
        name: row.get_ref(0)?.as_str()?.into(),
        version: row.get::<_, i64>(1)?.cast_unsigned(),
        modified_at: Timestamp::from_micros(row.get(2)?),
        bytes: row.get_ref(3)?.as_blob()?.into(),
    })
}
