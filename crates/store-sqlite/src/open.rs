//! Opening: the lock, the file, its connections, its schema, and the threads that work on it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use operond_store::{Clock, Properties, StoreTime};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::SqliteStore;
use crate::disk::Disk;
use crate::health::Health;
use crate::keys::KeyPurge;
use crate::log::{Gate, LogKeeper, Turn, run_checkpointer};
use crate::meta;
use crate::migrate::{self, MigrateError, STEPS, migrate};
use crate::readers::{ReadQueue, run_reader};
use crate::writer::Writer;

/// How a store is to work.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that read, each with a connection of its own; 1 at least.
    pub readers: usize,
    /// With less than this free on the disk, batches with creates are refused, so that what exists
    /// can still be finished.
    pub low_disk_bytes: u64,
    /// The write-ahead log begins anew when it has passed this many bytes; it may become twice as
    /// long for a moment.
    pub log_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 2, low_disk_bytes: 64 << 20, log_bytes_max: 16 << 20 }
    }
}

/// Why a file could not be opened as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another server has it.
    #[error("{} is open in another server, which holds the lock {}; stop that server or use another file", path.display(), lock.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// Its directory is not there.
    #[error("{} cannot be made: there is no directory {}; make it first", path.display(), directory.display())]
    NoDirectory {
        /// The database.
        path: PathBuf,
        /// Where it should be.
        directory: PathBuf,
    },
    /// The path does not name a file.
    #[error("{} is not a file; name the database file itself", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It is no SQLite database.
    #[error("{} is not an SQLite database; name another file, or move this one away", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// It is a database of something else.
    #[error("{} is a database of another program; name another file", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// It is not there, and was only to be read.
    #[error("there is no file {}", path.display())]
    NotThere {
        /// What was named.
        path: PathBuf,
    },
    /// A copy into it was begun and not finished.
    #[error("{} is an unfinished copy of {source_name}; finish it before it is served: operond copy --from … --to sqlite:{}", path.display(), path.display())]
    Unfinished {
        /// The database.
        path: PathBuf,
        /// What is copied.
        source_name: String,
    },
    /// A newer release wrote it.
    #[error(
        "{} was written by a newer release: its schema has version {found}, this release knows {known}; use the newer release",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest version known here.
        known: usize,
    },
    /// A step to the newest schema failed; the file is as it was before that step.
    #[error("cannot bring {} to schema version {step}; keep the file and report this", path.display())]
    Migrate {
        /// The database.
        path: PathBuf,
        /// The version it did not reach.
        step: usize,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}; check that its directory can be written to", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system gave no thread.
    #[error("cannot start the threads of the store")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot {doing} {}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Opens the store in the file at `path`, and makes it when it is not there.
pub(crate) fn open(path: &Path, options: Options, clock: impl Clock) -> Result<SqliteStore, OpenError> {
    let place = Location::find(path)?;
    let lock = place.lock()?;
    place.make_file()?;
    let mut connection = place.database()?;
    let meta = place.sqlite("read", meta::load(&connection, &fresh_key()))?;
    if let Some((source_name, Some(_))) = meta.copy {
        return Err(OpenError::Unfinished { path: place.path, source_name });
    }
    let time = StoreTime::new(clock, meta.last_stored);
    let clock_stepped = time.stepped();

    let health = Arc::new(Health::default());
    let reads = Arc::new(ReadQueue::new(options.readers.max(1)));
    let (turn, gate) = (Turn::default(), Gate::default());
    let (wake, woken) = sync_channel(1);
    let log = LogKeeper::new(&mut connection, options.log_bytes_max, wake, Arc::clone(&turn), Arc::clone(&gate));
    let log = place.sqlite("watch the log of", log)?;

    // Everything that can fail comes before the first thread: a failure leaves none behind.
    let side = place.side_connection()?;
    let reader_connections: Vec<Connection> =
        (0..options.readers.max(1)).map(|_| place.reader_connection()).collect::<Result<_, _>>()?;

    let checkpointer = {
        let health = Arc::clone(&health);
        spawn("sqlite-log", move || run_checkpointer(side, woken, turn, health))?
    };
    let mut readers = Vec::new();
    for connection in reader_connections {
        let (reads, gate) = (Arc::clone(&reads), Arc::clone(&gate));
        readers.push(spawn("sqlite-read", move || run_reader(connection, reads, gate))?);
    }
    let writer = Writer {
        connection,
        noted: time.now().at,
        time,
        disk: Disk::new(place.directory.clone(), options.low_disk_bytes),
        log,
        health: Arc::clone(&health),
        purge: KeyPurge::default(),
        reads: Arc::clone(&reads),
        checkpointer,
        readers,
        lock,
    };
    let (jobs, queue) = sync_channel(JOBS_WAITING_MAX);
    let writer = spawn("sqlite-write", move || writer.run(queue))?;
    let properties = Properties::alone(meta.seal_key);
    Ok(SqliteStore { properties, clock_stepped, health, reads, jobs, writer: Mutex::new(Some(writer)) })
}

