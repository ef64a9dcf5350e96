//! The schema, as numbered steps that only go forwards, taken by command: servers do not migrate.
//!
//! `operond_meta` says which steps the database has taken, and which release still serves it: a step
//! is written so that the release before goes on working beside the new one. A step that was released
//! is never edited.

use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use crate::session::Session;

/// A step to a newer schema.
pub(crate) struct Step {
    sql: &'static str,
    /// The oldest schema version whose releases still serve a database that has taken this step.
    serves: i64,
}

/// Every step, in order.
pub(crate) const STEPS: &[Step] = &[
    Step { sql: include_str!("../migrations/0001_operations.sql"), serves: 1 },
    // Before, servers asked nobody who they are, and did not know the keys that they now share.
    Step { sql: include_str!("../migrations/0002_tenants.sql"), serves: 2 },
];

/// How a database's schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Steps it has taken; 0 where operond's tables are not there.
    pub version: i64,
    /// Releases that know at least this many steps serve it.
    pub serves: i64,
    /// Steps that this release knows.
    pub known: i64,
}

impl Schema {
    /// It lacks steps that this release needs; also where it is not there at all.
    #[must_use]
    pub fn is_too_old(&self) -> bool {
        self.version < self.known
    }

    /// It has taken steps that this release must know to serve it.
    #[must_use]
    pub fn is_too_new(&self) -> bool {
        self.serves > self.known
    }
}

/// Reads how the schema stands.
pub(crate) async fn schema(session: &Session) -> Result<Schema, tokio_postgres::Error> {
    let known = number(STEPS.len());
    let read = session.client.query_opt("SELECT version, serves FROM operond_meta WHERE only_one", &[]).await;
    match read {
        Ok(Some(row)) => Ok(Schema { version: row.try_get(0)?, serves: row.try_get(1)?, known }),
        Ok(None) => Ok(Schema { version: 0, serves: 0, known }),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Schema { version: 0, serves: 0, known }),
        Err(error) => Err(error),
    }
}

/// Takes the steps that are missing, all or none of them; says how many. Two at a time take turns.
pub(crate) async fn migrate(session: &mut Session, steps: &[Step]) -> Result<usize, tokio_postgres::Error> {
    let mut seal_key = [0; 32];
    getrandom::fill(&mut seal_key).expect("the operating system has randomness");
    let transaction = session.client.transaction().await?;
    // A step may take long, and waits for another that is being taken.
    transaction.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s'").await?;
    transaction.batch_execute(META).await?;
    transaction.execute(FIRST_META, &[&&seal_key[..]]).await?;
    let taken: i64 = transaction.query_one("SELECT version FROM operond_meta FOR UPDATE", &[]).await?.try_get(0)?;
    let taken = usize::try_from(taken).unwrap_or(usize::MAX);
    let missing = steps.get(taken..).unwrap_or_default();
    for (index, step) in missing.iter().enumerate() {
        take(&transaction, number(taken + index + 1), step).await?;
    }
    transaction.commit().await?;
    Ok(missing.len())
}

async fn take(transaction: &Transaction<'_>, version: i64, step: &Step) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(step.sql).await?;
    transaction.execute("UPDATE operond_meta SET version = $1, serves = $2", &[&version, &step.serves]).await?;
    Ok(())
}

fn number(steps: usize) -> i64 {
    i64::try_from(steps).unwrap_or(i64::MAX)
}

/// The one row about the store itself. `copy_source` is what it was copied from, `copy_place`
/// (packed) how far that is, until it is finished: before, no server opens it.
const META: &str = "CREATE TABLE IF NOT EXISTS operond_meta (\
    only_one boolean PRIMARY KEY CHECK (only_one), seal_key bytea NOT NULL, last_stored bigint, \
    version bigint NOT NULL, serves bigint NOT NULL, copy_source text, copy_place bytea)";
const FIRST_META: &str = "INSERT INTO operond_meta (only_one, seal_key, version, serves) VALUES (true, $1, 0, 0) \
    ON CONFLICT (only_one) DO NOTHING";
