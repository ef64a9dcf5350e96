//! The whole database, row by row, while no server has it.

use std::time::Duration;

use operond_core::Timestamp;
use operond_store::pack::Packed;
use operond_store::{
    Answer, Archive, Bookmark, Collection, CopyOf, Counts, Error, Identity, KeyWrite, Most, Row, Standing, Tombstone,
};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::ToSql;

use crate::address::{Address, chain};
use crate::fault::{Damage, Fault};
use crate::keys::sql_limit;
use crate::open::{OpenError, seal_key, session};
use crate::presence::ABSENT_AFTER;
use crate::session::{Connector, Session};
use crate::writes::{self, Write, Writes};
use crate::{columns, documents, keys, sql, tombstones};

/// A store in a PostgreSQL database, to be copied from or to, over one connection.
///
/// Nothing keeps a server from serving the database meanwhile; see [`Standing::served`].
pub struct PostgresArchive {
    connector: Connector,
    /// `None` once closed.
    session: Mutex<Option<Session>>,
}

impl PostgresArchive {
    /// Opens the store in the database at `url`, which was migrated before. Must be called inside a
    /// tokio runtime with IO and time; its futures may be awaited anywhere.
    ///
    /// # Errors
    /// As [`crate::PostgresStore::open`], but for one that is marked.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let connector = Connector::new(Address::parse(url)?, Handle::current());
        let session = session(&connector).await?;
        let failed = |error: tokio_postgres::Error| OpenError::Failed {
            url: connector.address().shown.clone(),
            doing: "set up the connection to",
            why: chain(&error),
        };
        session.client.batch_execute(SETTINGS).await.map_err(failed)?;
        Ok(Self { connector, session: Mutex::new(Some(session)) })
    }

    async fn session(&self) -> Result<Asked<'_>, Error> {
        let session = self.session.lock().await;
        if session.is_some() { Ok(Asked(session)) } else { Err(closed()) }
    }
}

/// The connection, while it is asked something.
struct Asked<'a>(MutexGuard<'a, Option<Session>>);

impl Asked<'_> {
    fn get(&mut self) -> Result<&mut Session, Error> {
        self.0.as_mut().ok_or_else(closed)
    }
}

impl Archive for PostgresArchive {
    fn standing(&self) -> Answer<'_, Standing> {
        Box::pin(async { Ok(standing(self.session().await?.get()?).await?) })
    }

    fn counts(&self) -> Answer<'_, Counts> {
        Box::pin(async { Ok(counts(self.session().await?.get()?).await?) })
    }

    fn read(&self, behind: &Bookmark, most: Most) -> Answer<'_, Vec<Row>> {
        let behind = behind.clone();
        Box::pin(async move { Ok(rows(self.session().await?.get()?, &behind, most).await?) })
    }

    fn begin(&self, source: String, identity: Identity) -> Answer<'_, ()> {
        Box::pin(async move { begin(self.session().await?.get()?, &source, &identity).await })
    }

    fn write(&self, rows: Vec<Row>) -> Answer<'_, ()> {
        Box::pin(async move { write(self.session().await?.get()?, &rows).await })
    }

    fn finish(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let mut session = self.session().await?;
            let finished = session.get()?.client.execute(sql::FINISH_COPY.as_str(), &[]).await.map_err(Fault::from)?;
            if finished == 1 { Ok(()) } else { Err(not_begun()) }
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            drop(self.session.lock().await.take().ok_or_else(closed)?);
            self.connector.ended().await;
            Ok(())
        })
    }
}

async fn standing(session: &Session) -> Result<Standing, Fault> {
    let row = session.client.query_one(sql::STANDING.as_str(), &[]).await?;
    let now: i64 = session.client.query_one(sql::NOW.as_str(), &[]).await?.try_get(0)?;
    let instant = |column| Ok::<_, Fault>(row.try_get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
    let damage = |cause| Damage::of("an unfinished copy", cause);
    let place: Option<&[u8]> = row.try_get(3)?;
    let place = place.map(|place| Bookmark::unpack(place).map_err(damage)).transpose()?;
    let source: Option<String> = row.try_get(2)?;
    let ago = |seen_at| Timestamp::from_micros(now).since(seen_at);
    Ok(Standing {
        identity: Identity { seal_key: seal_key(row.try_get(0)?), newest: instant(1)? },
        copy: source.map(|source| CopyOf { source, place }),
        served: instant(4)?.map(ago).filter(|ago: &Duration| *ago < ABSENT_AFTER),
    })
}

async fn counts(session: &Session) -> Result<Counts, Fault> {
    let row = session.client.query_one(sql::COUNTS.as_str(), &[]).await?;
    let number = |column| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(Counts { operations: number(0)?, tombstones: number(1)?, keys: number(2)?, documents: number(3)? })
}

async fn rows(session: &mut Session, behind: &Bookmark, most: Most) -> Result<Vec<Row>, Fault> {
    let limit = sql_limit(most.rows);
    match behind {
        Bookmark::Operations(id) => {
            let id = id.as_ref().map_or("", |id| id.as_str());
            fill(session, &sql::OPERATIONS_BEHIND, &[&id, &limit], most, operation).await
        }
        Bookmark::Tombstones(id) => {
            let id = id.as_ref().map_or("", |id| id.as_str());
            fill(session, &sql::TOMBSTONES_BEHIND, &[&id, &limit], most, tombstone).await
        }
        Bookmark::Keys(key) => {
            let (tenant, key) = key.as_ref().map_or(("", ""), |(tenant, key)| (tenant.as_str(), key.as_str()));
            fill(session, &sql::KEYS_BEHIND, &[&tenant, &key, &limit], most, key_row).await
        }
        Bookmark::Documents(document) => {
            // No collection has the number 0.
            let (code, name) = document.as_ref().map_or((0, ""), |(collection, name)| (collection.code(), &**name));
            fill(session, &sql::DOCUMENTS_BEHIND, &[&i64::from(code), &name, &limit], most, document_row).await
        }
    }
}

/// Asks for a few rows at a time, so that no more of them than there must be are under way at once.
async fn fill(
    session: &mut Session,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
    most: Most,
    read: impl Fn(&tokio_postgres::Row) -> Result<Row, Fault>,
) -> Result<Vec<Row>, Fault> {
    let statement = session.prepared(sql).await?;
    let transaction = session.client.transaction().await?;
    let portal = transaction.bind(&statement, parameters).await?;
    let (mut rows, mut bytes): (Vec<Row>, usize) = (Vec::new(), 0);
    let mut wanted = ROWS_FIRST.min(most.rows);
    'fill: loop {
        let some = transaction.query_portal(&portal, i32::try_from(wanted).unwrap_or(i32::MAX)).await?;
        for row in &some {
            let row = read(row)?;
            bytes += row.bytes();
            rows.push(row);
            if most.is_reached(rows.len(), bytes) {
                break 'fill;
            }
        }
        if some.len() < wanted {
            break;
        }
        let each = bytes / rows.len();
        wanted = ((most.bytes - bytes) / each).clamp(1, most.rows - rows.len());
    }
    transaction.rollback().await?;
    Ok(rows)
}

