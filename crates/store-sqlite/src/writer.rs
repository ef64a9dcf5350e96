//! The one thread that writes.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_channel::oneshot::Sender;
use operond_core::{Now, Timestamp};
use operond_store::{Applied, Batch, Document, DocumentWrite, Error, Request, Stale, StoreTime};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::disk::Disk;
use crate::fault::Fault;
use crate::health::Health;
use crate::keys::{self, KeyPurge};
use crate::log::{self, LogKeeper};
use crate::readers::ReadQueue;
use crate::{batch, documents, meta, sql};

/// What the writer is asked.
#[derive(Debug)]
pub(crate) enum Job {
    Update(Arc<Batch>, Sender<Result<Applied, Error>>),
    Purge(usize, Sender<Result<usize, Error>>),
    PutDocuments(Vec<DocumentWrite>, Sender<Result<Result<Vec<Document>, Stale>, Error>>),
    Ping(Sender<Result<Vec<String>, Error>>),
    Close(Sender<Result<(), Error>>),
}

/// All that the writer owns. What it holds of the store's other threads it ends, too.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) time: StoreTime,
    pub(crate) disk: Disk,
    pub(crate) log: LogKeeper,
    pub(crate) health: Arc<Health>,
    pub(crate) purge: KeyPurge,
    pub(crate) reads: Arc<ReadQueue>,
    pub(crate) checkpointer: JoinHandle<()>,
    pub(crate) readers: Vec<JoinHandle<()>>,
    /// When the time was last noted with nothing else to write.
    pub(crate) noted: Timestamp,
    /// Held for as long as anything here is open.
    pub(crate) lock: File,
}

impl Writer {
    /// Works until it is closed, or until nobody can ask it any more.
    #[expect(clippy::needless_pass_by_value, reason = "the thread owns its queue: closed with it")]
    pub(crate) fn run(mut self, jobs: Receiver<Job>) {
        let _guard = PanicGuard(Arc::clone(&self.health));
        let mut pause = PAUSE_FIRST;
        loop {
            match jobs.recv_timeout(pause) {
                Ok(Job::Close(reply)) => {
                    let closed = self.close();
                    let _gone = reply.send(closed);
                    return;
                }
                Ok(job) => {
                    let begun = self.time.now().at;
                    self.serve(job);
                    self.tend(begun);
                    pause = PAUSE_FIRST;
                }
                Err(RecvTimeoutError::Timeout) => pause = self.idle(pause),
                Err(RecvTimeoutError::Disconnected) => {
                    let _logged = self.close();
                    return;
                }
            }
        }
    }

    fn serve(&mut self, job: Job) {
        match job {
            Job::Update(batch, reply) => self.answer(reply, |writer| writer.update(&batch)),
            Job::Purge(limit, reply) => self.answer(reply, |writer| writer.purge(limit)),
            Job::PutDocuments(writes, reply) => self.answer(reply, |writer| writer.put_documents(&writes)),
            Job::Ping(reply) => self.answer(reply, |writer| writer.health.check().map(|()| Vec::new())),
            Job::Close(_) => {}
        }
    }

    fn answer<T>(&mut self, reply: Sender<Result<T, Error>>, work: impl FnOnce(&mut Self) -> Result<T, Error>) {
        // Should it panic, the guard speaks before the reply is dropped and the waiting side looks.
        let _guard = PanicGuard(Arc::clone(&self.health));
        let done = work(self);
        // A reply that cannot be sent is one that nobody waits for any more.
        let _gone = reply.send(done);
    }

    fn update(&mut self, batch: &Batch) -> Result<Applied, Error> {
        self.health.check()?;
        let creates = batch.requests.iter().any(|request| matches!(request, Request::Create(_)));
        if creates && let Some(low) = self.disk.low() {
            self.shrink(PAGES_FREED_AT_ONCE);
            return Err(Error::Full(low.into()));
        }
        let now = self.time.now();
        match self.attempt(batch, now) {
            // What ends and removes operations needs little room: the log's own may do, once it is
            // moved and begins anew.
            Err(Error::Full(_)) if !creates => {
                if let Err(error) = self.log.begin_anew(&self.connection) {
                    log::report(&error, &self.health);
                }
                self.health.check()?;
                self.attempt(batch, now)
            }
            result => result,
        }
    }

    fn attempt(&self, batch: &Batch, now: Now) -> Result<Applied, Error> {
        let result = batch::apply(&self.connection, batch, now);
        self.judge(result)
    }

