//! Repeated calls: which count as the same, and which do not.

use std::time::Duration;

use operond_core::{
    Any, Completion, FIELDS, IdempotencyKey, Labels, Principal, Rejection, Retention, Spec, State, Status, Worker,
};
use operond_engine::{Create, Error};
use operond_store::Missing;

use crate::support::{cancel, claimed, created, engine, kind, of_tenant, spec};

fn keyed(create: Create) -> Create {
    Create { key: Some(IdempotencyKey::parse("idempotencyKey", "k").unwrap()), ..create }
}

fn payload() -> Option<Any> {
    Some(Any::new("type.googleapis.com/x.Y", [1].as_slice()))
}

/// The same create but for one member.
fn changed(field: &str) -> Create {
    let (mut spec, second) = (spec("render"), Some(Duration::from_secs(1)));
    let mut create = Create::new(spec.clone());
    match field {
        "kind" => spec.kind = kind("other"),
        "description" => spec.description = operond_core::Description::parse("description", "x").unwrap(),
        "createdBy" => spec.created_by = Principal::parse("createdBy", "x").unwrap(),
        "metadata" => create.metadata = payload(),
        "input" => spec.input = payload(),
        "labels" => spec.labels = Labels::parse([("a", "b")]).unwrap(),
        "cancellable" => spec.cancellable = false,
        "cleanUpOnCancel" => spec.clean_up_on_cancel = true,
        "queueTimeout" => spec.queue_timeout = second,
        "runTimeout" => spec.run_timeout = second,
        "maxAttempts" => spec.max_attempts = 7,
        "cancelGrace" => spec.cancel_grace = Duration::from_secs(1),
        "retention" => create.retention = second,
        "responseType" => spec.response_type = Some("x.Y".into()),
        "metadataType" => spec.metadata_type = Some("x.Y".into()),
        _ => unreachable!("{field} is not a member"),
    }
    Create { spec, ..create }
}

