//! Moving the write-ahead log into the database, so that it stays short.
//!
//! A checkpointer of its own thread moves what it finds, every few megabytes, while the writer
//! goes on. Alone it never gets the log to begin anew under load, because new pages keep coming
//! behind it; so past a limit the writer itself moves the rest between two batches, which is
//! little. Nor does the log begin anew while anyone reads from it, and somebody always does; so
//! the writer then shuts the gate that all reads go through, for as long as the reads under way
//! take. The next batch writes at the log's beginning.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use crate::fault::{Blame, blame};
use crate::health::Health;
use crate::open::BUSY_TIMEOUT;

/// The writer's side of it.
#[derive(Debug)]
pub(crate) struct LogKeeper {
    /// Pages in the log, counted by a hook of the writer's connection at each commit.
    pages: Arc<AtomicU32>,
    /// Past so many the writer moves them itself.
    pages_max: u32,
    /// Pages at the last look: fewer now means that the log began anew.
    seen: u32,
    /// Pages when the checkpointer was last woken.
    asked: u32,
    /// Pages when the writer last moved them itself.
    moved: u32,
    wake: SyncSender<()>,
    turn: Turn,
    gate: Gate,
}

/// Held while a checkpoint goes on: there is one at a time, and a second one would just fail.
pub(crate) type Turn = Arc<Mutex<()>>;

/// Held for reading while something is read.
pub(crate) type Gate = Arc<RwLock<()>>;

impl LogKeeper {
    /// Counts the pages that `connection` commits.
    pub(crate) fn new(
        connection: &mut Connection,
        bytes_max: u64,
        wake: SyncSender<()>,
        turn: Turn,
        gate: Gate,
    ) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            counted.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let pages_max = u32::try_from(bytes_max / PAGE_BYTES).unwrap_or(u32::MAX).max(SHARES);
        Ok(Self { pages, pages_max, seen: 0, asked: 0, moved: 0, wake, turn, gate })
    }

    /// Between two batches: wakes the checkpointer, or moves the log itself when it is too long.
    pub(crate) fn tend(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let pages = self.look();
        let share = self.pages_max / SHARES;
        if pages >= self.pages_max && pages - self.moved >= share {
            (self.asked, self.moved) = (pages, pages);
            return self.begin_anew(connection);
        }
        if pages - self.asked >= share {
            self.ask(pages);
        }
        Ok(())
    }

    /// Wakes the checkpointer if there is anything new in the log.
    pub(crate) fn tend_idle(&mut self) {
        let pages = self.look();
        if pages != self.asked {
            self.ask(pages);
        }
    }

    /// Moves what there is, so that the next batch writes at the beginning of the log.
    pub(crate) fn begin_anew(&self, connection: &Connection) -> rusqlite::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE)?;
        let _shut = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        // Readers of other programs are not waited for: there will be another time.
        connection.busy_timeout(Duration::ZERO)?;
        let begun = connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::RESTART);
        connection.busy_timeout(BUSY_TIMEOUT)?;
        begun.map(drop)
    }

    /// The pages in the log now; what was noted about a log that has begun anew since is forgotten.
    fn look(&mut self) -> u32 {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.seen {
            (self.asked, self.moved) = (0, 0);
        }
        self.seen = pages;
        pages
    }

    fn ask(&mut self, pages: u32) {
        self.asked = pages;
        // One that is awake already needs no second call.
        let _awake = self.wake.try_send(());
    }
}

/// The checkpointer's thread: a checkpoint each time it is woken, until nobody can wake it any more.
#[expect(clippy::needless_pass_by_value, reason = "the thread owns what it works with")]
pub(crate) fn run_checkpointer(connection: Connection, woken: Receiver<()>, turn: Turn, health: Arc<Health>) {
    while woken.recv().is_ok() {
        if let Err(error) = checkpoint(&connection, &turn) {
            report(&error, &health);
        }
    }
}

/// What it means that a checkpoint or other upkeep failed: mostly that files stay as long as they are.
pub(crate) fn report(error: &rusqlite::Error, health: &Health) {
    match blame(error) {
        Blame::Disk => health.fail(format!("upkeep of the database failed: {error}")),
        Blame::Content => tracing::error!(%error, "upkeep of the database failed"),
        Blame::Space | Blame::Moment => tracing::debug!(%error, "upkeep of the database failed; later again"),
    }
}

/// Empties the log and cuts its file; for the end, when nobody reads any more.
pub(crate) fn truncate(connection: &Connection) -> rusqlite::Result<()> {
    connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE)?;
    Ok(())
}

fn checkpoint(connection: &Connection, turn: &Turn) -> rusqlite::Result<()> {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE)?;
    Ok(())
}

const PAGE_BYTES: u64 = 4096;
/// The checkpointer is woken for each such share of the limit.
const SHARES: u32 = 4;
