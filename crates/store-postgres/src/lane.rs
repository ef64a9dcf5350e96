//! Connections that write: each carries out one transaction at a time, under the next number of its stream.
//!
//! When the connection breaks while a transaction is being committed, nobody knows whether it was.
//! The number tells: it is written by the transaction itself, so whoever can write it afterwards
//! knows that the transaction never will be committed, and whoever finds it taken knows that it was.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use operond_core::Timestamp;
use operond_store::pack::Packed;
use operond_store::{Applied, Batch, Document, DocumentWrite, Error, News, Stale};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::batch::{self, Context};
use crate::closed;
use crate::documents;
use crate::fault::Fault;
use crate::held::Held;
use crate::keys::{self, KeyPurge};
use crate::passed::Passed;
use crate::presence::{Presence, Stream};
use crate::session::{Connector, Session};
use crate::set_aside::SetAside;
use crate::sql;
use crate::time::Time;

/// All connections that write.
pub(crate) struct Lanes {
    connector: Connector,
    time: Arc<Time>,
    set_aside: SetAside,
    passed: Passed,
    presence: Arc<Presence>,
    free: Semaphore,
    idle: Mutex<Vec<Lane>>,
    purge: tokio::sync::Mutex<KeyPurge>,
    held: Held,
    /// When the newest commit was judged, in microseconds.
    written_at: AtomicI64,
}

/// A connection, and the numbers of what it writes.
struct Lane {
    session: Session,
    stream: Stream,
    made_at: Instant,
}

/// How a transaction failed.
enum Failure {
    /// It was not committed.
    Not(Fault),
    /// It may be committed.
    Doubt(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Not(fault)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Not(error.into())
    }
}

/// What a lane is to do in one transaction.
enum Work {
    Batch(Arc<Batch>),
    Documents(Arc<[DocumentWrite]>),
}

/// What was done in one transaction.
enum Done {
    Batch(Applied),
    Documents(Result<Vec<Document>, Stale>),
}

impl Done {
    /// When it was judged.
    fn at(&self) -> Timestamp {
        match self {
            Self::Batch(applied) => applied.at,
            Self::Documents(Ok(written)) => written.last().map_or(Timestamp::default(), |last| last.modified_at),
            Self::Documents(Err(_)) => Timestamp::default(),
        }
    }
}

impl Lanes {
    pub(crate) fn new(
        connector: Connector,
        time: Arc<Time>,
        presence: Arc<Presence>,
        passed: Passed,
        lanes: usize,
    ) -> Self {
        Self {
            connector,
            time,
            set_aside: SetAside::default(),
            passed,
            presence,
            free: Semaphore::new(lanes),
            idle: Mutex::default(),
            purge: tokio::sync::Mutex::default(),
            held: Held::default(),
            written_at: AtomicI64::new(0),
        }
    }

    /// When the newest commit of this server was judged, in microseconds; 0 for none.
    pub(crate) fn written_at(&self) -> i64 {
        self.written_at.load(Ordering::SeqCst)
    }

    pub(crate) fn passed(&self) -> &Passed {
        &self.passed
    }

    pub(crate) fn set_aside(&self) -> &SetAside {
        &self.set_aside
    }

    pub(crate) async fn update(&self, batch: Arc<Batch>) -> Result<Applied, Error> {
        match self.carry_out(&Work::Batch(batch)).await? {
            Done::Batch(applied) => {
                self.passed.note(&applied);
                Ok(applied)
            }
            Done::Documents(_) => unreachable!("a batch was asked for"),
        }
    }

    pub(crate) async fn put_documents(
        &self,
        writes: Vec<DocumentWrite>,
    ) -> Result<Result<Vec<Document>, Stale>, Error> {
        match self.carry_out(&Work::Documents(writes.into())).await? {
            Done::Documents(written) => Ok(written),
            Done::Batch(_) => unreachable!("documents were asked for"),
        }
    }

