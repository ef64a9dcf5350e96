//! The guards, request ids and deadlines that every call passes, around a handler that says it was reached.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::routing::any;
use http_body_util::BodyExt;
use operond_server::http::{Deadline, GuardOptions, MAX_REQUEST_BYTES, RequestId, is_cancel_path, layers};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::ServiceExt;

const REACHED: &str = "the handler was reached";

/// What the client sees: whether the handler was reached, or why not.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Reached,
    Rest(u16, String),
    Grpc(Code, String),
}

fn rest(status: u16, reason: &str) -> Seen {
    Seen::Rest(status, reason.to_owned())
}

fn grpc(code: Code, reason: &str) -> Seen {
    Seen::Grpc(code, reason.to_owned())
}

/// `lines` = "METHOD path", then "header: value" each. A `body:` line is the body.
fn request(lines: &str) -> Request<Body> {
    let mut lines = lines.lines().map(str::trim);
    let (method, uri) = lines.next().and_then(|line| line.split_once(' ')).expect("a method and a path");
    let mut request = Request::builder().method(method).uri(uri);
    let mut body = Body::empty();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        match name {
            "body" => body = Body::from(value.to_owned()),
            // Nothing says how long it is, or that it has ended.
            "chunked-body" => body = Body::from_stream(tokio_stream::once(Ok::<_, std::io::Error>(value.to_owned()))),
            _ => request = request.header(name, value),
        }
    }
    request.body(body).expect("a request")
}

async fn answer(request: Request<Body>) -> Response<Body> {
    let router = Router::new().fallback(any(|| async { REACHED }));
    let options = GuardOptions { advertised: Some("operond.example:443".to_owned()) };
    layers(router, &options, None).oneshot(request).await.expect("infallible")
}

