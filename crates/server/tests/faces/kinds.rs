//! Defaults of kinds: what creates get that leave members open.

use std::time::Duration;

use http::StatusCode;
use operond_proto::operond::v1::kinds_client::KindsClient;
use operond_proto::operond::v1::{
    CreateRequest, GetKindRequest, GetOperationRequest, Kind, ListKindsRequest, Operation, Retention, StartRequest,
    UpdateKindRequest,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Faces, InProcess, create, told};

fn kinds(faces: &Faces) -> KindsClient<InProcess> {
    KindsClient::with_origin(faces.in_process(), http::Uri::from_static("http://localhost"))
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn everything(name: &str) -> Kind {
    Kind {
        name: name.into(),
        description: "prints reports".into(),
        cancellable: Some(false),
        clean_up_on_cancel: Some(true),
        queue_timeout: seconds(11),
        run_timeout: seconds(12),
        max_attempts: Some(13),
        cancel_grace: seconds(14),
        retention: Some(Retention { succeeded: seconds(15), failed: seconds(0), cancelled: None }),
        response_type: Some("google.protobuf.Empty".into()),
        metadata_type: Some("google.protobuf.StringValue".into()),
        ..Default::default()
    }
}

async fn update(faces: &Faces, kind: Kind) -> Result<Kind, tonic::Status> {
    Ok(kinds(faces).update(UpdateKindRequest { kind: Some(kind) }).await?.into_inner())
}

async fn created(faces: &Faces, request: CreateRequest) -> Operation {
    faces.operations().create(request).await.unwrap().into_inner()
}

/// How long operations of `kind` are kept that are cancelled at once.
async fn kept_when_cancelled(faces: &Faces, request: CreateRequest) -> Option<i64> {
    let id = created(faces, request).await.id;
    faces.rest(&format!("POST /api/v1/operations/{id}:cancel"), "").await.ok();
    let request = GetOperationRequest { id, ..Default::default() };
    let done = faces.operations().get(request).await.unwrap().into_inner();
    done.expires_at.map(|at| at.seconds - done.finished_at.unwrap().seconds)
}

#[tokio::test(start_paused = true)]
async fn what_was_set_is_read_back_over_grpc_and_rest() {
    let faces = Faces::new();
    let stored = update(&faces, everything("report")).await.unwrap();
    assert_eq!(Kind { version: 0, modified_at: None, ..stored.clone() }, everything("report"));
    assert_eq!((stored.version, stored.modified_at.is_some()), (1, true));
    let got = kinds(&faces).get(GetKindRequest { name: "report".into() }).await.unwrap().into_inner();
    assert_eq!(got, stored);
    let mut rest = faces.rest("GET /api/v1/kinds/report", "").await.ok();
    assert!(rest["modifiedAt"].take().is_string());
    let expected = json!({
        "name": "report", "description": "prints reports", "cancellable": false, "cleanUpOnCancel": true,
        "queueTimeout": "11s", "runTimeout": "12s", "maxAttempts": 13, "cancelGrace": "14s",
        "retention": {"succeeded": "15s", "failed": "0s"}, "responseType": "google.protobuf.Empty",
        "metadataType": "google.protobuf.StringValue", "version": "1", "modifiedAt": null,
    });
    assert_eq!(rest, expected);
    let list = faces.rest("GET /api/v1/kinds", "").await.ok();
    assert_eq!(list["kinds"][0]["queueTimeout"], "11s");
}

#[tokio::test(start_paused = true)]
async fn create_gets_what_it_leaves_open_and_its_own_members_win() {
    let faces = Faces::new();
    update(&faces, Kind { cancellable: None, ..everything("report") }).await.unwrap();
    let operation = created(&faces, create("report")).await;
    assert_eq!((operation.cancellable, operation.max_attempts), (true, 13));
    let wait = operation.queue_deadline.unwrap().seconds - operation.created_at.unwrap().seconds;
    assert_eq!(wait, 11);
    let own = CreateRequest { max_attempts: Some(2), queue_timeout: seconds(60), ..create("report") };
    let operation = created(&faces, own).await;
    let wait = operation.queue_deadline.unwrap().seconds - operation.created_at.unwrap().seconds;
    assert_eq!((operation.max_attempts, wait), (2, 60));
    assert_eq!(created(&faces, create("other")).await.max_attempts, 3, "another kind has none");

    update(&faces, everything("report")).await.unwrap();
    assert!(!created(&faces, create("report")).await.cancellable);
    assert!(created(&faces, CreateRequest { cancellable: Some(true), ..create("report") }).await.cancellable);
}

#[tokio::test(start_paused = true)]
async fn retention_is_that_of_the_kind_by_outcome_or_else_the_servers() {
    let faces = Faces::new();
    let kind = |cancelled| Kind {
        name: "k".into(),
        retention: Some(Retention { cancelled, ..Default::default() }),
        ..Default::default()
    };
    for (usual, kept) in [(None, Some(30 * 24 * 3_600)), (seconds(20), Some(20)), (seconds(0), None)] {
        update(&faces, kind(usual)).await.unwrap();
        assert_eq!(kept_when_cancelled(&faces, create("k")).await, kept, "{usual:?}");
        let own = CreateRequest { retention: seconds(9), ..create("k") };
        assert_eq!(kept_when_cancelled(&faces, own).await, Some(9));
    }
}

#[tokio::test(start_paused = true)]
async fn start_keeps_to_one_attempt_unless_it_says_otherwise() {
    let faces = Faces::new();
    update(&faces, everything("report")).await.unwrap();
    let start =
        |max_attempts| StartRequest { kind: "report".into(), worker: "w".into(), max_attempts, ..Default::default() };
    for (said, attempts) in [(None, 1), (Some(4), 4)] {
        let claim = faces.operations().start(start(said)).await.unwrap().into_inner();
        let operation = claim.operation.unwrap();
        assert_eq!((operation.max_attempts, operation.cancellable), (attempts, false));
        let run = operation.run_deadline.unwrap().seconds - operation.started_at.unwrap().seconds;
        assert_eq!(run, 12);
    }
}

#[tokio::test(start_paused = true)]
async fn clean_up_is_that_of_the_kind_unless_create_says_otherwise() {
    let faces = Faces::new();
    update(&faces, Kind { name: "k".into(), clean_up_on_cancel: Some(true), ..Default::default() }).await.unwrap();
    for (said, state) in [(None, "CANCELLING"), (Some(true), "CANCELLING"), (Some(false), "CANCELLED")] {
        let own = CreateRequest { clean_up_on_cancel: said, ..create("k") };
        faces.operations().create(own).await.unwrap();
        let claim = faces.claim("k").await;
        let release = json!({ "lease": claim.lease }).to_string();
        faces.rest("POST /api/v1/work:release", &release).await.ok();
        let id = claim.operation.unwrap().id;
        let cancelled = faces.rest(&format!("POST /api/v1/operations/{id}:cancel"), "").await.ok();
        assert_eq!(cancelled["state"], state, "{said:?}");
        // Out of the way of the next round.
        if state == "CANCELLING" {
            let lease = faces.claim("k").await.lease;
            let complete = json!({ "lease": lease, "cancelled": {} }).to_string();
            faces.rest("POST /api/v1/work:complete", &complete).await.ok();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn declared_types_of_the_kind_hold_and_are_named_when_they_are_not_kept() {
    let faces = Faces::new();
    update(&faces, everything("report")).await.unwrap();
    let any = |name: &str| Some(prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: vec![] });
    let wrong = CreateRequest { metadata: any("acme.Progress"), ..create("report") };
    let refused = faces.operations().create(wrong).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "INVALID_FIELD".into(), "metadata".into()));
    for name in ["acme.Progress", "google.protobuf.StringValue"] {
        assert!(refused.message().contains(name), "{}", refused.message());
    }
    let own = Some("acme.Progress".to_owned());
    created(&faces, CreateRequest { metadata: any("acme.Progress"), metadata_type: own, ..create("report") }).await;

    let lease = faces.claim("report").await.lease;
    let body = json!({ "lease": lease, "response": {"x": 1} }).to_string();
    let refused = faces.rest("POST /api/v1/work:complete", &body).await;
    assert_eq!((refused.status, refused.field()), (StatusCode::BAD_REQUEST, "response"));
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.contains("google.protobuf.Struct") && message.contains("google.protobuf.Empty"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_create_is_the_same_although_the_defaults_have_changed() {
    let faces = Faces::new();
    let keyed = |request| CreateRequest { idempotency_key: Some("once".into()), ..request };
    update(&faces, everything("report")).await.unwrap();
    let first = created(&faces, keyed(create("report"))).await;
    let other = Kind { max_attempts: Some(7), queue_timeout: None, run_timeout: seconds(99), ..everything("report") };
    update(&faces, other).await.unwrap();
    assert_eq!(created(&faces, keyed(create("report"))).await, first);
    update(&faces, Kind { name: "report".into(), ..Default::default() }).await.unwrap();
    assert_eq!(created(&faces, keyed(create("report"))).await, first);

    let said = keyed(CreateRequest { max_attempts: Some(13), ..create("report") });
    let refused = faces.operations().create(said).await.unwrap_err();
    assert_eq!(told(&refused).1, "IDEMPOTENCY_KEY_REUSED");
    assert!(refused.message().contains("maxAttempts"), "{}", refused.message());
}

#[tokio::test(start_paused = true)]
async fn an_update_replaces_everything_and_counts_only_changes() {
    let faces = Faces::new();
    let first = update(&faces, everything("k")).await.unwrap();
    assert_eq!(update(&faces, everything("k")).await.unwrap(), first, "the same is no change");
    let less = Kind { name: "k".into(), run_timeout: seconds(5), ..Default::default() };
    let second = update(&faces, Kind { version: 1, ..less.clone() }).await.unwrap();
    assert_eq!(Kind { version: 0, modified_at: None, ..second.clone() }, less);
    assert_eq!(second.version, 2);

    let stale = update(&faces, Kind { version: 1, ..everything("k") }).await.unwrap_err();
    assert_eq!((stale.code(), told(&stale).1.as_str()), (Code::Aborted, "VERSION_CHANGED"));
    let never = update(&faces, Kind { version: 1, ..everything("new") }).await.unwrap_err();
    assert_eq!(told(&never).1, "VERSION_CHANGED");
    let rest = faces.rest("PUT /api/v1/kinds/k", r#"{"version":"1"}"#).await;
    assert_eq!((rest.status, rest.reason()), (StatusCode::CONFLICT, "VERSION_CHANGED"));
    assert_eq!(rest.detail("ErrorInfo")["metadata"]["version"], "2");
    assert_eq!(kinds(&faces).get(GetKindRequest { name: "k".into() }).await.unwrap().into_inner(), second);
}

#[tokio::test(start_paused = true)]
async fn every_member_is_checked_as_in_create() {
    let faces = Faces::new();
    for (member, value) in [
        ("queueTimeout", json!("0.5s")),
        ("runTimeout", json!("31536001s")),
        ("maxAttempts", json!(101)),
        ("cancelGrace", json!("0s")),
        ("retention", json!({"failed": "0.5s"})),
        ("retention.cancelled", json!({"cancelled": "-1s"})),
        ("responseType", json!("")),
        ("metadataType", json!("x/")),
        ("description", json!("x".repeat(257))),
        ("name", json!("another")),
        ("nonsense", json!(1)),
    ] {
        let body = Value::Object([(member.split('.').next().unwrap().to_owned(), value)].into_iter().collect());
        let refused = faces.rest("PUT /api/v1/kinds/k", &body.to_string()).await;
        assert_eq!((refused.status, refused.field()), (StatusCode::BAD_REQUEST, member), "{}", refused.body);
    }
    let long = faces.rest(&format!("PUT /api/v1/kinds/{}", "x".repeat(129)), "{}").await;
    assert_eq!((long.reason(), long.field()), ("LIMIT_EXCEEDED", "name"));
    for missing in [None, Some(Kind::default())] {
        let refused = kinds(&faces).update(UpdateKindRequest { kind: missing }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    assert_eq!(faces.rest("GET /api/v1/kinds", "").await.ok(), json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_kind_without_defaults_is_not_found_and_told_that_it_needs_none() {
    let faces = Faces::new();
    faces.create("plain").await;
    let missing = faces.rest("GET /api/v1/kinds/plain", "").await;
    assert_eq!((missing.status, missing.reason()), (StatusCode::NOT_FOUND, "NO_DEFAULTS"));
    assert!(missing.body["message"].as_str().unwrap().contains("can be used without"), "{}", missing.body);
    assert_eq!(missing.detail("ErrorInfo")["metadata"]["kind"], "plain");
    let empty = kinds(&faces).get(GetKindRequest::default()).await.unwrap_err();
    assert_eq!(told(&empty), (Code::InvalidArgument, "INVALID_FIELD".into(), "name".into()));
}

#[tokio::test(start_paused = true)]
async fn names_may_have_slashes_and_colons_and_bodies_follow_the_rules_of_post() {
    let faces = Faces::new();
    let stored = faces.rest("PUT /api/v1/kinds/a%2Fb:wait", r#"{"maxAttempts":2}"#).await.ok();
    assert_eq!(stored["name"], "a/b:wait");
    assert_eq!(faces.rest("GET /api/v1/kinds/a%2Fb%3Await", "").await.ok(), stored);
    assert_eq!(faces.rest("GET /api/v1/kinds/a/b:wait", "").await.reason(), "UNKNOWN_PATH");
    let form = [("content-type", "text/plain")];
    let refused = faces.rest_with("PUT /api/v1/kinds/k", &form, "{}").await;
    assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let foreign = [("content-type", "application/json"), ("origin", "https://evil.example")];
    assert_eq!(faces.rest_with("PUT /api/v1/kinds/k", &foreign, "{}").await.status, StatusCode::FORBIDDEN);
    assert_eq!(faces.rest("GET /api/v1/kinds/k", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn kinds_are_listed_by_name_page_by_page() {
    let faces = Faces::new();
    for name in ["b", "d", "a", "e", "c"] {
        update(&faces, Kind { name: name.into(), ..Default::default() }).await.unwrap();
    }
    let (mut token, mut names) = (String::new(), Vec::new());
    loop {
        let request = ListKindsRequest { page_size: 2, page_token: token };
        let page = kinds(&faces).list(request).await.unwrap().into_inner();
        names.push(page.kinds.iter().map(|kind| kind.name.clone()).collect::<String>());
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        assert!(token.len() <= 100, "{token}");
    }
    assert_eq!(names, ["ab", "cd", "e"]);

    let page = faces.rest("GET /api/v1/kinds?pageSize=2", "").await.ok();
    let token = page["nextPageToken"].as_str().unwrap();
    let types = faces.rest(&format!("GET /api/v1/types?pageToken={token}"), "").await;
    assert_eq!((types.status, types.reason()), (StatusCode::BAD_REQUEST, "INVALID_PAGE_TOKEN"));
    for wrong in [&token[1..], "x", "%20"] {
        let refused = faces.rest(&format!("GET /api/v1/kinds?pageToken={wrong}"), "").await;
        assert_eq!((refused.reason(), refused.field()), ("INVALID_PAGE_TOKEN", "pageToken"));
    }
    assert_eq!(faces.rest("GET /api/v1/kinds?pageSize=-1", "").await.field(), "pageSize");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_kinds_have_defaults_and_no_more() {
    let faces = Faces::new();
    for n in 0..1_000 {
        update(&faces, Kind { name: format!("k{n}"), ..Default::default() }).await.unwrap();
    }
    let refused = update(&faces, Kind { name: "one more".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "LIMIT_EXCEEDED".into(), "kinds".into()));
    let again = Kind { name: "k0".into(), max_attempts: Some(1), ..Default::default() };
    assert_eq!(update(&faces, again).await.unwrap().version, 2, "those that are there still change");
    let page = kinds(&faces).list(ListKindsRequest { page_size: 5_000, ..Default::default() }).await.unwrap();
    assert_eq!((page.get_ref().kinds.len(), page.get_ref().next_page_token.as_str()), (1_000, ""));
}

#[tokio::test(start_paused = true)]
async fn faces_that_begin_anew_know_what_was_set_before() {
    let faces = Faces::new();
    let stored = update(&faces, everything("report")).await.unwrap();
    let anew = faces.begun_anew();
    assert_eq!(kinds(&anew).get(GetKindRequest { name: "report".into() }).await.unwrap().into_inner(), stored);
    assert_eq!(created(&anew, create("report")).await.max_attempts, 13);
}

#[tokio::test(start_paused = true)]
async fn an_update_is_carried_out_although_its_caller_hangs_up() {
    let faces = Faces::new();
    let mut client = kinds(&faces);
    let request = UpdateKindRequest { kind: Some(everything("report")) };
    let call = tokio::time::timeout(Duration::ZERO, client.update(request)).await;
    assert!(call.is_err(), "hung up");
    while created(&faces, create("report")).await.max_attempts != 13 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_without_a_body_forgets_nothing() {
    let faces = Faces::new();
    faces.rest("PUT /api/v1/kinds/k", r#"{"maxAttempts":5}"#).await.ok();
    let empty = faces.rest("PUT /api/v1/kinds/k", "").await;
    assert_eq!((empty.status, empty.field()), (StatusCode::BAD_REQUEST, "body"));
    assert_eq!(faces.rest("GET /api/v1/kinds/k", "").await.ok()["maxAttempts"], 5);
}