    /// Old tombstones and keys; each statement a transaction of its own, and no harm when one is lost.
    pub(crate) async fn purge(&self, limit: usize) -> Result<usize, Error> {
        let _free = self.free.acquire().await.map_err(|_closed| closed())?;
        let mut place = self.purge.lock().await;
        let lane = self.lane().await?;
        let purged = keys::purge(&lane.session, &mut place, self.time.now().at, limit).await;
        self.put_back(lane, purged.as_ref().err());
        Ok(purged?)
    }

    /// Ends every connection; what is under way is finished before.
    pub(crate) fn close(&self) {
        self.free.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Does the work in one transaction: again where another one came between, once more where the
    /// connection broke and nothing was committed, or it turned out so, and once more without what
    /// somebody else has locked for long.
    async fn carry_out(&self, work: &Work) -> Result<Done, Error> {
        let _free = self.free.acquire().await.map_err(|_closed| closed())?;
        let (mut conflicts, mut doubts, mut breaks) = (0, 0, 0);
        let mut patient = !matches!(work, Work::Batch(batch) if self.held.concerns(batch));
        loop {
            let mut lane = self.lane().await?;
            match self.transaction(&mut lane, work, patient).await {
                Ok(done) => {
                    if let (false, Work::Batch(batch), Done::Batch(applied)) = (patient, work, &done) {
                        self.held.note(batch, applied);
                    }
                    self.written_at.fetch_max(done.at().micros(), Ordering::SeqCst);
                    self.put_back(lane, None);
                    return Ok(done);
                }
                Err(Attempt { failure: Failure::Doubt(fault), done }) => {
                    let (stream, n) = (lane.stream.id().to_owned(), lane.stream.next());
                    drop(lane);
                    tracing::warn!(%stream, n, ?fault, "it is not known whether a transaction was committed: looking");
                    match self.was_committed(&stream, n).await {
                        Some(true) => return Ok(*done.expect("what is being committed is done")),
                        Some(false) if doubts < DOUBTS_MAX => doubts += 1,
                        Some(false) => return Err(fault.into()),
                        None => return Err(Error::Unknown(format!("{fault:?}").into())),
                    }
                }
                Err(Attempt { failure: Failure::Not(fault), .. }) => {
                    self.put_back(lane, Some(&fault));
                    if fault.is_held() && std::mem::take(&mut patient) {
                        continue;
                    }
                    // Before anything was committed: another connection may do.
                    if fault.is_break() && breaks < BREAKS_MAX {
                        breaks += 1;
                        continue;
                    }
                    if !fault.is_conflict() || conflicts == CONFLICTS_MAX {
                        return Err(fault.into());
                    }
                    conflicts += 1;
                    sleep(pause(conflicts)).await;
                }
            }
        }
    }

    async fn transaction(&self, lane: &mut Lane, work: &Work, patient: bool) -> Result<Done, Attempt> {
        lane.session.forget_warnings();
        match work {
            Work::Batch(batch) => {
                let (time, set_aside, passed) = (&self.time, &self.set_aside, &self.passed);
                lane.batch(batch, &Context { time, set_aside, passed, patient }).await
            }
            Work::Documents(writes) => lane.documents(writes, &self.time).await,
        }
    }

    /// A connection that is idle, or a new one.
    async fn lane(&self) -> Result<Lane, Error> {
        if self.presence.is_away() {
            return Err(Fault::Away.into());
        }
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(lane) if lane.session.client.is_closed() || self.presence.is_from_before(lane.made_at) => {}
                Some(lane) => return Ok(lane),
                None => break,
            }
        }
        Ok(within(CONNECT_MAX, "a connection", self.open()).await?)
    }

    async fn open(&self) -> Result<Lane, Fault> {
        let made_at = Instant::now();
        let session = self.connector.session().await?;
        let asked = self.time.ask();
        let now: i64 = session.client.query_one(sql::NOW.as_str(), &[]).await?.try_get(0)?;
        self.time.read(asked, Timestamp::from_micros(now));
        let (id, seen_at) = (random_id(), self.time.now().at.micros());
        session.client.execute(sql::INSERT_STREAM.as_str(), &[&id, &seen_at]).await?;
        Ok(Lane { session, stream: self.presence.stream(id), made_at })
    }

    fn put_back(&self, lane: Lane, fault: Option<&Fault>) {
        let broken = fault.is_some_and(Fault::ends_the_connection) || lane.session.client.is_closed();
        if !broken && !lane.stream.is_lost() && !self.free.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
        }
    }

    /// Whether the transaction with this number was committed; `None` when that cannot be found out.
    /// Afterwards it is certain, and stays so: what was not committed never will be.
    async fn was_committed(&self, stream: &str, n: i64) -> Option<bool> {
        let until = Instant::now() + DOUBT_MAX;
        for attempt in 1.. {
            match timeout_at(until, self.fence(stream, n)).await {
                Ok(Ok(fenced)) => {
                    tracing::info!(stream, n, committed = !fenced, "the end of a transaction is known");
                    return Some(!fenced);
                }
                Ok(Err(fault)) => tracing::debug!(?fault, "cannot tell yet"),
                Err(_elapsed) => {}
            }
            if Instant::now() >= until {
                break;
            }
            sleep(pause(attempt)).await;
        }
        None
    }

    /// Takes the number, unless it is taken. What this transaction writes besides makes its commit wait for
    /// the standbys: so what it has seen is on them, too.
    async fn fence(&self, stream: &str, n: i64) -> Result<bool, Fault> {
        let session = self.connector.session().await?;
        let now = self.time.now().at.micros();
        session.client.batch_execute("BEGIN").await?;
        if session.client.query_opt(sql::LOCK_STREAM.as_str(), &[&stream]).await?.is_none() {
            // Everything of it was forgotten, since nobody saw this server for long.
            return Err(Fault::Late("this server, by minutes"));
        }
        let fenced = session.client.execute(sql::FENCE.as_str(), &[&stream, &n, &now]).await?;
        session.client.execute(sql::INSERT_STREAM.as_str(), &[&random_id(), &now]).await?;
        session.client.batch_execute("COMMIT").await?;
        if session.warned() {
            return Err(Fault::Late("a standby"));
        }
        Ok(fenced == 1)
    }
}

