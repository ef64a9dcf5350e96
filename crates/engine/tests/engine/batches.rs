//! Stores that take several batches at once, and small ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use operond_core::{Any, Completion, OperationId, Spec, State};
use operond_engine::{Ask, Create, Engine, Error, Report, Unavailable};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::rigged::Rigged;
use crate::support::{MINUTE, ask, at_once, cancel, claimed, created, engine_over, kind, pass, settle_down, spec};

fn taking(batch_max: usize, at_once: usize) -> (Arc<Rigged>, Engine) {
    let store = Rigged::taking(batch_max, at_once);
    let engine = engine_over(Arc::clone(&store) as _);
    (store, engine)
}

/// A create of its own batch, if the store takes one more.
async fn creating(engine: &Engine) -> JoinHandle<Result<OperationId, Error>> {
    let engine = engine.clone();
    let call =
        tokio::spawn(async move { engine.create(Create::new(spec("render"))).await.map(|created| created.id.clone()) });
    settle_down().await;
    call
}

async fn claiming(engine: &Engine, ask: Ask) -> JoinHandle<Vec<OperationId>> {
    let engine = engine.clone();
    let ids = async move { engine.claim(ask).await.unwrap().iter().map(|claim| claim.operation.id.clone()).collect() };
    let call = tokio::spawn(ids);
    settle_down().await;
    call
}

async fn reporting(engine: &Engine, lease: &str, metadata: &Any) -> JoinHandle<()> {
    let (engine, lease) = (engine.clone(), lease.to_owned());
    let report = Report { metadata: Some(metadata.clone()), ..Report::default() };
    let call = tokio::spawn(async move { drop(engine.heartbeat(&lease, report).await.unwrap()) });
    settle_down().await;
    call
}

/// After the first tick: what is asked from now on is not held up by it.
async fn begun() {
    pass(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn as_many_batches_are_under_way_as_the_store_takes_at_once_and_the_rest_is_one_batch() {
    for (at_once, took) in [(1, 20), (3, 20), (5, 10)] {
        let (store, engine) = taking(1024, at_once);
        begun().await;
        store.take(Duration::from_millis(10));
        let began = Instant::now();
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(creating(&engine).await);
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!((store.batches.most(), began.elapsed()), (at_once, Duration::from_millis(took)));
    }
}

#[tokio::test(start_paused = true)]
async fn no_batch_is_larger_than_the_store_takes_and_nobody_is_left_out() {
    for batch_max in [1, 4] {
        let (store, engine) = taking(batch_max, 2);
        store.take(Duration::from_millis(1));
        let claims: Vec<_> = (0..20).map(|_| claiming(&engine, ask("w"))).collect();
        let mut calls = Vec::new();
        for claim in claims {
            calls.push(claim.await);
        }
        let creates: Vec<_> = (0..20)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move { created(&engine, spec("render")).await })
            })
            .collect();
        let mut created = Vec::new();
        for create in creates {
            created.push(create.await.unwrap());
        }
        let mut claimed = Vec::new();
        for call in calls {
            claimed.extend(call.await.unwrap());
        }
        created.sort();
        claimed.sort();
        assert_eq!(created, claimed);
        assert_eq!(store.largest.load(Ordering::SeqCst), batch_max);
    }
}

