//! Watches the database: what other servers write, what time it is there, and whether it is there.
//!
//! It asks every few milliseconds over a connection of its own. No notification is needed for that,
//! and an idle answer costs the database some ten microseconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join;
use operond_core::Timestamp;
use operond_store::pack::Packed;
use operond_store::{Answer, Feed, News};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::closed;
use crate::durability::Durability;
use crate::fault::Fault;
use crate::keys::sql_limit;
use crate::presence::Presence;
use crate::session::{Connector, Session};
use crate::sql;
use crate::time::Time;

/// What is known of others, for who asks.
#[derive(Default)]
pub(crate) struct Told {
    news: Mutex<News>,
    added: Notify,
    closed: CancellationToken,
}

/// The task that watches.
pub(crate) struct Watcher {
    connector: Connector,
    time: Arc<Time>,
    presence: Arc<Presence>,
    told: Arc<Told>,
    /// The number that was read last of each stream of others.
    read: BTreeMap<String, i64>,
    /// What was written by us, and when: to be forgotten when it is old.
    written: VecDeque<(Instant, Vec<(String, i64)>)>,
    next_chore: Instant,
    away_since: Option<Instant>,
}

impl Feed for Told {
    fn next(&self) -> Answer<'_, News> {
        Box::pin(async move {
            loop {
                let added = self.added.notified();
                let news = std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner));
                if !news.is_empty() {
                    return Ok(news);
                }
                tokio::select! {
                    () = added => {}
                    () = self.closed.cancelled() => return Err(closed()),
                }
            }
        })
    }
}

impl Told {
    fn tell(&self, news: News) {
        let mut told = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        told.add(news);
        if told.operations.len() + told.claimable.len() > TOLD_MAX {
            *told = News { missed: true, documents: std::mem::take(&mut told.documents), ..News::default() };
        }
        drop(told);
        self.added.notify_one();
    }

    /// Nothing will be told any more.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Ready when nothing will be.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

impl Watcher {
    pub(crate) fn new(connector: Connector, time: Arc<Time>, presence: Arc<Presence>, told: Arc<Told>) -> Self {
        Self {
            connector,
            time,
            presence,
            told,
            read: BTreeMap::new(),
            written: VecDeque::new(),
            next_chore: Instant::now(),
            away_since: None,
        }
    }

    /// A connection for it: nothing that it writes matters enough to wait while a standby is away.
    async fn session(&self) -> Result<Session, Fault> {
        let session = self.connector.session().await?;
        session.hurry().await?;
        Ok(session)
    }

    /// Learns what others have written so far, over its first connection: what comes from now on is told.
    pub(crate) async fn begin(&mut self, session: &Session) -> Result<(), tokio_postgres::Error> {
        session.hurry().await?;
        let rows = session.client.query(sql::LAST_NEWS.as_str(), &[&self.own()]).await?;
        for row in rows {
            self.read.insert(row.try_get(0)?, row.try_get(1)?);
        }
        Ok(())
    }

    /// Watches until the store is closed.
    pub(crate) async fn run(mut self, session: Session) {
        let closed = self.told.closed.clone();
        let watching = async {
            let mut session = Some(session);
            loop {
                session = self.turn(session).await;
                sleep(if session.is_some() { POLL } else { LOOK }).await;
            }
        };
        tokio::select! {
            () = closed.cancelled() => {}
            () = watching => {}
        }
    }

    /// Asks once. Without a connection, or when it breaks, looks for another one.
    async fn turn(&mut self, session: Option<Session>) -> Option<Session> {
        let turn = async {
            let (session, new) = match session {
                Some(session) => (session, false),
                None => (self.session().await?, true),
            };
            match self.ask(&session, new).await {
                // It is there, and refuses: who asks something of it is told why.
                Err(fault) if !fault.ends_the_connection() => tracing::error!(?fault, "cannot tell what is new"),
                asked => asked?,
            }
            Ok::<_, Fault>(session)
        };
        match timeout(TURN_MAX, turn).await {
            Ok(Ok(session)) => {
                self.is_back();
                Some(session)
            }
            Ok(Err(fault)) => self.is_away(&fault),
            Err(_elapsed) => self.is_away(&Fault::Late("what is new")),
        }
    }

    fn is_back(&mut self) {
        if let Some(since) = self.away_since.take() {
            tracing::warn!(seconds = since.elapsed().as_secs_f32(), "the database is back");
            self.presence.set_away(false);
        }
    }

    fn is_away(&mut self, fault: &Fault) -> Option<Session> {
        if self.away_since.is_none() {
            tracing::warn!(?fault, "the database is away");
            self.away_since = Some(Instant::now());
            self.presence.set_away(true);
        }
        None
    }

