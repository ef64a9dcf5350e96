//! A handle reaches what its scope covers, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use operond_core::{Any, Completion, Operation, Principal, Reason, Scope, Spec, State, Status, Tenant, Worker};
use operond_engine::{Ask, Create, Engine, Error, Report};
use operond_store::{CountQuery, ListQuery, Missing};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{MINUTE, ask, at_once, claimed, engine, kind, of_tenant, pass, settle_down, spec, tenant};

fn within(engine: &Engine, name: &str) -> Engine {
    engine.within(Scope::of_tenant(tenant(name)))
}

async fn create(engine: &Engine, name: &str) -> Arc<Operation> {
    engine.create(Create::new(of_tenant(name))).await.unwrap()
}

/// A claim that is being held, and whose operation it was given.
async fn held(engine: &Engine, worker: &str) -> JoinHandle<Option<Tenant>> {
    let (engine, ask) = (engine.clone(), ask(worker));
    let call = tokio::spawn(async move {
        let claimed = engine.claim(ask).await.unwrap();
        claimed.first().map(|one| one.operation.spec.tenant.clone())
    });
    settle_down().await;
    call
}

#[tokio::test(start_paused = true)]
async fn f45_to_a_stranger_an_operation_is_one_that_never_was() {
    let engine = engine();
    let own = create(&engine, "t").await;
    let stranger = within(&engine, "u");
    let never = || Error::NotFound(Missing::Never);
    assert_eq!(stranger.get(&own.id).await, Err(never()));
    assert_eq!(stranger.get_held(&own.id, None, MINUTE).await, Err(never()));
    assert_eq!(stranger.wait(&own.id, MINUTE).await, Err(never()));
    assert_eq!(stranger.watch(&own.id, None).await.err(), Some(never()));
    let cancelled = stranger.cancel(&own.id, Principal::default(), Reason::default()).await;
    assert_eq!(cancelled, Err(never()));
    assert_eq!(stranger.delete(&own.id).await, Err(never()));
    assert_eq!(stranger.list(&ListQuery::default()).await.unwrap().operations, []);
    assert_eq!(stranger.count(&CountQuery::default()).await.unwrap().count, 0);
    assert_eq!(engine.waiters(), 0);

    let friend = within(&engine, "t");
    assert_eq!(friend.get(&own.id).await, Ok(Arc::clone(&own)));
    assert_eq!(friend.list(&ListQuery::default()).await.unwrap().operations, [own]);
    assert_eq!(friend.count(&CountQuery::default()).await.unwrap().count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_query_cannot_widen_the_scope_of_its_handle() {
    let engine = engine();
    create(&engine, "t").await;
    let stranger = within(&engine, "u");
    let scope = Scope::of_tenant(tenant("t"));
    let list = ListQuery { scope: scope.clone(), ..ListQuery::default() };
    assert_eq!(stranger.list(&list).await.unwrap().operations, []);
    assert_eq!(stranger.count(&CountQuery { scope, ..CountQuery::default() }).await.unwrap().count, 0);
}

#[tokio::test(start_paused = true)]
async fn to_a_stranger_a_lease_was_never_given() {
    let engine = engine();
    create(&engine, "t").await;
    let lease = claimed(&engine, "w").await.lease.text;
    let other_kind = Scope { tenant: Some(tenant("t")), kinds: Some([kind("other")].into()) };
    for stranger in [within(&engine, "u"), engine.within(other_kind)] {
        let done = || Completion::Response(Any::empty());
        assert_eq!(stranger.heartbeat(&lease, Report::default()).await, Err(Error::InvalidLease));
        assert_eq!(stranger.report_failure(&lease, Status::new(5, "e"), None).await, Err(Error::InvalidLease));
        assert_eq!(stranger.complete(&lease, done(), None).await, Err(Error::InvalidLease));
        assert_eq!(stranger.retry(&lease, Status::new(5, "e"), None).await, Err(Error::InvalidLease));
        assert_eq!(stranger.release(&lease).await, Err(Error::InvalidLease));
    }
    let done = within(&engine, "t").complete(&lease, Completion::Response(Any::empty()), None).await.unwrap();
    assert_eq!(done.state(), State::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn nobody_creates_or_claims_beyond_their_scope() {
    let engine = engine();
    let scope = Scope { tenant: Some(tenant("t")), kinds: Some([kind("render")].into()) };
    let narrow = engine.within(scope);
    assert_eq!(narrow.create(Create::new(of_tenant("u"))).await, Err(Error::OutOfScope));
    let other_kind = Spec { kind: kind("other"), ..of_tenant("t") };
    assert_eq!(narrow.create(Create::new(other_kind)).await, Err(Error::OutOfScope));
    let worker = Worker::new("w").unwrap();
    let started = narrow.start_operation(Create::new(spec("render")), worker.clone(), MINUTE).await;
    assert_eq!(started.err(), Some(Error::OutOfScope));
    let asked = Ask { wait: Duration::ZERO, ..Ask::new([kind("render"), kind("other")], worker) };
    assert_eq!(narrow.claim(asked).await, Err(Error::OutOfScope));
    assert_eq!(engine.count(&CountQuery::default()).await.unwrap().count, 0);
    create(&narrow, "t").await;
    create(&engine, "u").await;
    let claimed = narrow.claim(Ask { max: 5, ..at_once("w") }).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.operation.spec.tenant.as_str()).collect::<Vec<_>>(), ["t"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_may_not_have_it_keeps_no_later_one_waiting() {
    let engine = engine();
    let strangers = [held(&within(&engine, "a"), "1").await, held(&within(&engine, "b"), "2").await];
    let waiting = held(&within(&engine, "c"), "3").await;
    let began = Instant::now();
    create(&engine, "c").await;
    assert_eq!(waiting.await.unwrap(), Some(tenant("c")));
    assert_eq!(began.elapsed(), Duration::ZERO, "not at a later tick");
    assert!(strangers.iter().all(|call| !call.is_finished()));
    create(&engine, "b").await;
    create(&engine, "a").await;
    for (call, name) in strangers.into_iter().zip(["a", "b"]) {
        assert_eq!(call.await.unwrap(), Some(tenant(name)));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_may_have_it_the_one_that_came_first_gets_it() {
    let engine = engine();
    let stranger = held(&within(&engine, "a"), "1").await;
    let anyone = held(&engine, "2").await;
    let own = held(&within(&engine, "b"), "3").await;
    create(&engine, "b").await;
    assert_eq!(anyone.await.unwrap(), Some(tenant("b")));
    settle_down().await;
    assert!(!own.is_finished() && !stranger.is_finished());
    create(&engine, "b").await;
    assert_eq!(own.await.unwrap(), Some(tenant("b")));
    assert!(!stranger.is_finished());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_told_of_is_found_for_every_tenant_at_a_tick() {
    let engine = engine();
    for name in ["a", "b"] {
        create(&engine, name).await;
        let lease = claimed(&engine, "w").await.lease.text;
        engine.retry(&lease, Status::new(14, "later"), Some(Duration::from_secs(3))).await.unwrap();
    }
    // The first in line may have neither.
    let nobody = held(&within(&engine, "x"), "1").await;
    let [a, b] = [held(&within(&engine, "a"), "2").await, held(&within(&engine, "b"), "3").await];
    pass(Duration::from_millis(3_600)).await;
    assert_eq!((a.await.unwrap(), b.await.unwrap()), (Some(tenant("a")), Some(tenant("b"))));
    assert!(!nobody.is_finished());
}
