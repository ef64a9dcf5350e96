//! How much callers may ask for, and what they are told who ask for more.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::Body;
use futures::FutureExt;
use http::{Request, StatusCode};
use operond_core::limits::SCAN_OPERATIONS_MAX;
use operond_core::{Kind, Spec, Tenant};
use operond_engine::Create;
use operond_server::auth::{Audit, Auth, Keys, Limits, Rate, TenantLimits};
use operond_server::http::{GuardOptions, audited, layers};
use operond_server::{Settings, router};
use serde_json::{Value, json};
use tokio::time::advance;
use tonic::Code;
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::audit::Page;
use crate::harness::{ADVERTISED, App, Faces, Rest, read, request};

/// A server that asks callers who they are, and limits them; `faces` asks nobody about the same operations.
struct Limited {
    faces: Faces,
    /// Makes keys, and asks nobody.
    open: App,
    app: App,
}

impl Limited {
    async fn new(limits: Limits) -> Self {
        Self::audited(limits, None).await
    }

    async fn audited(limits: Limits, audit: Option<Audit>) -> Self {
        let faces = Faces::new();
        let keys = Keys::load(faces.engine.clone()).await.unwrap();
        let router = router(faces.engine.clone(), keys.clone(), Settings::new(ADVERTISED)).await.unwrap();
        let guards = GuardOptions { advertised: None };
        let open = layers(router.clone(), &guards, None);
        let app = audited(router, &guards, Some(Auth::new(keys).limited(limits)), audit);
        Self { faces, open, app }
    }

    /// A key of `name`, who may do everything but what concerns everybody.
    async fn key(&self, name: &str, tenant: &str) -> String {
        let roles = ["ROLE_OPERATOR", "ROLE_PRODUCER", "ROLE_WORKER"];
        let body = json!({ "name": name, "tenant": tenant, "roles": roles }).to_string();
        let made = self.open.clone().oneshot(request("POST /api/v1/keys", &[], &body)).await.unwrap();
        format!("Bearer {}", read(made).await.ok()["secret"].as_str().unwrap())
    }

    async fn call(&self, key: &str, line: &str, body: &str) -> Rest {
        let request = request(line, &[("authorization", key)], body);
        read(self.app.clone().oneshot(request).await.unwrap()).await
    }

    async fn who_am_i(&self, key: &str) -> Rest {
        self.call(key, "GET /api/v1/whoami", "").await
    }

    async fn create(&self, key: &str, body: &Value) -> Rest {
        self.call(key, "POST /api/v1/operations", &body.to_string()).await
    }

    async fn start(&self, key: &str, body: &Value) -> Rest {
        self.call(key, "POST /api/v1/operations:start", &body.to_string()).await
    }

    async fn done(&self, id: &Value) -> bool {
        let id = id.as_str().unwrap();
        self.faces.rest(&format!("GET /api/v1/operations/{id}"), "").await.ok()["done"] == true
    }
}

fn rate(count: u32) -> Option<Rate> {
    Some(Rate::per_second(NonZeroU32::new(count).unwrap()))
}

fn calls(count: u32) -> Limits {
    Limits { calls_per_second: rate(count), ..Limits::default() }
}

fn creates(count: u32) -> Limits {
    Limits { creates_per_second: rate(count), ..Limits::default() }
}

fn active(count: u64) -> Limits {
    Limits { active_operations: Some(count), ..Limits::default() }
}

fn kind() -> Value {
    json!({ "kind": "k" })
}

/// A create over a limit: refused, with when to try again.
#[track_caller]
fn over_quota(rest: &Rest, subject: &str, delay: &str) {
    assert_eq!((rest.status, rest.reason()), (StatusCode::TOO_MANY_REQUESTS, "QUOTA"), "{}", rest.body);
    assert_eq!(rest.body["code"], 8);
    assert_eq!(rest.detail("QuotaFailure")["violations"][0]["subject"], subject);
    let description = rest.detail("QuotaFailure")["violations"][0]["description"].as_str().unwrap();
    assert_eq!(rest.body["message"], description);
    assert!(description.contains(rest.detail("ErrorInfo")["metadata"]["limit"].as_str().unwrap()), "{description}");
    assert_eq!(rest.detail("RetryInfo")["retryDelay"], delay);
    assert_eq!(rest.headers["retry-after"], "1");
}

#[track_caller]
fn rate_limited(rest: &Rest, delay: &str) {
    assert_eq!((rest.status, rest.reason()), (StatusCode::SERVICE_UNAVAILABLE, "RATE_LIMITED"), "{}", rest.body);
    assert_eq!((&rest.body["code"], &rest.detail("RetryInfo")["retryDelay"]), (&json!(14), &json!(delay)));
    assert_eq!(rest.headers["retry-after"], "1");
}

