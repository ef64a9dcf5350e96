//! Demo kinds, carried out in-process through the public worker API: what a user's own worker would do.

use std::time::Duration;

use operond_client::{
    Assignment, Client, Code, Completion, Failure, Options, Progress, Status, Stop, Worker, json, payload,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Works on the demo kinds of the server at `endpoint` until `shutdown` fires.
pub(crate) async fn serve(endpoint: String, shutdown: CancellationToken) {
    let outcome = async {
        Worker::new(Client::connect(Options::new(endpoint))?, [RENDER, FAIL, SLOW_CANCEL])
            .name("demo")
            .concurrency(CONCURRENCY)
            .grace(Duration::ZERO)
            .run(carry_out, shutdown)
            .await
    };
    if let Err(error) = outcome.await {
        error!(%error, "the demo workers ended");
    }
}

async fn carry_out(assignment: Assignment) -> Result<Completion, Failure> {
    match assignment.operation().kind.as_str() {
        RENDER => render(&assignment).await,
        FAIL => fail(&assignment).await,
        _ => slow_cancel(&assignment).await,
    }
}

/// About twenty seconds of frames, a tenth of a second each; `{"frames": N}` makes it more or less.
async fn render(assignment: &Assignment) -> Result<Completion, Failure> {
    let frames = frames(assignment)?;
    for frame in 0..frames {
        assignment.progress(progress(frame, frames, "rendering"));
        if assignment.stopped().run_until_cancelled(tokio::time::sleep(FRAME)).await.is_none() {
            return stopped(assignment);
        }
    }
    assignment.progress(progress(frames, frames, "rendered"));
    Ok(Completion::response(payload::from_json(json!({"frames": frames}))))
}

/// Shows its error early, rolls back for a while, and ends with the same error.
async fn fail(assignment: &Assignment) -> Result<Completion, Failure> {
    let error = Status { code: Code::FailedPrecondition.into(), message: "the demo fails".into(), details: Vec::new() };
    if assignment.detected_failure().is_none() && assignment.report_failure(error.clone()).await.is_err() {
        return Err(Failure::released());
    }
    for step in 0..ROLLBACK_STEPS {
        assignment.progress(progress(step, ROLLBACK_STEPS, "rolling back"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(error.into())
}

/// Works until it is cancelled, and then takes a second to tidy up.
async fn slow_cancel(assignment: &Assignment) -> Result<Completion, Failure> {
    if assignment.stopped().run_until_cancelled(tokio::time::sleep(PATIENCE)).await.is_some() {
        return Ok(Completion::empty());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stopped(assignment)
}

fn stopped(assignment: &Assignment) -> Result<Completion, Failure> {
    match assignment.stop_reason() {
        Some(Stop::CancelRequested(_)) => Ok(Completion::cancelled("stopped by request")),
        _ => Err(Failure::released()),
    }
}

fn frames(assignment: &Assignment) -> Result<u32, Failure> {
    let Some(frames) = assignment.input().map(json::plain).and_then(|input| input.get("frames").cloned()) else {
        return Ok(FRAMES_DEFAULT);
    };
    let whole = frames.as_f64().filter(|frames| frames.fract() == 0.0 && (0.0..=FRAMES_MAX).contains(frames));
    whole.map(|frames| frames as u32).ok_or_else(|| {
        let message = format!("frames is {frames}, it must be a whole number from 0 to {FRAMES_MAX}");
        Failure::new(Code::InvalidArgument, message)
    })
}

fn progress(done: u32, total: u32, message: &str) -> Progress {
    Progress { done: Some(done.into()), total: Some(total.into()), unit: "frames".into(), message: message.into() }
}

const RENDER: &str = "demo.render";
const FAIL: &str = "demo.fail";
const SLOW_CANCEL: &str = "demo.slow-cancel";
const CONCURRENCY: usize = 16;
const FRAME: Duration = Duration::from_millis(100);
const FRAMES_DEFAULT: u32 = 200;
const FRAMES_MAX: f64 = 1e6;
const ROLLBACK_STEPS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(300);