#[tokio::test(start_paused = true)]
async fn f11_a_key_used_with_any_other_member_names_that_member() {
    let engine = engine();
    let first = engine.create(keyed(Create::new(spec("render")))).await.unwrap();
    for field in FIELDS {
        assert_eq!(engine.create(keyed(changed(field))).await, Err(Error::KeyReused(field)));
    }
    assert_eq!(engine.create(keyed(Create::new(spec("render")))).await.unwrap(), first);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_may_only_repeat_begins_nothing() {
    let engine = engine();
    let create = || keyed(Create::new(spec("render")));
    let repeat = || Create { repeat_only: true, ..create() };
    let (worker, lease) = (Worker::new("w").unwrap(), Duration::from_secs(9));
    let nothing = Error::NotFound(Missing::Never);
    assert_eq!(engine.create(repeat()).await, Err(nothing.clone()));
    assert_eq!(engine.create(Create { key: None, ..repeat() }).await, Err(nothing.clone()));
    assert_eq!(engine.start_operation(repeat(), worker.clone(), lease).await.unwrap_err(), nothing);
    let (first, claimed) = engine.start_operation(create(), worker.clone(), lease).await.unwrap();
    let (again, leased) = engine.start_operation(repeat(), worker, lease).await.unwrap();
    assert_eq!((again, leased.unwrap().lease.text), (first, claimed.unwrap().lease.text));
    let other = Create { repeat_only: true, ..keyed(changed("kind")) };
    assert_eq!(engine.create(other).await, Err(Error::KeyReused("kind")));
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_told_by_what_was_said_and_not_by_defaults_that_changed_since() {
    let engine = engine();
    let create = |attempts| {
        let with_defaults = Some(Spec { max_attempts: attempts, ..spec("render") });
        Create { with_defaults, ..keyed(Create::new(spec("render"))) }
    };
    let first = engine.create(create(5)).await.unwrap();
    assert_eq!(first.spec.max_attempts, 5);
    assert_eq!(engine.create(create(9)).await.unwrap(), first);
    assert_eq!(engine.create(Create { with_defaults: None, ..create(9) }).await.unwrap(), first);
    let said = Create { spec: Spec { max_attempts: 5, ..spec("render") }, ..create(5) };
    assert_eq!(engine.create(said).await, Err(Error::KeyReused("maxAttempts")));
}

#[tokio::test(start_paused = true)]
async fn retention_is_the_callers_or_else_that_of_the_defaults_or_else_the_engines() {
    let engine = engine();
    let usual = Retention { succeeded: None, ..Retention::same(Some(Duration::from_secs(7))) };
    let with_defaults = Create {
        with_defaults: Some(Spec { retention: usual, ..spec("render") }),
        ..Create::new(Spec { retention: Retention::same(None), ..spec("render") })
    };
    let said = Create { retention: Some(Duration::from_secs(9)), ..with_defaults.clone() };
    let neither = Create { with_defaults: None, ..with_defaults.clone() };
    for (create, retention) in
        [(said, Retention::same(Some(Duration::from_secs(9)))), (with_defaults, usual), (neither, engine.retention())]
    {
        assert_eq!(engine.create(create).await.unwrap().spec.retention, retention);
    }
}

#[tokio::test(start_paused = true)]
async fn f12_the_same_key_of_another_tenant_is_another_key() {
    let engine = engine();
    let here = engine.create(keyed(Create::new(of_tenant("a")))).await.unwrap();
    let there = engine.create(keyed(Create::new(of_tenant("b")))).await.unwrap();
    assert_ne!(here.id, there.id);
}

#[tokio::test(start_paused = true)]
async fn f13_a_key_outlives_its_operation() {
    let engine = engine();
    let first = engine.create(keyed(Create::new(spec("render")))).await.unwrap();
    cancel(&engine, &first.id).await;
    engine.delete(&first.id).await.unwrap();
    assert_eq!(engine.create(keyed(Create::new(spec("render")))).await, Err(Error::OperationGone));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_start_has_the_lease_only_for_its_worker_and_while_it_is_good() {
    let engine = engine();
    let start = async |worker: &str| {
        let create = keyed(Create::new(Spec { max_attempts: 2, ..spec("render") }));
        engine.start_operation(create, Worker::new(worker).unwrap(), Duration::from_secs(30)).await.unwrap()
    };
    let (operation, claimed) = start("w").await;
    let lease = claimed.unwrap().lease;
    assert_eq!((operation.state(), lease.remaining), (State::Running, Duration::from_secs(30)));
    assert_eq!(start("w").await.1.unwrap().lease, lease);
    assert_eq!(start("other").await.1, None);
    engine.release(&lease.text).await.unwrap();
    assert_eq!(start("w").await.1, None);
}

#[tokio::test(start_paused = true)]
async fn f20_only_the_very_same_complete_retry_or_release_may_be_repeated() {
    let engine = engine();
    let status = |message: &str| Status::new(14, message);
    let second = Some(Duration::from_secs(1));
    for _ in 0..3 {
        created(&engine, spec("render")).await;
    }

    let lease = claimed(&engine, "w").await.lease.text;
    let response = || Completion::Response(Any::empty());
    let first = engine.complete(&lease, response(), None).await.unwrap();
    assert_eq!(engine.complete(&lease, response(), None).await.unwrap(), first);
    for (other, metadata) in [
        (response(), payload()),
        (Completion::Error(status("")), None),
        (Completion::Cancelled("".into()), None),
        (Completion::Response(payload().unwrap()), None),
    ] {
        let refused = engine.complete(&lease, other, metadata).await;
        assert_eq!(refused, Err(Error::Rejected(Rejection::AlreadyDone(State::Succeeded))));
    }

    let lease = claimed(&engine, "w").await.lease.text;
    let first = engine.retry(&lease, status("a"), second).await.unwrap();
    assert_eq!(engine.retry(&lease, status("a"), second).await.unwrap(), first);
    for (error, backoff) in [(status("b"), second), (status("a"), None), (Status::new(2, "a"), second)] {
        assert_eq!(engine.retry(&lease, error, backoff).await, Err(Error::Rejected(Rejection::LeaseLost)));
    }
    assert_eq!(engine.release(&lease).await, Err(Error::Rejected(Rejection::LeaseLost)));

    let lease = claimed(&engine, "w").await.lease.text;
    let first = engine.release(&lease).await.unwrap();
    assert_eq!(engine.release(&lease).await.unwrap(), first);
    assert_eq!(engine.retry(&lease, status("a"), second).await, Err(Error::Rejected(Rejection::LeaseLost)));
}
