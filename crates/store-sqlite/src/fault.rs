//! What SQLite said, as what the user of a store does about it.

use std::fmt;

use operond_core::OperationId;
use operond_store::{Cause, Error};
use rusqlite::{ErrorCode, ffi};

/// Why something with the database did not work.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite refused.
    Sqlite(rusqlite::Error),
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

impl Damage {
    pub(crate) fn of_operation(id: &OperationId, cause: impl Into<Cause>) -> Self {
        Self { row: format!("operation {id}"), cause: cause.into() }
    }

    pub(crate) fn of(row: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self { row: row.into(), cause: cause.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stored row of {} is damaged or of a newer version", self.row)
    }
}

impl std::error::Error for Damage {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl Fault {
    /// For one who writes: a failed write or sync means that nothing can be promised any more.
    pub(crate) fn on_writing(self) -> Error {
        match self {
            Self::Sqlite(error) => match blame(&error) {
                Blame::Space => Error::Full(error.into()),
                Blame::Disk => Error::Fatal(error.into()),
                Blame::Content => Error::Corrupt(error.into()),
                Blame::Moment => Error::Unavailable(error.into()),
            },
            Self::Damaged(damage) => Error::Corrupt(damage.into()),
            Self::Broken(what) => Error::Fatal(what.into()),
        }
    }

    /// For one who only reads: nothing that was promised is at stake.
    pub(crate) fn on_reading(self) -> Error {
        match self {
            Self::Sqlite(error) => match blame(&error) {
                Blame::Content => Error::Corrupt(error.into()),
                Blame::Space | Blame::Disk | Blame::Moment => Error::Unavailable(error.into()),
            },
            Self::Damaged(damage) => Error::Corrupt(damage.into()),
            Self::Broken(what) => Error::Unavailable(what.into()),
        }
    }
}

/// What an error of SQLite comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// No room on the disk.
    Space,
    /// A write or a sync failed: what is on the disk is not known.
    Disk,
    /// What is in the file.
    Content,
    /// Anything that may pass.
    Moment,
}

pub(crate) fn blame(error: &rusqlite::Error) -> Blame {
    let Some(failure) = error.sqlite_error() else { return Blame::Moment };
    match failure.code {
        ErrorCode::DiskFull => Blame::Space,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation => Blame::Content,
        ErrorCode::SystemIoFailure => match failure.extended_code {
            // The log's index grows by writing to its end: no room, not a broken disk.
            ffi::SQLITE_IOERR_SHMSIZE => Blame::Space,
            ffi::SQLITE_IOERR_FSYNC
            | ffi::SQLITE_IOERR_DIR_FSYNC
            | ffi::SQLITE_IOERR_WRITE
            | ffi::SQLITE_IOERR_TRUNCATE => Blame::Disk,
            _ => Blame::Moment,
        },
        _ => Blame::Moment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(extended_code: std::ffi::c_int, expected: Blame) {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None);
        assert_eq!(blame(&error), expected, "{extended_code}");
    }

    #[test]
    fn only_a_failed_write_or_sync_ends_the_process() {
        check(ffi::SQLITE_FULL, Blame::Space);
        check(ffi::SQLITE_IOERR_SHMSIZE, Blame::Space);
        check(ffi::SQLITE_IOERR_FSYNC, Blame::Disk);
        check(ffi::SQLITE_IOERR_DIR_FSYNC, Blame::Disk);
        check(ffi::SQLITE_IOERR_WRITE, Blame::Disk);
        check(ffi::SQLITE_IOERR_TRUNCATE, Blame::Disk);
        check(ffi::SQLITE_IOERR_READ, Blame::Moment);
        check(ffi::SQLITE_BUSY, Blame::Moment);
        check(ffi::SQLITE_CANTOPEN, Blame::Moment);
        check(ffi::SQLITE_CORRUPT, Blame::Content);
        check(ffi::SQLITE_NOTADB, Blame::Content);
    }

    #[test]
    fn a_reader_never_ends_the_process() {
        let failed = |code| Fault::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(matches!(failed(ffi::SQLITE_IOERR_FSYNC).on_writing(), Error::Fatal(_)));
        assert!(matches!(failed(ffi::SQLITE_IOERR_FSYNC).on_reading(), Error::Unavailable(_)));
        assert!(matches!(failed(ffi::SQLITE_CORRUPT).on_reading(), Error::Corrupt(_)));
    }
}
