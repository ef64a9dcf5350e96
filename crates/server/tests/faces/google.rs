//! The Google face: names, five members, the envelope of errors, lists and waits (CONTRACT §4 "Google face").

use std::time::Duration;

use http::StatusCode;
use operond_proto::google::longrunning::operation::Result as Shown;
use operond_proto::google::longrunning::operations_client::OperationsClient;
use operond_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
    WaitOperationRequest,
};
use operond_proto::google::rpc;
use operond_proto::operond::v1::complete_request::Outcome;
use operond_proto::operond::v1::{CompleteRequest, ReportFailureRequest};
use prost_types::Any;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::harness::{Faces, InProcess, create, request, told};

fn client(faces: &Faces) -> OperationsClient<InProcess> {
    OperationsClient::with_origin(faces.in_process(), http::Uri::from_static("http://localhost"))
        .max_decoding_message_size(usize::MAX)
}

async fn get(faces: &Faces, name: &str) -> Operation {
    client(faces).get_operation(GetOperationRequest { name: name.into() }).await.unwrap().into_inner()
}

fn list(name: &str, filter: &str) -> ListOperationsRequest {
    ListOperationsRequest { name: name.into(), filter: filter.into(), ..Default::default() }
}

fn any(value: &[u8]) -> Any {
    Any { type_url: "type.googleapis.com/acme.v1.T".into(), value: value.into() }
}

fn status(code: i32) -> rpc::Status {
    rpc::Status { code, message: "no".into(), details: vec![any(b"why")] }
}

