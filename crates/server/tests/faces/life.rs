//! The whole life of operations, through every call of the native face, over gRPC and over REST.

use std::collections::HashMap;

use http::StatusCode;
use operond_proto::google::rpc;
use operond_proto::operond::v1::complete_request::{Cancelled, Outcome};
use operond_proto::operond::v1::operation::{Result as Shown, State, View};
use operond_proto::operond::v1::{
    CancelRequest, CompleteRequest, CreateRequest, DeleteRequest, GetOperationRequest, HeartbeatRequest, Progress,
    ReleaseRequest, ReportFailureRequest, RetryRequest, StartRequest,
};
use prost_types::{Any, Duration};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Faces, told};

fn any(bytes: &[u8]) -> Any {
    Any { type_url: "type.googleapis.com/acme.v1.Thing".into(), value: bytes.into() }
}

fn error(code: i32) -> rpc::Status {
    rpc::Status { code, message: "no".into(), details: vec![any(b"\xff\0detail")] }
}

fn get(id: &str) -> GetOperationRequest {
    GetOperationRequest { id: id.into(), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn create_claim_heartbeat_complete_over_grpc() {
    let faces = Faces::new();
    let request = CreateRequest {
        kind: "render".into(),
        description: "a film".into(),
        tenant: Some("t".into()),
        created_by: Some("alice".into()),
        metadata: Some(any(b"m0")),
        input: Some(any(b"in")),
        labels: HashMap::from([("a".into(), "b".into())]),
        queue_timeout: Some(Duration { seconds: 60, nanos: 0 }),
        run_timeout: Some(Duration { seconds: 90, nanos: 0 }),
        max_attempts: Some(5),
        ..Default::default()
    };
    let created = faces.operations().create(request).await.unwrap().into_inner();
    assert_eq!((created.kind.as_str(), created.tenant.as_str(), created.state()), ("render", "t", State::Queued));
    assert_eq!((created.description.as_str(), created.created_by.as_str()), ("a film", "alice"));
    assert_eq!((created.metadata.as_ref(), &created.input, created.events.len()), (Some(&any(b"m0")), &None, 0));
    assert_eq!((created.attempt, created.max_attempts, created.cancellable), (0, 5, true));
    assert_eq!(created.labels["a"], "b");
    let at = |timestamp: Option<prost_types::Timestamp>| timestamp.unwrap().seconds;
    assert_eq!(at(created.available_at), at(created.created_at));
    assert_eq!(at(created.queue_deadline), at(created.created_at) + 60);

    assert!(created.unattended, "no worker has asked for the kind");
    let claim = faces.claim("render").await;
    let attended = faces.create("render").await;
    assert_eq!((attended.state(), attended.unattended), (State::Queued, false));
    assert_eq!((claim.attempt, claim.input.as_ref()), (1, Some(&any(b"in"))));
    assert_eq!(claim.lease_duration, Some(Duration { seconds: 30, nanos: 0 }));
    let leased = claim.operation.unwrap();
    assert_eq!((leased.state(), leased.worker.as_str(), leased.unattended), (State::Running, "w", false));
    assert_eq!(at(leased.run_deadline), at(leased.started_at) + 90);
    assert_eq!((leased.lease_expires_at, leased.available_at), (claim.lease_expires_at, None));

    let progress = Progress { done: Some(1.0), total: Some(4.0), unit: "frames".into(), message: "x".into() };
    let heartbeat = HeartbeatRequest {
        lease: claim.lease.clone(),
        metadata: Some(any(b"m1")),
        progress: Some(progress.clone()),
        ..Default::default()
    };
    assert_eq!(faces.work().heartbeat(heartbeat).await.unwrap().into_inner().cancel_requested, None);
    let shown = faces.operations().get(get(&created.id)).await.unwrap().into_inner();
    assert_eq!((shown.metadata, shown.progress), (Some(any(b"m1")), Some(progress)));
    assert_ne!(shown.revision, created.revision);

    let outcome = Some(Outcome::Response(any(b"\0out\xff")));
    let complete = CompleteRequest { lease: claim.lease.clone(), metadata: Some(any(b"m2")), outcome };
    let done = faces.work().complete(complete.clone()).await.unwrap().into_inner();
    assert_eq!((done.done, done.state(), done.metadata.as_ref()), (true, State::Succeeded, Some(&any(b"m2"))));
    assert_eq!(done.result, Some(Shown::Response(any(b"\0out\xff"))));
    assert_eq!(at(done.expires_at), at(done.finished_at) + 30 * 24 * 3600);
    let again = faces.work().complete(complete).await.unwrap().into_inner();
    assert_eq!(again, done, "a repeat changes nothing");

    let full = GetOperationRequest { view: View::Full.into(), ..get(&created.id) };
    let full = faces.operations().get(full).await.unwrap().into_inner();
    assert_eq!(full.input, Some(any(b"in")));
    let events: Vec<_> = full.events.iter().map(|event| (event.what.as_str(), event.by.as_str())).collect();
    assert_eq!(events, [("created", "alice"), ("claimed", "w"), ("succeeded", "w")]);

    faces.operations().delete(DeleteRequest { id: created.id.clone() }).await.unwrap();
    let gone = faces.operations().get(get(&created.id)).await.unwrap_err();
    assert_eq!(told(&gone), (Code::NotFound, "DELETED".into(), String::new()));
}

#[tokio::test(start_paused = true)]
async fn start_retry_release_report_failure_and_cancel_over_grpc() {
    let faces = Faces::new();
    let request = StartRequest {
        kind: "render".into(),
        worker: "w".into(),
        idempotency_key: Some("key".into()),
        max_attempts: Some(2),
        lease_duration: Some(Duration { seconds: 5, nanos: 0 }),
        ..Default::default()
    };
    let started = faces.operations().start(request.clone()).await.unwrap().into_inner();
    assert_eq!(started.lease_duration, Some(Duration { seconds: 5, nanos: 0 }));
    let id = started.operation.unwrap().id;
    let again = faces.operations().start(request.clone()).await.unwrap().into_inner();
    assert_eq!((&again.lease, again.attempt), (&started.lease, 1), "the lease, for a lost answer");
    let other = StartRequest { worker: "other".into(), ..request };
    let other = faces.operations().start(other).await.unwrap().into_inner();
    assert_eq!((other.lease.as_str(), other.operation.unwrap().id), ("", id.clone()));

    let backoff = Some(Duration { seconds: 7, nanos: 0 });
    let retry = RetryRequest { lease: started.lease, error: Some(error(14)), backoff };
    let queued = faces.work().retry(retry).await.unwrap().into_inner();
    assert_eq!((queued.state(), queued.last_attempt_error, queued.result), (State::Queued, Some(error(14)), None));

    // Held until the backoff is over.
    let claim = faces.claim("render").await;
    assert_eq!(claim.attempt, 2);
    let released = faces.work().release(ReleaseRequest { lease: claim.lease }).await.unwrap().into_inner();
    assert_eq!((released.state(), released.attempt), (State::Queued, 1));

    let claim = faces.claim("render").await;
    let report =
        ReportFailureRequest { lease: claim.lease.clone(), error: Some(error(9)), metadata: Some(any(b"undo")) };
    let failing = faces.work().report_failure(report).await.unwrap().into_inner();
    assert_eq!((failing.done, failing.state()), (false, State::Failing));
    assert_eq!((failing.result, failing.metadata), (Some(Shown::Error(error(9))), Some(any(b"undo"))));
    let complete = CompleteRequest { lease: claim.lease, metadata: None, outcome: Some(Outcome::Error(error(9))) };
    let failed = faces.work().complete(complete).await.unwrap().into_inner();
    assert_eq!((failed.state(), failed.result), (State::Failed, Some(Shown::Error(error(9)))));

    let claim = faces.claimed("render").await;
    let id = claim.operation.unwrap().id;
    let cancel = CancelRequest { id, reason: "enough".into() };
    let cancelling = faces.operations().cancel(cancel).await.unwrap().into_inner();
    let requested = cancelling.cancel_requested.clone().unwrap();
    assert_eq!(cancelling.state(), State::Cancelling);
    assert_eq!((requested.by.as_str(), requested.reason.as_str()), ("anonymous", "enough"));
    let heartbeat = HeartbeatRequest { lease: claim.lease.clone(), ..Default::default() };
    let standing = faces.work().heartbeat(heartbeat).await.unwrap().into_inner();
    assert_eq!(standing.cancel_requested, Some(requested));
    let outcome = Some(Outcome::Cancelled(Cancelled { message: "stopped".into() }));
    let complete = CompleteRequest { lease: claim.lease, metadata: None, outcome };
    let cancelled = faces.work().complete(complete).await.unwrap().into_inner();
    let expected = rpc::Status { code: 1, message: "stopped".into(), details: Vec::new() };
    assert_eq!((cancelled.state(), cancelled.result), (State::Cancelled, Some(Shown::Error(expected))));
}

#[tokio::test(start_paused = true)]
async fn create_claim_heartbeat_complete_over_rest() {
    let faces = Faces::new();
    let body = r#"{"kind":"render","description":"a film","input":{"pages":3},"labels":{"a":"b"},"runTimeout":"90s"}"#;
    let created = faces.rest("POST /api/v1/operations", body).await.ok();
    let id = created["id"].as_str().unwrap();
    assert_eq!(created["done"], false);
    assert_eq!((&created["state"], &created["tenant"]), (&json!("QUEUED"), &json!("default")));
    assert_eq!(created.get("input"), None);

    let body = r#"{"kinds":["render"],"worker":"w","leaseDuration":"10s"}"#;
    let mut claims = faces.rest("POST /api/v1/work:claim", body).await.ok();
    let claim = claims["claims"][0].take();
    let lease = claim["lease"].as_str().unwrap();
    assert_eq!((&claim["leaseDuration"], &claim["attempt"]), (&json!("10s"), &json!(1)));
    let input = json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": { "pages": 3.0 } });
    assert_eq!(claim["input"]["@type"], input["@type"]);
    assert_eq!(claim["input"]["value"]["pages"].as_f64(), Some(3.0));
    assert_eq!(claim["operation"]["id"], id);

    let body = json!({ "lease": lease, "progress": { "done": 1, "total": 4 }, "metadata": { "step": "x" } });
    let standing = faces.rest("POST /api/v1/work:heartbeat", &body.to_string()).await.ok();
    assert_eq!(standing["leaseDuration"], "10s");
    assert_eq!(standing.get("cancelRequested"), None);

    let running = faces.rest(&format!("GET /api/v1/operations/{id}"), "").await;
    assert_eq!(running.headers["x-operation-poll-interval"], "1");
    assert_eq!(running.headers["retry-after"], "1");
    assert_eq!(running.headers["content-type"], "application/json");
    let running = running.ok();
    assert_eq!((&running["progress"]["total"], &running["metadata"]["value"]["step"]), (&json!(4), &json!("x")));

    let response = json!({ "@type": "type.googleapis.com/acme.v1.Film", "value": "/wA=" });
    let body = json!({ "lease": lease, "response": response }).to_string();
    let done = faces.rest("POST /api/v1/work:complete", &body).await;
    assert_eq!(done.headers.get("x-operation-poll-interval"), None);
    let done = done.ok();
    assert_eq!((&done["done"], &done["state"], &done["response"]), (&json!(true), &json!("SUCCEEDED"), &response));

    let full = faces.rest(&format!("GET /api/v1/operations/{id}?view=FULL"), "").await.ok();
    assert_eq!((&full["input"], full["events"].as_array().unwrap().len()), (&claim["input"], 3));
    assert_eq!(faces.rest(&format!("GET /api/v1/operations/{id}:wait?timeout=30s"), "").await.ok(), done);
    assert_eq!(faces.rest(&format!("POST /api/v1/operations/{id}:cancel"), "").await.ok(), done, "done stays done");
    assert_eq!(faces.rest(&format!("DELETE /api/v1/operations/{id}"), "").await.ok(), json!({}));
    let gone = faces.rest(&format!("GET /api/v1/operations/{id}"), "").await;
    assert_eq!((gone.status, gone.reason()), (StatusCode::NOT_FOUND, "DELETED"));
}

#[tokio::test(start_paused = true)]
async fn start_retry_release_report_failure_and_cancel_over_rest() {
    let faces = Faces::new();
    let post = async |path: &str, body: Value| faces.rest(&format!("POST {path}"), &body.to_string()).await.ok();
    let started = post("/api/v1/operations:start", json!({ "kind": "k", "worker": "w", "maxAttempts": 3 })).await;
    let failure = json!({ "code": 13, "message": "no" });
    let retry = json!({ "lease": started["lease"], "error": failure, "backoff": "1s" });
    let queued = post("/api/v1/work:retry", retry).await;
    assert_eq!((&queued["state"], &queued["lastAttemptError"]), (&json!("QUEUED"), &failure));

    let claim =
        || async { post("/api/v1/work:claim", json!({ "kinds": ["k"], "worker": "w" })).await["claims"][0].take() };
    let released = post("/api/v1/work:release", json!({ "lease": claim().await["lease"] })).await;
    assert_eq!((&released["state"], &released["attempt"]), (&json!("QUEUED"), &json!(1)));

    let lease = claim().await["lease"].take();
    let failing = post("/api/v1/work:reportFailure", json!({ "lease": lease, "error": failure })).await;
    assert_eq!((&failing["state"], &failing["error"], &failing["done"]), (&json!("FAILING"), &failure, &json!(false)));
    let cancel = format!("/api/v1/operations/{}:cancel", failing["id"].as_str().unwrap());
    let cancelling = post(&cancel, json!({ "reason": "enough" })).await;
    assert_eq!((&cancelling["state"], &cancelling["cancelRequested"]["reason"]), (&json!("FAILING"), &json!("enough")));
    let done = post("/api/v1/work:complete", json!({ "lease": lease, "cancelled": {} })).await;
    assert_eq!((&done["state"], &done["error"]), (&json!("FAILED"), &failure));
}

#[tokio::test(start_paused = true)]
async fn an_expired_operation_says_so() {
    let faces = Faces::new();
    let created = faces.rest("POST /api/v1/operations", r#"{"kind":"k","retention":"5s"}"#).await.ok();
    let id = created["id"].as_str().unwrap();
    faces.rest(&format!("POST /api/v1/operations/{id}:cancel"), "").await.ok();
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    let gone = faces.rest(&format!("GET /api/v1/operations/{id}"), "").await;
    assert_eq!((gone.status, gone.reason()), (StatusCode::NOT_FOUND, "EXPIRED"));
    assert_eq!(gone.detail("ErrorInfo")["metadata"]["operation"], id);
}
