//! Leases that are stale, void, foreign or garbled, and results that come twice.

use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Faces, Rest};

async fn complete(faces: &Faces, lease: &str, outcome: Value) -> Rest {
    let mut body = outcome;
    body["lease"] = lease.into();
    faces.rest("POST /api/v1/work:complete", &body.to_string()).await
}

#[track_caller]
fn refused(answer: &Rest, status: StatusCode, reason: &str) {
    assert_eq!((answer.status, answer.reason()), (status, reason), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn b05_stale_void_foreign_and_garbled_leases_change_nothing() {
    let faces = Faces::new();
    let stale = faces.claimed("k").await.lease;
    faces.rest("POST /api/v1/work:release", &json!({ "lease": stale }).to_string()).await.ok();
    refused(&complete(&faces, &stale, json!({ "response": {} })).await, StatusCode::BAD_REQUEST, "LEASE_LOST");
    let newest = faces.claim("k").await.lease;
    let other = Faces::new().claimed("k").await.lease;
    let (id, secret) = newest.rsplit_once('.').unwrap();
    let guessed = format!("{id}.{}", secret.chars().rev().collect::<String>());
    let rows = faces.rows().await;
    let cases = [
        (stale.as_str(), "LEASE_LOST"),
        (&other, "INVALID_LEASE"),
        (&guessed, "INVALID_LEASE"),
        ("garbled", "INVALID_LEASE"),
        (&"x".repeat(10_000), "INVALID_LEASE"),
    ];
    for (lease, reason) in cases {
        for call in ["heartbeat", "release", "complete", "retry", "reportFailure"] {
            let mut body = json!({ "lease": lease });
            match call {
                "complete" => body["response"] = json!({}),
                "retry" | "reportFailure" => body["error"] = json!({ "code": 5 }),
                _ => {}
            }
            let answer = faces.rest(&format!("POST /api/v1/work:{call}"), &body.to_string()).await;
            refused(&answer, StatusCode::BAD_REQUEST, reason);
            assert!(!answer.body.to_string().contains(lease), "a lease is a secret: {}", answer.body);
        }
    }
    assert_eq!(faces.rows().await, rows);
}

#[tokio::test(start_paused = true)]
async fn b20_the_same_result_twice_is_fine_and_another_is_not() {
    let faces = Faces::new();
    let lease = faces.claimed("k").await.lease;
    let first = complete(&faces, &lease, json!({ "response": { "a": 1 } })).await.ok();
    let rows = faces.rows().await;
    assert_eq!(complete(&faces, &lease, json!({ "response": { "a": 1 } })).await.ok(), first);
    let other = complete(&faces, &lease, json!({ "error": { "code": 5 } })).await;
    refused(&other, StatusCode::BAD_REQUEST, "ALREADY_DONE");
    assert_eq!(other.body["code"], 9);
    assert_eq!(other.detail("ErrorInfo")["metadata"]["state"], "SUCCEEDED");
    assert_eq!(faces.rows().await, rows);
}

#[tokio::test(start_paused = true)]
async fn a_shown_failure_is_final() {
    let faces = Faces::new();
    let lease = faces.claimed("k").await.lease;
    let report = json!({ "lease": lease, "error": { "code": 5, "message": "no" } }).to_string();
    faces.rest("POST /api/v1/work:reportFailure", &report).await.ok();
    let rows = faces.rows().await;
    refused(&complete(&faces, &lease, json!({ "response": {} })).await, StatusCode::BAD_REQUEST, "FAILURE_DETECTED");
    assert_eq!(faces.rows().await, rows);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_cancelled_or_deleted_says_so() {
    let faces = Faces::new();
    let body = r#"{"kind":"k","cancellable":false}"#;
    let id = faces.rest("POST /api/v1/operations", body).await.ok()["id"].as_str().unwrap().to_owned();
    let rows = faces.rows().await;
    for line in [format!("POST /api/v1/operations/{id}:cancel"), format!("GET /operations/{id}:cancel")] {
        refused(&faces.rest(&line, "").await, StatusCode::BAD_REQUEST, "NOT_CANCELLABLE");
    }
    let delete = faces.rest(&format!("DELETE /api/v1/operations/{id}"), "").await;
    refused(&delete, StatusCode::BAD_REQUEST, "NOT_DONE");
    assert_eq!(delete.detail("ErrorInfo")["metadata"]["state"], "QUEUED");
    assert_eq!(faces.rows().await, rows);
}