    fn purge(&mut self, limit: usize) -> Result<usize, Error> {
        self.health.check()?;
        let now = self.time.now().at;
        let result = in_transaction(&self.connection, |connection| {
            let purged = keys::purge(connection, &mut self.purge, now, limit)?;
            if purged > 0 {
                meta::note_time(connection, now)?;
            }
            Ok(purged)
        });
        self.judge(result)
    }

    /// Like creates, documents leave the last room on the disk to what ends and removes operations.
    fn put_documents(&mut self, writes: &[DocumentWrite]) -> Result<Result<Vec<Document>, Stale>, Error> {
        self.health.check()?;
        if let Some(low) = self.disk.low() {
            return Err(Error::Full(low.into()));
        }
        let result = documents::put(&self.connection, writes, self.time.now().at);
        self.judge(result)
    }

    /// A failed sync ends everything, and so does a transaction that cannot be rolled back.
    fn judge<T>(&self, result: Result<T, Fault>) -> Result<T, Error> {
        let result = result.map_err(Fault::on_writing);
        if let Err(Error::Fatal(cause)) = &result {
            self.health.fail(cause.to_string());
        }
        if !self.connection.is_autocommit() {
            self.health.fail("a transaction could not be rolled back");
        }
        result
    }

    /// Between two jobs, the last of which was begun at `begun`.
    fn tend(&mut self, begun: Timestamp) {
        if self.health.check().is_ok() {
            self.note_time(begun);
            if let Err(error) = self.log.tend(&self.connection) {
                log::report(&error, &self.health);
            }
        }
    }

    /// Nobody asks for anything: gives free pages back, a few at a time. Says how long to wait
    /// before the next turn.
    fn idle(&mut self, waited: Duration) -> Duration {
        if self.health.check().is_err() {
            return PAUSE_LONG;
        }
        if waited == PAUSE_LONG {
            self.note_time(self.time.now().at);
        }
        let more = self.shrink(PAGES_FREED_AT_ONCE);
        self.log.tend_idle();
        if more { PAUSE_BETWEEN } else { PAUSE_LONG }
    }

    /// Gives at most `pages` free pages back to the file system, but leaves a few for the next
    /// creates; says whether there are more.
    fn shrink(&self, pages: i64) -> bool {
        let free = || self.connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0));
        let shrunk = free().and_then(|count| {
            if count <= PAGES_LEFT_FREE {
                return Ok(false);
            }
            // One step of the statement frees one page.
            let mut statement = self.connection.prepare_cached(sql::FREE_PAGES)?;
            let mut steps = statement.raw_query();
            while steps.next()?.is_some() {}
            Ok(count - pages > PAGES_LEFT_FREE)
        });
        shrunk.unwrap_or_else(|error| {
            log::report(&error, &self.health);
            false
        })
    }

    /// A store that was only read, or asked for timers, must not look after a restart as if its clock
    /// had stepped: the time is noted now and then, also when nothing else is written.
    fn note_time(&mut self, now: Timestamp) {
        if now.since(self.noted) < NOTED_EVERY {
            return;
        }
        self.noted = now;
        if let Err(error) = meta::note_time(&self.connection, now) {
            log::report(&error, &self.health);
        }
    }

    /// Ends the other threads, then the log, then lets go of the file.
    fn close(self) -> Result<(), Error> {
        let healthy = self.health.check();
        drop(self.log);
        self.reads.close();
        for thread in self.readers.into_iter().chain([self.checkpointer]) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        }
        let done = match healthy {
            Ok(()) => log::truncate(&self.connection).map_err(|error| Fault::from(error).on_writing()),
            // What is in the log may not be what was acknowledged: the next start reads it as it is on the disk.
            Err(error) => {
                let _kept = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                Err(error)
            }
        };
        drop(self.connection);
        drop(self.lock);
        done
    }
}

/// Says that the writer is gone when it panics: what it was at may or may not be stored.
struct PanicGuard(Arc<Health>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the writer panicked");
        }
    }
}

fn in_transaction<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// Idle so long, it begins to tidy up …
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// … with such pauses …
const PAUSE_BETWEEN: Duration = Duration::from_millis(50);
/// … and with nothing left to tidy up it wakes so often.
const PAUSE_LONG: Duration = Duration::from_secs(10 * 60);
/// How old the noted time may become; well under the step that holds retention back.
const NOTED_EVERY: Duration = Duration::from_secs(10 * 60);
/// 1 MiB of free pages stays in the file.
const PAGES_LEFT_FREE: i64 = 256;
/// As [`sql::FREE_PAGES`] says.
const PAGES_FREED_AT_ONCE: i64 = 64;
