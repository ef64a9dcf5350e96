//! Every limit of CONTRACT §5 at its edge and one past it, through the API.

use std::collections::HashMap;

use operond_proto::google::rpc;
use operond_proto::operond::v1::complete_request::{Cancelled, Outcome};
use operond_proto::operond::v1::{
    CancelRequest, ClaimRequest, CompleteRequest, CreateRequest, HeartbeatRequest, Progress, RetryRequest, StartRequest,
};
use prost_types::{Any, Duration};
use tonic::{Code, Status};

use crate::harness::{Faces, create, told};

const EMOJI: &str = "😀";

#[track_caller]
fn exceeded(outcome: Result<impl std::fmt::Debug, Status>, field: &str) {
    assert_eq!(told(&outcome.unwrap_err()), (Code::InvalidArgument, "LIMIT_EXCEEDED".into(), field.into()));
}

#[track_caller]
fn out_of_range(outcome: Result<impl std::fmt::Debug, Status>, field: &str) {
    assert_eq!(told(&outcome.unwrap_err()), (Code::InvalidArgument, "INVALID_FIELD".into(), field.into()));
}

fn any_of(bytes: usize) -> Option<Any> {
    let type_url = "type.googleapis.com/acme.v1.Thing";
    Some(Any { type_url: type_url.into(), value: vec![7; bytes - type_url.len()] })
}

