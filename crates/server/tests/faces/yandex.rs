//! The Yandex face: Get, Cancel, and the poll interval.

use http::StatusCode;
use operond_proto::google::rpc;
use operond_proto::operond::v1::complete_request::Outcome;
use operond_proto::operond::v1::{CompleteRequest, ReportFailureRequest};
use operond_proto::yandex::cloud::operation::operation::Result as Shown;
use operond_proto::yandex::cloud::operation::{CancelOperationRequest, GetOperationRequest};
use prost_types::Any;
use serde_json::json;
use tonic::Code;

use crate::harness::{Faces, create, told};

fn get(id: &str) -> GetOperationRequest {
    GetOperationRequest { operation_id: id.into() }
}

fn cancel(id: &str) -> CancelOperationRequest {
    CancelOperationRequest { operation_id: id.into() }
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_shown_from_its_creation_to_its_result() {
    let faces = Faces::new();
    let any = Any { type_url: "type.googleapis.com/acme.v1.T".into(), value: b"\0\xff".into() };
    let mut request = create("k");
    request.metadata = Some(any.clone());
    request.description = "a film".into();
    let id = faces.operations().create(request).await.unwrap().into_inner().id;
    let queued = faces.yandex().get(get(&id)).await.unwrap().into_inner();
    assert_eq!((queued.id.as_str(), queued.description.as_str(), queued.done), (id.as_str(), "a film", false));
    assert_eq!(
        (queued.created_by.as_str(), &queued.metadata, &queued.result),
        ("anonymous", &Some(any.clone()), &None)
    );
    assert_eq!(queued.created_at, queued.modified_at);

    let lease = faces.claim("k").await.lease;
    let error = rpc::Status { code: 9, message: "no".into(), details: vec![any.clone()] };
    let report = ReportFailureRequest { lease: lease.clone(), error: Some(error.clone()), metadata: None };
    faces.work().report_failure(report).await.unwrap();
    let failing = faces.yandex().get(get(&id)).await.unwrap().into_inner();
    assert_eq!((failing.done, failing.result), (false, Some(Shown::Error(error.clone()))));
    let complete = CompleteRequest { lease, metadata: None, outcome: Some(Outcome::Error(error.clone())) };
    faces.work().complete(complete).await.unwrap();
    let failed = faces.yandex().get(get(&id)).await.unwrap().into_inner();
    assert_eq!((failed.done, failed.result), (true, Some(Shown::Error(error))));

    let lease = faces.claimed("k").await;
    let complete =
        CompleteRequest { lease: lease.lease, metadata: None, outcome: Some(Outcome::Response(any.clone())) };
    faces.work().complete(complete).await.unwrap();
    let id = lease.operation.unwrap().id;
    let done = faces.yandex().get(get(&id)).await.unwrap().into_inner();
    assert_eq!(done.result, Some(Shown::Response(any)));
    let cancelled = faces.yandex().cancel(cancel(&id)).await.unwrap().into_inner();
    assert_eq!(cancelled, done, "cancel of a finished operation returns it unchanged");
}

#[tokio::test(start_paused = true)]
async fn cancel_ends_with_code_1_by_get_and_post_and_grpc() {
    let faces = Faces::new();
    for method in ["GET", "POST"] {
        let id = faces.create("k").await.id;
        let answer = faces.rest(&format!("{method} /operations/{id}:cancel"), "").await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        let cancelled = answer.ok();
        assert_eq!((&cancelled["done"], &cancelled["error"]["code"]), (&json!(true), &json!(1)));
        assert_eq!(faces.rest(&format!("GET /operations/{id}"), "").await.ok(), cancelled);
    }
    let id = faces.create("k").await.id;
    let cancelled = faces.yandex().cancel(cancel(&id)).await.unwrap().into_inner();
    let Some(Shown::Error(error)) = cancelled.result else { panic!("{cancelled:?}") };
    assert_eq!((cancelled.done, error.code), (true, 1));
}

#[tokio::test(start_paused = true)]
async fn rest_shows_exactly_the_members_of_the_message() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let shown = faces.rest(&format!("GET /operations/{id}"), "").await.ok();
    let members: Vec<_> = shown.as_object().unwrap().keys().collect();
    assert_eq!(members, ["createdAt", "createdBy", "done", "id", "modifiedAt"]);
    assert_eq!(shown["done"], false);
}

#[tokio::test(start_paused = true)]
async fn the_poll_interval_is_told_while_unfinished() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let interval = async || {
        let response = faces.yandex().get(get(&id)).await.unwrap();
        response.metadata().get("x-operation-poll-interval").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(interval().await.as_deref(), Some("1"));
    let rest = faces.rest(&format!("GET /operations/{id}"), "").await;
    assert_eq!(
        (&rest.headers["x-operation-poll-interval"], &rest.headers["retry-after"]),
        (&"1".parse().unwrap(), &"1".parse().unwrap())
    );
    faces.claim("k").await;
    let cancelling = faces.yandex().cancel(cancel(&id)).await.unwrap();
    assert!(cancelling.metadata().contains_key("x-operation-poll-interval"));
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(interval().await, None, "done");
}

#[tokio::test(start_paused = true)]
async fn errors_name_the_member_and_never_echo_an_id_at_length() {
    let faces = Faces::new();
    let error = faces.yandex().get(get("op0")).await.unwrap_err();
    assert_eq!(told(&error), (Code::NotFound, "NEVER_EXISTED".into(), String::new()));
    let error = faces.yandex().get(get("")).await.unwrap_err();
    assert_eq!(told(&error), (Code::InvalidArgument, "INVALID_FIELD".into(), "operationId".into()));
    for long in ["x".repeat(5_000), "ж".repeat(51)] {
        for error in
            [faces.yandex().get(get(&long)).await.unwrap_err(), faces.yandex().cancel(cancel(&long)).await.unwrap_err()]
        {
            assert_eq!(told(&error), (Code::InvalidArgument, "LIMIT_EXCEEDED".into(), "operationId".into()));
            assert!(error.message().len() + error.details().len() < 1_000);
        }
    }
    let rest = faces.rest("GET /operations/op0", "").await;
    assert_eq!((rest.status, rest.body["code"].as_i64()), (StatusCode::NOT_FOUND, Some(5)));
}