fn operation(row: &tokio_postgres::Row) -> Result<Row, Fault> {
    Ok(Row::Operation(columns::operation(row)?.into()))
}

fn tombstone(row: &tokio_postgres::Row) -> Result<Row, Fault> {
    let (id, (tenant, gone)) = tombstones::read(row)?;
    Ok(Row::Tombstone(Tombstone { id, tenant, gone, at: Timestamp::from_micros(row.try_get(3)?) }))
}

fn key_row(row: &tokio_postgres::Row) -> Result<Row, Fault> {
    let ((tenant, key), record) = keys::read(row)?;
    Ok(Row::Key(tenant, key, record))
}

fn document_row(row: &tokio_postgres::Row) -> Result<Row, Fault> {
    let code: i64 = row.try_get(4)?;
    let collection = u8::try_from(code).ok().and_then(Collection::from_code);
    let unknown = || Damage::of(format!("a document of collection {code}"), "this release does not know it");
    Ok(Row::Document(documents::read(row, collection.ok_or_else(unknown)?)?))
}

/// What servers told each other is not of the store that this becomes: it goes.
async fn begin(session: &mut Session, source: &str, identity: &Identity) -> Result<(), Error> {
    let begin = async {
        let transaction = session.client.transaction().await?;
        let newest = identity.newest.map(Timestamp::micros);
        let place = Bookmark::START.pack();
        let parameters = [&&identity.seal_key[..] as _, &newest as _, &source as _, &place as _];
        let marked = transaction.execute(sql::BEGIN_COPY.as_str(), &parameters).await?;
        transaction.batch_execute("DELETE FROM news; DELETE FROM streams").await?;
        if marked == 1 {
            transaction.commit().await?;
        }
        Ok::<_, Fault>(marked == 1)
    };
    if begin.await? { Ok(()) } else { Err(Error::Unavailable("a copy into this database was begun before".into())) }
}

async fn write(session: &Session, rows: &[Row]) -> Result<(), Error> {
    let Some(place) = rows.last().map(|row| row.bookmark().pack()) else { return Ok(()) };
    session.client.batch_execute("BEGIN").await.map_err(Fault::from)?;
    let written = add(session, rows, &place).await;
    if !matches!(written, Ok(true)) {
        // What cannot be rolled back goes with the connection.
        let _gone = session.client.batch_execute("ROLLBACK").await;
    }
    if written? { Ok(()) } else { Err(not_begun()) }
}

/// Writes and commits; says whether there is a mark, without which it does neither.
async fn add(session: &Session, rows: &[Row], place: &[u8]) -> Result<bool, Fault> {
    let Some(mark) = session.client.query_opt(sql::LOCK_COPY.as_str(), &[]).await? else { return Ok(false) };
    let derived_at = Timestamp::from_micros(mark.try_get::<_, Option<i64>>(0)?.unwrap_or_default());
    let mut writes = Writes::new();
    for row in rows {
        match row {
            Row::Operation(operation) => writes.insert(operation, derived_at)?,
            Row::Tombstone(Tombstone { id, tenant, gone, at }) => writes.bury(id, tenant, *gone, *at),
            Row::Key(tenant, key, record) => writes.new_keys.push(&KeyWrite { tenant, key, record }),
            Row::Document(document) => writes.insert_document(document),
        }
    }
    let mut statements = writes.statements();
    statements.push(Write { sql: &sql::MOVE_COPY, parameters: vec![&place], rows: 1 });
    writes::commit(session, &statements, true).await?;
    Ok(true)
}

fn closed() -> Error {
    Error::Unavailable("the database was let go of".into())
}

fn not_begun() -> Error {
    Error::Unavailable("no copy into this database was begun".into())
}

/// Beside what every connection is told: counting everything takes its time, and goes through a table
/// from its beginning to its end; and whoever reads here may wait for what the other store does.
const SETTINGS: &str =
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET enable_seqscan = on";
/// Rows that are asked for before it is known how large they are.
const ROWS_FIRST: usize = 16;
