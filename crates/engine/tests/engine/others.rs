//! Two servers over one store: what one of them writes, and those who wait on the other.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{OperationId, State};
use operond_engine::{Engine, Error, Options};
use operond_store::{Collection, DocumentWrite, News};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::rigged::{Rigged, Teller};
use crate::support::{MINUTE, ask, cancel, created, engine_over, kind, pass, settle_down, spec, tenant};

/// Two engines, and the one who tells the first of them what the other did.
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

fn changed(ids: &[&OperationId]) -> News {
    News { operations: ids.iter().copied().cloned().collect(), ..News::default() }
}

fn claimable(kinds: &[&str]) -> News {
    News { claimable: kinds.iter().map(|name| kind(name)).collect(), ..News::default() }
}

fn missed() -> News {
    News { missed: true, ..News::default() }
}

async fn waiting(engine: &Engine, id: &OperationId) -> JoinHandle<Result<State, Error>> {
    let (engine, id) = (engine.clone(), id.clone());
    let wait = tokio::spawn(async move { engine.wait(&id, MINUTE).await.map(|operation| operation.state()) });
    settle_down().await;
    wait
}

/// A claim that is being held; its answer is the number of operations.
async fn claiming(engine: &Engine) -> JoinHandle<usize> {
    let engine = engine.clone();
    let claim = tokio::spawn(async move { engine.claim(ask("w")).await.unwrap().len() });
    settle_down().await;
    claim
}

