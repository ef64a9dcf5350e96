//! Workers: they claim, keep their leases, fail, give back, and hand results in.

use std::sync::Arc;
use std::time::Duration;

use operond_client::proto::complete_request::{Cancelled, Outcome};
use operond_client::proto::{
    Claim, ClaimRequest, CompleteRequest, HeartbeatRequest, ReleaseRequest, ReportFailureRequest, RetryRequest,
};
use operond_client::{Client, Code, Error, Outcome as Ended, Status, payload};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::call::Answer;
use crate::dice::Dice;
use crate::scene::Scene;

/// Claims operations of a kind and carries them out, until told to stop.
pub(crate) async fn work(scene: Arc<Scene>, kind: String, server: usize, mut dice: Dice, stop: CancellationToken) {
    let client = scene.client(server);
    let mut under_way = JoinSet::new();
    while let Some(claimed) = stop.run_until_cancelled(client.claim(claim(&kind, CLAIMS_MAX))).await {
        while under_way.try_join_next().is_some() {}
        match claimed {
            Ok(claims) => {
                for claim in claims {
                    scene.ledger.book().leased(&claim.lease);
                    let what = dice.below(100);
                    let work = Work { scene: Arc::clone(&scene), client: client.clone(), server, claim };
                    under_way.spawn(work.carry_out(what));
                }
            }
            Err(error) => {
                if !error.is_unreachable() {
                    scene.ledger.book().broken.push(format!("a claim was refused: {error}"));
                }
                sleep(CLAIM_AGAIN_AFTER).await;
            }
        }
    }
    while under_way.join_next().await.is_some() {}
}

/// A claim of a few operations, with the usual lease.
pub(crate) fn claim(kind: &str, max: u32) -> ClaimRequest {
    ClaimRequest {
        kinds: vec![kind.to_owned()],
        worker: "load".into(),
        max: Some(max),
        lease_duration: Some(duration(LEASE)),
        wait: Some(duration(CLAIM_WAIT)),
    }
}

/// Hands a result in, until it is acknowledged or refused.
pub(crate) async fn complete(
    scene: &Scene,
    client: &Client,
    server: usize,
    claim: &Claim,
    outcome: Outcome,
) -> Answer<()> {
    let id = &claim.operation.as_ref().expect("a claim has its operation").id;
    scene.ledger.book().offers(id, &outcome);
    let begun = Instant::now();
    let request = CompleteRequest { lease: claim.lease.clone(), metadata: None, outcome: Some(outcome) };
    let answer = client.complete(request).await;
    let mut book = scene.ledger.book();
    book.wrote(server, begun, &answer);
    answer.map(|operation| book.ended(&operation))
}

/// What a worker makes of an operation: nobody else would.
pub(crate) fn response(claim: &Claim) -> Outcome {
    let number = claim.lease.rsplit_once('.').map_or("", |(number, _secret)| number);
    Outcome::Response(payload::text(number))
}

struct Work {
    scene: Arc<Scene>,
    client: Client,
    server: usize,
    claim: Claim,
}

impl Work {
    async fn carry_out(self, what: usize) {
        let operation = self.claim.operation.as_ref().expect("a claim has its operation");
        let end = if operation.cancel_requested.is_some() {
            self.end(cancelled()).await
        } else if let Some(Ended::Error(error)) = operation.result.clone() {
            // A failure that somebody else has reported.
            self.end(Outcome::Error(error)).await
        } else {
            match what {
                0..5 => self.release().await,
                5..15 => self.retry().await,
                15..25 => self.fail().await,
                25..32 => self.take_long().await,
                _ => self.end(response(&self.claim)).await,
            }
        };
        // Leases are lost, and others end what was held; that nobody answered for so long is another matter.
        if let Err(error) = end.err().filter(Error::is_unreachable).map_or(Ok(()), Err) {
            self.scene.ledger.book().broken.push(format!("a worker of {} gave up: {error}", operation.id));
        }
    }

    async fn end(&self, outcome: Outcome) -> Answer<()> {
        complete(&self.scene, &self.client, self.server, &self.claim, outcome).await
    }

    async fn release(&self) -> Answer<()> {
        let begun = Instant::now();
        let answer = self.client.release(ReleaseRequest { lease: self.claim.lease.clone() }).await;
        self.passed(begun, answer)
    }

    async fn retry(&self) -> Answer<()> {
        let begun = Instant::now();
        let request = RetryRequest {
            lease: self.claim.lease.clone(),
            error: Some(error("not yet")),
            backoff: Some(duration(BACKOFF)),
        };
        let answer = self.client.retry(request).await;
        self.passed(begun, answer)
    }

    async fn fail(&self) -> Answer<()> {
        let begun = Instant::now();
        let error = error(&self.claim.lease);
        let request =
            ReportFailureRequest { lease: self.claim.lease.clone(), error: Some(error.clone()), metadata: None };
        let answer = self.client.report_failure(request).await;
        self.scene.ledger.book().wrote(self.server, begun, &answer);
        let operation = answer?;
        self.scene.ledger.book().known(&operation.id).failed = Some(Ended::Error(error.clone()));
        self.end(Outcome::Error(error)).await
    }

    async fn take_long(&self) -> Answer<()> {
        for _ in 0..HEARTBEATS {
            sleep(HEARTBEAT_EVERY).await;
            let begun = Instant::now();
            let request = HeartbeatRequest { lease: self.claim.lease.clone(), ..HeartbeatRequest::default() };
            let answer = self.client.heartbeat(request).await;
            let cancel = answer.as_ref().is_ok_and(|answer| answer.cancel_requested.is_some());
            self.passed(begun, answer)?;
            if cancel {
                return self.end(cancelled()).await;
            }
        }
        self.end(response(&self.claim)).await
    }

    fn passed<T>(&self, begun: Instant, answer: Answer<T>) -> Answer<()> {
        let mut book = self.scene.ledger.book();
        book.wrote(self.server, begun, &answer);
        answer.map(|_| book.passing += 1)
    }
}

fn cancelled() -> Outcome {
    Outcome::Cancelled(Cancelled { message: "stopped".into() })
}

fn error(message: &str) -> Status {
    Status { code: Code::Aborted.into(), message: message.into(), details: Vec::new() }
}

pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).expect("it is short")
}

/// How often a lease is extended.
pub(crate) const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(30);
const HEARTBEATS: usize = 2;
const BACKOFF: Duration = Duration::from_millis(200);
const CLAIMS_MAX: u32 = 10;
const CLAIM_WAIT: Duration = Duration::from_secs(20);
const CLAIM_AGAIN_AFTER: Duration = Duration::from_millis(200);
