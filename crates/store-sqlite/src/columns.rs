//! Rows of SQLite as the columns that every SQL store has.

use std::borrow::Cow;

use operond_core::Operation;
use operond_store::Cause;
use operond_store::columns::{Sink, Source, read_operation};
use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Row, ToSql};

/// Binds one value after the other to a statement's parameters.
pub(crate) struct Binder<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    next: usize,
}

impl<'s, 'c> Binder<'s, 'c> {
    pub(crate) fn new(statement: &'s mut CachedStatement<'c>) -> Self {
        Self { statement, next: 1 }
    }

    pub(crate) fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.statement.raw_bind_parameter(self.next, value)?;
        self.next += 1;
        Ok(())
    }

    /// Runs the statement; says how many rows it touched.
    pub(crate) fn execute(self) -> rusqlite::Result<usize> {
        self.statement.raw_execute()
    }
}

impl<'o> Sink<'o> for Binder<'_, '_> {
    type Error = rusqlite::Error;

    fn text(&mut self, value: Option<&'o str>) -> rusqlite::Result<()> {
        self.bind(value)
    }

    fn bytes(&mut self, value: Option<Cow<'o, [u8]>>) -> rusqlite::Result<()> {
        self.bind(value.as_deref())
    }

    fn number(&mut self, value: Option<i64>) -> rusqlite::Result<()> {
        self.bind(value)
    }

    fn real(&mut self, value: Option<f64>) -> rusqlite::Result<()> {
        self.bind(value)
    }

    fn flag(&mut self, value: Option<bool>) -> rusqlite::Result<()> {
        self.bind(value)
    }
}

/// The operation in `row`; an error says which column cannot be read.
pub(crate) fn operation(row: &Row<'_>) -> Result<Operation, Cause> {
    read_operation(&mut Columns { row, next: 0 })
}

/// Reads one column after the other.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl Columns<'_> {
    fn get<T: FromSql>(&mut self) -> Result<T, Cause> {
        let value = self.row.get(self.next)?;
        self.next += 1;
        Ok(value)
    }
}

impl<'r> Source<'r> for Columns<'r> {
    fn text(&mut self) -> Result<Option<&'r str>, Cause> {
        self.next += 1;
        Ok(self.row.get_ref(self.next - 1)?.as_str_or_null()?)
    }

    fn bytes(&mut self) -> Result<Option<&'r [u8]>, Cause> {
        self.next += 1;
        Ok(self.row.get_ref(self.next - 1)?.as_blob_or_null()?)
    }

    fn number(&mut self) -> Result<Option<i64>, Cause> {
        self.get()
    }

    fn real(&mut self) -> Result<Option<f64>, Cause> {
        self.get()
    }

    fn flag(&mut self) -> Result<Option<bool>, Cause> {
        self.get()
    }

    fn skip(&mut self, columns: usize) {
        self.next += columns;
    }
}
