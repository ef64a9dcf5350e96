//! A store that goes away for a while: new calls are told so, and those who wait go on waiting.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use operond_core::{OperationId, State};
use operond_engine::{Ask, Create, Engine, Error, Report, Unavailable, Watch};
use operond_store::News;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata};

use crate::rigged::{Fault, Rigged, Teller};
use crate::support::{MINUTE, ask, at_once, cancel, claimed, created, engine_over, pass, settle_down, spec};

const AWAY: Error = Error::Unavailable(Unavailable::Store);

/// An engine whose store goes away, and another one that goes on.
struct Two {
    here: Engine,
    elsewhere: Engine,
    store: Arc<Rigged>,
    teller: Teller,
}

fn two() -> Two {
    let (store, other, teller) = Rigged::shared();
    Two { here: engine_over(Arc::clone(&store) as _), elsewhere: engine_over(other), store, teller }
}

impl Two {
    /// The store is away here, and everybody here is told to look at it.
    async fn go_away(&self) {
        self.store.be_away(true);
        self.teller.tell(News { missed: true, ..News::default() });
        pass(Duration::from_secs(3)).await;
    }

    fn come_back(&self) {
        self.store.be_away(false);
    }

    async fn running(&self) -> (OperationId, String) {
        let id = created(&self.here, spec("render")).await;
        (id, claimed(&self.here, "w").await.lease.text)
    }
}

/// A call that is being held.
async fn holding<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let call = tokio::spawn(call);
    settle_down().await;
    call
}

async fn waiting(engine: &Engine, id: &OperationId, wait: Duration) -> JoinHandle<Result<State, Error>> {
    let (engine, id) = (engine.clone(), id.clone());
    holding(async move { engine.wait(&id, wait).await.map(|operation| operation.state()) }).await
}

async fn claiming(engine: &Engine) -> JoinHandle<Result<usize, Error>> {
    let engine = engine.clone();
    let ask = Ask { wait: MINUTE, ..ask("w") };
    holding(async move { engine.claim(ask).await.map(|claims| claims.len()) }).await
}

