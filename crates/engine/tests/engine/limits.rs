//! What is over a limit is refused before anything is stored.

use std::time::Duration;

use operond_core::limits::{
    CLAIM_KINDS_MAX, CLAIM_OPERATIONS_MAX, INPUT_BYTES_MAX, LEASE_RANGE, METADATA_BYTES_MAX, RESPONSE_BYTES_MAX,
};
use operond_core::{Any, Completion, Kind, Spec, State, Status, Worker};
use operond_engine::{Ask, Create, Error, Report};

use crate::support::{at_once, claimed, created, engine, kind, spec};

const TYPE_URL: &str = "type.googleapis.com/x.Y";

/// A payload of so many bytes, its type URL counted.
fn of_size(bytes: usize) -> Any {
    Any::new(TYPE_URL, vec![0; bytes - TYPE_URL.len()])
}

fn refused<T: std::fmt::Debug>(outcome: &Result<T, Error>, field: &str) {
    assert!(matches!(outcome, Err(Error::Invalid(invalid)) if invalid.field == field), "{field}: {outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_create_at_its_limits_is_taken_and_past_one_of_them_refused() {
    let engine = engine();
    let create = |input, metadata| Create {
        metadata: Some(of_size(metadata)),
        ..Create::new(Spec { input: Some(of_size(input)), ..spec("render") })
    };
    engine.create(create(INPUT_BYTES_MAX, METADATA_BYTES_MAX)).await.unwrap();
    refused(&engine.create(create(INPUT_BYTES_MAX + 1, METADATA_BYTES_MAX)).await, "input");
    refused(&engine.create(create(INPUT_BYTES_MAX, METADATA_BYTES_MAX + 1)).await, "metadata");
    let worker = || Worker::new("w").unwrap();
    let (shortest, longest) = LEASE_RANGE;
    for length in [shortest, longest] {
        engine.start_operation(Create::new(spec("own")), worker(), length).await.unwrap();
    }
    for length in [shortest - Duration::from_micros(1), longest + Duration::from_micros(1)] {
        refused(&engine.start_operation(Create::new(spec("own")), worker(), length).await, "leaseDuration");
    }
    assert_eq!(engine.claim(Ask { max: 100, ..at_once("w") }).await.unwrap().len(), 1, "nothing else was stored");
}

#[tokio::test(start_paused = true)]
async fn a_claim_at_its_limits_is_taken_and_past_one_of_them_refused() {
    let engine = engine();
    let kinds = |count: usize| -> Vec<Kind> { (0..count).map(|n| kind(&n.to_string())).collect() };
    let (shortest, longest) = LEASE_RANGE;
    for ask in [
        Ask { kinds: kinds(CLAIM_KINDS_MAX), ..at_once("w") },
        Ask { max: CLAIM_OPERATIONS_MAX, ..at_once("w") },
        Ask { lease: shortest, ..at_once("w") },
        Ask { lease: longest, ..at_once("w") },
    ] {
        assert_eq!(engine.claim(ask).await.unwrap(), []);
    }
    for (ask, field) in [
        (Ask { kinds: kinds(0), ..at_once("w") }, "kinds"),
        (Ask { kinds: kinds(CLAIM_KINDS_MAX + 1), ..at_once("w") }, "kinds"),
        (Ask { max: 0, ..at_once("w") }, "max"),
        (Ask { max: CLAIM_OPERATIONS_MAX + 1, ..at_once("w") }, "max"),
        (Ask { lease: shortest - Duration::from_micros(1), ..at_once("w") }, "leaseDuration"),
        (Ask { lease: longest + Duration::from_micros(1), ..at_once("w") }, "leaseDuration"),
    ] {
        refused(&engine.claim(ask).await, field);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_sends_past_a_limit_is_refused_and_changes_nothing() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let before = engine.get(&id).await.unwrap();
    let large = Some(of_size(METADATA_BYTES_MAX + 1));
    refused(&engine.heartbeat(&lease, Report { metadata: large.clone(), ..Report::default() }).await, "metadata");
    let long = Some(LEASE_RANGE.1 + Duration::from_micros(1));
    refused(&engine.heartbeat(&lease, Report { lease: long, ..Report::default() }).await, "leaseDuration");
    for code in [0, 17] {
        let error = || Status::new(code, "");
        refused(&engine.report_failure(&lease, error(), None).await, "error.code");
        refused(&engine.retry(&lease, error(), None).await, "error.code");
        refused(&engine.complete(&lease, Completion::Error(error()), None).await, "error.code");
    }
    let response = |bytes| Completion::Response(of_size(bytes));
    refused(&engine.complete(&lease, response(RESPONSE_BYTES_MAX + 1), None).await, "response");
    refused(&engine.complete(&lease, Completion::Response(Any::new("", [].as_slice())), None).await, "response.@type");
    assert_eq!(engine.get(&id).await.unwrap(), before);
    let done = engine.complete(&lease, response(RESPONSE_BYTES_MAX), None).await.unwrap();
    assert_eq!(done.state(), State::Succeeded);
}
