//! Whole lives: create → claim → complete → the waiter has the result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::work_client::WorkClient;
use operond_proto::operond::v1::{
    ClaimRequest, CompleteRequest, CreateRequest, WaitRequest, complete_request::Outcome,
};
use prost_types::Any;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::load::{Measured, channels, measure, new_histogram};
use crate::process::Process;

/// When the completion of an operation was answered, by id.
type Completed = Arc<Mutex<HashMap<String, Instant>>>;

/// As many callers as workers; also says how long after a completion its waiter was answered.
pub(crate) async fn lives(server: &Process, concurrency: usize, length: Duration) -> Result<(Measured, Duration)> {
    let completed = Completed::default();
    let woken = Arc::new(Mutex::new(new_histogram()));
    let mut workers = JoinSet::new();
    let channels = channels(&server.url, concurrency);
    for worker in 0..concurrency {
        let work = WorkClient::new(channels[worker % channels.len()].clone());
        workers.spawn(carry_out(work, Arc::clone(&completed)));
    }
    let measured = measure(server, concurrency, length, |channel| {
        let operations = OperationsClient::new(channel);
        let (completed, woken) = (Arc::clone(&completed), Arc::clone(&woken));
        move || live(operations.clone(), Arc::clone(&completed), Arc::clone(&woken))
    })
    .await?;
    workers.shutdown().await;
    let median = woken.lock().expect("nobody panics with it").value_at_quantile(0.5);
    Ok((measured, Duration::from_micros(median)))
}

async fn live(
    mut operations: OperationsClient<Channel>,
    completed: Completed,
    woken: Arc<Mutex<Histogram<u64>>>,
) -> Result<()> {
    let create = CreateRequest { kind: "life".into(), ..CreateRequest::default() };
    let id = operations.create(create).await?.into_inner().id;
    let done = operations.wait(WaitRequest { id: id.clone(), timeout: None }).await?.into_inner();
    let answered = Instant::now();
    ensure!(done.done, "{id} did not end");
    // The completion's own answer may still be on its way: then the waiter was not late at all.
    let at = completed.lock().expect("nobody panics with it").remove(&id).unwrap_or(answered);
    let late = answered.saturating_duration_since(at).as_micros() as u64;
    woken.lock().expect("nobody panics with it").saturating_record(late);
    Ok(())
}

async fn carry_out(mut work: WorkClient<Channel>, completed: Completed) -> Result<()> {
    loop {
        let claim = ClaimRequest { kinds: vec!["life".into()], worker: "bench".into(), ..ClaimRequest::default() };
        for claim in work.claim(claim).await?.into_inner().claims {
            let id = claim.operation.context("a claim has its operation")?.id;
            let outcome = Some(Outcome::Response(Any::from_msg(&())?));
            work.complete(CompleteRequest { lease: claim.lease, metadata: None, outcome }).await?;
            completed.lock().expect("nobody panics with it").insert(id, Instant::now());
        }
    }
}