async fn complete(faces: &Faces, lease: &str, outcome: Outcome) {
    let request = CompleteRequest { lease: lease.into(), metadata: Some(any(b"m")), outcome: Some(outcome) };
    faces.work().complete(request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_name_is_echoed_in_the_form_that_it_was_asked_with() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    for name in [format!("operations/{id}"), format!("projects/p/locations/eu/operations/{id}")] {
        assert_eq!(get(&faces, &name).await.name, name);
        assert_eq!(faces.rest(&format!("GET /v1/{name}"), "").await.ok()["name"], *name);
        let waited = faces.rest(&format!("POST /v1/{name}:wait"), r#"{"timeout":"0s"}"#).await.ok();
        assert_eq!(waited["name"], *name);
    }
    let encoded = faces.rest(&format!("GET /v1/projects%2Fp/operations/{id}"), "").await.ok();
    assert_eq!(encoded["name"], format!("projects/p/operations/{id}"));

    for (asked, collection) in
        [("operations", "operations"), ("projects/p/operations", "projects/p/operations"), ("", "operations")]
    {
        let page = client(&faces).list_operations(list(asked, "")).await.unwrap().into_inner();
        assert_eq!(page.operations[0].name, format!("{collection}/{id}"));
    }
    let page = faces.rest("GET /v1/projects/p/operations", "").await.ok();
    assert_eq!(page["operations"][0]["name"], format!("projects/p/operations/{id}"));
    let named = Faces::with(|settings| settings.collection = "shops/1/operations".into());
    let id = named.create("k").await.id;
    let page = client(&named).list_operations(list("", "")).await.unwrap().into_inner();
    assert_eq!(page.operations[0].name, format!("shops/1/operations/{id}"));
}

#[tokio::test(start_paused = true)]
async fn names_that_are_none_are_refused_alike_everywhere() {
    let faces = Faces::new();
    for name in ["", "op1", "jobs/op1", "operations", "operations/", "/operations/op1", &"x/".repeat(300)] {
        let refused = client(&faces).get_operation(GetOperationRequest { name: name.into() }).await.unwrap_err();
        assert_eq!((refused.code(), told(&refused).2.as_str()), (Code::InvalidArgument, "name"), "{name}");
        let cancel = CancelOperationRequest { name: name.into() };
        assert_eq!(client(&faces).cancel_operation(cancel).await.unwrap_err().code(), Code::InvalidArgument);
        let delete = DeleteOperationRequest { name: name.into() };
        assert_eq!(client(&faces).delete_operation(delete).await.unwrap_err().code(), Code::InvalidArgument);
        let wait = WaitOperationRequest { name: name.into(), timeout: None };
        assert_eq!(client(&faces).wait_operation(wait).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let unknown = GetOperationRequest { name: "operations/op0".into() };
    let unknown = client(&faces).get_operation(unknown).await.unwrap_err();
    assert_eq!(told(&unknown), (Code::NotFound, "NEVER_EXISTED".into(), String::new()));
}

#[tokio::test(start_paused = true)]
async fn it_has_five_members_and_no_error_before_it_is_done() {
    let faces = Faces::new();
    let claim = faces.claimed("k").await;
    let name = format!("operations/{}", claim.operation.unwrap().id);
    let line = format!("GET /v1/{name}");
    assert_eq!(faces.rest(&line, "").await.ok(), json!({ "name": name, "done": false }));

    let report =
        ReportFailureRequest { lease: claim.lease.clone(), error: Some(status(9)), metadata: Some(any(b"meta")) };
    faces.work().report_failure(report).await.unwrap();
    let failing = get(&faces, &name).await;
    assert_eq!((failing.done, &failing.result, &failing.metadata), (false, &None, &Some(any(b"meta"))));
    let metadata = json!({ "@type": "type.googleapis.com/acme.v1.T", "value": "bWV0YQ==" });
    assert_eq!(faces.rest(&line, "").await.ok(), json!({ "name": name, "done": false, "metadata": metadata }));

    complete(&faces, &claim.lease, Outcome::Error(status(9))).await;
    let failed = get(&faces, &name).await;
    assert_eq!((failed.done, failed.result), (true, Some(Shown::Error(status(9)))));
    let shown = faces.rest(&line, "").await.ok();
    let mut members: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["done", "error", "metadata", "name"]);
    assert_eq!(shown["error"]["code"], 9);
}

#[tokio::test(start_paused = true)]
async fn a_result_is_shown_as_it_came_and_empty_as_its_type_alone() {
    let faces = Faces::new();
    let claim = faces.claimed("k").await;
    let name = format!("operations/{}", claim.operation.unwrap().id);
    let empty = Any { type_url: "type.googleapis.com/google.protobuf.Empty".into(), value: Vec::new() };
    complete(&faces, &claim.lease, Outcome::Response(empty.clone())).await;
    assert_eq!(get(&faces, &name).await.result, Some(Shown::Response(empty)));
    let shown = faces.rest(&format!("GET /v1/{name}"), "").await.ok();
    assert_eq!(shown["response"], json!({ "@type": "type.googleapis.com/google.protobuf.Empty" }));

    let cancelled = CancelOperationRequest { name: name.clone() };
    client(&faces).cancel_operation(cancelled).await.unwrap();
    assert_eq!(faces.rest(&format!("GET /v1/{name}"), "").await.ok(), shown, "a finished operation stays as it is");
}

#[tokio::test(start_paused = true)]
async fn cancel_and_delete_answer_with_nothing_and_cancel_is_post_alone() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let line = |method: &str, verb: &str| format!("{method} /v1/operations/{id}{verb}");
    let early = faces.rest(&line("DELETE", ""), "").await;
    assert_eq!((early.status, reason(&early.body)), (StatusCode::BAD_REQUEST, "NOT_DONE"));
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let answer = faces.call(request(&line(method, ":cancel"), &[], "")).await;
        assert_eq!(
            (answer.status(), &answer.headers()["allow"]),
            (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
        );
    }
    assert_eq!(faces.rest(&line("GET", ""), "").await.ok()["done"], false);
    assert_eq!(faces.rest(&line("POST", ":cancel"), "{}").await.ok(), json!({}));
    assert_eq!(faces.rest(&line("GET", ""), "").await.ok()["error"]["code"], 1);
    assert_eq!(faces.rest(&line("DELETE", ""), "").await.ok(), json!({}));
    let gone = faces.rest(&line("GET", ""), "").await;
    assert_eq!((gone.status, reason(&gone.body)), (StatusCode::NOT_FOUND, "DELETED"));
}

fn reason(body: &Value) -> &str {
    let details = body["error"]["details"].as_array().into_iter().flatten();
    details.filter_map(|detail| detail["reason"].as_str()).next_back().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn errors_over_rest_are_in_the_envelope_whoever_refuses() {
    let faces = Faces::new();
    let check = |answer: crate::harness::Rest, http: u16, code: &str, reason: &str| {
        let error = &answer.body["error"];
        assert_eq!(answer.status.as_u16(), http, "{}", answer.body);
        assert_eq!((&error["code"], &error["status"]), (&json!(http), &json!(code)), "{}", answer.body);
        assert_eq!(self::reason(&answer.body), reason);
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
        let request_info = &error["details"][0];
        assert_eq!(request_info["requestId"], answer.headers["x-request-id"].to_str().unwrap());
        assert_eq!(answer.body.as_object().unwrap().len(), 1);
    };
    let get = |path: &str| format!("GET /v1/{path}");
    check(faces.rest(&get("operations/op0"), "").await, 404, "NOT_FOUND", "NEVER_EXISTED");
    check(faces.rest(&get("nothing"), "").await, 404, "NOT_FOUND", "UNKNOWN_PATH");
    check(faces.rest(&get("jobs/op0"), "").await, 404, "NOT_FOUND", "UNKNOWN_PATH");
    check(faces.rest(&get("operations/op0:stop"), "").await, 404, "NOT_FOUND", "UNKNOWN_PATH");
    check(faces.rest(&get("operations?pageSize=-1"), "").await, 400, "INVALID_ARGUMENT", "INVALID_FIELD");
    check(faces.rest(&get("operations?filter=colour=red"), "").await, 400, "INVALID_ARGUMENT", "INVALID_FILTER");
    check(faces.rest(&get("operations?pageToken=x"), "").await, 400, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN");
    check(faces.rest(&get("operations?returnPartialSuccess=true"), "").await, 501, "UNIMPLEMENTED", "UNSUPPORTED");
    check(faces.rest(&get("operations?colour=red"), "").await, 400, "INVALID_ARGUMENT", "INVALID_FIELD");
    check(faces.rest("PUT /v1/operations/op0", "{}").await, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED");
    check(faces.rest("POST /v1/operations/op0:cancel", "[]").await, 400, "INVALID_ARGUMENT", "INVALID_FIELD");
    let text = [("content-type", "text/plain")];
    let refused = faces.rest_with("POST /v1/operations/op0:cancel", &text, "{}").await;
    check(refused, 415, "INVALID_ARGUMENT", "INVALID_FIELD");
    let foreign = [("origin", "https://page.example")];
    let refused = faces.rest_with("POST /v1/operations/op0:cancel", &foreign, "{}").await;
    check(refused, 403, "PERMISSION_DENIED", "CROSS_SITE");
}

#[tokio::test(start_paused = true)]
async fn system_parameters_of_googles_clients_are_passed_over() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let query = "$alt=json;enum-encoding=int&alt=json&prettyPrint=false&key=x&quotaUser=y";
    assert_eq!(faces.rest(&format!("GET /v1/operations/{id}?{query}"), "").await.ok()["done"], false);
    let page = faces.rest(&format!("GET /v1/operations?{query}&returnPartialSuccess=false"), "").await.ok();
    assert_eq!(page["operations"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lists_are_paged_and_filtered_as_the_face_shows() {
    let faces = Faces::new();
    let mut names = Vec::new();
    for _ in 0..7 {
        names.insert(0, format!("operations/{}", faces.create("k").await.id));
    }
    let claim = faces.claim("k").await;
    let failing = format!("operations/{}", claim.operation.unwrap().id);
    let report = ReportFailureRequest { lease: claim.lease, error: Some(status(9)), metadata: None };
    faces.work().report_failure(report).await.unwrap();

    let (mut found, mut request) = (Vec::new(), ListOperationsRequest { page_size: 3, ..list("operations", "") });
    loop {
        let page = client(&faces).list_operations(request.clone()).await.unwrap().into_inner();
        assert!(page.operations.len() <= 3 && page.unreachable.is_empty());
        found.extend(page.operations.into_iter().map(|operation| operation.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(found, names);

    let count = async |filter: &str| {
        let page = client(&faces).list_operations(list("operations", filter)).await.unwrap().into_inner();
        page.operations.len()
    };
    assert_eq!(count("error:*").await, 0, "there is no error before it is done");
    assert_eq!(count("state = FAILING").await, 1);
    assert_eq!(count(&format!("name = {failing}")).await, 1);
    assert_eq!(count("done = false AND NOT state = FAILING").await, 6);
    let native = faces.rest("GET /api/v1/operations?filter=error:*", "").await.ok();
    assert_eq!(native["operations"].as_array().unwrap().len(), 1, "the native face shows it early");

    let first = ListOperationsRequest { page_size: 1, ..list("", "kind = k") };
    let page_token = client(&faces).list_operations(first).await.unwrap().into_inner().next_page_token;
    let other = ListOperationsRequest { page_token, ..list("", "state = QUEUED") };
    let refused = client(&faces).list_operations(other).await.unwrap_err();
    assert_eq!(told(&refused).1, "INVALID_PAGE_TOKEN");
    let partial = ListOperationsRequest { return_partial_success: true, ..list("", "") };
    assert_eq!(client(&faces).list_operations(partial).await.unwrap_err().code(), Code::Unimplemented);
    let negative = ListOperationsRequest { page_size: -1, ..list("", "") };
    let refused = client(&faces).list_operations(negative).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "INVALID_FIELD".into(), "pageSize".into()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_without_error_at_its_time_and_a_little_before_the_deadline() {
    let faces = Faces::new();
    let name = format!("operations/{}", faces.create("k").await.id);
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let wait = |timeout| WaitOperationRequest { name: name.clone(), timeout };
    for (timeout, took) in [(seconds(3), 3), (None, 30), (seconds(0), 0), (seconds(61), 60)] {
        let began = Instant::now();
        assert!(!client(&faces).wait_operation(wait(timeout)).await.unwrap().into_inner().done);
        assert_eq!(began.elapsed().as_secs(), took);
    }
    let began = Instant::now();
    let mut hurried = Request::new(wait(seconds(30)));
    hurried.set_timeout(Duration::from_secs(2));
    assert!(!client(&faces).wait_operation(hurried).await.unwrap().into_inner().done);
    assert!(began.elapsed() < Duration::from_secs(2) && began.elapsed() >= Duration::from_millis(1_800));
    let began = Instant::now();
    let answer = faces.rest(&format!("POST /v1/{name}:wait"), r#"{"timeout":"4s"}"#).await.ok();
    assert_eq!((&answer["done"], began.elapsed().as_secs()), (&json!(false), 4));
}

#[tokio::test(start_paused = true)]
async fn a_get_is_held_where_the_server_or_the_call_says_so() {
    let faces = Faces::with(|settings| settings.held_get = Duration::from_secs(5));
    let mut request = create("k");
    request.description = "slow".into();
    let id = faces.operations().create(request).await.unwrap().into_inner().id;
    let began = Instant::now();
    get(&faces, &format!("operations/{id}")).await;
    assert_eq!(began.elapsed().as_secs(), 5);
    let held = faces.rest(&format!("GET /v1/operations/{id}?wait=9s"), "").await;
    assert_eq!((began.elapsed().as_secs(), held.headers["etag"].to_str().unwrap()), (14, r#"W/"1""#));
    let seen = [("if-none-match", r#""1""#)];
    let same = faces.rest_with(&format!("GET /v1/operations/{id}?wait=0s"), &seen, "").await;
    assert_eq!((began.elapsed().as_secs(), same.status), (14, StatusCode::NOT_MODIFIED));
}
