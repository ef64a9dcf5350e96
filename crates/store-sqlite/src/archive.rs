//! The whole file, row by row, while no server has it.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use operond_core::{IdempotencyKey, Tenant, Timestamp};
use operond_store::pack::Packed;
use operond_store::{
    Answer, Archive, Bookmark, Cause, Collection, CopyOf, Counts, Error, Identity, KeyWrite, Most, Row, Standing,
    Tombstone,
};
use rusqlite::{Connection, Params, Row as SqlRow, Transaction, TransactionBehavior, params};

use crate::fault::{Damage, Fault};
use crate::open::{Location, OpenError, fresh_key};
use crate::operations::{self, read_id, sql_limit};
use crate::{columns, documents, keys, log, meta, sql};

/// A store in an SQLite file, to be copied from or to. Holds the lock of the file, as a server does.
///
/// What is asked of it is done by whoever waits for the answer, on its own thread.
pub struct SqliteArchive {
    /// `None` once closed.
    open: Mutex<Option<Open>>,
}

struct Open {
    connection: Connection,
    /// What is done is committed.
    writes: bool,
    /// Let go of after the connection.
    _lock: Option<File>,
}

impl SqliteArchive {
    /// Opens the file at `path` to write to it; makes it where it is not there, and brings it to the
    /// newest schema, as a server does.
    ///
    /// # Errors
    /// As [`crate::SqliteStore::open`], but for one that is marked.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let place = Location::find(path.as_ref())?;
        let lock = place.lock()?;
        place.make_file()?;
        let connection = place.database()?;
        let set_up = || {
            meta::load(&connection, &fresh_key())?;
            // A server has a thread for this.
            connection.pragma_update_and_check(None, "wal_autocheckpoint", LOG_PAGES_MAX, |_| Ok(()))
        };
        place.sqlite("set up", set_up())?;
        Ok(Self::of(connection, true, Some(lock)))
    }

    /// Opens the file at `path` and leaves it as it is, its schema and all. Nothing can be written.
    ///
    /// # Errors
    /// As [`SqliteArchive::open`], and when there is no such file.
    pub fn open_untouched(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let place = Location::find(path.as_ref())?;
        place.must_exist()?;
        let lock = place.lock()?;
        let connection = place.untouched()?;
        place.sqlite("read", meta::load(&connection, &fresh_key()))?;
        Ok(Self::of(connection, false, Some(lock)))
    }

    /// What [`SqliteArchive::open`] would make at `path`, where no file is; makes none.
    ///
    /// # Errors
    /// No file can be there.
    pub fn imagine(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let place = Location::find(path.as_ref())?;
        let connection = place.imagined()?;
        place.sqlite("imagine", meta::load(&connection, &fresh_key()))?;
        Ok(Self::of(connection, false, None))
    }

    fn of(connection: Connection, writes: bool, lock: Option<File>) -> Self {
        Self { open: Mutex::new(Some(Open { connection, writes, _lock: lock })) }
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(closed)?;
        work(&open.connection).map_err(Fault::on_reading)
    }

    /// Does the work in one transaction, which is refused where `work` says so.
    fn write(&self, work: impl FnOnce(&Connection) -> Result<bool, Fault>, refusal: &str) -> Result<(), Error> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(closed)?;
        if !open.writes {
            return Err(Error::Unavailable("the file was opened only to be read".into()));
        }
        let transact = || {
            let transaction = Transaction::new_unchecked(&open.connection, TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            if done {
                transaction.commit()?;
            }
            Ok(done)
        };
        if transact().map_err(Fault::on_writing)? { Ok(()) } else { Err(Error::Unavailable(refusal.into())) }
    }
}

impl Archive for SqliteArchive {
    fn standing(&self) -> Answer<'_, Standing> {
        Box::pin(async { self.read(standing) })
    }

    fn counts(&self) -> Answer<'_, Counts> {
        Box::pin(async { self.read(counts) })
    }

    fn read(&self, behind: &Bookmark, most: Most) -> Answer<'_, Vec<Row>> {
        let behind = behind.clone();
        Box::pin(async move { Self::read(self, |connection| rows(connection, &behind, most)) })
    }

    fn begin(&self, source: String, identity: Identity) -> Answer<'_, ()> {
        Box::pin(async move {
            let begin = |connection: &Connection| Ok(meta::begin_copy(connection, &source, &identity)?);
            Self::write(self, begin, "a copy into this file was begun before")
        })
    }

    fn write(&self, rows: Vec<Row>) -> Answer<'_, ()> {
        Box::pin(async move {
            let Some(place) = rows.last().map(Row::bookmark) else { return Ok(()) };
            let add = |connection: &Connection| {
                let derived_at = meta::read(connection)?.last_stored.unwrap_or_default();
                rows.iter().try_for_each(|row| put(connection, row, derived_at))?;
                Ok(meta::move_copy(connection, &place)?)
            };
            Self::write(self, add, NOT_BEGUN)
        })
    }

    fn finish(&self) -> Answer<'_, ()> {
        Box::pin(async { Self::write(self, |connection| Ok(meta::finish_copy(connection)?), NOT_BEGUN) })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(closed)?;
            if open.writes {
                log::truncate(&open.connection).map_err(|error| Fault::from(error).on_writing())?;
            }
            Ok(())
        })
    }
}

