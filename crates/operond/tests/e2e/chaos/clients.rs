//! Clients of all sorts, each of which asks now this server, now that one, and writes down what it is told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operond_proto::google::rpc::Status as Problem;
use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::work_client::WorkClient;
use operond_proto::operond::v1::{
    CancelRequest, ClaimRequest, CompleteRequest, CreateRequest, DeleteRequest, HeartbeatRequest, ReleaseRequest,
    ReportFailureRequest, RetryRequest, WaitRequest, complete_request,
};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use super::history::{Call, Grant, Outcome, Recorder, Said, Shown, What, duration, nanos};
use crate::support::{Random, channel, claim, create, get, text};

/// What all clients share.
pub(crate) struct World {
    pub(crate) recorder: Recorder,
    servers: [String; 2],
    /// Every operation that somebody heard of.
    ids: Mutex<(Vec<String>, BTreeSet<String>)>,
    keys: AtomicUsize,
    /// The load is to end.
    pub(crate) calm: AtomicBool,
    /// Nothing is left to be worked on.
    pub(crate) over: AtomicBool,
}

impl World {
    pub(crate) fn new(servers: [String; 2]) -> Arc<Self> {
        Arc::new(Self {
            recorder: Recorder::new(),
            servers,
            ids: Mutex::default(),
            keys: AtomicUsize::new(0),
            calm: AtomicBool::new(false),
            over: AtomicBool::new(false),
        })
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap().0.clone()
    }

    fn heard_of(&self, id: &str) {
        let mut ids = self.ids.lock().unwrap();
        if ids.1.insert(id.to_owned()) {
            ids.0.push(id.to_owned());
        }
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }
}

/// One client, which makes one call at a time.
pub(crate) struct Client {
    n: usize,
    world: Arc<World>,
    random: Random,
    channels: [Channel; 2],
}

impl Client {
    pub(crate) fn new(n: usize, seed: u64, world: &Arc<World>) -> Self {
        let channels = world.servers.each_ref().map(|url| channel(url));
        Self { n, world: Arc::clone(world), random: Random::of(seed, 100 + n as u64), channels }
    }

    /// Creates, half of it with keys that others use at the same time.
    pub(crate) async fn produce(mut self) {
        while !self.world.is_calm() {
            let key = self.random.percent(50).then(|| self.world.keys.fetch_add(1, Ordering::SeqCst) / 3);
            let what = What::Create { key: key.map(|n| format!("key-{n}")) };
            if key.is_some() {
                self.insist(what).await
            } else {
                self.ask(what).await
            };
            self.pause(10, 100).await;
        }
    }

    /// Claims, and does with what it got what workers do, and ought not to do.
    pub(crate) async fn work(mut self) {
        while !self.world.is_calm() {
            if let Outcome::Claimed(grants) = self.ask(What::Claim).await {
                for grant in grants {
                    self.carry_out(grant).await;
                }
            } else {
                self.pause(50, 200).await;
            }
        }
    }

    /// Claims and completes until there is nothing left.
    pub(crate) async fn drain(mut self) {
        while !self.world.over.load(Ordering::SeqCst) {
            match self.ask(What::Claim).await {
                Outcome::Claimed(grants) => {
                    for Grant { lease, .. } in grants {
                        let said = Said::Response(text(&format!("{}/{}", lease.id, lease.token)));
                        let failing = matches!(
                            self.insist(What::Complete(lease.clone(), said)).await,
                            Outcome::Refused { reason: "FAILURE_DETECTED", .. }
                        );
                        if failing {
                            self.insist(What::Complete(lease, Said::Cancelled)).await;
                        }
                    }
                }
                _ => self.pause(50, 200).await,
            }
        }
    }