async fn next(watch: &mut Watch) -> Option<State> {
    watch.next().await.map(|operation| operation.state())
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_operation_goes_on_when_the_store_is_back() {
    let two = two();
    let (id, lease) = two.running().await;
    let wait = waiting(&two.here, &id, MINUTE).await;
    let (here, held_id) = (two.here.clone(), id.clone());
    let held = holding(async move { here.get_held(&held_id, None, MINUTE).await.map(|held| held.state()) }).await;
    let here = two.here.clone();
    let report = Report { wait: MINUTE, lease: Some(MINUTE), ..Report::default() };
    let heartbeat = holding(async move { here.heartbeat(&lease, report).await.map(|standing| standing.cancel) }).await;
    let mut watch = two.here.watch(&id, None).await.unwrap();
    assert_eq!(next(&mut watch).await, Some(State::Running));
    two.go_away().await;
    cancel(&two.elsewhere, &id).await;
    // One who is interrupted while it looks begins anew.
    timeout(Duration::from_secs(3), watch.next()).await.unwrap_err();
    assert!(!(wait.is_finished() || held.is_finished() || heartbeat.is_finished()));
    two.come_back();
    let back = Instant::now();
    assert_eq!(next(&mut watch).await, Some(State::Cancelling));
    assert_eq!(held.await.unwrap(), Ok(State::Cancelling));
    assert!(heartbeat.await.unwrap().unwrap().is_some());
    assert!(back.elapsed() <= Duration::from_millis(1_300), "{:?}", back.elapsed());
    assert!(!wait.is_finished());
}

#[tokio::test(start_paused = true)]
async fn new_calls_are_refused_at_once_while_the_store_is_away() {
    let two = two();
    let (id, lease) = two.running().await;
    two.go_away().await;
    let began = Instant::now();
    assert_eq!(two.here.create(Create::new(spec("render"))).await, Err(AWAY));
    assert_eq!(two.here.get(&id).await, Err(AWAY));
    assert_eq!(two.here.wait(&id, MINUTE).await, Err(AWAY));
    assert_eq!(two.here.heartbeat(&lease, Report { wait: MINUTE, ..Report::default() }).await, Err(AWAY));
    assert_eq!(two.here.claim(at_once("w")).await, Err(AWAY));
    assert!(two.here.watch(&id, None).await.is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_time_is_up_while_the_store_is_away_ends_in_time_and_says_so() {
    let two = two();
    let id = created(&two.here, spec("render")).await;
    let began = Instant::now();
    let wait = waiting(&two.here, &id, Duration::from_secs(5)).await;
    two.go_away().await;
    assert_eq!(wait.await.unwrap(), Err(AWAY));
    assert_eq!(began.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_waits_outlasts_a_store_that_is_away_and_is_tried_once_a_tick() {
    let two = two();
    let claim = claiming(&two.here).await;
    two.go_away().await;
    created(&two.elsewhere, spec("render")).await;
    let before = two.store.claims.load(Ordering::SeqCst);
    pass(Duration::from_secs(10)).await;
    let tried = two.store.claims.load(Ordering::SeqCst) - before;
    assert!((39..=41).contains(&tried), "{tried} in 10 s");
    assert!(!claim.is_finished());
    two.come_back();
    let back = Instant::now();
    assert_eq!(claim.await.unwrap(), Ok(1));
    assert!(back.elapsed() <= Duration::from_millis(250), "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_time_is_up_while_the_store_is_away_has_found_nothing() {
    let two = two();
    let claim = claiming(&two.here).await;
    two.go_away().await;
    let began = Instant::now();
    assert_eq!(claim.await.unwrap(), Ok(0));
    assert_eq!(began.elapsed(), MINUTE - Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_look_once_and_leave_a_store_that_is_away_alone() {
    let two = two();
    let id = created(&two.here, spec("render")).await;
    for _ in 0..100 {
        drop(waiting(&two.here, &id, MINUTE).await);
    }
    two.go_away().await;
    let looked = two.store.looks.load(Ordering::SeqCst);
    pass(Duration::from_secs(30)).await;
    let looks = two.store.looks.load(Ordering::SeqCst) - looked;
    assert!(looks <= 100, "{looks} in 30 s");
    two.come_back();
    pass(Duration::from_millis(500)).await;
    let looks = two.store.looks.load(Ordering::SeqCst) - looked;
    assert!((1..100).contains(&looks), "{looks} at once");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_look_now_and_then_at_a_store_that_takes_batches_and_cannot_be_read() {
    let two = two();
    let id = created(&two.here, spec("render")).await;
    let wait = waiting(&two.here, &id, MINUTE).await;
    two.store.fail_reads(true);
    two.teller.tell(News { missed: true, ..News::default() });
    let before = two.store.looks.load(Ordering::SeqCst);
    pass(Duration::from_secs(20)).await;
    let looks = two.store.looks.load(Ordering::SeqCst) - before;
    assert!((20..=80).contains(&looks), "{looks} in 20 s");
    cancel(&two.elsewhere, &id).await;
    two.store.fail_reads(false);
    let back = Instant::now();
    assert_eq!(wait.await.unwrap(), Ok(State::Cancelled));
    assert!(back.elapsed() <= Duration::from_secs(1), "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_not_held_up_by_a_store_that_is_away() {
    let two = two();
    let id = created(&two.here, spec("other")).await;
    let (wait, claim) = (waiting(&two.here, &id, MINUTE).await, claiming(&two.here).await);
    let mut watch = two.here.watch(&id, None).await.unwrap();
    watch.next().await.unwrap();
    two.go_away().await;
    let began = Instant::now();
    two.here.shutdown().await;
    assert_eq!((wait.await.unwrap(), claim.await.unwrap()), (Err(AWAY), Ok(0)));
    assert_eq!(watch.next().await, None);
    drop(watch);
    assert!(began.elapsed() <= Duration::from_millis(500), "{:?}", began.elapsed());
}

/// An operation that was claimed for somebody who has hung up, while the store went away.
async fn not_taken() -> (Arc<Rigged>, Engine, OperationId) {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as _);
    let id = created(&engine, spec("render")).await;
    store.next_take([10]);
    let claim = claiming(&engine).await;
    store.be_away(true);
    claim.abort();
    pass(Duration::from_secs(3)).await;
    (store, engine, id)
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_a_store_that_is_away_to_give_something_back() {
    let (_store, engine, _) = not_taken().await;
    timeout(Duration::from_secs(1), engine.shutdown()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_took_is_given_back_when_the_store_is_back() {
    let (store, engine, id) = not_taken().await;
    store.be_away(false);
    pass(Duration::from_secs(1)).await;
    let operation = engine.get(&id).await.unwrap();
    assert_eq!((operation.state(), operation.attempt), (State::Queued, 0));
}

#[tokio::test(start_paused = true)]
async fn f15_a_wait_in_doubt_over_a_commit_looks_until_the_store_is_back() {
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as _);
    let id = created(&engine, spec("render")).await;
    let wait = waiting(&engine, &id, MINUTE).await;
    store.fail([Fault::Unknown]);
    store.fail_reads(true);
    let told = engine.cancel(&id, operond_core::Principal::default(), operond_core::Reason::default()).await;
    assert_eq!(told, Err(AWAY));
    pass(Duration::from_secs(3)).await;
    assert!(!wait.is_finished());
    store.be_away(false);
    assert_eq!(wait.await.unwrap(), Ok(State::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_said_when_it_begins_and_when_it_is_over_and_not_between() {
    let log = Log::default();
    // With one subscriber alone, lines first met on the threads of other tests would be off for good.
    let _another = tracing::Dispatch::new(Log::default());
    let _guard = tracing::subscriber::set_default(log.clone());
    let store = Rigged::new();
    let engine = engine_over(Arc::clone(&store) as _);
    for _outage in 0..2 {
        created(&engine, spec("render")).await;
        store.be_away(true);
        for _ in 0..3 {
            assert_eq!(engine.create(Create::new(spec("render"))).await, Err(AWAY));
            pass(Duration::from_secs(1)).await;
        }
        store.be_away(false);
        created(&engine, spec("render")).await;
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for outage in lines.chunks(2) {
        assert!(outage[0].contains("is away") && outage[0].contains("the store is not available: away"), "{outage:?}");
        assert!(outage[1].contains("is back") && outage[1].contains("away_seconds=3"), "{outage:?}");
    }
}

/// What an operator reads: everything but what is for debugging.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicUsize>,
}

struct Line(String);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO && metadata.target().starts_with("operond")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1 + self.spans.fetch_add(1, Ordering::SeqCst) as u64)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
