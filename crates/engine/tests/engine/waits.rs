//! What callers see: waits, watches, held calls, the cache in front of the store.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Any, CancelRequest, Completion, Gone, Kind, Progress, Rejection, Spec, State};
use operond_engine::{Engine, Error, Options, Report, Unavailable};
use operond_store::{Missing, Store};
use tokio::time::Instant;

use crate::rigged::Rigged;
use crate::support::{MINUTE, ask, cancel, claimed, created, engine, engine_over, pass, settle_down, spec};

fn metadata(byte: u8) -> Any {
    Any::new("type.googleapis.com/x.Y", [byte].as_slice())
}

#[tokio::test(start_paused = true)]
async fn f34_those_who_wait_hold_nothing_of_the_operation() {
    let store = Rigged::new();
    let options = Options { recent_bytes_max: 0, ..Options::default() };
    let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, options);
    let id = created(&engine, spec("render")).await;
    let waits: Vec<_> = (0..100)
        .map(|_| {
            let (engine, id) = (engine.clone(), id.clone());
            tokio::spawn(async move { engine.wait(&id, MINUTE).await })
        })
        .collect();
    settle_down().await;
    assert_eq!((engine.waiters(), store.read_and_held()), (100, 0));
    cancel(&engine, &id).await;
    for wait in waits {
        assert!(wait.await.unwrap().unwrap().done());
    }
}