/// The files of one store.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    directory: PathBuf,
}

impl Location {
    /// Two names of one file, such as a link, must lead to one lock.
    pub(crate) fn find(path: &Path) -> Result<Self, OpenError> {
        let not_a_file = || OpenError::NotAFile { path: path.to_owned() };
        let name = path.file_name().ok_or_else(not_a_file)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = fs::canonicalize(directory)
            .ok()
            .filter(|directory| directory.is_dir())
            .ok_or_else(|| OpenError::NoDirectory { path: path.to_owned(), directory: directory.to_owned() })?;
        let found = fs::canonicalize(path).unwrap_or_else(|_| directory.join(name));
        if found.is_dir() {
            return Err(not_a_file());
        }
        let directory = found.parent().map_or(directory, Path::to_owned);
        Ok(Self { path: found, directory })
    }

    /// The lock is a file of its own: closing any other handle of the database file would drop the
    /// locks that SQLite holds on it in this process. The system drops it with the process.
    pub(crate) fn lock(&self) -> Result<File, OpenError> {
        let mut name = OsString::from(&self.path);
        name.push(".lock");
        let lock = PathBuf::from(name);
        let failed = |source| OpenError::Io { path: lock.clone(), doing: "lock", source };
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: self.path.clone(), lock }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The file holds secrets (leases, the seal key): nobody else may read it, nor the log, which
    /// SQLite makes with the same rights.
    pub(crate) fn make_file(&self) -> Result<(), OpenError> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(OpenError::Io { path: self.path.clone(), doing: "make", source }),
        }
    }

    /// The writer's connection, of the newest schema.
    pub(crate) fn database(&self) -> Result<Connection, OpenError> {
        let connection = self.connect()?;
        let fresh = self.is_fresh_or_ours(&connection)?;
        self.sqlite("set up", set_up(&connection, fresh))?;
        self.sqlite("set up", common_pragmas(&connection))?;
        migrate(&connection, STEPS).map_err(|error| match error {
            MigrateError::Newer { found } => self.newer(found),
            MigrateError::Failed { step, source } => OpenError::Migrate { path: self.path.clone(), step, source },
        })?;
        self.sqlite("set up", connection.pragma_update(None, "cache_size", WRITER_CACHE_KIB))?;
        Ok(connection)
    }

    pub(crate) fn must_exist(&self) -> Result<(), OpenError> {
        if self.path.exists() { Ok(()) } else { Err(OpenError::NotThere { path: self.path.clone() }) }
    }

    /// A connection that leaves the file as it is, whatever is done over it: with the newest schema,
    /// in a transaction that is not to be committed.
    pub(crate) fn untouched(&self) -> Result<Connection, OpenError> {
        let connection = self.connect()?;
        self.is_fresh_or_ours(&connection)?;
        self.pretend(connection)
    }

    /// The same for a file that is not there: in memory.
    pub(crate) fn imagined(&self) -> Result<Connection, OpenError> {
        let connection = self.sqlite("imagine", Connection::open_in_memory())?;
        self.pretend(connection)
    }

    fn pretend(&self, connection: Connection) -> Result<Connection, OpenError> {
        let begin = || {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            migrate::pretend(&connection, STEPS)
        };
        self.sqlite("read", begin())?;
        Ok(connection)
    }

    /// Says whether nothing was ever stored in it; refuses what this release cannot read.
    fn is_fresh_or_ours(&self, connection: &Connection) -> Result<bool, OpenError> {
        let fresh = self.sqlite("read", is_fresh(connection))?;
        let ours = self.sqlite("read", application_id(connection))? == migrate::APPLICATION_ID;
        if !fresh && !ours {
            return Err(OpenError::Foreign { path: self.path.clone() });
        }
        let found = self.sqlite("read", migrate::version(connection))?;
        if found > STEPS.len() {
            return Err(self.newer(found));
        }
        Ok(fresh)
    }

    fn reader_connection(&self) -> Result<Connection, OpenError> {
        let connection = self.side_connection()?;
        self.sqlite("set up", connection.pragma_update(None, "query_only", true))?;
        self.sqlite("set up", connection.pragma_update(None, "cache_size", READER_CACHE_KIB))?;
        Ok(connection)
    }

    /// A further connection to a database that is set up.
    fn side_connection(&self) -> Result<Connection, OpenError> {
        let connection = self.connect()?;
        self.sqlite("set up", common_pragmas(&connection))?;
        Ok(connection)
    }

    fn connect(&self) -> Result<Connection, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        self.sqlite("open", Connection::open_with_flags(&self.path, flags))
    }

    pub(crate) fn sqlite<T>(&self, doing: &'static str, result: rusqlite::Result<T>) -> Result<T, OpenError> {
        result.map_err(|source| self.failed(doing, source))
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> OpenError {
        let path = self.path.clone();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
            _ => OpenError::Sqlite { path, doing, source },
        }
    }

    fn newer(&self, found: usize) -> OpenError {
        OpenError::Newer { path: self.path.clone(), found, known: STEPS.len() }
    }
}