async fn seen(request: Request<Body>) -> Seen {
    let response = answer(request).await;
    if let Some(status) = Status::from_header_map(response.headers()) {
        assert!(axum::body::HttpBody::is_end_stream(response.body()), "a gRPC error has no body");
        let reason = status.get_details_error_info().expect("ErrorInfo").reason;
        return Seen::Grpc(status.code(), reason);
    }
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    if status == StatusCode::OK {
        assert_eq!(body, REACHED);
        return Seen::Reached;
    }
    let error: serde_json::Value = serde_json::from_slice(&body).expect("an error in JSON");
    let info = &error["details"][1];
    assert_eq!(info["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    Seen::Rest(status.as_u16(), info["reason"].as_str().expect("a reason").to_owned())
}

async fn check(cases: impl IntoIterator<Item = (&str, Seen)>) {
    for (lines, expected) in cases {
        assert_eq!(seen(request(lines)).await, expected, "{lines}");
    }
}

#[tokio::test]
async fn b46_the_host_must_be_loopback_or_the_advertised_one() {
    let own = [
        "localhost",
        "LocalHost:1",
        "127.0.0.1",
        "127.0.0.1:7467",
        "127.9.9.9:1",
        "[::1]:7467",
        "[::ffff:127.0.0.1]",
        "operond.example",
        "Operond.Example:8443",
    ];
    for host in own {
        check([
            (&*format!("GET /operations/x\nhost: {host}"), Seen::Reached),
            (&*format!("GET http://{host}/operations/x"), Seen::Reached),
        ])
        .await;
    }
    let foreign = [
        "evil.example",
        "evil.example:7467",
        "localhost.evil.example",
        "operond.example.evil.example",
        "192.168.0.1",
        "0.0.0.0:7467",
        "[::]",
        "[fe80::1]",
    ];
    for host in foreign {
        check([
            (&*format!("GET /operations/x\nhost: {host}"), rest(403, "FOREIGN_HOST")),
            (&*format!("GET http://{host}/operations/x"), rest(403, "FOREIGN_HOST")),
        ])
        .await;
    }
    check([
        ("GET /operations/x", rest(403, "FOREIGN_HOST")),
        ("GET /operations/x\nhost: localhost@evil.example", rest(403, "FOREIGN_HOST")),
        ("GET /operations/x\nhost: localhost\nhost: evil.example", rest(403, "FOREIGN_HOST")),
        ("GET http://localhost/operations/x\nhost: evil.example", rest(403, "FOREIGN_HOST")),
        ("GET http://evil.example/operations/x\nhost: localhost", rest(403, "FOREIGN_HOST")),
        (
            "POST http://evil.example/operond.v1.Operations/Get\ncontent-type: application/grpc",
            grpc(Code::PermissionDenied, "FOREIGN_HOST"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn b46_other_sites_change_nothing() {
    let refused = |lines: &'static str| (lines, rest(403, "CROSS_SITE"));
    check([
        refused("POST /api/v1/operations\nhost: localhost:1\norigin: http://evil.example"),
        refused("POST /api/v1/operations\nhost: localhost:1\norigin: null"),
        refused("POST /api/v1/operations\nhost: localhost:1\norigin: http://localhost:3000"),
        refused("POST /api/v1/operations\nhost: localhost:1\norigin: https://localhost"),
        refused("POST /api/v1/operations\nhost: localhost:1\norigin: chrome-extension://localhost:1"),
        refused("POST /x\nhost: localhost:1\norigin: http://localhost:1\norigin: http://evil.example"),
        refused("POST /api/v1/operations\nhost: localhost:1\nsec-fetch-site: cross-site"),
        refused("POST /api/v1/operations\nhost: localhost:1\nsec-fetch-site: Cross-Site"),
        refused("DELETE /api/v1/operations/x\nhost: localhost:1\norigin: http://evil.example"),
        refused("PUT /anything\nhost: localhost:1\nsec-fetch-site: cross-site"),
        refused("GET /operations/x:cancel\nhost: localhost:1\norigin: http://evil.example"),
        refused("GET /operations/x:cancel\nhost: localhost:1\nsec-fetch-site: cross-site"),
        refused("GET /operations/x:cancel\nhost: localhost:1\nsec-fetch-site: same-site"),
        refused("POST /api/v1/operations\nhost: localhost:1\nsec-fetch-site: same-site"),
        refused("POST /x\nhost: localhost:1\nsec-fetch-site: same-origin\nsec-fetch-site: same-site"),
        refused("GET /operations/x%3Acancel\nhost: localhost:1\nsec-fetch-site: cross-site"),
        refused("GET /operations/x:%63ancel?a=b\nhost: localhost:1\nsec-fetch-site: cross-site"),
        (
            "POST http://localhost/operond.v1.Operations/Create\ncontent-type: application/grpc\norigin: http://evil.example",
            grpc(Code::PermissionDenied, "CROSS_SITE"),
        ),
        (
            "POST http://localhost/operond.v1.Work/Claim\ncontent-type: application/grpc+proto\nsec-fetch-site: cross-site",
            grpc(Code::PermissionDenied, "CROSS_SITE"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn own_pages_and_programs_may_change_state_and_any_page_may_send_a_read() {
    check([
        ("POST /api/v1/operations\nhost: localhost:1", Seen::Reached),
        ("POST /api/v1/operations\nhost: localhost:1\norigin: http://LOCALHOST:1", Seen::Reached),
        ("POST /api/v1/operations\nhost: [::1]:1\norigin: https://[::1]:1", Seen::Reached),
        ("POST /api/v1/operations\nhost: operond.example\norigin: https://operond.example:443", Seen::Reached),
        ("POST http://localhost:80/x\norigin: http://localhost", Seen::Reached),
        ("POST /api/v1/operations\nhost: localhost:1\nsec-fetch-site: same-origin", Seen::Reached),
        ("GET /operations/x:cancel\nhost: localhost:1\nsec-fetch-site: none", Seen::Reached),
        ("GET /operations/x\nhost: localhost:1\nsec-fetch-site: same-site", Seen::Reached),
        ("GET /operations/x\nhost: localhost:1\norigin: http://evil.example", Seen::Reached),
        ("GET /operations/x\nhost: localhost:1\nsec-fetch-site: cross-site", Seen::Reached),
    ])
    .await;
}

#[tokio::test]
async fn b46_prefetches_and_foreign_methods_never_cancel() {
    check([
        ("GET /operations/x:cancel\nhost: localhost\nsec-purpose: prefetch", rest(403, "PREFETCH")),
        ("GET /operations/x:cancel\nhost: localhost\nsec-purpose: Prefetch;prerender", rest(403, "PREFETCH")),
        ("GET /operations/x:cancel\nhost: localhost\npurpose: prefetch", rest(403, "PREFETCH")),
        ("POST /operations/x:cancel\nhost: localhost\npurpose: prefetch", rest(403, "PREFETCH")),
        ("OPTIONS /operations/x:cancel\nhost: localhost", rest(405, "METHOD_NOT_ALLOWED")),
        ("OPTIONS /operations/x%3acancel\nhost: localhost", rest(405, "METHOD_NOT_ALLOWED")),
        ("GET /operations/x:cancel\nhost: localhost\npurpose: other", Seen::Reached),
        ("GET /operations/x:cancel\nhost: localhost", Seen::Reached),
        ("POST /operations/x:cancel\nhost: localhost", Seen::Reached),
        ("GET /operations/x\nhost: localhost\nsec-purpose: prefetch", Seen::Reached),
        ("OPTIONS /operations/x\nhost: localhost", Seen::Reached),
    ])
    .await;
}

#[tokio::test]
async fn b46_head_on_cancel_is_405_with_allow_and_no_body() {
    let cases = [
        ("HEAD /operations/x:cancel\nhost: localhost", "GET, POST"),
        ("HEAD /api/v1/operations/x:cancel\nhost: localhost", "POST"),
    ];
    for (lines, allow) in cases {
        let response = answer(request(lines)).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{lines}");
        assert_eq!(response.headers()["allow"], allow, "{lines}");
        assert!(axum::body::HttpBody::is_end_stream(response.body()), "{lines}");
    }
    let read = answer(request("HEAD /operations/x\nhost: localhost")).await;
    assert_eq!(read.status(), StatusCode::OK);
}

#[tokio::test]
async fn b46_no_answer_to_a_cancel_is_stored() {
    let cases = [
        ("GET /operations/x:cancel\nhost: localhost", Some("no-store")),
        ("POST /operations/x:cancel\nhost: localhost", Some("no-store")),
        ("GET /operations/x%3Acancel\nhost: localhost", Some("no-store")),
        ("HEAD /operations/x:cancel\nhost: localhost", Some("no-store")),
        ("GET /operations/x:cancel\nhost: localhost\npurpose: prefetch", Some("no-store")),
        ("GET /operations/x\nhost: localhost", None),
    ];
    for (lines, expected) in cases {
        let response = answer(request(lines)).await;
        let found = response.headers().get("cache-control").map(|value| value.to_str().expect("ASCII"));
        assert_eq!(found, expected, "{lines}");
    }
}

#[tokio::test]
async fn a_rest_body_is_json_or_refused() {
    let refused = |lines: &'static str| (lines, rest(415, "INVALID_FIELD"));
    check([
        refused("POST /x\nhost: localhost\nbody: {}"),
        refused("POST /x\nhost: localhost\ncontent-type: text/plain\nbody: {}"),
        refused("POST /x\nhost: localhost\ncontent-type: application/x-www-form-urlencoded\nbody: {}"),
        refused("POST /x\nhost: localhost\ncontent-type: text/plain; a=application/json\nbody: {}"),
        refused("POST /x\nhost: localhost\ncontent-type: application/json-patch+json\nbody: {}"),
        refused("POST /x\nhost: localhost\ncontent-type: application/json\ncontent-type: text/plain\nbody: {}"),
        refused("POST /x\nhost: localhost\ncontent-type: text/plain\nchunked-body: {}"),
        refused("DELETE /x\nhost: localhost\nbody: {}"),
        // Calls itself gRPC, but gRPC is POST only.
        refused("PUT /x\nhost: localhost\ncontent-type: application/grpc\nbody: {}"),
        ("POST /x\nhost: localhost\ncontent-type: application/json\nbody: {}", Seen::Reached),
        ("POST /x\nhost: localhost\ncontent-type: Application/JSON ; charset=utf-8\nbody: {}", Seen::Reached),
        ("POST /x\nhost: localhost\ncontent-type: application/json\nchunked-body: {}", Seen::Reached),
        ("POST /x\nhost: localhost", Seen::Reached),
        ("POST /x\nhost: localhost\ncontent-type: text/plain", Seen::Reached),
        ("POST /x\nhost: localhost\ncontent-type: text/plain\ncontent-length: 0", Seen::Reached),
        ("POST /a.B/C\nhost: localhost\ncontent-type: application/grpc\nbody: x", Seen::Reached),
        ("POST /a.B/C\nhost: localhost\ncontent-type: application/grpc+proto\nbody: x", Seen::Reached),
    ])
    .await;
}

#[tokio::test]
async fn b36_an_announced_body_over_the_limit_is_refused_unread() {
    let lines = |bytes: usize| {
        format!("POST /x\nhost: localhost\ncontent-type: application/json\ncontent-length: {bytes}\nbody: {{}}")
    };
    check([(&*lines(MAX_REQUEST_BYTES), Seen::Reached), (&*lines(MAX_REQUEST_BYTES + 1), rest(413, "LIMIT_EXCEEDED"))])
        .await;
}

#[tokio::test]
async fn every_answer_names_its_request_id_and_handlers_know_it() {
    let router = Router::new().fallback(any(|request: Request<Body>| async move {
        request.extensions().get::<RequestId>().expect("an id").as_str().to_owned()
    }));
    let service = layers(router, &GuardOptions { advertised: None }, None);
    for lines in ["GET /x\nhost: localhost", "GET /x\nhost: localhost\nx-request-id: mine"] {
        let response = service.clone().oneshot(request(lines)).await.expect("infallible");
        let echoed = response.headers()["x-request-id"].clone();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, echoed.as_bytes(), "{lines}");
        assert_eq!(echoed == "mine", lines.contains("mine"));
    }
    let refused = answer(request("GET /x\nhost: evil.example\nx-request-id: mine")).await;
    assert_eq!(refused.headers()["x-request-id"], "mine");
}

#[test]
fn cancel_paths_are_known_however_they_are_encoded() {
    let cancels = ["/operations/x:cancel", "/operations/x%3acancel", "/v1/a/b:cance%6C", "/operations/%zz:cancel"];
    for path in cancels {
        assert!(is_cancel_path(path), "{path}");
    }
    for path in ["/operations/x", "/operations/x:cancel/", "/operations/cancel", "/operations/x%253Acancel"] {
        assert!(!is_cancel_path(path), "{path}");
    }
}

/// A gRPC call whose handler does `handle` with its deadline; what the client sees, and when.
async fn call_within<F>(timeout: &str, handle: fn(Deadline) -> F) -> (Seen, Duration)
where
    F: Future<Output = ()> + Send + 'static,
{
    let router = Router::new().fallback(any(move |mut request: Request<Body>| async move {
        handle(request.extensions_mut().remove::<Deadline>().expect("a deadline")).await;
        REACHED
    }));
    let lines = format!("POST http://localhost/a.B/C\ncontent-type: application/grpc\ngrpc-timeout: {timeout}");
    let start = Instant::now();
    let service = layers(router, &GuardOptions { advertised: None }, None);
    let response = service.oneshot(request(&lines)).await.expect("infallible");
    let seen = match Status::from_header_map(response.headers()) {
        Some(status) => Seen::Grpc(status.code(), status.get_details_error_info().expect("ErrorInfo").reason),
        None => Seen::Reached,
    };
    (seen, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_call_that_outlives_its_deadline_is_answered_deadline_exceeded() {
    let outcome = call_within("1500m", |_| std::future::pending()).await;
    assert_eq!(outcome.0, grpc(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!((1_500..1_510).contains(&outcome.1.as_millis()), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_at_its_deadline_is_not_cut_off() {
    let outcome = call_within("1S", |deadline| tokio::time::sleep_until(deadline.at())).await;
    assert_eq!(outcome.0, Seen::Reached);
}

#[tokio::test(start_paused = true)]
async fn a_wait_like_call_answers_before_its_deadline() {
    let outcome = call_within("10S", |deadline| async move {
        deadline.answer_myself();
        tokio::time::sleep_until(deadline.answer_by()).await;
    })
    .await;
    assert_eq!(outcome.0, Seen::Reached);
    assert!((9_750..9_760).contains(&outcome.1.as_millis()), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_like_call_is_late_by_a_second_at_most() {
    let in_time = call_within("1S", |deadline| async move {
        deadline.answer_myself();
        tokio::time::sleep_until(deadline.at() + Duration::from_millis(900)).await;
    })
    .await;
    assert_eq!(in_time.0, Seen::Reached);
    let hung = call_within("1S", |deadline| async move {
        deadline.answer_myself();
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!(hung.0, grpc(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!((2_000..2_010).contains(&hung.1.as_millis()), "{hung:?}");
}

#[tokio::test]
async fn a_garbled_grpc_timeout_is_refused_and_rest_ignores_it() {
    check([
        (
            "POST http://localhost/a.B/C\ncontent-type: application/grpc\ngrpc-timeout: soon",
            grpc(Code::InvalidArgument, "INVALID_FIELD"),
        ),
        ("POST http://localhost/a.B/C\ncontent-type: application/grpc\ngrpc-timeout: 99999999H", Seen::Reached),
        ("GET /x\nhost: localhost\ngrpc-timeout: soon", Seen::Reached),
    ])
    .await;
}
