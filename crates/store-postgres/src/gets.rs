//! Reads of single operations. Those that are asked for while others are being read wait for them, and then go
//! together: with many callers one statement serves many, and with few nobody waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use operond_core::{Gone, Operation, OperationId, Scope, Tenant};
use operond_store::{Error, Lookup};
use tokio::sync::oneshot;

use crate::fault::Fault;
use crate::{Inner, columns, sql, tombstones};

/// Who waits to be read for, and how many reads are under way.
#[derive(Default)]
pub(crate) struct Gets(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<Asked>,
    under_way: usize,
}

struct Asked {
    scope: Scope,
    id: OperationId,
    caller: oneshot::Sender<Result<Lookup, Error>>,
}

/// A read under way: whoever holds it reads for those who wait.
pub(crate) struct Reading {
    inner: Arc<Inner>,
    over: bool,
}

impl Gets {
    /// Asks for an operation: where the answer comes, and a reading that has to be begun, unless there are enough.
    pub(crate) fn ask(
        inner: &Arc<Inner>,
        scope: &Scope,
        id: &OperationId,
    ) -> (oneshot::Receiver<Result<Lookup, Error>>, Option<Reading>) {
        let (caller, answer) = oneshot::channel();
        let mut state = inner.gets.state();
        state.waiting.push(Asked { scope: scope.clone(), id: id.clone(), caller });
        let begins = state.under_way < AT_ONCE;
        state.under_way += usize::from(begins);
        (answer, begins.then(|| Reading { inner: Arc::clone(inner), over: false }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// Reads until nobody waits.
    pub(crate) async fn go_on(mut self) {
        while let Some(asked) = self.next() {
            self.inner.read_together(asked).await;
        }
    }

    fn next(&mut self) -> Option<Vec<Asked>> {
        let mut state = self.inner.gets.state();
        if state.waiting.is_empty() {
            // Said under the lock: who asks next begins a reading.
            state.under_way -= 1;
            self.over = true;
            return None;
        }
        let count = state.waiting.len().min(TOGETHER_MAX);
        Some(state.waiting.drain(..count).collect())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.over {
            // It panicked, or its runtime has ended. Nobody waits in vain.
            let mut state = self.inner.gets.state();
            state.under_way -= 1;
            state.waiting.clear();
        }
    }
}

impl Inner {
    async fn read_together(&self, asked: Vec<Asked>) {
        if asked.len() > 1
            && let Ok(found) = self.look_up(&asked).await
        {
            return asked.into_iter().for_each(|asked| asked.answer(&found));
        }
        // What is wrong with one is no matter of the others.
        join_all(asked.into_iter().map(|asked| self.read(asked))).await;
    }

    async fn read(&self, asked: Asked) {
        match self.look_up(std::slice::from_ref(&asked)).await {
            Ok(found) => asked.answer(&found),
            Err(fault) => drop(asked.caller.send(Err(fault.into()))),
        }
    }

    async fn look_up(&self, asked: &[Asked]) -> Result<Found, Fault> {
        self.with_reader(async |client| look_up(client, asked).await).await
    }
}

/// Those of these operations that there are or were. A tombstone is looked for also of one that is outside of its
/// scope: it takes as long to find nothing.
async fn look_up(client: &deadpool_postgres::Client, asked: &[Asked]) -> Result<Found, Fault> {
    let ids: Vec<&str> = asked.iter().map(|asked| asked.id.as_str()).collect();
    let statement = client.prepare_cached(&sql::OPERATIONS_BY_ID).await?;
    let mut found = Found::default();
    for row in client.query(&statement, &[&ids]).await? {
        let operation = columns::operation(&row)?;
        found.operations.insert(operation.id.clone(), Arc::new(operation));
    }
    let missing: Vec<&str> =
        asked.iter().filter(|asked| found.operation(asked).is_none()).map(|asked| asked.id.as_str()).collect();
    if !missing.is_empty() {
        let statement = client.prepare_cached(&sql::TOMBSTONES).await?;
        for row in client.query(&statement, &[&missing]).await? {
            let (id, tombstone) = tombstones::read(&row)?;
            found.tombstones.insert(id, tombstone);
        }
    }
    Ok(found)
}

/// What there is of some operations.
#[derive(Default)]
struct Found {
    operations: HashMap<OperationId, Arc<Operation>>,
    tombstones: HashMap<OperationId, (Tenant, Gone)>,
}

impl Found {
    /// The one that is asked for, as far as it can be reached.
    fn operation(&self, asked: &Asked) -> Option<&Arc<Operation>> {
        self.operations.get(&asked.id).filter(|operation| asked.scope.covers(&operation.spec))
    }
}

impl Asked {
    /// The caller may have hung up.
    fn answer(self, found: &Found) {
        let lookup = match found.operation(&self) {
            Some(operation) => Lookup::Found(Arc::clone(operation)),
            None => Lookup::of_tombstone(&self.scope, found.tombstones.get(&self.id).cloned()),
        };
        drop(self.caller.send(Ok(lookup)));
    }
}

/// Reads under way at the same time.
const AT_ONCE: usize = 2;
/// Operations that are read by one statement: each may have an input and a response of a mebibyte.
const TOGETHER_MAX: usize = 16;