/// A transaction that failed, and what would have been answered had it not.
struct Attempt {
    failure: Failure,
    done: Option<Box<Done>>,
}

impl<F: Into<Failure>> From<F> for Attempt {
    fn from(failure: F) -> Self {
        Self { failure: failure.into(), done: None }
    }
}

impl Lane {
    async fn batch(&mut self, batch: &Batch, context: &Context<'_>) -> Result<Done, Attempt> {
        let judged = within(ANSWER_MAX, "a question of a batch", batch::judge(&self.session, batch, context)).await;
        let judged = match judged {
            Ok(judged) => judged,
            Err(fault) => return Err(self.rolled_back(fault).await.into()),
        };
        if judged.changes_nothing() {
            if judged.begun() {
                self.roll_back().await?;
            }
            return Ok(Done::Batch(judged.into_applied()));
        }
        let commit = judged.commit(&self.session, self.stream.id(), self.stream.next());
        let committed = self.committed(commit).await;
        self.end(committed, Done::Batch(judged.into_applied()))
    }

    async fn documents(&mut self, writes: &[DocumentWrite], time: &Time) -> Result<Done, Attempt> {
        let now = time.now().at;
        let written = within(ANSWER_MAX, "a write of documents", self.write_documents(writes, now)).await;
        let written = match written {
            Ok(Ok(written)) if !written.is_empty() => written,
            Ok(nothing) => {
                self.roll_back().await?;
                return Ok(Done::Documents(nothing));
            }
            Err(fault) => return Err(self.rolled_back(fault).await.into()),
        };
        let committed = self.committed(async { Ok(self.session.client.batch_execute("COMMIT").await?) }).await;
        self.end(committed, Done::Documents(Ok(written)))
    }

