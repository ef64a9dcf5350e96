//! Bad input: each with a clear error, the reason, the member that is wrong, and nothing stored.

use http::StatusCode;
use operond_proto::operond::v1::{CreateRequest, GetOperationRequest};
use serde_json::json;
use tonic::{Code, Request};

use crate::harness::{Faces, create, read, request, told};

/// Every case: method and path, body, HTTP status, reason, member.
async fn check(faces: &Faces, cases: &[(&str, &str, u16, &str, &str)]) {
    let before = faces.rows().await;
    for (line, body, status, reason, field) in cases {
        let answer = faces.rest(line, body).await;
        let found = (answer.status.as_u16(), answer.reason(), answer.field());
        assert_eq!(found, (*status, *reason, *field), "{line} {body:.200} → {}", answer.body);
        let code = if *status == 400 { 3 } else { answer.body["code"].as_i64().unwrap() };
        assert_eq!(answer.body["code"], code);
        assert_ne!(answer.body["message"], "");
        assert!(answer.detail("RequestInfo")["requestId"].is_string());
    }
    assert_eq!(faces.rows().await, before, "nothing is stored");
}

#[tokio::test(start_paused = true)]
async fn creates_that_cannot_be_read() {
    const CREATE: &str = "POST /api/v1/operations";
    let faces = Faces::new();
    check(
        &faces,
        &[
            (CREATE, "", 400, "INVALID_FIELD", "kind"),
            (CREATE, "{}", 400, "INVALID_FIELD", "kind"),
            (CREATE, "{", 400, "INVALID_FIELD", "body"),
            (CREATE, "[]", 400, "INVALID_FIELD", "body"),
            (CREATE, "\"x\"", 400, "INVALID_FIELD", "body"),
            (CREATE, r#"{"kind":"k"} x"#, 400, "INVALID_FIELD", "body"),
            (CREATE, r#"{"kind":"k","colour":1}"#, 400, "INVALID_FIELD", "colour"),
            (CREATE, r#"{"kind":"k","kind":"k"}"#, 400, "INVALID_FIELD", "kind"),
            (CREATE, r#"{"kind":7}"#, 400, "INVALID_FIELD", "kind"),
            (CREATE, r#"{"kind":"a\u0000b"}"#, 400, "INVALID_FIELD", "kind"),
            (CREATE, r#"{"kind":"k","description":"\u0000"}"#, 400, "INVALID_FIELD", "description"),
            (CREATE, r#"{"kind":"k","tenant":""}"#, 400, "INVALID_FIELD", "tenant"),
            (CREATE, r#"{"kind":"k","createdBy":"\u0000"}"#, 400, "INVALID_FIELD", "createdBy"),
            (CREATE, r#"{"kind":"k","idempotencyKey":""}"#, 400, "INVALID_FIELD", "idempotencyKey"),
            (CREATE, r#"{"kind":"k","labels":{"":"x"}}"#, 400, "INVALID_FIELD", "labels"),
            (CREATE, r#"{"kind":"k","maxAttempts":-1}"#, 400, "INVALID_FIELD", "maxAttempts"),
            (CREATE, r#"{"kind":"k","runTimeout":"soon"}"#, 400, "INVALID_FIELD", "runTimeout"),
            (CREATE, r#"{"kind":"k","runTimeout":"-1s"}"#, 400, "INVALID_FIELD", "runTimeout"),
            (CREATE, r#"{"kind":"k","retention":"-0.5s"}"#, 400, "INVALID_FIELD", "retention"),
            (CREATE, r#"{"kind":"k","input":{"@type":""}}"#, 400, "INVALID_FIELD", "input.@type"),
            (CREATE, r#"{"kind":"k","input":{"@type":"a/","value":""}}"#, 400, "INVALID_FIELD", "input.@type"),
            (CREATE, r#"{"kind":"k","responseType":""}"#, 400, "INVALID_FIELD", "responseType"),
            (CREATE, r#"{"kind":"k","metadataType":"a.B","metadata":{}}"#, 400, "INVALID_FIELD", "metadata"),
            ("POST /api/v1/operations?kind=k", r#"{"kind":"k"}"#, 400, "INVALID_FIELD", "\"kind\""),
            ("POST /api/v1/operations:start", r#"{"kind":"k"}"#, 400, "INVALID_FIELD", "worker"),
            (
                "POST /api/v1/operations:start",
                r#"{"kind":"k","worker":"w","leaseDuration":"0s"}"#,
                400,
                "INVALID_FIELD",
                "leaseDuration",
            ),
        ],
    )
    .await;
    let position = faces.rest(CREATE, "{\"kind\":\n x}").await;
    assert!(position.body["message"].as_str().unwrap().contains("line 2 column 2"), "{}", position.body);
}

#[tokio::test(start_paused = true)]
async fn ids_and_queries_that_cannot_be_read() {
    let faces = Faces::new();
    let long = "x".repeat(5_000);
    let over = format!("GET /api/v1/operations/{}", "x".repeat(51));
    let longest = format!("GET /api/v1/operations/{}", "x".repeat(50));
    let (native, yandex) = (format!("GET /api/v1/operations/{long}"), format!("GET /operations/{long}"));
    let cancel = format!("GET /operations/{long}:cancel");
    check(
        &faces,
        &[
            ("GET /api/v1/operations/", "", 400, "INVALID_FIELD", "id"),
            ("GET /operations/", "", 400, "INVALID_FIELD", "operationId"),
            ("GET /operations/:cancel", "", 400, "INVALID_FIELD", "operationId"),
            ("GET /api/v1/operations/op1", "", 404, "NEVER_EXISTED", ""),
            ("GET /operations/op1", "", 404, "NEVER_EXISTED", ""),
            ("DELETE /api/v1/operations/op1", "", 404, "NEVER_EXISTED", ""),
            ("POST /api/v1/operations/op1:cancel", "", 404, "NEVER_EXISTED", ""),
            ("GET /api/v1/operations/op1:wait", "", 404, "NEVER_EXISTED", ""),
            ("GET /api/v1/operations/op1:watch", "", 404, "NEVER_EXISTED", ""),
            (&longest, "", 404, "NEVER_EXISTED", ""),
            (&over, "", 400, "LIMIT_EXCEEDED", "id"),
            (&native, "", 400, "LIMIT_EXCEEDED", "id"),
            (&yandex, "", 400, "LIMIT_EXCEEDED", "operationId"),
            (&cancel, "", 400, "LIMIT_EXCEEDED", "operationId"),
            ("GET /api/v1/operations/a%00b", "", 400, "INVALID_FIELD", "id"),
            ("GET /api/v1/operations/%ff", "", 400, "INVALID_FIELD", "path"),
            ("GET /api/v1/operations/op1?view=ALL", "", 400, "INVALID_FIELD", "view"),
            ("GET /api/v1/operations/op1?view=7", "", 400, "INVALID_FIELD", "view"),
            ("GET /api/v1/operations/op1?wait=1", "", 400, "INVALID_FIELD", "wait"),
            ("GET /api/v1/operations/op1?wait=-1s", "", 400, "INVALID_FIELD", "wait"),
            ("GET /api/v1/operations/op1?id=op2", "", 400, "INVALID_FIELD", "id"),
            ("GET /api/v1/operations/op1?colour=red", "", 400, "INVALID_FIELD", "colour"),
            ("GET /api/v1/operations/op1?wait=%ff", "", 400, "INVALID_FIELD", "query"),
            ("GET /operations/op1?view=FULL", "", 400, "INVALID_FIELD", "\"view\""),
            ("GET /api/v1/operations/op1:wait?timeout=-1s", "", 400, "INVALID_FIELD", "timeout"),
            ("GET /api/v1/operations/op1:watch?afterRevision=x", "", 400, "INVALID_FIELD", "afterRevision"),
            ("POST /api/v1/operations/op1:cancel", r#"{"id":"op2"}"#, 400, "INVALID_FIELD", "id"),
            ("POST /api/v1/operations/op1:cancel", r#"{"why":"x"}"#, 400, "INVALID_FIELD", "why"),
            ("GET /api/v1/operations?pageSize=-1", "", 400, "INVALID_FIELD", "pageSize"),
            ("GET /api/v1/operations?pageSize=x", "", 400, "INVALID_FIELD", "pageSize"),
            ("GET /api/v1/operations?pageToken=x", "", 400, "INVALID_PAGE_TOKEN", "pageToken"),
            ("GET /api/v1/operations?orderBy=id", "", 400, "INVALID_FIELD", "orderBy"),
            ("GET /api/v1/operations?filter=done", "", 400, "INVALID_FILTER", "filter"),
            ("GET /api/v1/operations?page=1", "", 400, "INVALID_FIELD", "page"),
        ],
    )
    .await;
    let answer = faces.rest(&yandex, "").await;
    assert!(answer.body.to_string().len() < 1_000, "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn worker_calls_that_cannot_be_read() {
    const CLAIM: &str = "POST /api/v1/work:claim";
    let faces = Faces::new();
    let lease = faces.claimed("k").await.lease;
    let with = |rest: &str| format!(r#"{{"lease":"{lease}",{rest}}}"#);
    let claim = |rest: &str| format!(r#"{{"kinds":["k"],"worker":"w",{rest}}}"#);
    let cases = [
        (CLAIM, "{}".to_owned(), "worker"),
        (CLAIM, r#"{"worker":"w"}"#.into(), "kinds"),
        (CLAIM, r#"{"worker":"w","kinds":[""]}"#.into(), "kinds[0]"),
        (CLAIM, r#"{"kinds":["k"]}"#.into(), "worker"),
        (CLAIM, claim(r#""max":0"#), "max"),
        (CLAIM, claim(r#""max":101"#), "max"),
        (CLAIM, claim(r#""wait":"-1s""#), "wait"),
        (CLAIM, claim(r#""leaseDuration":"-1s""#), "leaseDuration"),
        ("POST /api/v1/work:heartbeat", "{}".into(), "lease"),
        ("POST /api/v1/work:heartbeat", with(r#""wait":"-1s""#), "wait"),
        ("POST /api/v1/work:heartbeat", with(r#""progress":{"done":-1}"#), "progress.done"),
        ("POST /api/v1/work:heartbeat", with(r#""progress":{"total":"NaN"}"#), "progress.total"),
        ("POST /api/v1/work:heartbeat", with(r#""progress":{"done":"Infinity"}"#), "progress.done"),
        ("POST /api/v1/work:heartbeat", with(r#""metadata":{"@type":"a/","value":""}"#), "metadata.@type"),
        ("POST /api/v1/work:reportFailure", with(r#""metadata":{}"#), "error"),
        ("POST /api/v1/work:reportFailure", with(r#""error":{}"#), "error.code"),
        ("POST /api/v1/work:reportFailure", with(r#""error":{"code":1}"#), "error.code"),
        ("POST /api/v1/work:retry", with(r#""backoff":"1s""#), "error"),
        ("POST /api/v1/work:retry", with(r#""error":{"code":0}"#), "error.code"),
        ("POST /api/v1/work:retry", with(r#""error":{"code":5},"backoff":"-1s""#), "backoff"),
        ("POST /api/v1/work:complete", with(r#""metadata":{}"#), "outcome"),
        ("POST /api/v1/work:complete", with(r#""error":{"code":0}"#), "error.code"),
        ("POST /api/v1/work:complete", with(r#""error":{"code":17}"#), "error.code"),
        ("POST /api/v1/work:complete", with(r#""error":{"code":-1}"#), "error.code"),
        ("POST /api/v1/work:complete", with(r#""error":{"code":5,"message":"\u0000"}"#), "error.message"),
        (
            "POST /api/v1/work:complete",
            with(r#""error":{"code":5,"details":[{"@type":"a/","value":""}]}"#),
            "error.details[0].@type",
        ),
        ("POST /api/v1/work:complete", with(r#""response":{"@type":"a/","value":""}"#), "response.@type"),
        ("POST /api/v1/work:complete", with(r#""response":{"@type":"","value":""}"#), "response.@type"),
        ("POST /api/v1/work:complete", with(r#""response":{"@type":"a/b.C","value":"?"}"#), "response.value"),
        ("POST /api/v1/work:complete", with(r#""response":{},"error":{"code":5}"#), "error"),
        ("POST /api/v1/work:complete", with(r#""cancelled":{"message":"\u0000"}"#), "cancelled.message"),
        ("POST /api/v1/work:release", "{}".into(), "lease"),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(line, body, field)| (*line, &**body, 400, "INVALID_FIELD", *field)).collect();
    check(&faces, &cases).await;
}

#[tokio::test(start_paused = true)]
async fn idempotency_keys_that_differ_or_cannot_be_read() {
    let faces = Faces::new();
    let post = async |key: &str, body: &str| {
        faces.rest_with("POST /api/v1/operations", &[("idempotency-key", key)], body).await
    };
    let first = post("a", r#"{"kind":"k"}"#).await.ok();
    assert_eq!(post("a", r#"{"kind":"k","idempotencyKey":"a"}"#).await.ok(), first, "the same content");
    let rows = faces.rows().await;
    let both = post("a", r#"{"kind":"k","idempotencyKey":"b"}"#).await;
    assert_eq!((both.status, both.field()), (StatusCode::BAD_REQUEST, "idempotencyKey"));
    let unreadable = post("\u{e9}", r#"{"kind":"k"}"#).await;
    assert_eq!((unreadable.status, unreadable.field()), (StatusCode::BAD_REQUEST, "idempotencyKey"));
    let other = post("a", r#"{"kind":"k","description":"other"}"#).await;
    assert_eq!((other.status, other.reason()), (StatusCode::CONFLICT, "IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(other.detail("ErrorInfo")["metadata"]["field"], "description");
    assert_eq!(faces.rows().await, rows);

    let id = first["id"].as_str().unwrap();
    faces.rest(&format!("POST /api/v1/operations/{id}:cancel"), "").await.ok();
    faces.rest(&format!("DELETE /api/v1/operations/{id}"), "").await.ok();
    let gone = post("a", r#"{"kind":"k"}"#).await;
    assert_eq!((gone.status, gone.reason()), (StatusCode::CONFLICT, "OPERATION_GONE"));

    let mut request = Request::new(CreateRequest { idempotency_key: Some("b".into()), ..create("k") });
    request.metadata_mut().insert("idempotency-key", "c".parse().unwrap());
    let error = faces.operations().create(request).await.unwrap_err();
    assert_eq!(told(&error), (Code::InvalidArgument, "INVALID_FIELD".into(), "idempotencyKey".into()));
}

#[tokio::test(start_paused = true)]
async fn the_idempotency_key_header_means_nothing_to_other_calls() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let headers = [("idempotency-key", "x"), ("idempotency-key", "other")];
    for line in [format!("GET /operations/{id}"), format!("GET /api/v1/operations/{id}")] {
        faces.rest_with(&line, &headers, "").await.ok();
    }
    let mut request = Request::new(GetOperationRequest { id, ..Default::default() });
    request.metadata_mut().insert("idempotency-key", "x".parse().unwrap());
    faces.operations().get(request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn b46_nothing_is_cancelled_by_a_request_that_nobody_meant() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let rows = faces.rows().await;
    let path = format!("/operations/{id}:cancel");
    let with = async |line: String, headers: &[(&str, &str)]| faces.call(request(&line, headers, "")).await.status();
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE"] {
        assert_eq!(with(format!("{method} {path}"), &[]).await, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    for header in [
        ("purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
    ] {
        assert_eq!(with(format!("GET {path}"), &[header]).await, StatusCode::FORBIDDEN, "{header:?}");
    }
    let create = [("origin", "https://evil.example"), ("content-type", "application/json")];
    let response = faces.call(request("POST /api/v1/operations", &create, r#"{"kind":"k"}"#)).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let native = with(format!("GET /api/v1/operations/{id}:cancel"), &[]).await;
    assert_eq!(native, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(faces.rows().await, rows);
    assert_eq!(with(format!("GET {path}"), &[]).await, StatusCode::OK);
    assert_ne!(faces.rows().await, rows, "a plain GET does cancel");
}

#[tokio::test(start_paused = true)]
async fn bodies_need_their_content_type_and_their_size() {
    let faces = Faces::new();
    let form = faces.rest_with("POST /api/v1/operations", &[("content-type", "text/plain")], r#"{"kind":"k"}"#).await;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let padded = |bytes: usize| {
        let body = json!({ "kind": "k" }).to_string();
        format!("{}{body}", " ".repeat(bytes - body.len()))
    };
    let large = faces.rest("POST /api/v1/operations", &padded(4 * 1024 * 1024 + 1)).await;
    assert_eq!((large.status, large.reason()), (StatusCode::PAYLOAD_TOO_LARGE, "LIMIT_EXCEEDED"));
    let mut binary = request("POST /api/v1/operations", &[], "x");
    *binary.body_mut() = axum::body::Body::from(&b"{\"kind\":\"\xff\"}"[..]);
    let binary = read(faces.call(binary).await).await;
    assert_eq!((binary.status, binary.field()), (StatusCode::BAD_REQUEST, "body"), "invalid UTF-8");
    assert!(faces.rows().await.is_empty());
    faces.rest("POST /api/v1/operations", &padded(4 * 1024 * 1024)).await.ok();
}