    /// Reads, waits, cancels, deletes.
    pub(crate) async fn call(mut self) {
        while !self.world.is_calm() {
            let Some(id) = self.recent(RECENT) else {
                self.pause(50, 100).await;
                continue;
            };
            let what = match self.random.below(100) {
                0..60 => What::Get { id },
                60..82 => What::Wait { id, timeout: self.random.millis(200, 4_000) },
                82..93 => What::Cancel { id },
                _ => What::Delete { id: self.recent(3 * RECENT).unwrap_or(id) },
            };
            self.ask(what).await;
            self.pause(5, 60).await;
        }
    }

    /// Waits for the newest, for long.
    pub(crate) async fn wait(mut self) {
        while !self.world.is_calm() {
            let told = match self.recent(RECENT) {
                Some(id) => self.ask(What::Wait { id, timeout: Duration::from_secs(12) }).await,
                None => Outcome::Unknown("there is nothing yet".to_owned()),
            };
            if told.is_unknown() {
                self.pause(50, 200).await;
            }
        }
    }

    async fn carry_out(&mut self, grant: Grant) {
        let lease = grant.lease;
        for _ in 0..self.random.below(4) {
            self.pause(20, 200).await;
            if let Outcome::Refused { .. } = self.ask(What::Heartbeat(lease.clone())).await {
                return;
            }
        }
        let said = Said::Response(text(&format!("{}/{}", lease.id, lease.token)));
        match self.random.below(100) {
            0..50 => drop(self.insist(What::Complete(lease, said)).await),
            50..56 => drop(self.insist(What::Complete(lease, Said::Error(problem(9)))).await),
            56..60 => drop(self.insist(What::Complete(lease, Said::Cancelled)).await),
            60..72 => drop(self.insist(What::Retry(lease)).await),
            72..82 => drop(self.insist(What::Release(lease)).await),
            82..92 => self.fail_early(lease, said).await,
            // It forgets its lease, and comes back to it when it may be another's.
            _ => {
                self.pause(1_500, 4_500).await;
                self.insist(What::Complete(lease, said)).await;
            }
        }
    }

    async fn fail_early(&mut self, lease: Shown, said: Said) {
        self.insist(What::ReportFailure(lease.clone(), problem(13))).await;
        self.pause(50, 800).await;
        match self.random.below(4) {
            // It must not: the failure was shown.
            0 => drop(self.insist(What::Complete(lease, said)).await),
            1 => drop(self.insist(What::Complete(lease, Said::Error(problem(13)))).await),
            2 => drop(self.insist(What::Complete(lease, Said::Cancelled)).await),
            _ => drop(self.insist(What::Retry(lease)).await),
        }
    }

    /// Asks the same again until it knows: all of these may be repeated.
    pub(crate) async fn insist(&mut self, what: What) -> Outcome {
        for _ in 0..REPEATS_MAX {
            let outcome = self.ask(what.clone()).await;
            if !outcome.is_unknown() {
                return outcome;
            }
            self.pause(50, 400).await;
        }
        Outcome::Unknown("given up".to_owned())
    }

    /// Asks one of the servers, and writes it down.
    pub(crate) async fn ask(&mut self, what: What) -> Outcome {
        let server = self.random.below(2);
        let sent = self.world.recorder.now();
        let outcome = match timeout(ANSWER_MAX, answer(&self.channels[server], &what, self.n)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(status)) => Outcome::of(&status),
            Err(_elapsed) => Outcome::Unknown("there was no answer".to_owned()),
        };
        let ended = self.world.recorder.now();
        outcome.states().iter().for_each(|operation| self.world.heard_of(&operation.id));
        self.world.recorder.add(Call { client: self.n, server, sent, ended, what, outcome: outcome.clone() });
        outcome
    }

    /// One of the operations that were heard of last.
    fn recent(&mut self, most: usize) -> Option<String> {
        let ids = self.world.ids.lock().unwrap();
        let newest = ids.0.len().min(most);
        (newest > 0).then(|| ids.0[ids.0.len() - 1 - self.random.below(newest)].clone())
    }

    /// People and their programs do other things, too.
    async fn pause(&mut self, least: u64, most: u64) {
        sleep(self.random.millis(least, most)).await;
    }
}