#[tokio::test(start_paused = true)]
async fn one_call_more_than_the_rate_is_refused_until_exactly_when_it_says() {
    let server = Limited::new(calls(7)).await;
    let key = server.key("alice", "t").await;
    for _ in 0..7 {
        server.who_am_i(&key).await.ok();
    }
    rate_limited(&server.who_am_i(&key).await, "0.142857143s");
    advance(Duration::from_nanos(142_857_142)).await;
    rate_limited(&server.who_am_i(&key).await, "0.000000001s");
    advance(Duration::from_nanos(1)).await;
    server.who_am_i(&key).await.ok();
    assert_eq!(server.who_am_i(&key).await.reason(), "RATE_LIMITED");
    advance(Duration::from_secs(100)).await;
    for _ in 0..7 {
        server.who_am_i(&key).await.ok();
    }
    assert_eq!(server.who_am_i(&key).await.reason(), "RATE_LIMITED");
}

#[tokio::test(start_paused = true)]
async fn principals_do_not_share_a_rate_and_their_keys_do() {
    let server = Limited::new(calls(2)).await;
    let [first, second] = [server.key("alice", "t").await, server.key("alice", "t").await];
    let bob = server.key("bob", "t").await;
    server.who_am_i(&first).await.ok();
    server.who_am_i(&second).await.ok();
    for key in [&first, &second] {
        assert_eq!(server.who_am_i(key).await.reason(), "RATE_LIMITED");
    }
    server.who_am_i(&bob).await.ok();
}

