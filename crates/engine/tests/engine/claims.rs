//! Who gets which operation, and what becomes of claims that nobody waits for any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use operond_core::{Kind, Scope, State, Status, Worker};
use operond_engine::{Ask, Create, Engine, Error, Options, Unavailable};
use operond_store::Store;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::rigged::Rigged;
use crate::support::{
    MINUTE, ask, at_once, claimed, created, engine, engine_over, kind, of_tenant, pass, settle_down, spec, tenant,
};

fn of_kinds(kinds: &[&str]) -> Ask {
    let kinds: Vec<Kind> = kinds.iter().map(|name| kind(name)).collect();
    Ask::new(kinds, Worker::new("w").unwrap())
}

/// A claim that is being held; its answer is the number of operations.
async fn held(engine: &Engine, ask: Ask) -> JoinHandle<usize> {
    let engine = engine.clone();
    let call = tokio::spawn(async move { engine.claim(ask).await.unwrap().len() });
    settle_down().await;
    call
}

#[tokio::test(start_paused = true)]
async fn claims_that_ran_out_of_time_take_nobodys_turn() {
    let engine = engine();
    for _ in 0..20 {
        held(&engine, Ask { wait: Duration::from_millis(100), ..ask("gone") }).await;
    }
    pass(Duration::from_millis(110)).await;
    let waiting = held(&engine, ask("here")).await;
    let began = Instant::now();
    created(&engine, spec("render")).await;
    assert_eq!(waiting.await.unwrap(), 1);
    assert_eq!(began.elapsed(), Duration::ZERO, "not a tick for each that had gone");
}

#[tokio::test(start_paused = true)]
async fn what_ended_its_backoff_goes_to_the_claim_that_waited_and_not_to_the_next_that_comes() {
    let engine = engine();
    created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    engine.retry(&lease, Status::new(14, "later"), Some(Duration::from_millis(1_100))).await.unwrap();
    let waiting = held(&engine, ask("first")).await;
    // It can be claimed, and no tick has noticed yet.
    pass(Duration::from_millis(1_105)).await;
    assert_eq!(engine.claim(at_once("second")).await.unwrap(), []);
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn claims_that_wait_come_before_newcomers_also_when_there_is_more_than_one_operation() {
    let engine = engine();
    for _ in 0..2 {
        created(&engine, spec("render")).await;
        let lease = claimed(&engine, "w").await.lease.text;
        engine.retry(&lease, Status::new(14, "later"), Some(Duration::from_millis(1_100))).await.unwrap();
    }
    let first = held(&engine, ask("first")).await;
    let second = held(&engine, ask("second")).await;
    pass(Duration::from_millis(1_105)).await;
    let newcomer = held(&engine, ask("newcomer")).await;
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 1));
    assert!(!newcomer.is_finished());
}

