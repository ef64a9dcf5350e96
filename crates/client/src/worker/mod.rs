//! A worker: claims operations, runs a handler for each, keeps their leases, hands in the results.

mod assignment;
mod attend;
mod keeper;
mod outcome;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use operond_proto::google::rpc::Code;
use operond_proto::operond::v1::{Claim, ClaimRequest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::error::Error;
use crate::new_operation::random_key;
use crate::payload;
use crate::retry::Outage;

use attend::Attendance;
use keeper::as_outage;

pub use assignment::{Assignment, Stop};
pub use outcome::{Completion, Failure};

/// Claims operations of some kinds and carries them out by a handler.
///
/// It heartbeats on its own, by calls that the server holds, so that a cancel arrives at once. A
/// handler learns from [`Assignment::stopped`] that it should end. A panic of a handler is a failure
/// that is tried again. While the server is away the worker goes on: an operation is given up only
/// when its lease has lapsed, and a result is offered for as long as [`Worker::outage`] says.
///
/// ```no_run
/// use operond_client::{Client, Completion, Options, Worker, payload};
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example() -> Result<(), operond_client::Error> {
/// let client = Client::connect(Options::new("http://127.0.0.1:7467"))?;
/// let shutdown = CancellationToken::new();
/// Worker::new(client, ["greet"])
///     .concurrency(4)
///     .run(|assignment| async move { Ok(Completion::response(payload::text("hello"))) }, shutdown)
///     .await
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a worker does nothing until it runs"]
pub struct Worker {
    client: Client,
    kinds: Vec<String>,
    name: String,
    concurrency: usize,
    lease: Duration,
    grace: Duration,
    outage: Duration,
    hurry: CancellationToken,
}

impl Worker {
    /// A worker for 1 to 32 kinds, one operation at a time, with leases of 30 s.
    pub fn new(client: Client, kinds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            client,
            kinds: kinds.into_iter().map(Into::into).collect(),
            name: default_name(),
            concurrency: 1,
            lease: LEASE_DEFAULT,
            grace: GRACE_DEFAULT,
            outage: OUTAGE_DEFAULT,
            hurry: CancellationToken::new(),
        }
    }

    /// What people see as the holder of a lease, at most 128 characters; `host-pid-random` unless
    /// said.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// How many operations at a time; at least one.
    pub fn concurrency(self, operations: usize) -> Self {
        Self { concurrency: operations.clamp(1, Semaphore::MAX_PERMITS), ..self }
    }

    /// How long a lease lasts without a heartbeat: 1 s to 1 h. Another worker takes over so long
    /// after this one has died.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// How long handlers may go on after a shutdown; 30 s unless said.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// How long a result is offered to a server that does not answer; 60 s unless said.
    pub fn outage(self, outage: Duration) -> Self {
        Self { outage, ..self }
    }

    /// A token that, during a shutdown, ends the grace at once.
    pub fn hurry(self, hurry: CancellationToken) -> Self {
        Self { hurry, ..self }
    }

    /// Works until `shutdown` fires, then claims no more, lets handlers finish within the grace, and
    /// releases the leases of those that have not. Everything has been handed in or back when this
    /// returns; dropping it aborts the handlers and leaves their leases to lapse.
    ///
    /// # Errors
    /// The server refuses to hand out work (no such kind is possible, for example); what was claimed
    /// before is brought to its end first.
    pub async fn run<H, F>(self, handler: H, shutdown: CancellationToken) -> Result<(), Error>
    where
        H: Fn(Assignment) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Completion, Failure>> + Send + 'static,
    {
        let hurry = CancellationToken::new();
        let attendance = Arc::new(Attendance {
            handler: Box::new(move |assignment| Box::pin(handler(assignment))),
            client: self.client.clone(),
            lease: self.lease,
            outage: self.outage,
            hurry: hurry.clone(),
        });
        let mut attended = JoinSet::new();
        let outcome = self.claim_until(&shutdown, &attendance, &mut attended).await;

        tokio::select! {
            () = drain(&mut attended) => {}
            () = self.hurry.cancelled() => {}
            () = tokio::time::sleep(self.grace) => {}
        }
        hurry.cancel();
        drain(&mut attended).await;
        outcome
    }

    /// Claims whenever there is room, and has everything attended to that comes.
    async fn claim_until(
        &self,
        shutdown: &CancellationToken,
        attendance: &Arc<Attendance>,
        attended: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        let room = Arc::new(Semaphore::new(self.concurrency));
        let mut lines = Lines { lines: vec![Arc::new(self.client.clone())] };
        let mut outage = Outage::new(Duration::MAX);
        let mut warned = false;
        while let Some(claimed) = shutdown.run_until_cancelled(self.claim(&room)).await {
            // The ended ones would pile up.
            while attended.try_join_next().is_some() {}
            match claimed {
                Ok(claims) => {
                    outage.over();
                    if std::mem::take(&mut warned) {
                        tracing::info!("claiming again");
                    }
                    for (claim, permit) in claims {
                        let (line, attendance) = (lines.free(), Arc::clone(attendance));
                        attended.spawn(async move {
                            attendance.attend(&line, claim).await;
                            drop(permit);
                        });
                    }
                }
                Err(error) if refuses_work(&error) => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(%error, "cannot claim, trying on");
                    }
                    let pause = outage.pause(as_outage(error))?;
                    if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for room, then for as many operations as there is room for.
    async fn claim(&self, room: &Arc<Semaphore>) -> Result<Vec<(Claim, OwnedSemaphorePermit)>, Error> {
        let first = Arc::clone(room).acquire_owned().await.expect("nobody closes the semaphore");
        let more = std::iter::from_fn(|| Arc::clone(room).try_acquire_owned().ok());
        let permits: Vec<OwnedSemaphorePermit> = std::iter::once(first).chain(more).take(CLAIMS_MAX).collect();
        let request = ClaimRequest {
            kinds: self.kinds.clone(),
            worker: self.name.clone(),
            max: u32::try_from(permits.len()).ok(),
            lease_duration: Some(payload::duration(self.lease)),
            wait: None,
        };
        Ok(self.client.claim(request).await?.into_iter().zip(permits).collect())
    }
}

async fn drain(attended: &mut JoinSet<()>) {
    while attended.join_next().await.is_some() {}
}

/// Connections for held heartbeats. A server bounds the calls on one connection: too many held ones
/// would keep all others waiting.
struct Lines {
    lines: Vec<Arc<Client>>,
}

impl Lines {
    /// A connection with room for one more.
    fn free(&mut self) -> Arc<Client> {
        if let Some(line) = self.lines.iter().find(|line| Arc::strong_count(line) <= HELD_PER_CONNECTION_MAX) {
            return Arc::clone(line);
        }
        let line = Arc::new(self.lines[0].another_connection());
        self.lines.push(Arc::clone(&line));
        line
    }
}

/// Whether asking again would be refused again.
fn refuses_work(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => false,
        Error::NotFound { .. } | Error::Endpoint { .. } => true,
        Error::Rejected(rejection) => matches!(
            rejection.code,
            Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
        ),
    }
}

/// `host-pid-random`: tells people which process it is, and never the same twice.
fn default_name() -> String {
    let host: String = rustix::system::uname().nodename().to_string_lossy().chars().take(HOST_CHARS_MAX).collect();
    let random = random_key();
    format!("{host}-{}-{}", std::process::id(), &random[..8])
}

const LEASE_DEFAULT: Duration = Duration::from_secs(30);
const GRACE_DEFAULT: Duration = Duration::from_secs(30);
const OUTAGE_DEFAULT: Duration = Duration::from_secs(60);
/// Most operations in one claim (CONTRACT §5).
const CLAIMS_MAX: usize = 100;
const HELD_PER_CONNECTION_MAX: usize = 64;
const HOST_CHARS_MAX: usize = 64;
