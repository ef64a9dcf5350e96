//! The engine as its callers, workers and operators meet it.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that fails may panic, and spawns callers")]

mod batches;
mod claims;
mod faults;
mod keys;
mod limits;
mod others;
mod outages;
mod rigged;
mod scopes;
mod support;
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use operond_core::{Any, Completion, Gone, IdempotencyKey, OperationId, Rejection, Spec, State, Status, Worker};
use operond_engine::{Ask, Create, Engine, Error, Options, Report, Unavailable};
use operond_store::{MemoryStore, Missing, Store};
use rigged::Rigged;
use support::{
    MINUTE, Virtual, ask, at_once, cancel, claimed, created, engine, engine_over, kind, of_tenant, pass, spec,
};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_waiter_has_the_result_as_soon_as_it_is_committed() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let waiter = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.wait(&id, MINUTE).await }
    });
    let lease = claimed(&engine, "w").await.lease.text;
    let began = Instant::now();
    engine.complete(&lease, Completion::Response(Any::empty()), None).await.unwrap();
    assert_eq!(waiter.await.unwrap().unwrap().state(), State::Succeeded);
    assert_eq!(began.elapsed(), Duration::ZERO, "woken, not polled");
    assert_eq!(engine.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_runs_out_of_time_returns_the_operation_as_it_is() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let began = Instant::now();
    assert_eq!(engine.wait(&id, Duration::from_secs(3)).await.unwrap().state(), State::Queued);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(engine.wait(&id, 10 * MINUTE).await.unwrap().state(), State::Queued);
    assert_eq!(began.elapsed(), Duration::from_secs(63), "longer waits are cut to a minute");
}

#[tokio::test]
async fn f16_no_wake_up_is_missed_when_wait_and_complete_race() {
    let engine = engine();
    for _round in 0..300 {
        let id = created(&engine, spec("render")).await;
        let lease = claimed(&engine, "w").await.lease.text;
        let (waited, completed) =
            tokio::join!(engine.wait(&id, MINUTE), engine.complete(&lease, Completion::Response(Any::empty()), None));
        completed.unwrap();
        assert!(waited.unwrap().done());
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_get_returns_after_the_next_change_that_callers_see() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let held = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.get_held(&id, None, MINUTE).await }
    });
    tokio::task::yield_now().await;
    engine.heartbeat(&lease, Report::default()).await.unwrap();
    assert!(!held.is_finished(), "a bare heartbeat wakes nobody");
    let metadata = Some(Any::new("type.googleapis.com/x.Y", [1].as_slice()));
    engine.heartbeat(&lease, Report { metadata: metadata.clone(), ..Report::default() }).await.unwrap();
    assert_eq!(held.await.unwrap().unwrap().metadata, metadata);
}

#[tokio::test(start_paused = true)]
async fn f10_a_hundred_parallel_creates_with_one_key_make_one_operation() {
    let engine = engine();
    let key = IdempotencyKey::parse("idempotencyKey", "k").unwrap();
    let create = || Create { key: Some(key.clone()), ..Create::new(spec("render")) };
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (engine, create) = (engine.clone(), create());
        calls.spawn(async move { engine.create(create).await.unwrap().id.clone() });
    }
    let mut ids = calls.join_all().await;
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let other = Create { key: Some(key), ..Create::new(Spec { max_attempts: 7, ..spec("render") }) };
    assert_eq!(engine.create(other).await, Err(Error::KeyReused("maxAttempts")));
}

#[tokio::test]
async fn f06_sixty_four_claimers_never_get_the_same_operation() {
    let engine = engine();
    let rows = 500;
    for _ in 0..rows {
        created(&engine, spec("render")).await;
    }
    let mut workers = tokio::task::JoinSet::new();
    for n in 0..64 {
        let engine = engine.clone();
        workers.spawn(async move {
            let mut ids = Vec::new();
            loop {
                let claims = engine.claim(Ask { max: 1 + n % 5, ..at_once("w") }).await.unwrap();
                if claims.is_empty() {
                    return ids;
                }
                ids.extend(claims.into_iter().map(|claim| claim.operation.id.clone()));
            }
        });
    }
    let mut ids: Vec<OperationId> = workers.join_all().await.concat();
    assert_eq!(ids.len(), rows);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), rows, "no operation was claimed twice");
}

