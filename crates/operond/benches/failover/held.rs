//! What is to outlast an outage: leases of workers who keep trying, and calls that were parked before it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use operond_client::proto::operations_client::OperationsClient;
use operond_client::proto::{Claim, HeartbeatRequest, Operation, WaitRequest, WatchRequest};
use operond_client::{Client, NewOperation};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::call::{Answer, attempt, attempt_within};
use crate::scene::Scene;
use crate::work::{HEARTBEAT_EVERY, claim, complete, duration, response};

/// Operations that are held, and those who hold them and wait for them.
pub(crate) struct Held {
    workers: JoinSet<Told>,
    waiters: JoinSet<Told>,
    watchers: JoinSet<Told>,
    end: CancellationToken,
}

/// Of which operation, and when it was told; or why not.
type Told = (String, Result<Instant, String>);

/// How many of each there were, and how many of them got what they were to get.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) leases: [usize; 2],
    pub(crate) waiters: [usize; 2],
    pub(crate) watchers: [usize; 2],
    /// How long after a result was acknowledged the last of them was told.
    pub(crate) latest: Duration,
    /// What became of the others.
    pub(crate) why: Vec<String>,
}

impl Held {
    /// Claims operations, waits for each at both servers, and watches each at one.
    pub(crate) async fn begin(scene: &Arc<Scene>) -> Result<Self> {
        scene.ledger.book().begin_round();
        let mut held = Self {
            workers: JoinSet::new(),
            waiters: JoinSet::new(),
            watchers: JoinSet::new(),
            end: CancellationToken::new(),
        };
        for server in [0, 1] {
            let client = scene.client(server);
            for claim in claims(scene, &client).await? {
                let id = claim.operation.as_ref().context("a claim has its operation")?.id.clone();
                let hold = hold(Arc::clone(scene), client.clone(), server, claim, held.end.clone());
                held.workers.spawn(with(id.clone(), hold));
                held.park(scene, server, id).await?;
            }
        }
        // Nobody tells when a call is parked.
        sleep(PARKED_AFTER).await;
        Ok(held)
    }

    async fn park(&mut self, scene: &Arc<Scene>, server: usize, id: String) -> Result<()> {
        for server in [0, 1] {
            let operations = OperationsClient::new(scene.channel(server));
            self.waiters.spawn(with(id.clone(), wait(Arc::clone(scene), operations, id.clone())));
        }
        let mut operations = OperationsClient::new(scene.channel(server));
        let request = WatchRequest { id: id.clone(), after_revision: String::new() };
        let states = attempt(operations.watch(request)).await?;
        self.watchers.spawn(with(id, watch(Arc::clone(scene), states)));
        Ok(())
    }

    /// Has all that is held ended under the leases from before, and everybody told.
    pub(crate) async fn end(self) -> Kept {
        self.end.cancel();
        let mut kept = Kept::default();
        let mut ended = HashMap::new();
        for (id, told) in join(self.workers).await {
            count(&mut kept.leases, &mut kept.why, "the lease", &id, &told);
            ended.extend(told.ok().map(|at| (id, at)));
        }
        for (which, those) in [("a wait", self.waiters), ("a watch", self.watchers)] {
            for (id, told) in join(those).await {
                let counts = if which == "a wait" { &mut kept.waiters } else { &mut kept.watchers };
                count(counts, &mut kept.why, which, &id, &told);
                if let (Ok(told), Some(ended)) = (told, ended.get(&id)) {
                    kept.latest = kept.latest.max(told.saturating_duration_since(*ended));
                }
            }
        }
        kept
    }
}

/// New operations, each leased to us.
async fn claims(scene: &Scene, client: &Client) -> Result<Vec<Claim>> {
    for _ in 0..HELD {
        let request = scene.request("long");
        let operation = NewOperation::new(request.kind).description(request.description.clone());
        let operation = client.create(operation.max_attempts(100)).await?;
        scene.ledger.book().created(&operation, request.description, false);
    }
    let mut claims = Vec::new();
    let begun = Instant::now();
    while claims.len() < HELD {
        ensure!(begun.elapsed() < CLAIMED_MAX, "operations that were created cannot be claimed");
        let wanted = u32::try_from(HELD - claims.len())?;
        claims.extend(client.claim(claim(&scene.kind("long"), wanted)).await?);
    }
    claims.iter().for_each(|claim| scene.ledger.book().leased(&claim.lease));
    Ok(claims)
}

/// Keeps a lease until the end, then hands a result in.
async fn hold(
    scene: Arc<Scene>,
    client: Client,
    server: usize,
    claim: Claim,
    end: CancellationToken,
) -> Answer<Instant> {
    while end.run_until_cancelled(sleep(HEARTBEAT_EVERY)).await.is_some() {
        let begun = Instant::now();
        let request = HeartbeatRequest { lease: claim.lease.clone(), ..HeartbeatRequest::default() };
        let answer = client.heartbeat(request).await;
        scene.ledger.book().wrote(server, begun, &answer);
        answer?;
    }
    complete(&scene, &client, server, &claim, response(&claim)).await?;
    Ok(Instant::now())
}

/// One call, which is answered by the result.
async fn wait(
    scene: Arc<Scene>,
    mut operations: OperationsClient<tonic::transport::Channel>,
    id: String,
) -> Result<Instant, String> {
    let wait = WaitRequest { id, timeout: Some(duration(WAIT)) };
    let operation = attempt_within(2 * WAIT, operations.wait(wait)).await.map_err(|error| error.to_string())?;
    told(&scene, &operation)
}

/// One stream, which ends with the result.
async fn watch(scene: Arc<Scene>, mut states: Streaming<Operation>) -> Result<Instant, String> {
    loop {
        match states.message().await {
            Ok(Some(operation)) if operation.done => return told(&scene, &operation),
            Ok(Some(_)) => {}
            Ok(None) => return Err("it ended before the operation was done".into()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn told(scene: &Scene, operation: &Operation) -> Result<Instant, String> {
    if !operation.done {
        return Err("the operation is not done".into());
    }
    scene.ledger.book().ended(operation);
    Ok(Instant::now())
}

async fn with<E: ToString>(id: String, work: impl Future<Output = Result<Instant, E>>) -> Told {
    (id, work.await.map_err(|error| error.to_string()))
}

/// All that come in time.
async fn join(mut those: JoinSet<Told>) -> Vec<Told> {
    let mut all = Vec::new();
    let deadline = Instant::now() + TOLD_MAX;
    loop {
        match tokio::time::timeout_at(deadline, those.join_next()).await {
            Ok(Some(told)) => all.extend(told),
            Ok(None) => return all,
            Err(_elapsed) => break,
        }
    }
    all.extend((0..those.len()).map(|_| ("some".into(), Err(format!("nothing was heard of it in {TOLD_MAX:?}")))));
    all
}

fn count(counts: &mut [usize; 2], why: &mut Vec<String>, what: &str, id: &str, told: &Result<Instant, String>) {
    counts[0] += 1;
    match told {
        Ok(_) => counts[1] += 1,
        Err(error) => why.push(format!("{what} of {id}: {error}")),
    }
}

/// At each server.
const HELD: usize = 10;
const CLAIMED_MAX: Duration = Duration::from_secs(60);
const PARKED_AFTER: Duration = Duration::from_millis(500);
/// The longest that a server holds.
const WAIT: Duration = Duration::from_secs(60);
/// How long after the end they may take to be told.
const TOLD_MAX: Duration = Duration::from_secs(30);