fn any_with_url(characters: usize) -> Option<Any> {
    let prefix = "type.googleapis.com/";
    Some(Any { type_url: format!("{prefix}{}", "x".repeat(characters - prefix.len())), value: Vec::new() })
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

#[tokio::test(start_paused = true)]
async fn b39_texts_of_a_create_count_characters() {
    type Set = fn(&mut CreateRequest, String);
    let members: [(&str, usize, Set); 5] = [
        ("kind", 128, |request, text| request.kind = text),
        ("description", 256, |request, text| request.description = text),
        ("tenant", 128, |request, text| request.tenant = Some(text)),
        ("createdBy", 128, |request, text| request.created_by = Some(text)),
        ("idempotencyKey", 128, |request, text| request.idempotency_key = Some(text)),
    ];
    let faces = Faces::new();
    for (field, limit, set) in members {
        for character in ["a", "ж", "日", EMOJI, "e\u{301}"] {
            let scalars = character.chars().count();
            let mut request = create("k");
            set(&mut request, character.repeat(limit / scalars));
            faces.operations().create(request.clone()).await.unwrap();
            let rows = faces.rows().await;
            set(&mut request, format!("{}a", character.repeat(limit / scalars)));
            exceeded(faces.operations().create(request).await, field);
            assert_eq!(faces.rows().await, rows, "nothing is stored");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn payloads_of_a_create_count_bytes_and_their_type_url() {
    type Set = fn(&mut CreateRequest, Option<Any>);
    let members: [(&str, usize, Set); 2] = [
        ("metadata", 64 * 1024, |request, any| request.metadata = any),
        ("input", 1024 * 1024, |request, any| request.input = any),
    ];
    let faces = Faces::new();
    for (field, limit, set) in members {
        let mut request = create("k");
        for fits in [any_of(limit), any_with_url(256)] {
            set(&mut request, fits);
            faces.operations().create(request.clone()).await.unwrap();
        }
        let rows = faces.rows().await;
        set(&mut request, any_of(limit + 1));
        exceeded(faces.operations().create(request.clone()).await, field);
        set(&mut request, any_with_url(257));
        exceeded(faces.operations().create(request).await, &format!("{field}.@type"));
        assert_eq!(faces.rows().await, rows, "nothing is stored");
    }
}

#[tokio::test(start_paused = true)]
async fn labels_are_few_and_short() {
    let faces = Faces::new();
    let labels = |count: usize, key: usize, value: usize| CreateRequest {
        labels: (0..count).map(|n| (format!("{n:0key$}"), "ж".repeat(value))).collect::<HashMap<_, _>>(),
        ..create("k")
    };
    faces.operations().create(labels(32, 63, 255)).await.unwrap();
    let rows = faces.rows().await;
    exceeded(faces.operations().create(labels(33, 63, 255)).await, "labels");
    for request in [labels(1, 64, 1), labels(1, 1, 256)] {
        let (code, reason, field) = told(&faces.operations().create(request).await.unwrap_err());
        assert_eq!((code, &*reason), (Code::InvalidArgument, "LIMIT_EXCEEDED"));
        assert!(field.starts_with("labels"), "{field}");
    }
    assert_eq!(faces.rows().await, rows, "nothing is stored");
}

#[tokio::test(start_paused = true)]
async fn durations_and_attempts_have_ranges() {
    const YEAR: i64 = 365 * 24 * 3600;
    type Set = fn(&mut CreateRequest, i64);
    let members: [(&str, i64, i64, Set); 5] = [
        ("queueTimeout", 1, YEAR, |request, value| request.queue_timeout = seconds(value)),
        ("runTimeout", 1, YEAR, |request, value| request.run_timeout = seconds(value)),
        ("cancelGrace", 1, 24 * 3600, |request, value| request.cancel_grace = seconds(value)),
        // Zero keeps for ever.
        ("retention", 0, 100 * YEAR, |request, value| request.retention = seconds(value)),
        ("maxAttempts", 1, 100, |request, value| request.max_attempts = Some(u32::try_from(value).unwrap_or(0))),
    ];
    let faces = Faces::new();
    for (field, least, most, set) in members {
        for (value, fits) in [(least - 1, false), (least, true), (most, true), (most + 1, false)] {
            let mut request = create("k");
            set(&mut request, value);
            let outcome = faces.operations().create(request).await;
            if fits { drop(outcome.unwrap()) } else { out_of_range(outcome, field) }
        }
    }
    for (lease, fits) in [(0, false), (1, true), (3600, true), (3601, false)] {
        let request =
            StartRequest { kind: "k".into(), worker: "w".into(), lease_duration: seconds(lease), ..Default::default() };
        let outcome = faces.operations().start(request).await;
        if fits { drop(outcome.unwrap()) } else { out_of_range(outcome, "leaseDuration") }
    }
}

#[tokio::test(start_paused = true)]
async fn claims_are_bounded() {
    let faces = Faces::new();
    let claim = |kinds: usize, worker: usize, max: u32| ClaimRequest {
        kinds: (0..kinds).map(|n| format!("{n:0128}")).collect(),
        worker: "ж".repeat(worker),
        max: Some(max),
        lease_duration: seconds(3600),
        wait: seconds(0),
    };
    faces.work().claim(claim(32, 128, 100)).await.unwrap();
    exceeded(faces.work().claim(claim(33, 128, 100)).await, "kinds");
    exceeded(faces.work().claim(claim(1, 129, 1)).await, "worker");
    out_of_range(faces.work().claim(claim(1, 1, 101)).await, "max");
    let long = ClaimRequest { kinds: vec!["x".repeat(129)], ..claim(0, 1, 1) };
    exceeded(faces.work().claim(long).await, "kinds[0]");
    let lease = ClaimRequest { lease_duration: seconds(3601), ..claim(1, 1, 1) };
    out_of_range(faces.work().claim(lease).await, "leaseDuration");
}

#[tokio::test(start_paused = true)]
async fn reports_of_a_worker_are_bounded() {
    let faces = Faces::new();
    let lease = faces.claimed("k").await.lease;
    let heartbeat = |unit: usize, message: usize, metadata: usize| HeartbeatRequest {
        lease: lease.clone(),
        metadata: any_of(metadata),
        progress: Some(Progress {
            done: Some(f64::MAX),
            total: Some(0.0),
            unit: "ж".repeat(unit),
            message: "ж".repeat(message),
        }),
        ..Default::default()
    };
    faces.work().heartbeat(heartbeat(32, 1024, 64 * 1024)).await.unwrap();
    let rows = faces.rows().await;
    exceeded(faces.work().heartbeat(heartbeat(33, 1024, 64 * 1024)).await, "progress.unit");
    exceeded(faces.work().heartbeat(heartbeat(32, 1025, 64 * 1024)).await, "progress.message");
    exceeded(faces.work().heartbeat(heartbeat(32, 1024, 64 * 1024 + 1)).await, "metadata");
    let backoff = |value| RetryRequest {
        lease: lease.clone(),
        error: Some(rpc::Status { code: 5, ..Default::default() }),
        backoff: seconds(value),
    };
    out_of_range(faces.work().retry(backoff(24 * 3600 + 1)).await, "backoff");
    assert_eq!(faces.rows().await, rows, "nothing is stored");
    faces.work().retry(backoff(24 * 3600)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn results_are_bounded() {
    let error = |message: usize, rest: usize| rpc::Status {
        code: 5,
        message: "m".repeat(message),
        details: if rest == 0 { Vec::new() } else { any_of(rest).into_iter().collect() },
    };
    let cases = [
        (Outcome::Response(any_of(1024 * 1024).unwrap()), None),
        (Outcome::Response(any_of(1024 * 1024 + 1).unwrap()), Some("response")),
        (Outcome::Response(any_with_url(257).unwrap()), Some("response.@type")),
        (Outcome::Error(error(4096, 60 * 1024)), None),
        (Outcome::Error(error(4097, 0)), Some("error.message")),
        (Outcome::Error(error(4096, 60 * 1024 + 1)), Some("error")),
        (Outcome::Cancelled(Cancelled { message: "ж".repeat(1024) }), None),
        (Outcome::Cancelled(Cancelled { message: "ж".repeat(1025) }), Some("cancelled.message")),
    ];
    let faces = Faces::new();
    for (outcome, field) in cases {
        let lease = faces.claimed("k").await.lease;
        let rows = faces.rows().await;
        let complete = CompleteRequest { lease: lease.clone(), metadata: None, outcome: Some(outcome) };
        let outcome = faces.work().complete(complete).await;
        match field {
            None => drop(outcome.unwrap()),
            Some(field) => {
                exceeded(outcome, field);
                assert_eq!(faces.rows().await, rows, "nothing is stored");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reasons_of_a_cancel_are_bounded() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let cancel = |characters: usize| CancelRequest { id: id.clone(), reason: EMOJI.repeat(characters) };
    exceeded(faces.operations().cancel(cancel(1025)).await, "reason");
    faces.operations().cancel(cancel(1024)).await.unwrap();
}