    async fn ask(&mut self, session: &Session, new: bool) -> Result<(), Fault> {
        let (now, news) = (session.prepared(&sql::NOW).await?, session.prepared(&sql::NEWS).await?);
        let (streams, numbers): (Vec<&str>, Vec<i64>) = self.read.iter().map(|(id, n)| (id.as_str(), *n)).unzip();
        let (own, most) = (self.own(), sql_limit(ROWS_MAX));
        let parameters = [&streams as _, &numbers as _, &own as _, &most as _];
        let asked = self.time.ask();
        let answers = try_join(session.client.query_one(&now, &[]), session.client.query(&news, &parameters));
        let (now, rows) = answers.await?;
        self.time.read(asked, Timestamp::from_micros(now.try_get(0)?));
        // Behind another server of the database, or after a while, anything may have happened.
        let mut told = News { missed: new, ..News::default() };
        for row in rows {
            self.take_in(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, &mut told);
        }
        if !told.is_empty() {
            self.told.tell(told);
        }
        if Instant::now() >= self.next_chore {
            self.next_chore = Instant::now() + CHORES_EVERY;
            self.chores(session).await?;
        }
        Ok(())
    }

    /// Takes in one transaction of another server.
    fn take_in(&mut self, stream: String, n: i64, body: &[u8], told: &mut News) {
        let before = self.read.insert(stream, n).unwrap_or(0);
        // Behind a gap it has written more than it keeps; one that is not known yet was read from its first row on.
        told.missed |= n != before + 1;
        // An empty body is a number that was never to be written.
        if body.is_empty() {
            return;
        }
        match News::unpack(body) {
            Ok(news) => told.add(news),
            // A newer release may say it in another form.
            Err(_damaged) => told.missed = true,
        }
    }

    /// Says that this server is there, and forgets what is old.
    async fn chores(&mut self, session: &Session) -> Result<(), Fault> {
        let (client, now) = (&session.client, self.time.now().at);
        let written = self.presence.written();
        let ids: Vec<&str> = written.iter().map(|(id, _)| id.as_str()).collect();
        let touched = client.execute(sql::TOUCH_STREAMS.as_str(), &[&ids, &now.micros()]).await?;
        if touched < ids.len() as u64 && self.presence.written().len() >= ids.len() {
            self.presence.lose();
        }
        client.execute(sql::NOTE_TIME.as_str(), &[&now.micros()]).await?;
        self.presence.promise(Durability::read(session).await?);
        self.written.push_back((Instant::now(), written));
        while let Some((at, old)) = self.written.front()
            && at.elapsed() > NEWS_LIFE
        {
            for (stream, n) in old {
                client.execute(sql::FORGET_NEWS.as_str(), &[stream, n]).await?;
            }
            self.written.pop_front();
        }
        self.forget_streams(session, now).await
    }

    async fn forget_streams(&mut self, session: &Session, now: Timestamp) -> Result<(), Fault> {
        let (client, until) = (&session.client, now.before(STREAM_LIFE).micros());
        let rows = client.query(sql::OLD_STREAMS.as_str(), &[&until]).await?;
        let old: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        if !old.is_empty() {
            client.execute(sql::FORGET_STREAMS.as_str(), &[&old, &until]).await?;
            client.execute(sql::FORGET_STREAM_NEWS.as_str(), &[&old]).await?;
            self.read.retain(|id, _| !old.contains(id));
        }
        Ok(())
    }

    fn own(&self) -> Vec<String> {
        self.presence.written().into_iter().map(|(id, _)| id).collect()
    }
}

/// How often it asks: those who wait on another server hear of a commit about so much later.
const POLL: Duration = Duration::from_millis(15);
/// How often a database that is away is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// How long one question may take, or one round of all hosts.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Transactions of one stream that are read at a time.
const ROWS_MAX: usize = 200;
/// More operations and kinds are not told one by one.
const TOLD_MAX: usize = 20_000;
/// How often this server says that it is there.
const CHORES_EVERY: Duration = Duration::from_secs(5);
/// How long others can read what was written; who did not ask for so long is told that it missed something.
const NEWS_LIFE: Duration = Duration::from_secs(60);
/// When a server was not seen for so long, its streams are forgotten.
const STREAM_LIFE: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use operond_store::SystemClock;
    use tokio::runtime::Handle;

    use super::*;
    use crate::address::Address;

    /// Whether something was missed when these numbers of a stream were read one after the other.
    fn missed(numbers: &[i64]) -> bool {
        let address = Address::parse("postgres://nobody@127.0.0.1/nowhere").unwrap();
        let time = Arc::new(Time::given(SystemClock::new(), None));
        let connector = Connector::new(address, Handle::current());
        let durability = Durability {
            fsync_off: false,
            full_page_writes_off: false,
            synchronous_commit_off: false,
            no_synchronous_standby: false,
        };
        let presence = Arc::new(Presence::new(durability));
        let mut watcher = Watcher::new(connector, time, presence, Arc::default());
        let mut told = News::default();
        numbers.iter().for_each(|n| watcher.take_in("stream".into(), *n, &News::default().pack(), &mut told));
        told.missed
    }

    #[tokio::test]
    async fn a_gap_in_what_another_server_wrote_is_noticed() {
        assert!(!missed(&[1, 2, 3]));
        assert!(missed(&[1, 2, 4]));
    }

    /// It began while this server stood still for so long that its first news are forgotten.
    #[tokio::test]
    async fn f09_news_that_were_forgotten_before_they_could_be_read_are_noticed() {
        assert!(missed(&[7]));
    }
}