fn standing(connection: &Connection) -> Result<Standing, Fault> {
    let meta = meta::read(connection)?;
    let damage = |cause| Damage::of("an unfinished copy", cause);
    let copy = |(source, place): (String, Option<Vec<u8>>)| {
        let place = place.map(|place| Bookmark::unpack(&place).map_err(damage)).transpose()?;
        Ok::<_, Fault>(CopyOf { source, place })
    };
    Ok(Standing {
        identity: Identity { seal_key: meta.seal_key, newest: meta.last_stored },
        copy: meta.copy.map(copy).transpose()?,
        // It would hold the lock.
        served: None,
    })
}

fn counts(connection: &Connection) -> Result<Counts, Fault> {
    let number = |row: &SqlRow<'_>, column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let counts = connection.query_row(sql::COUNTS, [], |row| {
        Ok(Counts {
            operations: number(row, 0)?,
            tombstones: number(row, 1)?,
            keys: number(row, 2)?,
            documents: number(row, 3)?,
        })
    });
    Ok(counts?)
}

fn rows(connection: &Connection, behind: &Bookmark, most: Most) -> Result<Vec<Row>, Fault> {
    let limit = sql_limit(most.rows);
    match behind {
        Bookmark::Operations(id) => {
            let parameters = params![id.as_ref().map_or("", |id| id.as_str()), limit];
            fill(connection, sql::OPERATIONS_BEHIND, parameters, most, operation)
        }
        Bookmark::Tombstones(id) => {
            let parameters = params![id.as_ref().map_or("", |id| id.as_str()), limit];
            fill(connection, sql::TOMBSTONES_BEHIND, parameters, most, tombstone)
        }
        Bookmark::Keys(key) => {
            let (tenant, key) = key.as_ref().map_or(("", ""), |(tenant, key)| (tenant.as_str(), key.as_str()));
            fill(connection, sql::KEYS_BEHIND, params![tenant, key, limit], most, key_row)
        }
        Bookmark::Documents(document) => {
            // No collection has the number 0.
            let (code, name) = document.as_ref().map_or((0, ""), |(collection, name)| (collection.code(), &**name));
            fill(connection, sql::DOCUMENTS_BEHIND, params![code, name, limit], most, document_row)
        }
    }
}

fn fill(
    connection: &Connection,
    sql: &'static str,
    parameters: impl Params,
    most: Most,
    read: impl Fn(&SqlRow<'_>) -> Result<Row, Fault>,
) -> Result<Vec<Row>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(parameters)?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let row = read(row)?;
        bytes += row.bytes();
        rows.push(row);
        if most.is_reached(rows.len(), bytes) {
            break;
        }
    }
    Ok(rows)
}

fn operation(row: &SqlRow<'_>) -> Result<Row, Fault> {
    let named = |cause| Damage::of(format!("operation {:?}", row.get::<_, String>(0).unwrap_or_default()), cause);
    Ok(Row::Operation(columns::operation(row).map_err(named)?.into()))
}

fn tombstone(row: &SqlRow<'_>) -> Result<Row, Fault> {
    let id = read_id(row, 2)?;
    let (tenant, gone) = operations::how(row).map_err(|cause| Damage::of_operation(&id, cause))?;
    Ok(Row::Tombstone(Tombstone { id, tenant, gone, at: Timestamp::from_micros(row.get(3)?) }))
}

fn key_row(row: &SqlRow<'_>) -> Result<Row, Fault> {
    let (tenant, key): (String, String) = (row.get(3)?, row.get(4)?);
    let damage = |cause| Damage::of(format!("idempotency key {key:?} of tenant {tenant:?}"), cause);
    let read = || {
        let (tenant, key) = (Tenant::parse("tenant", &tenant)?, IdempotencyKey::parse("key", &key)?);
        Ok::<_, Cause>(Row::Key(tenant, key, keys::record(row)?))
    };
    Ok(read().map_err(damage)?)
}

fn document_row(row: &SqlRow<'_>) -> Result<Row, Fault> {
    let code: u8 = row.get(4)?;
    let unknown = || Damage::of(format!("a document of collection {code}"), "this release does not know it");
    Ok(Row::Document(documents::document(row, Collection::from_code(code).ok_or_else(unknown)?)?))
}

fn put(connection: &Connection, row: &Row, derived_at: Timestamp) -> Result<(), Fault> {
    match row {
        Row::Operation(operation) => operations::insert(connection, operation, derived_at),
        Row::Tombstone(Tombstone { id, tenant, gone, at }) => operations::bury(connection, id, tenant, *gone, *at),
        Row::Key(tenant, key, record) => keys::put(connection, &KeyWrite { tenant, key, record }),
        Row::Document(document) => Ok(documents::put_one(connection, document)?),
    }
}

fn closed() -> Error {
    Error::Unavailable("the file is closed".into())
}

const NOT_BEGUN: &str = "no copy into this file was begun";
/// 16 MiB of log are moved into the file.
const LOG_PAGES_MAX: i64 = 4096;