#[tokio::test(start_paused = true)]
async fn held_claims_are_served_in_order_of_arrival() {
    let engine = engine();
    let served = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for place in 0..5 {
        let (engine, served) = (engine.clone(), Arc::clone(&served));
        workers.spawn(async move {
            assert_eq!(engine.claim(ask("w")).await.unwrap().len(), 1);
            assert_eq!(served.fetch_add(1, Ordering::SeqCst), place);
        });
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    for _ in 0..5 {
        created(&engine, spec("render")).await;
    }
    workers.join_all().await;
    assert_eq!(began.elapsed(), Duration::ZERO, "handed out on create, not on the next tick");
}

#[tokio::test(start_paused = true)]
async fn tenants_are_served_in_turn() {
    let engine = engine();
    for tenant in ["a", "a", "a", "b", "c", "c"] {
        created(&engine, of_tenant(tenant)).await;
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(claimed(&engine, "w").await.operation.spec.tenant.to_string());
    }
    assert_eq!(order, ["a", "b", "c", "a", "c", "a"]);
}

#[tokio::test(start_paused = true)]
async fn an_operation_behind_a_backoff_is_handed_to_a_held_claim_when_it_ends() {
    let engine = engine();
    created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    engine.retry(&lease, Status::new(14, "later"), Some(Duration::from_secs(5))).await.unwrap();
    let began = Instant::now();
    assert_eq!(claimed(&engine, "w").await.operation.attempt, 2);
    assert!((5000..=5500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_finds_nothing_returns_empty_after_its_wait() {
    let engine = engine();
    let began = Instant::now();
    assert_eq!(engine.claim(at_once("w")).await.unwrap(), []);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(engine.claim(Ask { wait: 10 * MINUTE, ..ask("w") }).await.unwrap(), []);
    assert_eq!(began.elapsed(), MINUTE, "longer waits are cut to a minute");
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_caller_hung_up_is_given_back_and_not_counted() {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as Arc<dyn Store>);
    let id = created(&engine, spec("render")).await;
    store.take(Duration::from_millis(10));
    let call = tokio::spawn({
        let engine = engine.clone();
        async move { engine.claim(ask("w")).await }
    });
    // The claim is in the store when its caller goes away.
    pass(Duration::from_millis(5)).await;
    call.abort();
    let next = claimed(&engine, "other").await;
    assert_eq!((&next.operation.id, next.operation.attempt), (&id, 1));
    assert_eq!(next.operation.lease.as_ref().unwrap().token.0, 2, "it had been leased before");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_held_heartbeat_at_once() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let held = tokio::spawn({
        let (engine, lease) = (engine.clone(), lease.clone());
        async move { engine.heartbeat(&lease, Report { wait: MINUTE, ..Report::default() }).await }
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    cancel(&engine, &id).await;
    assert!(held.await.unwrap().unwrap().cancel.is_some());
    assert_eq!(began.elapsed(), Duration::ZERO);
    let done = engine.complete(&lease, Completion::Cancelled("stopped".into()), None).await.unwrap();
    assert_eq!(done.state(), State::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_held_heartbeat_is_held_for_half_the_lease_at_most_and_fails_when_the_lease_is_lost() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let began = Instant::now();
    let held = Report { wait: MINUTE, ..Report::default() };
    let standing = engine.heartbeat(&lease, held.clone()).await.unwrap();
    assert_eq!((standing.cancel, began.elapsed()), (None, Duration::from_secs(15)));
    assert_eq!(standing.remaining, Duration::from_secs(15));
    let (lost, _) = tokio::join!(engine.heartbeat(&lease, held), async {
        tokio::task::yield_now().await;
        engine.complete(&lease, Completion::Response(Any::empty()), None).await.unwrap()
    });
    assert_eq!(lost, Err(Error::Rejected(Rejection::AlreadyDone(State::Succeeded))));
    assert!(engine.get(&id).await.unwrap().done());
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_heartbeats_lapses_within_a_second_and_the_lapsed_worker_is_refused() {
    let engine = engine();
    created(&engine, spec("render")).await;
    let began = Instant::now();
    let first = claimed(&engine, "first").await;
    let second = claimed_after(&engine, "second").await;
    assert!((30_000..=31_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(second.operation.attempt, 2);
    let late = engine.complete(&first.lease.text, Completion::Response(Any::empty()), None).await;
    assert_eq!(late, Err(Error::Rejected(Rejection::LeaseLost)));
}

/// Claims as long as it takes.
async fn claimed_after(engine: &Engine, worker: &str) -> operond_engine::Claimed {
    loop {
        if let Some(claimed) = engine.claim(ask(worker)).await.unwrap().pop() {
            return claimed;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn run_and_queue_timeouts_end_an_operation_without_anybody_asking() {
    let engine = engine();
    let timeout = Some(Duration::from_secs(10));
    let queued = created(&engine, Spec { queue_timeout: timeout, ..spec("nobody") }).await;
    let running = created(&engine, Spec { run_timeout: timeout, ..spec("render") }).await;
    let _claimed = claimed(&engine, "w").await;
    for id in [queued, running] {
        let done = engine.wait(&id, MINUTE).await.unwrap();
        assert!(matches!(done.outcome(), Some(operond_core::Outcome::Error(error)) if error.code == 4), "{done:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_operations_are_remembered_and_wake_their_waiters_with_the_result() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    assert_eq!(engine.delete(&id).await, Err(Error::Rejected(Rejection::NotDone(State::Queued))));
    cancel(&engine, &id).await;
    engine.delete(&id).await.unwrap();
    assert_eq!(engine.get(&id).await, Err(Error::NotFound(Missing::Gone(Gone::Deleted))));
    assert_eq!(engine.delete(&id).await, Err(Error::NotFound(Missing::Gone(Gone::Deleted))));
    let unknown = OperationId::parse("id", "unknown").unwrap();
    assert_eq!(engine.get(&unknown).await, Err(Error::NotFound(Missing::Never)));
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_each_change_ends_when_done_and_resumes_by_revision() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let mut watch = engine.watch(&id, None).await.unwrap();
    assert_eq!(watch.next().await.unwrap().state(), State::Queued);
    let lease = claimed(&engine, "w").await.lease.text;
    let running = watch.next().await.unwrap();
    assert_eq!(running.state(), State::Running);
    let mut resumed = engine.watch(&id, Some(running.revision)).await.unwrap();
    engine.complete(&lease, Completion::Response(Any::empty()), None).await.unwrap();
    for watch in [&mut watch, &mut resumed] {
        assert_eq!(watch.next().await.unwrap().state(), State::Succeeded);
        assert_eq!(watch.next().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_whoever_waits_and_commits_what_is_queued() {
    let store = Arc::new(MemoryStore::new(Virtual::new()));
    let engine = engine_over(store);
    let id = created(&engine, spec("render")).await;
    let waits = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { tokio::join!(engine.wait(&id, MINUTE), engine.claim(Ask::new([kind("none")], worker()))) }
    });
    tokio::task::yield_now().await;
    let queued = tokio::spawn({
        let engine = engine.clone();
        async move { engine.create(Create::new(spec("late"))).await }
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    engine.shutdown().await;
    let (waited, claims) = waits.await.unwrap();
    assert_eq!((waited.unwrap().state(), claims.unwrap().len()), (State::Queued, 0));
    assert!(queued.await.unwrap().is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
    let late = engine.create(Create::new(spec("render"))).await;
    assert_eq!(late, Err(Error::Unavailable(Unavailable::ShuttingDown)));
}

fn worker() -> Worker {
    Worker::new("w").unwrap()
}

#[tokio::test(start_paused = true)]
async fn f28_on_a_full_disk_creates_are_refused_and_completions_go_on() {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as Arc<dyn Store>);
    created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    store.fill(true);
    let (create, complete) = tokio::join!(
        engine.create(Create::new(spec("render"))),
        engine.complete(&lease, Completion::Response(Any::empty()), None)
    );
    assert_eq!(create, Err(Error::Unavailable(Unavailable::DiskFull)));
    assert!(complete.unwrap().done());
    store.fill(false);
    created(&engine, spec("render")).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_and_too_many_waiters_are_answered_at_once() {
    let store = Rigged::new();
    store.take(Duration::from_millis(10));
    let engine = Engine::start(store, Options { queue_max: 2, waiters_max: 1, ..Options::default() });
    let id = created(&engine, spec("render")).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let engine = engine.clone();
        calls.spawn(async move { engine.create(Create::new(spec("render"))).await });
    }
    let outcomes = calls.join_all().await;
    let refused = outcomes.iter().filter(|o| **o == Err(Error::Unavailable(Unavailable::Overloaded))).count();
    assert!(refused >= 7, "{refused} of 10 refused");
    assert!(outcomes.iter().any(Result::is_ok));
    let began = Instant::now();
    let (_first, _second) = tokio::join!(engine.wait(&id, MINUTE), async {
        tokio::task::yield_now().await;
        assert_eq!(engine.wait(&id, MINUTE).await.unwrap().state(), State::Queued);
        assert_eq!(began.elapsed(), Duration::ZERO, "over the limit of waiters it does not wait");
    });
}
