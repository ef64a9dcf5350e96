//! Threads that read: each its own connection, all fed from one queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot::Sender;
use operond_core::{OperationId, Scope};
use operond_store::{Collection, Count, CountQuery, Document, Error, ListQuery, Lookup, Page};
use rusqlite::Connection;

use crate::fault::Fault;
use crate::log::Gate;
use crate::{documents, list, operations};

/// What readers are asked.
#[derive(Debug)]
pub(crate) enum Read {
    Get(Scope, OperationId, Sender<Result<Lookup, Error>>),
    List(Box<ListQuery>, Sender<Result<Page, Error>>),
    Count(Box<CountQuery>, Sender<Result<Count, Error>>),
    Documents(Collection, Sender<Result<Vec<Document>, Error>>),
}

/// What waits for a reader.
#[derive(Debug)]
pub(crate) struct ReadQueue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// So many lists and counts are read at a time: one reader at least is left for gets, which are short.
    lists_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    gets: VecDeque<Read>,
    lists: VecDeque<Read>,
    lists_going_on: usize,
    closed: bool,
}

impl ReadQueue {
    pub(crate) fn new(readers: usize) -> Self {
        Self { waiting: Mutex::default(), changed: Condvar::new(), lists_max: readers.saturating_sub(1).max(1) }
    }

    /// Puts `read` into the queue.
    pub(crate) fn push(&self, read: Read) -> Result<(), Error> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        if waiting.gets.len() + waiting.lists.len() >= READS_WAITING_MAX {
            return Err(Error::Unavailable(format!("{READS_WAITING_MAX} reads are waiting already").into()));
        }
        match read {
            Read::Get(..) => waiting.gets.push_back(read),
            Read::List(..) | Read::Count(..) | Read::Documents(..) => waiting.lists.push_back(read),
        }
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes no more; readers end when they have done what is in it.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The next one to be read; `None` when there will be none.
    fn pop(&self) -> Option<Read> {
        let mut waiting = self.lock();
        loop {
            if let Some(get) = waiting.gets.pop_front() {
                return Some(get);
            }
            if waiting.lists_going_on < self.lists_max
                && let Some(list) = waiting.lists.pop_front()
            {
                waiting.lists_going_on += 1;
                return Some(list);
            }
            if waiting.closed && waiting.lists.is_empty() {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn list_done(&self) {
        self.lock().lists_going_on -= 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in it can be left half done by a panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader's thread.
#[expect(clippy::needless_pass_by_value, reason = "the thread owns what it works with")]
pub(crate) fn run_reader(connection: Connection, queue: Arc<ReadQueue>, gate: Gate) {
    while let Some(read) = queue.pop() {
        let _open = gate.read().unwrap_or_else(PoisonError::into_inner);
        // A reply that cannot be sent is one that nobody waits for any more.
        match read {
            Read::Get(scope, id, reply) => {
                if !reply.is_canceled() {
                    let _gone = reply.send(get(&connection, &scope, &id).map_err(Fault::on_reading));
                }
            }
            Read::List(query, reply) => {
                if !reply.is_canceled() {
                    let _gone = reply.send(list::page(&connection, &query).map_err(Fault::on_reading));
                }
                queue.list_done();
            }
            Read::Count(query, reply) => {
                if !reply.is_canceled() {
                    let _gone = reply.send(list::count(&connection, &query).map_err(Fault::on_reading));
                }
                queue.list_done();
            }
            Read::Documents(collection, reply) => {
                if !reply.is_canceled() {
                    let _gone = reply.send(documents::all(&connection, collection).map_err(Fault::on_reading));
                }
                queue.list_done();
            }
        }
    }
}

/// The tombstone is looked for second: an operation goes and gets its tombstone in one commit, so
/// one that is not there any more has its tombstone already. For one outside of the scope, too: it
/// takes as long to find nothing.
pub(crate) fn get(connection: &Connection, scope: &Scope, id: &OperationId) -> Result<Lookup, Fault> {
    match operations::load(connection, id)?.filter(|operation| scope.covers(&operation.spec)) {
        Some(operation) => Ok(Lookup::Found(operation)),
        None => Ok(Lookup::of_tombstone(scope, operations::tombstone(connection, id)?)),
    }
}

/// Past so many the store says that it is not available instead of taking memory.
const READS_WAITING_MAX: usize = 16_384;
