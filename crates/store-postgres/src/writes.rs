//! What one transaction writes, as arrays, in one go with its commit.

use futures::future::{BoxFuture, try_join_all, try_join3};
use operond_core::{Gone, Operation, OperationId, Tenant, Timestamp};
use operond_store::columns::{
    FACTS, KEY, PLACE, Place, SPEC, Sink as _, write_facts, write_key, write_place, write_spec,
};
use operond_store::{Document, OperationWrite};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::columns::Arrays;
use crate::documents::Values;
use crate::fault::Fault;
use crate::keys::KeyArrays;
use crate::session::Session;
use crate::{sql, tombstones};

/// Everything that is to be written, as arrays.
pub(crate) struct Writes<'o> {
    inserted: Arrays<'o>,
    specs: Arrays<'o>,
    updated: Arrays<'o>,
    removed: Vec<&'o str>,
    removed_revisions: Vec<i64>,
    buried: Vec<&'o str>,
    buried_tenants: Vec<&'o str>,
    buried_how: Vec<i64>,
    buried_at: Vec<i64>,
    /// Keys that are not there yet …
    pub(crate) new_keys: KeyArrays<'o>,
    /// … and those that are.
    pub(crate) other_keys: KeyArrays<'o>,
    new_documents: Vec<Values<'o>>,
    counts: [u64; 2],
}

/// A statement to be carried out, and how many rows it must write.
pub(crate) struct Write<'w> {
    pub(crate) sql: &'static str,
    pub(crate) parameters: Vec<&'w (dyn ToSql + Sync)>,
    pub(crate) rows: u64,
}

impl Write<'_> {
    fn execute<'a>(
        &'a self,
        session: &'a Session,
        statement: &'a Statement,
    ) -> BoxFuture<'a, Result<u64, tokio_postgres::Error>> {
        Box::pin(session.client.execute(statement, &self.parameters))
    }
}

impl<'o> Writes<'o> {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            inserted: Arrays::of(&[KEY, PLACE, FACTS]),
            specs: Arrays::of(&[sql::ID, SPEC]),
            updated: Arrays::of(&[sql::ID, sql::PREVIOUS, PLACE, FACTS]),
            removed: Vec::new(),
            removed_revisions: Vec::new(),
            buried: Vec::new(),
            buried_tenants: Vec::new(),
            buried_how: Vec::new(),
            buried_at: Vec::new(),
            new_keys: KeyArrays::default(),
            other_keys: KeyArrays::default(),
            new_documents: Vec::new(),
            counts: [0; 2],
        }
    }

    /// An operation, as the rules want it to be written at `now`.
    pub(crate) fn operation(&mut self, write: &OperationWrite<'o>, now: Timestamp) -> Result<(), Fault> {
        let operation = write.operation;
        match (write.previous, write.gone) {
            (None, None) => self.insert(operation, now)?,
            (Some(previous), None) => {
                self.counts[1] += 1;
                self.updated.text(Some(operation.id.as_str()))?;
                self.updated.number(Some(previous.cast_signed()))?;
                write_place(Place::of(operation, now), &mut self.updated)?;
                write_facts(operation, &mut self.updated)?;
            }
            (previous, Some(gone)) => {
                if let Some(previous) = previous {
                    self.removed.push(operation.id.as_str());
                    self.removed_revisions.push(previous.cast_signed());
                }
                self.bury(&operation.id, &operation.spec.tenant, gone, now);
            }
        }
        Ok(())
    }

    /// A new operation; where it is to be found is as of `now`.
    pub(crate) fn insert(&mut self, operation: &'o Operation, now: Timestamp) -> Result<(), Fault> {
        self.counts[0] += 1;
        write_key(operation, &mut self.inserted)?;
        write_place(Place::of(operation, now), &mut self.inserted)?;
        write_facts(operation, &mut self.inserted)?;
        self.specs.text(Some(operation.id.as_str()))?;
        write_spec(&operation.spec, &mut self.specs)
    }

    /// What is remembered of an operation that is gone.
    pub(crate) fn bury(&mut self, id: &'o OperationId, tenant: &'o Tenant, gone: Gone, at: Timestamp) {
        self.buried.push(id.as_str());
        self.buried_tenants.push(tenant.as_str());
        self.buried_how.push(tombstones::code(gone));
        self.buried_at.push(at.micros());
    }

    /// A document that is not there yet.
    pub(crate) fn insert_document(&mut self, document: &'o Document) {
        self.new_documents.push(Values::of(document));
    }

    /// What is to be carried out, in order.
    pub(crate) fn statements(&self) -> Vec<Write<'_>> {
        let mut statements: Vec<Write<'_>> = Vec::new();
        let mut add = |sql: &'static str, parameters, rows: u64| {
            if rows > 0 {
                statements.push(Write { sql, parameters, rows });
            }
        };
        let [inserted, updated] = self.counts;
        let removed = self.removed.len() as u64;
        if inserted == 1 {
            add(&sql::INSERT_OPERATION, self.inserted.of_one(), 1);
            add(&sql::INSERT_SPEC, self.specs.of_one(), 1);
        } else {
            add(&sql::INSERT_OPERATIONS, self.inserted.parameters(), inserted);
            add(&sql::INSERT_SPECS, self.specs.parameters(), inserted);
        }
        if updated == 1 {
            add(&sql::UPDATE_OPERATION, self.updated.of_one(), 1);
        } else {
            add(&sql::UPDATE_OPERATIONS, self.updated.parameters(), updated);
        }
        add(&sql::DELETE_OPERATIONS, vec![&self.removed, &self.removed_revisions], removed);
        add(&sql::DELETE_SPECS, vec![&self.removed], removed);
        let buried = vec![&self.buried as _, &self.buried_tenants as _, &self.buried_how as _, &self.buried_at as _];
        add(&sql::PUT_TOMBSTONES, buried, self.buried.len() as u64);
        add(&sql::INSERT_KEYS, self.new_keys.parameters(), self.new_keys.len() as u64);
        add(&sql::UPDATE_KEYS, self.other_keys.parameters(), self.other_keys.len() as u64);
        self.new_documents.iter().for_each(|document| add(&sql::INSERT_DOCUMENT, document.parameters(), 1));
        statements
    }
}

/// Carries the statements out and commits, in one go: the database stops at the first one that fails,
/// and then commits nothing. Their rows are locked where a transaction is `begun`.
pub(crate) async fn commit(session: &Session, statements: &[Write<'_>], begun: bool) -> Result<(), Fault> {
    let mut prepared = Vec::with_capacity(statements.len());
    for write in statements {
        match session.prepared(write.sql).await {
            Ok(statement) => prepared.push(statement),
            // No commit was sent that would end the transaction: the connection is to be used again.
            Err(error) if begun && error.as_db_error().is_some() => {
                session.client.batch_execute("ROLLBACK").await?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let executed = prepared.iter().zip(statements).map(|(statement, write)| write.execute(session, statement));
    let begin = async { if begun { Ok(()) } else { session.client.batch_execute("BEGIN").await } };
    // Sent in this order without waiting in between.
    let ((), rows, ()) = try_join3(begin, try_join_all(executed), session.client.batch_execute("COMMIT")).await?;
    let expected = statements.iter().map(|write| write.rows);
    for ((rows, expected), write) in rows.into_iter().zip(expected).zip(statements) {
        if rows != expected {
            // The rows were locked, so this cannot be. What is stored now is not what was answered for.
            return Err(Fault::Broken(format!("{rows} rows instead of {expected} were written by {}", write.sql)));
        }
    }
    Ok(())
}
