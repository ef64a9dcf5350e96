//! What PostgreSQL said, as what the user of a store does about it.

use std::fmt;

use deadpool_postgres::PoolError;
use operond_store::{Cause, Error};
use tokio_postgres::error::{DbError, Severity, SqlState};

/// Why something with the database did not work. Nothing was committed, unless it is in doubt.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The database refused, or the connection to it broke.
    Driver(tokio_postgres::Error),
    /// No connection could be had.
    Pool(PoolError),
    /// The database did not answer in time.
    Late(&'static str),
    /// A primary that another one has taken over from.
    Overtaken {
        /// Its timeline.
        timeline: u32,
        /// The newest one that was met.
        newest: u32,
    },
    /// The database is away; it is looked for, and this did not wait for it.
    Away,
    /// A row is there and cannot be read.
    Damaged(Damage),
    /// This store did what it must not do.
    Broken(String),
}

/// A row that cannot be read.
#[derive(Debug)]
pub(crate) struct Damage {
    /// What it is, and whose.
    row: String,
    cause: Cause,
}

/// What an error of the database comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// No room on its disk.
    Space,
    /// What is in it.
    Content,
    /// Another transaction was there at the same time: once more.
    Conflict,
    /// Anything that may pass.
    Moment,
}

impl Damage {
    pub(crate) fn of(row: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self { row: row.into(), cause: cause.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stored row of {} is damaged or of a newer version: {}", self.row, self.cause)
    }
}

impl std::error::Error for Damage {}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Driver(error),
            error => Self::Pool(error),
        }
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Driver(error) => match blame(&error) {
                Blame::Space => Self::Full(said(error)),
                Blame::Content => Self::Corrupt(said(error)),
                Blame::Conflict | Blame::Moment => Self::Unavailable(said(error)),
            },
            Fault::Pool(error) => Self::Unavailable(error.into()),
            Fault::Late(what) => Self::Unavailable(format!("the database did not answer in time: {what}").into()),
            Fault::Overtaken { timeline, newest } => {
                let what = format!("a primary of timeline {timeline} was met again after one of timeline {newest}");
                Self::Unavailable(what.into())
            }
            Fault::Away => Self::Unavailable("the database is away; it is being looked for".into()),
            Fault::Damaged(damage) => Self::Corrupt(damage.into()),
            Fault::Broken(what) => Self::Fatal(what.into()),
        }
    }
}

impl Fault {
    /// Whether the same once more may well succeed.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Driver(error) if blame(error) == Blame::Conflict)
    }

    /// Whether the connection broke, and not for want of time.
    pub(crate) fn is_break(&self) -> bool {
        matches!(self, Self::Driver(_)) && self.ends_the_connection()
    }

    /// Whether somebody else holds a lock for long.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self, Self::Driver(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }

    /// Whether the connection is of no more use: it broke, or is to a database that only reads.
    pub(crate) fn ends_the_connection(&self) -> bool {
        match self {
            Self::Driver(error) => error.as_db_error().is_none_or(ends_the_connection),
            Self::Late(_) | Self::Overtaken { .. } => true,
            Self::Pool(_) | Self::Away | Self::Damaged(_) | Self::Broken(_) => false,
        }
    }
}

/// Whether the database goes on with the connection after this error.
fn ends_the_connection(error: &DbError) -> bool {
    matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || *error.code() == SqlState::READ_ONLY_SQL_TRANSACTION
}

/// What an error comes from.
pub(crate) fn blame(error: &tokio_postgres::Error) -> Blame {
    error.as_db_error().map_or(Blame::Moment, |error| blame_of(error.code(), error.constraint()))
}

fn blame_of(code: &SqlState, constraint: Option<&str>) -> Blame {
    match *code {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Blame::Conflict,
        // Two servers made the same key or document at the same time: the later one finds it.
        SqlState::UNIQUE_VIOLATION if constraint.is_none_or(|name| name != OPERATIONS_PRIMARY_KEY) => Blame::Conflict,
        SqlState::DISK_FULL => Blame::Space,
        SqlState::UNIQUE_VIOLATION
        | SqlState::NOT_NULL_VIOLATION
        | SqlState::DATA_CORRUPTED
        | SqlState::INDEX_CORRUPTED => Blame::Content,
        _ => Blame::Moment,
    }
}

/// The error with what the database said of it, which the driver keeps as its source.
fn said(error: tokio_postgres::Error) -> Cause {
    let Some(db) = error.as_db_error() else { return error.into() };
    let advice = match *db.code() {
        SqlState::LOCK_NOT_AVAILABLE => "; another transaction holds a lock for long: see pg_stat_activity and end it",
        SqlState::QUERY_CANCELED => "; the database was too slow, or somebody holds a lock on a whole table",
        SqlState::TOO_MANY_CONNECTIONS => "; raise max_connections, or let fewer servers connect",
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN => "; the schema is not there: operond migrate up",
        _ => "",
    };
    format!("{} ({}){advice}", db.message(), db.code().code()).into()
}

/// The name that PostgreSQL gives it.
const OPERATIONS_PRIMARY_KEY: &str = "operations_pkey";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_transaction_did_is_tried_again() {
        let check = |code: &str, constraint, expected| {
            assert_eq!(blame_of(&SqlState::from_code(code), constraint), expected, "{code} {constraint:?}");
        };
        check("40001", None, Blame::Conflict);
        check("40P01", None, Blame::Conflict);
        check("23505", Some("keys_pkey"), Blame::Conflict);
        check("23505", Some("documents_pkey"), Blame::Conflict);
        check("23505", Some(OPERATIONS_PRIMARY_KEY), Blame::Content);
        check("53100", None, Blame::Space);
        check("XX001", None, Blame::Content);
        check("55P03", None, Blame::Moment);
        check("57P01", None, Blame::Moment);
    }
}