async fn answer(channel: &Channel, what: &What, client: usize) -> Result<Outcome, Status> {
    let mut operations = OperationsClient::new(channel.clone());
    let mut work = WorkClient::new(channel.clone());
    let operation = match what.clone() {
        What::Create { key } => operations.create(new(key)).await?,
        What::Cancel { id } => operations.cancel(CancelRequest { id, reason: String::new() }).await?,
        What::Get { id } => operations.get(get(&id)).await?,
        What::Wait { id, timeout } => operations.wait(WaitRequest { id, timeout: time(timeout) }).await?,
        What::Complete(lease, said) => work.complete(end(lease, said)).await?,
        What::ReportFailure(Shown { text: lease, .. }, error) => {
            work.report_failure(ReportFailureRequest { lease, error: Some(error), metadata: None }).await?
        }
        What::Retry(Shown { text: lease, .. }) => {
            let backoff = time(Duration::from_millis(300));
            work.retry(RetryRequest { lease, error: Some(problem(14)), backoff }).await?
        }
        What::Release(Shown { text: lease, .. }) => work.release(ReleaseRequest { lease }).await?,
        What::Delete { id } => {
            operations.delete(DeleteRequest { id }).await?;
            return Ok(Outcome::Deleted);
        }
        What::Heartbeat(Shown { text: lease, .. }) => {
            let kept = work.heartbeat(HeartbeatRequest { lease, ..HeartbeatRequest::default() }).await?.into_inner();
            let (remaining, expires_at) = (duration(kept.lease_duration), nanos(kept.lease_expires_at));
            return Ok(Outcome::Kept { remaining, expires_at });
        }
        What::Claim => {
            let (lease_duration, wait) = (time(LEASE), time(Duration::from_millis(400)));
            let request =
                ClaimRequest { worker: format!("w{client}"), max: Some(2), lease_duration, wait, ..claim(KIND) };
            let claims = work.claim(request).await?.into_inner().claims;
            return Ok(Outcome::Claimed(claims.into_iter().map(Grant::of).collect()));
        }
    };
    Ok(Outcome::Operation(Box::new(operation.into_inner())))
}

/// The same for the same key.
fn new(key: Option<String>) -> CreateRequest {
    let n: usize = key.as_ref().and_then(|key| key.strip_prefix("key-")?.parse().ok()).unwrap_or_default();
    CreateRequest {
        idempotency_key: key,
        cancel_grace: time(Duration::from_secs(2)),
        run_timeout: time(Duration::from_secs(15)).filter(|_| n % 5 == 1),
        clean_up_on_cancel: Some(n % 7 == 2),
        ..create(KIND)
    }
}

fn end(lease: Shown, said: Said) -> CompleteRequest {
    let outcome = match said {
        Said::Response(response) => complete_request::Outcome::Response(response),
        Said::Error(error) => complete_request::Outcome::Error(error),
        Said::Cancelled => complete_request::Outcome::Cancelled(complete_request::Cancelled::default()),
    };
    CompleteRequest { lease: lease.text, metadata: None, outcome: Some(outcome) }
}

pub(crate) fn problem(code: i32) -> Problem {
    Problem { code, message: format!("problem {code}"), details: Vec::new() }
}

fn time(duration: Duration) -> Option<prost_types::Duration> {
    Some(duration.try_into().expect("it is a few seconds"))
}

/// What sort of work it is.
pub(crate) const KIND: &str = "chaos";
/// So short that leases lapse while servers stand still.
const LEASE: Duration = Duration::from_secs(2);
/// No call takes longer, whatever fails.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(40);
/// Operations that are read, waited for and cancelled; of three times as many some are deleted.
const RECENT: usize = 60;
/// Of one call, over some ten seconds without a server.
const REPEATS_MAX: usize = 60;
