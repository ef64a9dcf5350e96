//! Rows of PostgreSQL as the columns that every SQL store has, and arrays of what is written.

use std::borrow::Cow;

use operond_core::{Operation, OperationId};
use operond_store::Cause;
use operond_store::columns::{Column, Holds, Sink, Source, read_operation};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use crate::fault::{Damage, Fault};

/// The operation in the first columns of `row`.
pub(crate) fn operation(row: &Row) -> Result<Operation, Fault> {
    let read = read_operation(&mut Columns { row, next: 0 });
    read.map_err(|cause| Damage::of(format!("operation {:?}", id_in(row)), cause).into())
}

/// The id in the first column, as far as it can be read: for an error.
pub(crate) fn id_in(row: &Row) -> &str {
    row.try_get(0).unwrap_or_default()
}

/// The id in a column.
pub(crate) fn read_id(row: &Row, column: usize) -> Result<OperationId, Fault> {
    let text: &str = row.try_get(column)?;
    Ok(OperationId::parse("id", text).map_err(|invalid| Damage::of(format!("operation {text:?}"), invalid))?)
}

/// Reads one column after the other.
struct Columns<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Columns<'r> {
    fn get<T: FromSql<'r>>(&mut self) -> Result<T, Cause> {
        let value = self.row.try_get(self.next)?;
        self.next += 1;
        Ok(value)
    }
}

impl<'r> Source<'r> for Columns<'r> {
    fn text(&mut self) -> Result<Option<&'r str>, Cause> {
        self.get()
    }

    fn bytes(&mut self) -> Result<Option<&'r [u8]>, Cause> {
        self.get()
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

/// Rows to be written, as one array for each column: the parameters of a statement.
pub(crate) struct Arrays<'o> {
    arrays: Vec<Array<'o>>,
    next: usize,
}

enum Array<'o> {
    Text(Vec<Option<&'o str>>),
    Bytes(Vec<Option<Cow<'o, [u8]>>>),
    Number(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Flag(Vec<Option<bool>>),
}

/// A value came where the column holds another sort of thing: the lists of columns and their writers differ.
const IN_ORDER: &str = "values come in the order of the columns";

impl<'o> Arrays<'o> {
    /// No rows yet, of the columns of these lists.
    pub(crate) fn of(lists: &[&[Column]]) -> Self {
        let array = |column: &Column| match column.holds {
            Holds::Text => Array::Text(Vec::new()),
            Holds::Bytes => Array::Bytes(Vec::new()),
            Holds::Number => Array::Number(Vec::new()),
            Holds::Real => Array::Real(Vec::new()),
            Holds::Flag => Array::Flag(Vec::new()),
        };
        Self { arrays: lists.concat().iter().map(array).collect(), next: 0 }
    }

    pub(crate) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.arrays.iter().map(Array::parameter).collect()
    }

    /// The values of the first row.
    pub(crate) fn of_one(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.arrays.iter().filter_map(Array::first).collect()
    }

    fn column(&mut self) -> &mut Array<'o> {
        let column = self.next;
        self.next = (column + 1) % self.arrays.len();
        &mut self.arrays[column]
    }
}

impl Array<'_> {
    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Text(values) => values,
            Self::Bytes(values) => values,
            Self::Number(values) => values,
            Self::Real(values) => values,
            Self::Flag(values) => values,
        }
    }

    fn first(&self) -> Option<&(dyn ToSql + Sync)> {
        match self {
            Self::Text(values) => values.first().map(|value| value as _),
            Self::Bytes(values) => values.first().map(|value| value as _),
            Self::Number(values) => values.first().map(|value| value as _),
            Self::Real(values) => values.first().map(|value| value as _),
            Self::Flag(values) => values.first().map(|value| value as _),
        }
    }
}

impl<'o> Sink<'o> for Arrays<'o> {
    type Error = Fault;

    fn text(&mut self, value: Option<&'o str>) -> Result<(), Fault> {
        let Array::Text(values) = self.column() else { return Err(Fault::Broken(IN_ORDER.into())) };
        values.push(value);
        Ok(())
    }

    fn bytes(&mut self, value: Option<Cow<'o, [u8]>>) -> Result<(), Fault> {
        let Array::Bytes(values) = self.column() else { return Err(Fault::Broken(IN_ORDER.into())) };
        values.push(value);
        Ok(())
    }

    fn number(&mut self, value: Option<i64>) -> Result<(), Fault> {
        let Array::Number(values) = self.column() else { return Err(Fault::Broken(IN_ORDER.into())) };
        values.push(value);
        Ok(())
    }

    fn real(&mut self, value: Option<f64>) -> Result<(), Fault> {
        let Array::Real(values) = self.column() else { return Err(Fault::Broken(IN_ORDER.into())) };
        values.push(value);
        Ok(())
    }

    fn flag(&mut self, value: Option<bool>) -> Result<(), Fault> {
        let Array::Flag(values) = self.column() else { return Err(Fault::Broken(IN_ORDER.into())) };
        values.push(value);
        Ok(())
    }
}
