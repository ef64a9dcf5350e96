//! Waiting for a result, across broken connections and restarts of the server.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use operond_proto::operond::v1::{Operation, WaitRequest};
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, answer};
use crate::error::Error;
use crate::payload;
use crate::retry::{Outage, jittered};
use crate::watch::{Link, Watch};

/// What is told while waiting.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitEvent<'a> {
    /// The operation as it is now: at first, and after each change.
    Changed(&'a Operation),
    /// Nobody answers; the wait goes on. Told for each failed attempt.
    Lost(&'a Error),
    /// The server answers again.
    Back,
}

impl Client {
    /// Waits for an operation to be done. Await the answer: the operation, done, or not done when
    /// the timeout came first.
    ///
    /// The result comes the moment it is there, without polling; an outage of the server is ridden
    /// out (60 s, unless [`WaitFor::outage`] says otherwise). Dropping the wait does not touch the
    /// operation.
    pub fn wait(&self, id: &str) -> WaitFor<'static> {
        WaitFor { client: self.clone(), id: id.to_owned(), timeout: None, outage: OUTAGE_DEFAULT, observer: None }
    }
}

/// A wait that begins when it is awaited; made by [`Client::wait`].
#[must_use = "nothing is waited for until it is awaited"]
pub struct WaitFor<'a> {
    client: Client,
    id: String,
    timeout: Option<Duration>,
    outage: Duration,
    observer: Option<Observer<'a>>,
}

type Observer<'a> = Box<dyn FnMut(WaitEvent<'_>) + Send + 'a>;

impl<'a> WaitFor<'a> {
    /// Longest time to wait; for ever unless said.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Longest time without an answer from the server; 60 s unless said.
    pub fn outage(self, outage: Duration) -> Self {
        Self { outage, ..self }
    }

    /// Tells `observer` about every change and about outages.
    pub fn on_event<'b>(self, observer: impl FnMut(WaitEvent<'_>) + Send + 'b) -> WaitFor<'b> {
        WaitFor {
            client: self.client,
            id: self.id,
            timeout: self.timeout,
            outage: self.outage,
            observer: Some(Box::new(observer)),
        }
    }
}

impl<'a> IntoFuture for WaitFor<'a> {
    type Output = Result<Operation, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        match self.observer {
            None => silent(self.client, self.id, deadline, Outage::new(self.outage)).boxed(),
            Some(observer) => {
                let watch = Watch::new(self.client.clone(), self.id.clone(), self.outage);
                observed(self.client, self.id, deadline, watch, observer).boxed()
            }
        }
    }
}

/// Nobody looks on: held calls until one answers with a result.
async fn silent(
    mut client: Client,
    id: String,
    deadline: Option<Instant>,
    mut outage: Outage,
) -> Result<Operation, Error> {
    loop {
        let begun = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(begun));
        let hold = left.map_or(HOLD, |left| left.min(HOLD));
        let request = WaitRequest { id: id.clone(), timeout: Some(payload::duration(hold)) };
        match answer(hold, client.operations.wait(request)).await {
            Ok(operation) if operation.done => return Ok(operation),
            Ok(operation) => {
                outage.over();
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(operation);
                }
                if begun.elapsed() < EARLY.min(hold) {
                    // Too many waiters (CONTRACT §4): the server does not hold this one.
                    sleep_until(deadline, jittered(EARLY)).await;
                }
            }
            Err(error) => {
                // It held the call, and says itself that it cannot go on: it was there until now.
                if error.reason().is_some() && begun.elapsed() >= EARLY {
                    outage.over();
                }
                let pause = outage.pause(error.clone())?;
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(error);
                }
                sleep_until(deadline, pause).await;
            }
        }
    }
}

/// Somebody looks on: every change is wanted, not only the last.
async fn observed(
    client: Client,
    id: String,
    deadline: Option<Instant>,
    mut watch: Watch,
    mut observer: Observer<'_>,
) -> Result<Operation, Error> {
    let mut last = None;
    loop {
        let mut tell = |link: Link<'_>| match link {
            Link::Lost(error) => observer(WaitEvent::Lost(error)),
            Link::Back => observer(WaitEvent::Back),
        };
        let next = watch.next(&mut tell);
        let next = match deadline {
            Some(deadline) => timeout_at(deadline, next).await,
            None => Ok(next.await),
        };
        match (next, last.take()) {
            (Ok(next), earlier) => match next?.or(earlier) {
                Some(operation) if operation.done => {
                    observer(WaitEvent::Changed(&operation));
                    return Ok(operation);
                }
                Some(operation) => {
                    observer(WaitEvent::Changed(&operation));
                    last = Some(operation);
                }
                None => return client.get(&id).await,
            },
            (Err(_), Some(operation)) => return Ok(operation),
            (Err(_), None) => return client.get(&id).await,
        }
    }
}

/// Sleeps for `pause`, but not beyond the deadline.
async fn sleep_until(deadline: Option<Instant>, pause: Duration) {
    let wake = Instant::now() + pause;
    tokio::time::sleep_until(deadline.map_or(wake, |deadline| deadline.min(wake))).await;
}

const OUTAGE_DEFAULT: Duration = Duration::from_secs(60);
/// How long the server is asked to hold a call: its own default (CONTRACT §5).
const HOLD: Duration = Duration::from_secs(30);
/// An answer without a result that comes sooner than this was not held.
const EARLY: Duration = Duration::from_secs(1);
