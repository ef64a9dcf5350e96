//! The schema, as numbered steps that only go forwards.
//!
//! `PRAGMA user_version` counts the steps that a file has taken. A step that was released is never
//! edited: a change is a new file, valid while the previous release still has the schema before it.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Every step, in order.
pub(crate) const STEPS: &[&str] = &[
    include_str!("../migrations/0001_operations.sql"),
    include_str!("../migrations/0002_documents.sql"),
    include_str!("../migrations/0003_copies.sql"),
    include_str!("../migrations/0004_tenants.sql"),
];

/// Marks a file as ours: "OPRD".
pub(crate) const APPLICATION_ID: i32 = 0x4f50_5244;

/// Why a file was not brought to the newest schema.
#[derive(Debug)]
pub(crate) enum MigrateError {
    /// It has taken more steps than this program knows.
    Newer {
        /// Steps taken.
        found: usize,
    },
    /// A step failed; the file is as before that step.
    Failed {
        /// Counted from one.
        step: usize,
        /// Why.
        source: rusqlite::Error,
    },
}

/// Takes the steps that are missing, each in a transaction of its own.
pub(crate) fn migrate(connection: &Connection, steps: &[&str]) -> Result<(), MigrateError> {
    let version = version(connection).map_err(|source| MigrateError::Failed { step: 0, source })?;
    if version > steps.len() {
        return Err(MigrateError::Newer { found: version });
    }
    for (index, sql) in steps.iter().enumerate().skip(version) {
        let step = index + 1;
        take(connection, step, sql).map_err(|source| MigrateError::Failed { step, source })?;
    }
    Ok(())
}

/// Takes the steps that are missing in the transaction that is open: for one that is never committed.
pub(crate) fn pretend(connection: &Connection, steps: &[&str]) -> rusqlite::Result<()> {
    steps.iter().skip(version(connection)?).try_for_each(|sql| connection.execute_batch(sql))
}

/// The number of steps that a file has taken.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.pragma_query_value(None, "user_version", |row| {
        let version: u32 = row.get(0)?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    })
}

fn take(connection: &Connection, step: usize, sql: &str) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(sql)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(step).unwrap_or(i64::MAX))?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE shelf (name TEXT); INSERT INTO shelf VALUES ('kept');";
    const SECOND: &str = "ALTER TABLE shelf ADD COLUMN height INTEGER NOT NULL DEFAULT 7;";

    fn shelf(connection: &Connection) -> (String, i64) {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        connection.query_row("SELECT name, height FROM shelf", [], row).unwrap()
    }

    #[test]
    fn only_missing_steps_are_taken_and_rows_stay() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &[FIRST]).unwrap();
        assert_eq!(version(&connection).unwrap(), 1);
        migrate(&connection, &[FIRST, SECOND]).unwrap();
        migrate(&connection, &[FIRST, SECOND]).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
        assert_eq!(shelf(&connection), ("kept".into(), 7));
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_before_it() {
        let connection = Connection::open_in_memory().unwrap();
        let broken = "ALTER TABLE shelf ADD COLUMN height INTEGER; SELECT nonsense;";
        let error = migrate(&connection, &[FIRST, broken]).unwrap_err();
        assert!(matches!(error, MigrateError::Failed { step: 2, .. }), "{error:?}");
        assert_eq!(version(&connection).unwrap(), 1);
        migrate(&connection, &[FIRST, SECOND]).unwrap();
        assert_eq!(shelf(&connection).1, 7);
    }

    #[test]
    fn a_file_from_the_future_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &[FIRST, SECOND]).unwrap();
        let error = migrate(&connection, &[FIRST]).unwrap_err();
        assert!(matches!(error, MigrateError::Newer { found: 2 }), "{error:?}");
    }
}
