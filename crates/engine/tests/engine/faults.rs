//! A store that fails, a clock that runs, an end that is near: what callers then meet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use operond_core::{Principal, Reason, State};
use operond_engine::{Ask, Create, Engine, Error, Options, Unavailable};
use operond_store::Store;
use tokio::time::Instant;

use crate::rigged::{Fault, Rigged};
use crate::support::{MINUTE, ask, at_once, claimed, created, engine_over, pass, settle_down, spec};

fn rigged() -> (Arc<Rigged>, Engine) {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as Arc<dyn Store>);
    (store, engine)
}

async fn try_create(engine: &Engine) -> Result<(), Error> {
    engine.create(Create::new(spec("render"))).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn one_damaged_row_fails_nobody_else_in_its_batch_also_on_a_full_disk() {
    let (store, engine) = rigged();
    let bad = created(&engine, spec("render")).await;
    let mut good = Vec::new();
    for _ in 0..6 {
        good.push(created(&engine, spec("render")).await);
    }
    store.damage(&bad);
    for full in [false, true] {
        store.fill(full);
        let stop = |id| engine.cancel(id, Principal::default(), Reason::default());
        let (create, first, damaged, second, third) =
            tokio::join!(try_create(&engine), stop(&good[0]), stop(&bad), stop(&good[1]), stop(&good[2]));
        assert_eq!(create, if full { Err(Error::Unavailable(Unavailable::DiskFull)) } else { Ok(()) });
        assert_eq!(damaged, Err(Error::DataLoss));
        for cancelled in [first, second, third] {
            assert_eq!(cancelled.unwrap().state(), State::Cancelled);
        }
        good.drain(..3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_fails_the_batch_and_nothing_after_it() {
    let (store, engine) = rigged();
    store.fail([Fault::Away]);
    let (create, claim) = tokio::join!(try_create(&engine), engine.claim(at_once("w")));
    assert_eq!(create, Err(Error::Unavailable(Unavailable::Store)));
    assert_eq!(claim, Err(Error::Unavailable(Unavailable::Store)));
    assert_eq!(engine.ping().await, Ok(Vec::new()));
    created(&engine, spec("render")).await;
    claimed(&engine, "w").await;
}

#[tokio::test(start_paused = true)]
async fn f29_a_failed_sync_is_told_also_when_it_hits_a_part_of_a_batch() {
    for faults in [&[Fault::Fatal][..], &[Fault::Full, Fault::Fatal]] {
        let (store, engine) = rigged();
        let id = created(&engine, spec("render")).await;
        store.fail(faults.iter().copied());
        let (_, cancelled) =
            tokio::join!(try_create(&engine), engine.cancel(&id, Principal::default(), Reason::default()));
        assert_eq!(cancelled, Err(Error::Unavailable(Unavailable::Store)));
        engine.failed().await;
        assert_eq!(engine.ping().await, Err(Error::Unavailable(Unavailable::Store)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_panics_leaves_nobody_waiting() {
    let (store, engine) = rigged();
    let id = created(&engine, spec("render")).await;
    let began = Instant::now();
    let waits = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { tokio::join!(engine.wait(&id, MINUTE), engine.claim(Ask { wait: MINUTE, ..ask("w") })) }
    });
    store.fail([Fault::Panic]);
    assert!(matches!(try_create(&engine).await, Err(Error::Unavailable(_))));
    engine.failed().await;
    waits.await.unwrap().0.unwrap();
    engine.shutdown().await;
    assert!(engine.ping().await.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn f15_after_a_commit_of_unknown_outcome_readers_and_waiters_look_for_themselves() {
    let (store, engine) = rigged();
    let id = created(&engine, spec("render")).await;
    let began = Instant::now();
    let waiter = tokio::spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.wait(&id, MINUTE).await }
    });
    let mut watch = engine.watch(&id, None).await.unwrap();
    assert_eq!(watch.next().await.unwrap().state(), State::Queued);
    store.fail([Fault::Unknown]);
    let told = engine.cancel(&id, Principal::default(), Reason::default()).await;
    assert_eq!(told, Err(Error::Unavailable(Unavailable::Store)));
    assert_eq!(engine.get(&id).await.unwrap().state(), State::Cancelled);
    assert_eq!(waiter.await.unwrap().unwrap().state(), State::Cancelled);
    assert_eq!(watch.next().await.unwrap().state(), State::Cancelled);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_in_time_while_producers_and_workers_go_on() {
    let (store, engine) = rigged();
    store.take(Duration::from_millis(5));
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..28 {
        let engine = engine.clone();
        calls.spawn(async move {
            if n < 20 {
                while engine.claim(ask("w")).await.is_ok() {}
            } else {
                while try_create(&engine).await.is_ok() {}
            }
        });
    }
    pass(Duration::from_secs(1)).await;
    let began = Instant::now();
    tokio::time::timeout(Duration::from_secs(2), engine.shutdown()).await.unwrap();
    calls.join_all().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_waits_from_the_store_before_it_closes() {
    let store = Rigged::new();
    let engine = Engine::start(store, Options { recent_bytes_max: 0, ..Options::default() });
    let id = created(&engine, spec("render")).await;
    let waits: Vec<_> = (0..100)
        .map(|_| {
            let (engine, id) = (engine.clone(), id.clone());
            tokio::spawn(async move { engine.wait(&id, MINUTE).await })
        })
        .collect();
    settle_down().await;
    let began = Instant::now();
    engine.shutdown().await;
    for wait in waits {
        assert_eq!(wait.await.unwrap().unwrap().state(), State::Queued);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(engine.ping().await, Err(Error::Unavailable(Unavailable::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn f51_leases_that_lapse_together_by_the_thousand_are_settled_within_a_second() {
    let (_store, engine) = rigged();
    let mut ids = Vec::new();
    for _ in 0..3_000 {
        ids.push(created(&engine, operond_core::Spec { max_attempts: 1, ..spec("render") }).await);
    }
    for _ in 0..30 {
        assert_eq!(engine.claim(Ask { max: 100, ..ask("w") }).await.unwrap().len(), 100);
    }
    pass(Duration::from_secs(31)).await;
    for id in &ids {
        assert_eq!(engine.get(id).await.unwrap().state(), State::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn old_keys_and_tombstones_are_removed_as_fast_as_they_come() {
    let (store, engine) = rigged();
    pass(Duration::from_secs(100)).await;
    let purged = store.purged.load(Ordering::SeqCst);
    assert!(purged >= 300_000, "{purged} in 100 s");
    engine.shutdown().await;
}