/// Names beyond 15 characters are cut by the system, and these should be told apart.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|source| OpenError::Thread { source })
}

/// Nothing was ever stored in it: also a file that was made and not finished.
fn is_fresh(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0 && migrate::version(connection)? == 0 && application_id(connection)? == 0)
}

fn application_id(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

/// What the file itself remembers. The order matters: set behind the journal mode, `auto_vacuum`
/// would stay off without a word.
fn set_up(connection: &Connection, fresh: bool) -> rusqlite::Result<()> {
    if fresh {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    let why = format!("the file system does not allow a write-ahead log (journal mode {mode})");
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN), Some(why)))
}

/// What each connection forgets and must be told.
pub(crate) fn common_pragmas(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Else a statement is compiled anew whenever other values are bound to it, which takes ten
    // times as long as the statement itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_FILE_BYTES_KEPT, |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(())
}

pub(crate) fn fresh_key() -> [u8; 32] {
    let mut key = [0; 32];
    getrandom::fill(&mut key).expect("the system gives random bytes");
    key
}

/// Only programs other than this one ever hold a lock that we wait for.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A log that once became longer, behind a slow reader of another program, is cut to this.
const LOG_FILE_BYTES_KEPT: i64 = 32 << 20;
/// Negative: KiB, not pages.
const WRITER_CACHE_KIB: i64 = -16 * 1024;
const READER_CACHE_KIB: i64 = -8 * 1024;
/// All there are.
const STATEMENTS_CACHED: usize = 64;
/// Batches that wait for the writer; past so many the store says that it is not available.
const JOBS_WAITING_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn number(connection: &Connection, pragma: &str) -> i64 {
        connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap()
    }

    #[test]
    fn every_connection_syncs_each_commit_waits_when_busy_and_never_checkpoints_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let place = Location::find(&directory.path().join("operond.db")).unwrap();
        place.make_file().unwrap();
        let writer = place.database().unwrap();
        for connection in [&writer, &place.side_connection().unwrap(), &place.reader_connection().unwrap()] {
            assert_eq!(number(connection, "synchronous"), 2, "2 is FULL");
            assert_eq!(number(connection, "busy_timeout"), 5_000);
            assert_eq!(number(connection, "wal_autocheckpoint"), 0);
        }
        assert_eq!(number(&writer, "auto_vacuum"), 2, "2 is INCREMENTAL");
    }

    #[test]
    fn a_reader_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let place = Location::find(&directory.path().join("operond.db")).unwrap();
        place.make_file().unwrap();
        let _writer = place.database().unwrap();
        let written = place.reader_connection().unwrap().execute("DELETE FROM operations", []);
        assert_eq!(written.unwrap_err().sqlite_error_code(), Some(ErrorCode::ReadOnly));
    }
}
