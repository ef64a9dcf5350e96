//! What is asked before anything else: endpoints, health, reflection.

use futures::future::poll_immediate;
use http::StatusCode;
use operond_proto::yandex::cloud::endpoint::api_endpoint_service_client::ApiEndpointServiceClient;
use operond_proto::yandex::cloud::endpoint::{GetApiEndpointRequest, ListApiEndpointsRequest};
use serde_json::json;
use tokio_stream::StreamExt;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::{ADVERTISED, Faces, InProcess, request, told, within};

#[tokio::test(start_paused = true)]
async fn sdks_find_the_server_where_it_is_advertised() {
    let faces = Faces::new();
    let origin = "http://localhost".parse().unwrap();
    let mut client = ApiEndpointServiceClient::with_origin(faces.in_process(), origin);
    let listed = client.list(ListApiEndpointsRequest::default()).await.unwrap().into_inner();
    assert!(listed.endpoints.iter().all(|endpoint| endpoint.address == ADVERTISED));
    for id in ["operation", "iam"] {
        assert!(listed.endpoints.iter().any(|endpoint| endpoint.id == id));
        let request = GetApiEndpointRequest { api_endpoint_id: id.into() };
        assert_eq!(client.get(request).await.unwrap().into_inner().address, ADVERTISED);
        let rest = faces.rest(&format!("GET /endpoints/{id}"), "").await.ok();
        assert_eq!(rest, json!({ "id": id, "address": ADVERTISED }));
    }
    let unknown = client.get(GetApiEndpointRequest { api_endpoint_id: "compute".into() }).await.unwrap_err();
    assert_eq!(told(&unknown).0, Code::NotFound);
    let rest = faces.rest("GET /endpoints?pageSize=1000", "").await.ok();
    assert_eq!(rest["endpoints"].as_array().unwrap().len(), listed.endpoints.len());
}

#[tokio::test(start_paused = true)]
async fn health_follows_the_server() {
    let faces = Faces::new();
    let mut client = HealthClient::with_origin(faces.in_process(), "http://localhost".parse().unwrap());
    let asked = |service: &str| HealthCheckRequest { service: service.into() };
    for service in ["", "operond.v1.Operations", "operond.v1.Work", "yandex.cloud.operation.OperationService"] {
        assert_eq!(client.check(asked(service)).await.unwrap().into_inner().status(), ServingStatus::Serving);
    }
    assert_eq!(told(&client.check(asked("x")).await.unwrap_err()).0, Code::NotFound);
    let mut watch = client.watch(asked("")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(faces.rest("GET /readyz", "").await.status, StatusCode::OK);

    faces.health.stop_serving();
    assert_eq!(client.check(asked("")).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(within(watch.next()).await.is_none(), "it does not hold up the shutdown");
    let mut unknown = client.watch(asked("x")).await.unwrap().into_inner();
    assert_eq!(unknown.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    let ready = faces.rest("GET /readyz", "").await;
    assert_eq!((ready.status, ready.reason()), (StatusCode::SERVICE_UNAVAILABLE, "SHUTTING_DOWN"));
    assert_eq!(ready.headers["retry-after"], "1");
    assert_eq!(faces.rest("GET /healthz", "").await.ok()["status"], "SERVING");
}

#[tokio::test(start_paused = true)]
async fn so_many_watch_the_health_and_one_more_hears_it_once() {
    let faces = Faces::new();
    let mut client = HealthClient::with_origin(faces.in_process(), "http://localhost".parse().unwrap());
    let mut watches = Vec::new();
    for _ in 0..1_024 {
        let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
        assert!(poll_immediate(watch.next()).await.is_none(), "it goes on");
        watches.push(watch);
    }
    let mut once = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(once.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert!(within(once.next()).await.is_none());
    watches.pop();
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert!(poll_immediate(watch.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_shut_down_is_not_ready_and_answers_unavailable() {
    let faces = Faces::new();
    faces.engine.shutdown().await;
    assert_eq!(faces.rest("GET /readyz", "").await.reason(), "SHUTTING_DOWN");
    let error = faces.operations().create(crate::harness::create("k")).await.unwrap_err();
    assert_eq!(told(&error), (Code::Unavailable, "SHUTTING_DOWN".into(), String::new()));
    assert!(tonic_types::StatusExt::get_details_retry_info(&error).is_some());
}

#[tokio::test(start_paused = true)]
async fn reflection_knows_our_services() {
    let faces = Faces::new();
    let mut client = reflection(&faces);
    let mut answers = client.server_reflection_info(tokio_stream::once(list_services())).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
    for name in ["operond.v1.Operations", "operond.v1.Work", "yandex.cloud.operation.OperationService"] {
        assert!(services.service.iter().any(|service| service.name == name), "{services:?}");
    }
}

/// It answered with the library's own UNIMPLEMENTED, without details, to gzip as well.
#[tokio::test(start_paused = true)]
async fn reflection_takes_gzip_and_refuses_as_every_service_does() {
    let faces = Faces::new();
    let mut client = reflection(&faces).send_compressed(CompressionEncoding::Gzip);
    client.server_reflection_info(tokio_stream::once(list_services())).await.unwrap();

    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let headers = [("content-type", "application/grpc"), ("grpc-encoding", "snappy")];
    let answer = faces.call(request(&format!("POST {path}"), &headers, "")).await;
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(told(&status), (Code::Unimplemented, "UNKNOWN_METHOD".into(), String::new()));
}

/// The library echoes it whole: an error of more than 8,000 bytes, which clients take for another one.
#[tokio::test(start_paused = true)]
async fn reflection_echoes_no_name_at_length() {
    let mut client = reflection(&Faces::new());
    let mut answered = async |length| {
        let symbol = MessageRequest::FileContainingSymbol("\"".repeat(length));
        let symbol = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
        let answers = client.server_reflection_info(tokio_stream::once(symbol)).await;
        answers.unwrap().into_inner().next().await
    };
    assert_eq!(answered(1_000).await.unwrap().unwrap_err().code(), Code::NotFound);
    // The library ends there, without a word.
    assert!(answered(3_000).await.is_none());
}

fn reflection(faces: &Faces) -> ServerReflectionClient<InProcess> {
    ServerReflectionClient::with_origin(faces.in_process(), "http://localhost".parse().unwrap())
}

fn list_services() -> ServerReflectionRequest {
    ServerReflectionRequest { host: String::new(), message_request: Some(MessageRequest::ListServices(String::new())) }
}