    async fn write_documents(
        &self,
        writes: &[DocumentWrite],
        now: Timestamp,
    ) -> Result<Result<Vec<Document>, Stale>, Fault> {
        self.session.client.batch_execute("BEGIN").await?;
        let written = documents::write(&self.session, writes, now).await?;
        let mut news = News { documents: writes.iter().map(|write| write.collection).collect(), ..News::default() };
        news.documents.dedup();
        let statement = self.session.prepared(&sql::INSERT_NEWS).await?;
        let parameters = [&self.stream.id() as _, &self.stream.next() as _, &now.micros() as _, &news.pack() as _];
        self.session.client.execute(&statement, &parameters).await?;
        Ok(written)
    }

    /// Ends a transaction that is not to be committed; where that does not work, the connection is not
    /// used again.
    async fn roll_back(&self) -> Result<(), Fault> {
        within(ANSWER_MAX, "a rollback", self.session.client.batch_execute("ROLLBACK")).await
    }

    /// The fault of a transaction that is not committed, once it has ended.
    async fn rolled_back(&self, fault: Fault) -> Fault {
        if fault.ends_the_connection() {
            return fault;
        }
        self.roll_back().await.err().unwrap_or(fault)
    }

    /// Waits for a commit. Nothing is cancelled: a commit that waits for a standby is done here already.
    async fn committed(&self, commit: impl Future<Output = Result<(), Fault>>) -> Result<(), Failure> {
        match timeout(COMMIT_MAX, commit).await {
            Ok(Ok(())) if self.session.warned() => Err(Failure::Doubt(Fault::Late("a standby"))),
            Ok(Ok(())) => Ok(()),
            // An answer that the connection outlives is an answer to a statement before the commit.
            Ok(Err(fault)) if !fault.ends_the_connection() => Err(Failure::Not(fault)),
            Ok(Err(fault)) => Err(Failure::Doubt(fault)),
            Err(_elapsed) => Err(Failure::Doubt(Fault::Late("a commit"))),
        }
    }

    fn end(&mut self, committed: Result<(), Failure>, done: Done) -> Result<Done, Attempt> {
        match committed {
            Ok(()) => {
                self.stream.advance();
                Ok(done)
            }
            Err(failure) => Err(Attempt { failure, done: Some(Box::new(done)) }),
        }
    }
}

/// What the work comes to, where it is done in time.
pub(crate) async fn within<T, E: Into<Fault>>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    timeout(limit, work).await.map_err(|_elapsed| Fault::Late(what))?.map_err(Into::into)
}

/// Longer from time to time, and never the same for two that came into each other's way.
fn pause(attempt: u32) -> Duration {
    let longest = PAUSE_FIRST * 2_u32.pow(attempt.min(6));
    let chance = getrandom::u32().expect("the operating system has randomness");
    longest.mul_f64(0.5 + f64::from(chance) / f64::from(u32::MAX) / 2.0)
}

fn random_id() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the operating system has randomness");
    random.iter().fold(String::with_capacity(2 * random.len()), |mut id, byte| {
        write!(id, "{byte:02x}").expect("a string takes it");
        id
    })
}

/// Serialization failures, deadlocks and the like, one after the other, of one batch.
const CONFLICTS_MAX: u32 = 8;
/// Connections that broke before anything of a batch was committed.
const BREAKS_MAX: u32 = 1;
/// Transactions of one batch that were found not to be committed.
const DOUBTS_MAX: u32 = 2;
/// The pause behind the first conflict, about.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
/// For one host after the other.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// For what the database bounds itself, and a little more for the way there and back.
const ANSWER_MAX: Duration = Duration::from_secs(12);
/// How long a commit may wait for its standby before the caller is told that its end is not known.
const COMMIT_MAX: Duration = Duration::from_secs(5);
/// How long that is looked for.
const DOUBT_MAX: Duration = Duration::from_secs(10);