#[tokio::test(start_paused = true)]
async fn claims_that_are_not_held_are_all_answered_at_once_where_there_is_nothing() {
    let engine = engine();
    let began = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let engine = engine.clone();
        calls.spawn(async move { engine.claim(Ask { max: 100, ..at_once("w") }).await.unwrap().len() });
    }
    assert_eq!(calls.join_all().await, [0; 20]);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_not_held_finds_what_older_claims_leave() {
    let engine = engine();
    for _ in 0..2 {
        created(&engine, spec("render")).await;
        let lease = claimed(&engine, "w").await.lease.text;
        engine.retry(&lease, Status::new(14, "later"), Some(Duration::from_millis(1_100))).await.unwrap();
    }
    let waiting = held(&engine, of_kinds(&["render", "other"])).await;
    // Both can be claimed, and no tick has noticed yet: both claims are offered the same one first.
    pass(Duration::from_millis(1_105)).await;
    assert_eq!(engine.claim(at_once("second")).await.unwrap().len(), 1);
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn several_operations_at_once_wake_as_many_claims_of_overlapping_kinds() {
    let engine = engine();
    let mut waiting = Vec::new();
    for kinds in [&["a"][..], &["a", "b"], &["c", "a"], &["a", "d"]] {
        waiting.push(held(&engine, of_kinds(kinds)).await);
    }
    let began = Instant::now();
    let a = || created(&engine, spec("a"));
    tokio::join!(a(), a(), a(), a());
    for call in waiting {
        assert_eq!(call.await.unwrap(), 1);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn as_many_claims_as_there_are_new_operations_are_served_in_one_batch() {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as Arc<dyn Store>);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(held(&engine, ask("w")).await);
    }
    store.take(Duration::from_millis(10));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let engine = engine.clone();
        calls.spawn(async move { created(&engine, spec("render")).await });
    }
    calls.join_all().await;
    let began = Instant::now();
    for call in waiting {
        assert_eq!(call.await.unwrap(), 1);
    }
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_claim_says_how_long_its_lease_lasts_and_when_it_lapses() {
    let engine = engine();
    created(&engine, spec("render")).await;
    pass(MINUTE).await;
    let claimed = engine.claim(Ask { lease: MINUTE / 2, ..ask("w") }).await.unwrap().remove(0);
    assert_eq!(claimed.lease.remaining, MINUTE / 2);
    assert_eq!(claimed.lease.expires_at, claimed.operation.modified_at.after(MINUTE / 2));
}

#[tokio::test(start_paused = true)]
async fn a_claim_takes_what_there_is_and_the_rest_goes_to_the_next() {
    let engine = engine();
    let first = held(&engine, Ask { max: 3, ..ask("first") }).await;
    let second = held(&engine, Ask { max: 3, ..ask("second") }).await;
    tokio::join!(
        created(&engine, spec("render")),
        created(&engine, spec("render")),
        created(&engine, spec("render")),
        created(&engine, spec("render")),
    );
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn each_set_of_kinds_keeps_its_own_turn_among_tenants() {
    let engine = engine();
    for tenant in ["a", "a", "a", "b", "b", "b"] {
        created(&engine, of_tenant(tenant)).await;
    }
    let mut tenants = Vec::new();
    for kinds in [&["render"][..], &["render", "other"], &["other", "render"], &["render"]] {
        let claimed = engine.claim(of_kinds(kinds)).await.unwrap().remove(0);
        tenants.push(claimed.operation.spec.tenant.to_string());
    }
    assert_eq!(tenants, ["a", "a", "b", "b"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_claimed_for_a_caller_who_hung_up_is_given_back_also_when_the_queue_is_full() {
    let store = Rigged::new();
    let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, Options { queue_max: 2, ..Options::default() });
    let id = created(&engine, spec("render")).await;
    store.take(Duration::from_millis(10));
    let call = held(&engine, ask("w")).await;
    for _ in 0..2 {
        held(&engine, of_kinds(&["other"])).await;
    }
    let refused = engine.create(Create::new(spec("other"))).await;
    assert_eq!(refused, Err(Error::Unavailable(Unavailable::Overloaded)));
    call.abort();
    pass(Duration::from_millis(100)).await;
    let operation = engine.get(&id).await.unwrap();
    assert_eq!((operation.state(), operation.attempt), (State::Queued, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_claimed_for_a_caller_who_hung_up_is_given_back_also_at_shutdown() {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as Arc<dyn Store>);
    let id = created(&engine, spec("render")).await;
    store.take(Duration::from_millis(10));
    let call = held(&engine, ask("w")).await;
    call.abort();
    settle_down().await;
    engine.shutdown().await;
    // Closed as it is, the engine remembers how the operation was last.
    let operation = engine.get(&id).await.unwrap();
    assert_eq!((operation.state(), operation.attempt), (State::Queued, 0));
    assert_eq!(operation.lease.as_ref().unwrap().token.0, 1, "it had been leased");
}

#[tokio::test(start_paused = true)]
async fn no_work_is_given_out_once_the_engine_is_about_to_stop() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let ((), late) = tokio::join!(engine.shutdown(), engine.claim(ask("w")));
    assert_eq!(late, Ok(Vec::new()));
    assert_eq!(engine.get(&id).await.unwrap().lease, None);
}

#[tokio::test(start_paused = true)]
async fn held_claims_count_as_waiters_and_one_too_many_is_answered_at_once() {
    let store = Rigged::new();
    let engine = Engine::start(store, Options { waiters_max: 1, ..Options::default() });
    let first = held(&engine, ask("first")).await;
    assert_eq!(engine.waiters(), 1);
    let began = Instant::now();
    assert_eq!(engine.claim(ask("second")).await.unwrap(), []);
    assert_eq!(began.elapsed(), Duration::ZERO);
    created(&engine, spec("render")).await;
    assert_eq!((first.await.unwrap(), engine.waiters()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn idle_claims_are_tried_once_a_tick_for_each_kind_and_not_more() {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as Arc<dyn Store>);
    for _ in 0..50 {
        held(&engine, Ask { wait: MINUTE, ..ask("w") }).await;
    }
    let before = store.claims.load(Ordering::SeqCst);
    pass(Duration::from_secs(10)).await;
    let tried = store.claims.load(Ordering::SeqCst) - before;
    assert!(tried <= 41, "{tried} in 10 s");
}

#[tokio::test(start_paused = true)]
async fn one_batch_claims_a_few_hundred_operations_at_most() {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as Arc<dyn Store>);
    for _ in 0..2_000 {
        created(&engine, spec("render")).await;
    }
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let engine = engine.clone();
        calls.spawn(async move { engine.claim(Ask { max: 100, ..ask("w") }).await.unwrap().len() });
    }
    assert_eq!(calls.join_all().await.into_iter().sum::<usize>(), 2_000);
    let wanted = store.wanted_max.load(Ordering::SeqCst);
    assert!((100..=356).contains(&wanted), "{wanted} in one batch");
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_attended_for_two_minutes_after_a_worker_asked_for_it() {
    let engine = engine();
    let attended = |what: &str| engine.attended(&tenant("acme"), &kind(what));
    assert!(!attended("render"));
    assert_eq!(engine.claim(at_once("w")).await.unwrap(), []);
    assert!(attended("render") && !attended("other"));
    pass(2 * MINUTE).await;
    assert!(!attended("render"));
    let of_shop = engine.within(Scope { tenant: Some(tenant("shop")), kinds: None });
    assert_eq!(of_shop.claim(at_once("w")).await.unwrap(), []);
    assert!(!attended("render"), "it takes those of its own tenant alone");
}