#[tokio::test(start_paused = true)]
async fn timers_go_on_while_more_is_asked_than_goes_into_the_batches() {
    let (store, engine) = taking(1, 1);
    let timeout = Some(Duration::from_secs(10));
    let id = created(&engine, Spec { queue_timeout: timeout, ..spec("nobody") }).await;
    store.take(Duration::from_millis(10));
    let busy: Vec<_> = (0..20)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                loop {
                    created(&engine, spec("render")).await;
                }
            })
        })
        .collect();
    pass(Duration::from_secs(11)).await;
    assert_eq!(engine.get(&id).await.unwrap().state(), State::Failed);
    busy.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_being_tried_is_not_tried_in_a_second_batch() {
    let (store, engine) = taking(1024, 4);
    begun().await;
    let claim = claiming(&engine, ask("w")).await;
    store.take(Duration::from_millis(10));
    let creates = [creating(&engine).await, creating(&engine).await];
    let ids = claim.await.unwrap();
    assert_eq!(ids.len(), 1);
    for create in creates {
        let operation = engine.get(&create.await.unwrap().unwrap()).await.unwrap();
        assert_eq!(operation.lease.is_some(), ids.contains(&operation.id), "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_comes_while_a_claim_looks_for_it_is_found_when_it_has_looked() {
    let (store, engine) = taking(1024, 2);
    begun().await;
    let began = Instant::now();
    store.next_take([20, 1]);
    let claim = claiming(&engine, ask("w")).await;
    creating(&engine).await.await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(1));
    created(&engine, spec("other")).await;
    assert_eq!(claim.await.unwrap().len(), 1);
    assert_eq!(began.elapsed(), Duration::from_millis(20), "not at the next tick");
}

#[tokio::test(start_paused = true)]
async fn idle_claims_are_not_tried_more_often_where_several_batches_are_taken() {
    let (store, engine) = taking(1024, 4);
    for _ in 0..50 {
        claiming(&engine, Ask { wait: MINUTE, ..ask("w") }).await;
    }
    store.take(Duration::from_millis(20));
    let before = store.claims.load(Ordering::SeqCst);
    pass(Duration::from_secs(10)).await;
    let tried = store.claims.load(Ordering::SeqCst) - before;
    assert!((39..=41).contains(&tried), "{tried} in 10 s");
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_first_and_is_told_last_is_not_shown_after_what_is_newer() {
    let (store, engine) = taking(1024, 2);
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let mut watch = engine.watch(&id, None).await.unwrap();
    watch.next().await.unwrap();
    let metadata = [1, 2].map(|byte| Any::new("type.googleapis.com/x.Y", [byte].as_slice()));
    begun().await;
    store.next_take([20, 0]);
    let reports = [reporting(&engine, &lease, &metadata[0]).await, reporting(&engine, &lease, &metadata[1]).await];
    assert_eq!(watch.next().await.unwrap().metadata.as_ref(), Some(&metadata[1]));
    for report in reports {
        report.await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(1), watch.next()).await.unwrap_err();
    assert_eq!(engine.get(&id).await.unwrap().metadata.as_ref(), Some(&metadata[1]));
}

#[tokio::test(start_paused = true)]
async fn a_held_heartbeat_is_not_ended_by_what_was_committed_before_it() {
    let (store, engine) = taking(1024, 2);
    created(&engine, spec("render")).await;
    let first = claimed(&engine, "w").await.lease.text;
    begun().await;
    // Whose release is told late; the next worker has the operation by then.
    store.next_take([20, 0, 0]);
    let release = tokio::spawn({
        let engine = engine.clone();
        async move { engine.release(&first).await.unwrap() }
    });
    settle_down().await;
    let lease = engine.claim(at_once("w")).await.unwrap().remove(0).lease.text;
    let held = engine.heartbeat(&lease, Report { wait: Duration::from_secs(5), ..Report::default() });
    let (standing, _) = tokio::join!(held, release);
    assert_eq!(standing.unwrap().cancel, None);
}

#[tokio::test(start_paused = true)]
async fn timers_are_settled_and_old_keys_removed_by_one_batch_at_a_time() {
    let (store, _engine) = taking(1024, 4);
    store.take(Duration::from_secs(1));
    pass(MINUTE).await;
    assert_eq!((store.settles.most(), store.purges.most()), (1, 1));
    assert_eq!(store.batches.most(), 1, "with nothing else to do");
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_everybody_whose_batch_is_under_way() {
    let (store, engine) = taking(1, 3);
    begun().await;
    store.take(Duration::from_millis(10));
    let claim = claiming(&engine, ask("w")).await;
    let idle = claiming(&engine, Ask::new([kind("idle")], ask("w").worker)).await;
    let mut creates = Vec::new();
    for _ in 0..4 {
        creates.push(creating(&engine).await);
    }
    let began = Instant::now();
    engine.shutdown().await;
    assert_eq!(began.elapsed(), Duration::from_millis(20), "and waits for no more than that");
    for create in creates {
        create.await.unwrap().unwrap();
    }
    assert_eq!((claim.await.unwrap(), idle.await.unwrap()), (vec![], vec![]));
    assert_eq!(creating(&engine).await.await.unwrap(), Err(Error::Unavailable(Unavailable::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn what_was_claimed_while_the_engine_stopped_goes_to_its_worker_or_back() {
    for stays in [true, false] {
        let (store, engine) = taking(1024, 2);
        let id = created(&engine, spec("render")).await;
        begun().await;
        store.take(Duration::from_millis(10));
        let claim = claiming(&engine, ask("w")).await;
        if !stays {
            claim.abort();
        }
        store.stay_open();
        engine.shutdown().await;
        let operation = engine.get(&id).await.unwrap();
        if stays {
            assert_eq!(claim.await.unwrap(), std::slice::from_ref(&id));
        }
        assert_eq!(
            (operation.state(), operation.attempt),
            if stays { (State::Running, 1) } else { (State::Queued, 0) }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_batch_meets_fails_nobody_in_another_that_is_under_way() {
    let (store, engine) = taking(1024, 2);
    let [bad, good] = [created(&engine, spec("render")).await, created(&engine, spec("render")).await];
    store.damage(&bad);
    store.fill(true);
    begun().await;
    store.next_take([20]);
    let cancelled = tokio::spawn({
        let engine = engine.clone();
        async move { cancel(&engine, &good).await }
    });
    settle_down().await;
    let began = Instant::now();
    let lease = claimed(&engine, "w").await.lease.text;
    let damaged = engine.cancel(&bad, operond_core::Principal::default(), operond_core::Reason::default());
    let (damaged, full) = tokio::join!(damaged, engine.create(Create::new(spec("render"))));
    assert_eq!(damaged, Err(Error::DataLoss));
    assert_eq!(full, Err(Error::Unavailable(Unavailable::DiskFull)));
    assert_eq!(began.elapsed(), Duration::ZERO);
    cancelled.await.unwrap();
    let late = engine.complete(&lease, Completion::Response(Any::empty()), None).await;
    assert_eq!(late, Err(Error::DataLoss));
}