#[tokio::test(start_paused = true)]
async fn over_grpc_it_is_unavailable_with_the_time_and_before_the_body_is_read() {
    let server = Limited::new(calls(1)).await;
    let key = server.key("alice", "t").await;
    server.who_am_i(&key).await.ok();
    let request = Request::post("http://localhost/operond.v1.Operations/Get")
        .header("content-type", "application/grpc")
        .header("authorization", &key)
        .body(Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::convert::Infallible>>()))
        .unwrap();
    let response = server.app.clone().oneshot(request).now_or_never().expect("nothing is waited for").unwrap();
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().unwrap().reason, "RATE_LIMITED");
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn what_keeps_and_ends_leased_work_is_not_counted_and_claims_are() {
    let server = Limited::new(calls(1)).await;
    let key = server.key("worker", "default").await;
    let work = async |verb: &str, more: Value| {
        let mut body = json!({ "lease": server.faces.claimed("k").await.lease });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.call(&key, &format!("POST /api/v1/work:{verb}"), &body.to_string()).await
    };
    server.who_am_i(&key).await.ok();
    let error = json!({ "error": { "code": 13, "message": "no" } });
    for _ in 0..2 {
        work("heartbeat", json!({})).await.ok();
        work("complete", json!({ "cancelled": {} })).await.ok();
        work("reportFailure", error.clone()).await.ok();
        work("retry", error.clone()).await.ok();
        work("release", json!({})).await.ok();
        let claim = server.call(&key, "POST /api/v1/work:claim", r#"{"kinds":["k"],"worker":"w"}"#).await;
        assert_eq!(claim.reason(), "RATE_LIMITED");
    }
    for path in ["/healthz", "/api/v1/openapi.json"] {
        server.call(&key, &format!("GET {path}"), "").await.ok();
    }
    assert_eq!(server.call(&key, "GET /nothing/there", "").await.reason(), "RATE_LIMITED");
}

#[tokio::test(start_paused = true)]
async fn leases_that_nobody_gave_are_counted_apart_from_calls() {
    let server = Limited::new(calls(2)).await;
    let key = server.key("worker", "default").await;
    let real = server.faces.claimed("k").await.lease;
    let report = async |lease: &str, verb: &str, more: Value| {
        let mut body = json!({ "lease": lease });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.call(&key, &format!("POST /api/v1/work:{verb}"), &body.to_string()).await
    };
    let error = json!({ "error": { "code": 13, "message": "no" } });
    for (verb, more) in [
        ("heartbeat", json!({})),
        ("complete", json!({ "cancelled": {} })),
        ("reportFailure", error.clone()),
        ("retry", error),
        ("release", json!({})),
    ] {
        for made_up in ["x", "op01m88rwj0r0xb8md483pem66vcjq75.1.00112233445566778899aabbccddeeff"] {
            assert_eq!(report(made_up, verb, more.clone()).await.reason(), "INVALID_LEASE");
        }
        for lease in ["x", &real] {
            assert_eq!(report(lease, "heartbeat", json!({})).await.reason(), "RATE_LIMITED");
        }
        advance(Duration::from_secs(1)).await;
    }
    report("x", "release", json!({})).await;
    report("x", "release", json!({})).await;
    for _ in 0..2 {
        server.who_am_i(&key).await.ok();
    }
    advance(Duration::from_millis(500)).await;
    report(&real, "heartbeat", json!({})).await.ok();
}

#[tokio::test(start_paused = true)]
async fn creates_and_starts_of_a_tenant_share_a_rate() {
    let server = Limited::new(creates(3)).await;
    let [alice, bob, other] = [("alice", "a"), ("bob", "a"), ("carol", "b")];
    let [alice, bob, other] =
        [server.key(alice.0, alice.1).await, server.key(bob.0, bob.1).await, server.key(other.0, other.1).await];
    server.create(&alice, &kind()).await.ok();
    server.create(&bob, &kind()).await.ok();
    server.start(&bob, &json!({ "kind": "k", "worker": "w" })).await.ok();
    over_quota(&server.create(&alice, &kind()).await, "tenant:a", "0.333333334s");
    over_quota(&server.start(&bob, &json!({ "kind": "k", "worker": "w" })).await, "tenant:a", "0.333333334s");
    server.create(&other, &kind()).await.ok();
    advance(Duration::from_nanos(333_333_333)).await;
    over_quota(&server.create(&alice, &kind()).await, "tenant:a", "0.000000001s");
    advance(Duration::from_nanos(1)).await;
    server.create(&alice, &kind()).await.ok();
    for _ in 0..10 {
        server.call(&alice, "GET /api/v1/operations:count", "").await.ok();
    }
    assert_eq!(server.create(&alice, &kind()).await.reason(), "QUOTA");
    assert_eq!(server.faces.rows().await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_is_answered_although_there_is_no_room_and_something_new_is_not_begun() {
    for limits in [creates(2), active(2)] {
        let server = Limited::new(limits).await;
        let key = server.key("alice", "t").await;
        let body = |idempotency: &str| json!({ "kind": "k", "idempotencyKey": idempotency });
        let start = |idempotency: &str| json!({ "kind": "k", "idempotencyKey": idempotency, "worker": "w" });
        let first = server.create(&key, &body("one")).await.ok();
        let leased = server.start(&key, &start("two")).await.ok();
        for _ in 0..20 {
            assert_eq!(server.create(&key, &body("one")).await.ok()["id"], first["id"]);
            let again = server.start(&key, &start("two")).await.ok();
            assert_eq!((&again["lease"], again["lease"].is_string()), (&leased["lease"], true));
        }
        for refused in [
            server.create(&key, &body("three")).await,
            server.start(&key, &start("four")).await,
            server.create(&key, &kind()).await,
        ] {
            assert_eq!(refused.reason(), "QUOTA");
        }
        let other = json!({ "kind": "other", "idempotencyKey": "one" });
        assert_eq!(server.create(&key, &other).await.reason(), "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(server.faces.rows().await.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_as_the_quota_are_active_and_one_more_when_one_has_ended() {
    let server = Limited::new(active(3)).await;
    let key = server.key("alice", "t").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(server.create(&key, &kind()).await.ok()["id"].clone());
    }
    let timed = json!({ "kind": "timed", "queueTimeout": "5s" });
    ids.push(server.create(&key, &timed).await.ok()["id"].clone());
    let full = async || over_quota(&server.create(&key, &kind()).await, "tenant:t", "1s");
    full().await;
    server.create(&server.key("bob", "u").await, &kind()).await.ok();

    // Completed.
    let lease = server.faces.claim("k").await.lease;
    let body = json!({ "lease": lease, "cancelled": {} }).to_string();
    server.call(&key, "POST /api/v1/work:complete", &body).await.ok();
    let next = server.create(&key, &kind()).await.ok()["id"].clone();
    full().await;
    // Cancelled.
    let cancel = format!("POST /api/v1/operations/{}:cancel", next.as_str().unwrap());
    assert_eq!(server.call(&key, &cancel, "{}").await.ok()["done"], true);
    server.start(&key, &json!({ "kind": "s", "worker": "w", "leaseDuration": "3600s" })).await.ok();
    full().await;
    // Forgotten: what is done had made room before.
    let delete = format!("DELETE /api/v1/operations/{}", next.as_str().unwrap());
    server.call(&key, &delete, "").await.ok();
    full().await;
    // Timed out.
    advance(Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(server.done(&ids[2]).await);
    server.create(&key, &kind()).await.ok();
    full().await;
}

#[tokio::test(start_paused = true)]
async fn what_others_create_in_a_tenant_counts_a_second_later_at_the_latest() {
    let server = Limited::new(active(3)).await;
    let key = server.key("alice", "default").await;
    server.create(&key, &kind()).await.ok();
    for _ in 0..5 {
        server.faces.create("k").await;
    }
    // Nobody has told this server: it overshoots for a second.
    server.create(&key, &kind()).await.ok();
    advance(Duration::from_secs(1)).await;
    over_quota(&server.create(&key, &kind()).await, "tenant:default", "1s");
}

#[tokio::test(start_paused = true)]
async fn many_at_once_are_never_more_than_the_quota() {
    let server = Limited::new(active(10)).await;
    let key = server.key("alice", "t").await;
    let body = kind();
    let calls = (0..50).map(|_| server.create(&key, &body));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|rest| rest.status == StatusCode::OK).count(), 10);
    assert_eq!(server.faces.rows().await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_quota_can_be_larger_than_what_a_store_looks_at() {
    let count = u64::try_from(SCAN_OPERATIONS_MAX).unwrap() + 1;
    let server = Limited::new(active(count + 1)).await;
    let spec = Spec { tenant: Tenant::parse("tenant", "t").unwrap(), ..Spec::new(Kind::new("k").unwrap()) };
    let creates = (0..count).map(|_| server.faces.engine.create(Create::new(spec.clone())));
    assert!(futures::future::join_all(creates).await.iter().all(Result::is_ok));
    let key = server.key("alice", "t").await;
    server.create(&key, &kind()).await.ok();
    over_quota(&server.create(&key, &kind()).await, "tenant:t", "1s");
}

#[tokio::test(start_paused = true)]
async fn what_the_rate_refuses_takes_nothing_from_the_quota() {
    let server = Limited::new(Limits { active_operations: Some(5), ..creates(1) }).await;
    let key = server.key("alice", "t").await;
    server.create(&key, &kind()).await.ok();
    for _ in 0..200 {
        let refused = server.create(&key, &kind()).await;
        assert_eq!(refused.detail("ErrorInfo")["metadata"]["unit"], "creates a second");
    }
}

#[tokio::test(start_paused = true)]
async fn the_audit_says_who_calls_too_often_and_who_creates_too_much() {
    let page = Page::default();
    let audit = Audit::to(page.clone()).unwrap();
    let server = Limited::audited(Limits { calls_per_second: rate(2), ..creates(1) }, Some(audit.clone())).await;
    let key = server.key("ann", "acme").await;
    server.create(&key, &kind()).await.ok();
    assert_eq!(server.create(&key, &kind()).await.reason(), "QUOTA");
    assert_eq!(server.who_am_i(&key).await.reason(), "RATE_LIMITED");
    let bearer = [("authorization", &*key), ("content-type", "application/grpc")];
    let by_grpc = request("POST /operond.v1.Keys/WhoAmI", &bearer, "");
    server.app.clone().oneshot(by_grpc).await.unwrap();
    audit.close();
    let told: Vec<_> = page.lines().iter().map(|line| line["code"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, ["ResourceExhausted", "Unavailable", "Unavailable"]);
    assert!(page.lines().iter().all(|line| line["who"] == "ann"), "{}", page.text());
}

#[tokio::test(start_paused = true)]
async fn named_tenants_have_limits_of_their_own() {
    let tenant = |name| Tenant::parse("tenant", name).unwrap();
    let tenants = [
        (tenant("usual"), TenantLimits::default()),
        (tenant("large"), TenantLimits { creates_per_second: rate(3), active_operations: None }),
        (tenant("small"), TenantLimits { creates_per_second: None, active_operations: Some(1) }),
    ];
    let server = Limited::new(Limits { tenants: tenants.into(), ..creates(2) }).await;
    for (name, passes) in [("usual", 2), ("large", 3), ("small", 1), ("another", 2)] {
        let key = server.key(name, name).await;
        let mut passed = 0;
        while passed < 10 && server.create(&key, &kind()).await.status == StatusCode::OK {
            passed += 1;
        }
        assert_eq!(passed, passes, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_create_in_a_tenant_takes_nothing_from_it_and_who_can_does() {
    let server = Limited::new(creates(2)).await;
    let (alice, bob, all) =
        (server.key("alice", "a").await, server.key("bob", "b").await, server.key("all", "*").await);
    let in_a = json!({ "kind": "k", "tenant": "a" });
    for _ in 0..5 {
        server.create(&bob, &in_a).await;
    }
    server.create(&alice, &kind()).await.ok();
    server.create(&all, &in_a).await.ok();
    over_quota(&server.create(&all, &in_a).await, "tenant:a", "0.500s");
    assert_eq!(server.create(&alice, &kind()).await.reason(), "QUOTA");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_asked_is_not_limited() {
    let limits = Limits { calls_per_second: rate(1), ..active(1) };
    let server = Limited::new(limits).await;
    for _ in 0..5 {
        let create = request("POST /api/v1/operations", &[], r#"{"kind":"k"}"#);
        read(server.open.clone().oneshot(create).await.unwrap()).await.ok();
    }
}