#[tokio::test(start_paused = true)]
async fn who_waits_here_has_what_was_written_elsewhere_as_soon_as_it_is_told() {
    let Two { here, elsewhere, teller, .. } = two();
    let id = created(&here, spec("render")).await;
    let (began, wait) = (Instant::now(), waiting(&here, &id).await);
    let mut watch = here.watch(&id, None).await.unwrap();
    assert_eq!(watch.next().await.unwrap().state(), State::Queued);
    cancel(&elsewhere, &id).await;
    teller.tell(changed(&[&id]));
    assert_eq!(wait.await.unwrap(), Ok(State::Cancelled));
    assert_eq!(watch.next().await.unwrap().state(), State::Cancelled);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn f15_who_waits_here_has_what_was_written_elsewhere_in_seconds_also_when_nobody_tells() {
    let Two { here, elsewhere, .. } = two();
    let id = created(&here, spec("render")).await;
    let (began, wait) = (Instant::now(), waiting(&here, &id).await);
    cancel(&elsewhere, &id).await;
    assert_eq!(here.get(&id).await.unwrap().state(), State::Cancelled, "nothing is kept in memory");
    assert_eq!(wait.await.unwrap(), Ok(State::Cancelled));
    assert!(began.elapsed() <= Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn news_that_change_nothing_show_nothing_and_end_no_wait() {
    let Two { here, elsewhere, store, teller } = two();
    let id = created(&elsewhere, spec("render")).await;
    let mut watch = here.watch(&id, None).await.unwrap();
    watch.next().await.unwrap();
    let held = tokio::spawn({
        let (engine, id) = (here.clone(), id.clone());
        async move { engine.get_held(&id, None, Duration::from_secs(1)).await }
    });
    settle_down().await;
    let before = store.reads();
    teller.tell(changed(&[&id]));
    tokio::time::timeout(Duration::from_secs(1), watch.next()).await.unwrap_err();
    assert!(store.reads() > before && !held.is_finished());
    held.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn news_of_what_nobody_waits_for_cost_no_read() {
    let Two { here: _listening, elsewhere, store, teller } = two();
    let id = created(&elsewhere, spec("render")).await;
    teller.tell(changed(&[&id, &OperationId::parse("id", "unknown").unwrap()]));
    settle_down().await;
    assert_eq!(store.reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn work_created_elsewhere_goes_to_as_many_claims_here_as_are_told_of() {
    let Two { here, elsewhere, teller, .. } = two();
    let began = Instant::now();
    let claims = [claiming(&here).await, claiming(&here).await, claiming(&here).await];
    for _ in 0..2 {
        created(&elsewhere, spec("render")).await;
    }
    teller.tell(claimable(&["other", "render", "render"]));
    settle_down().await;
    assert_eq!(claims.each_ref().map(JoinHandle::is_finished), [true, true, false]);
    assert_eq!(began.elapsed(), Duration::ZERO, "not on the next tick");
}

#[tokio::test(start_paused = true)]
async fn after_missed_news_or_none_at_all_everybody_looks_for_themselves() {
    for tell in [|teller: &Teller| teller.tell(missed()), Teller::fail] {
        let Two { here, elsewhere, teller, .. } = two();
        let id = created(&here, spec("other")).await;
        let (began, wait, claim) = (Instant::now(), waiting(&here, &id).await, claiming(&here).await);
        cancel(&elsewhere, &id).await;
        created(&elsewhere, spec("render")).await;
        tell(&teller);
        assert_eq!((wait.await.unwrap(), claim.await.unwrap()), (Ok(State::Cancelled), 1));
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_fails_has_everybody_look_when_it_begins_and_when_it_is_over_and_not_between() {
    let Two { here, store, teller, .. } = two();
    let id = created(&here, spec("render")).await;
    let _wait = waiting(&here, &id).await;
    let looks = async || {
        settle_down().await;
        store.reads()
    };
    let before = looks().await;
    for _ in 0..5 {
        teller.fail();
    }
    assert_eq!(looks().await - before, 1);
    teller.tell(News::default());
    assert_eq!(looks().await - before, 2);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_full_does_not_keep_news_from_those_who_wait() {
    let (store, other, teller) = Rigged::shared();
    let here = Engine::start(Arc::clone(&store) as _, Options { queue_max: 1, ..Options::default() });
    let elsewhere = engine_over(other);
    let id = created(&here, spec("render")).await;
    let (began, wait) = (Instant::now(), waiting(&here, &id).await);
    cancel(&elsewhere, &id).await;
    let claim = claiming(&here).await;
    store.take(Duration::from_millis(10));
    let mut busy = Vec::new();
    // One is being written, one is in the queue.
    for _ in 0..2 {
        let here = here.clone();
        busy.push(tokio::spawn(async move { created(&here, spec("other")).await }));
        settle_down().await;
    }
    created(&elsewhere, spec("render")).await;
    teller.tell(claimable(&["render"]));
    teller.tell(changed(&[&id]));
    assert_eq!(wait.await.unwrap(), Ok(State::Cancelled));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(claim.await.unwrap(), 1);
    assert!(began.elapsed() <= Duration::from_millis(300), "found at a tick: {:?}", began.elapsed());
    for create in busy {
        create.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_keeps_documents_is_told_when_others_wrote_some_or_may_have() {
    let Two { here, teller, .. } = two();
    let (mut kinds, mut types) = (here.documents_changed(Collection::Kinds), here.documents_changed(Collection::Types));
    teller.tell(News { documents: vec![Collection::Kinds], ..News::default() });
    assert!(kinds.next().await);
    tokio::time::timeout(MINUTE, types.next()).await.unwrap_err();
    teller.tell(missed());
    assert!(kinds.next().await && types.next().await);
    let (told, ()) = tokio::join!(kinds.next(), here.shutdown());
    assert!(!told && !types.next().await);
}

#[tokio::test(start_paused = true)]
async fn what_this_engine_writes_itself_is_no_news() {
    let Two { here, .. } = two();
    let mut kinds = here.documents_changed(Collection::Kinds);
    let write = DocumentWrite {
        collection: Collection::Kinds,
        name: "render".into(),
        replaces: 0,
        bytes: [1].as_slice().into(),
    };
    here.put_documents(vec![write]).await.unwrap();
    tokio::time::timeout(MINUTE, kinds.next()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_shut_down_or_that_nobody_holds_listens_no_more() {
    for shut_down in [true, false] {
        let Two { here, elsewhere, teller, .. } = two();
        settle_down().await;
        assert!(teller.heard());
        if shut_down {
            here.shutdown().await;
            assert!(!teller.heard(), "and it waits for the end of that");
        }
        drop((here, elsewhere));
        pass(Duration::from_secs(1)).await;
        assert!(!teller.heard());
    }
}

#[tokio::test(start_paused = true)]
async fn where_others_serve_the_same_store_no_kind_is_unattended() {
    assert!(two().here.attended(&tenant("acme"), &kind("render")));
}