#[tokio::test(start_paused = true)]
async fn f16_no_wake_up_is_missed_while_a_wait_or_a_watch_reads() {
    for late in 0..8 {
        let store = Rigged::new();
        let options = Options { recent_bytes_max: 0, ..Options::default() };
        let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, options);
        let id = created(&engine, spec("render")).await;
        store.read_takes(Duration::from_millis(5));
        let began = Instant::now();
        let watches = async {
            let mut watch = engine.watch(&id, None).await.unwrap();
            while !watch.next().await.unwrap().done() {}
        };
        let waits = engine.wait(&id, MINUTE);
        let ((), waited, ()) = tokio::join!(watches, waits, async {
            pass(Duration::from_millis(late)).await;
            cancel(&engine, &id).await;
        });
        assert!(waited.unwrap().done());
        assert!(began.elapsed() < Duration::from_secs(1), "cancelled {late} ms after: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn f16_a_held_heartbeat_misses_no_cancel_that_is_committed_together_with_it() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let began = Instant::now();
    let report = Report { wait: MINUTE, ..Report::default() };
    let (standing, ()) = tokio::join!(engine.heartbeat(&lease, report), cancel(&engine, &id));
    assert!(standing.unwrap().cancel.is_some());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_answered_or_woken_reads_nothing_older() {
    let engine = engine();
    for _round in 0..10 {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let id = created(&engine, spec("render")).await;
            let (waiting, cancelling) = (engine.clone(), engine.clone());
            let waited = id.clone();
            calls.spawn(async move {
                waiting.wait(&waited, MINUTE).await.unwrap();
                assert!(waiting.get(&waited).await.unwrap().done(), "woken before it could be read");
            });
            calls.spawn(async move {
                cancel(&cancelling, &id).await;
                assert!(cancelling.get(&id).await.unwrap().done(), "answered before it could be read");
            });
        }
        calls.join_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_read_what_it_is_then_told_of_shows_it_once() {
    let store = Rigged::new();
    store.take(Duration::from_millis(10));
    let options = Options { recent_bytes_max: 0, ..Options::default() };
    let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, options);
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let report = tokio::spawn({
        let engine = engine.clone();
        async move { engine.heartbeat(&lease, Report { metadata: Some(metadata(1)), ..Report::default() }).await }
    });
    // Committed and readable, but not told yet.
    pass(Duration::from_millis(5)).await;
    let mut watch = engine.watch(&id, None).await.unwrap();
    assert_eq!(watch.next().await.unwrap().metadata, Some(metadata(1)));
    report.await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(1), watch.next()).await.unwrap_err();
    cancel(&engine, &id).await;
    assert!(watch.next().await.unwrap().cancel.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_watch_says_nothing_of_a_bare_heartbeat() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let mut watch = engine.watch(&id, None).await.unwrap();
    let running = watch.next().await.unwrap();
    engine.heartbeat(&lease, Report::default()).await.unwrap();
    assert_ne!(engine.get(&id).await.unwrap().revision, running.revision);
    tokio::time::timeout(MINUTE / 4, watch.next()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_operation_is_gone_and_at_shutdown() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let mut watch = engine.watch(&id, None).await.unwrap();
    watch.next().await.unwrap();
    cancel(&engine, &id).await;
    engine.delete(&id).await.unwrap();
    assert_eq!(watch.next().await.unwrap().state(), State::Cancelled, "woken with the result");
    assert_eq!(watch.next().await, None);
    let other = created(&engine, spec("render")).await;
    let mut watch = engine.watch(&other, None).await.unwrap();
    watch.next().await.unwrap();
    let (end, ()) = tokio::join!(watch.next(), engine.shutdown());
    assert_eq!(end, None);
}

#[tokio::test(start_paused = true)]
async fn f19_retention_wakes_waiters_and_leaves_a_tombstone() {
    let engine = engine();
    let spec = Spec { cancellable: true, ..spec("render") };
    let create =
        operond_engine::Create { retention: Some(Duration::from_secs(10)), ..operond_engine::Create::new(spec) };
    let id = engine.create(create).await.unwrap().id.clone();
    cancel(&engine, &id).await;
    assert!(engine.get(&id).await.unwrap().done());
    pass(Duration::from_secs(11)).await;
    assert_eq!(engine.get(&id).await, Err(Error::NotFound(Missing::Gone(Gone::Expired))));
    assert_eq!(engine.wait(&id, MINUTE).await, Err(Error::NotFound(Missing::Gone(Gone::Expired))));
    assert_eq!(engine.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_retention_of_zero_keeps_for_ever_and_none_takes_that_of_the_options() {
    let retention = operond_core::Retention::same(Some(Duration::from_secs(10)));
    let engine = Engine::start(Rigged::new(), Options { retention, ..Options::default() });
    let kept =
        operond_engine::Create { retention: Some(Duration::ZERO), ..operond_engine::Create::new(spec("render")) };
    let kept = engine.create(kept).await.unwrap().id.clone();
    let removed = created(&engine, spec("render")).await;
    for id in [&kept, &removed] {
        cancel(&engine, id).await;
    }
    pass(Duration::from_secs(11)).await;
    assert!(engine.get(&kept).await.is_ok());
    assert_eq!(engine.get(&removed).await, Err(Error::NotFound(Missing::Gone(Gone::Expired))));
}

#[tokio::test(start_paused = true)]
async fn a_held_get_returns_at_once_when_the_operation_is_done() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    cancel(&engine, &id).await;
    let began = Instant::now();
    assert!(engine.get_held(&id, None, MINUTE).await.unwrap().done());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_read_from_memory() {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as Arc<dyn Store>);
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    assert_eq!(engine.get(&id).await.unwrap().state(), State::Running);
    let done = engine.complete(&lease, Completion::Response(Any::empty()), None).await.unwrap();
    assert_eq!(engine.get(&id).await.unwrap(), done);
    assert_eq!(store.reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_the_lease_and_reports_what_it_carries() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    pass(Duration::from_secs(20)).await;
    let progress = Progress { done: Some(1.0), total: Some(2.0), ..Progress::default() };
    let report = Report {
        lease: Some(MINUTE),
        metadata: Some(metadata(1)),
        progress: Some(progress.clone()),
        ..Report::default()
    };
    let standing = engine.heartbeat(&lease, report).await.unwrap();
    assert_eq!((standing.remaining, standing.cancel), (MINUTE, None));
    pass(Duration::from_secs(50)).await;
    let operation = engine.get(&id).await.unwrap();
    assert_eq!((operation.metadata.clone(), operation.progress.clone()), (Some(metadata(1)), Some(progress)));
    assert_eq!(operation.state(), State::Running, "extended");
}

#[tokio::test(start_paused = true)]
async fn a_held_heartbeat_tells_of_a_cancel_that_was_requested_before() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    cancel(&engine, &id).await;
    let began = Instant::now();
    let standing = engine.heartbeat(&lease, Report { wait: MINUTE, ..Report::default() }).await.unwrap();
    assert!(matches!(standing.cancel, Some(CancelRequest { .. })));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_held_heartbeat_goes_on_through_other_changes_and_ends_with_a_lease_given_up() {
    let engine = engine();
    created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let held = tokio::spawn({
        let (engine, lease) = (engine.clone(), lease.clone());
        async move { engine.heartbeat(&lease, Report { wait: MINUTE, ..Report::default() }).await }
    });
    settle_down().await;
    engine.heartbeat(&lease, Report { metadata: Some(metadata(1)), ..Report::default() }).await.unwrap();
    settle_down().await;
    assert!(!held.is_finished());
    engine.release(&lease).await.unwrap();
    assert_eq!(held.await.unwrap(), Err(Error::Rejected(Rejection::LeaseLost)));
}

#[tokio::test(start_paused = true)]
async fn a_held_heartbeat_ends_also_when_another_worker_has_the_operation_at_once() {
    let engine = engine();
    created(&engine, spec("render")).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let began = Instant::now();
    let report = Report { wait: MINUTE, ..Report::default() };
    let (standing, next, released) =
        tokio::join!(engine.heartbeat(&lease, report), engine.claim(ask("other")), engine.release(&lease));
    released.unwrap();
    assert_eq!(next.unwrap().len(), 1);
    assert_eq!(standing, Err(Error::Rejected(Rejection::LeaseLost)));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_held_heartbeat_is_answered_at_shutdown_and_over_the_limit_of_waiters() {
    let engine = Engine::start(Rigged::new(), Options { waiters_max: 1, ..Options::default() });
    for _ in 0..2 {
        created(&engine, spec("render")).await;
    }
    let claims = engine.claim(operond_engine::Ask { max: 2, ..ask("w") }).await.unwrap();
    let began = Instant::now();
    let held = tokio::spawn({
        let (engine, lease) = (engine.clone(), claims[0].lease.text.clone());
        async move { engine.heartbeat(&lease, Report { wait: MINUTE, ..Report::default() }).await }
    });
    settle_down().await;
    let over = engine.heartbeat(&claims[1].lease.text, Report { wait: MINUTE, ..Report::default() }).await;
    assert_eq!(over.unwrap().cancel, None);
    engine.shutdown().await;
    assert_eq!(held.await.unwrap().unwrap().cancel, None);
    assert_eq!(began.elapsed(), Duration::ZERO);
    let late = engine.heartbeat(&claims[0].lease.text, Report::default()).await;
    assert_eq!(late, Err(Error::Unavailable(Unavailable::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn leases_that_were_never_given_are_invalid_and_not_merely_lost() {
    let engine = engine();
    created(&engine, Spec::new(Kind::new("render").unwrap())).await;
    let lease = claimed(&engine, "w").await.lease.text;
    let foreign = lease.replacen("op", "xx", 1);
    for bad in ["garbled", foreign.as_str()] {
        assert_eq!(engine.release(bad).await, Err(Error::InvalidLease), "{bad}");
    }
    assert!(matches!(engine.release("").await, Err(Error::Invalid(_))));
}

/// What a call itself holds while it waits; its place in the registry adds some hundred bytes.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_takes_well_under_two_kibibytes() {
    let engine = engine();
    let id = created(&engine, spec("render")).await;
    let sizes = [
        ("wait", size_of_val(&engine.wait(&id, MINUTE))),
        ("get", size_of_val(&engine.get_held(&id, None, MINUTE))),
        ("claim", size_of_val(&engine.claim(ask("w")))),
        ("heartbeat", size_of_val(&engine.heartbeat("", Report::default()))),
    ];
    for (call, bytes) in sizes {
        assert!(bytes <= 1600, "{call} takes {bytes} bytes");
    }
}
