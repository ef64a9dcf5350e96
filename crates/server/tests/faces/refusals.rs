//! gRPC requests that the library refuses before any face sees them: the same errors as everywhere.

use axum::body::Body;
use http::{Request, Response};
use http_body::Body as _;
use operond_proto::operond::v1::GetOperationRequest;
use prost::Message;
use tonic::{Code, Status};

use crate::harness::{Faces, told};

/// One message, framed.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

async fn call(faces: &Faces, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response<Body> {
    let mut request = Request::post(format!("http://localhost{path}")).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    faces.call(request.body(Body::from(body)).unwrap()).await
}

/// Trailers-Only, with all that our errors have.
#[track_caller]
fn refused(response: &Response<Body>, code: Code, reason: &str, field: &str) {
    assert_eq!(response.status(), 200);
    assert!(response.body().is_end_stream(), "one HEADERS frame");
    let status = Status::from_header_map(response.headers()).expect("a status in the headers");
    assert_eq!(told(&status), (code, reason.into(), field.into()), "{status:?}");
    assert!(status.message().len() < 700);
}

#[tokio::test(start_paused = true)]
async fn b38_what_cannot_be_decoded_is_an_invalid_argument() {
    const CREATE: &str = "/operond.v1.Operations/Create";
    let faces = Faces::new();
    let invalid = |response: &Response<Body>| refused(response, Code::InvalidArgument, "INVALID_FIELD", "request");
    for (flag, message) in [(0, &b"\x0a\x02\xff\xfe"[..]), (0, b"\xff\xff\xff"), (0, b"\x0a\x7f"), (7, b""), (1, b"")] {
        let response = call(&faces, CREATE, &[], framed(flag, message)).await;
        invalid(&response);
    }
    invalid(&call(&faces, CREATE, &[], Vec::new()).await);
    invalid(&call(&faces, CREATE, &[], framed(0, b"\x0a\x01k")[..6].into()).await);
    invalid(&call(&faces, CREATE, &[("grpc-encoding", "gzip")], framed(1, b"not gzip")).await);
    assert!(faces.rows().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn b36_oversized_requests_are_refused_before_they_are_read() {
    let faces = Faces::new();
    let limit = 4 * 1024 * 1024;
    let mut announced = framed(0, b"");
    announced[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    for body in [framed(0, &vec![0; limit + 1]), announced] {
        let response = call(&faces, "/operond.v1.Operations/Create", &[], body).await;
        refused(&response, Code::InvalidArgument, "LIMIT_EXCEEDED", "request");
    }
    // Reaches the service, which finds a member too large.
    let request = operond_proto::operond::v1::CreateRequest {
        kind: "k".into(),
        input: Some(prost_types::Any { type_url: "a/b".into(), value: vec![0; limit - 64] }),
        ..Default::default()
    };
    let response = call(&faces, "/operond.v1.Operations/Create", &[], framed(0, &request.encode_to_vec())).await;
    refused(&response, Code::InvalidArgument, "LIMIT_EXCEEDED", "input");
}

#[tokio::test(start_paused = true)]
async fn unknown_methods_and_encodings_are_unimplemented() {
    let faces = Faces::new();
    let body = || framed(0, &GetOperationRequest { id: "op0".into(), ..Default::default() }.encode_to_vec());
    for path in ["/operond.v1.Operations/Purge", "/operond.v2.Operations/Get", "/x", "/operations/op0"] {
        refused(&call(&faces, path, &[], body()).await, Code::Unimplemented, "UNKNOWN_METHOD", "");
    }
    let response = call(&faces, "/operond.v1.Operations/Get", &[("grpc-encoding", "br")], body()).await;
    refused(&response, Code::Unimplemented, "UNKNOWN_METHOD", "");
    assert!(response.headers()["grpc-accept-encoding"].to_str().unwrap().contains("gzip"));
}

#[tokio::test(start_paused = true)]
async fn errors_of_every_service_are_one_frame_with_the_request_id() {
    let faces = Faces::new();
    let body = || framed(0, &GetOperationRequest { id: "op0".into(), ..Default::default() }.encode_to_vec());
    for path in [
        "/operond.v1.Operations/Get",
        "/operond.v1.Operations/Wait",
        "/operond.v1.Operations/Watch",
        "/operond.v1.Operations/Cancel",
        "/operond.v1.Operations/Delete",
        "/yandex.cloud.operation.OperationService/Get",
        "/yandex.cloud.operation.OperationService/Cancel",
    ] {
        let response = call(&faces, path, &[("x-request-id", "id-1")], body()).await;
        refused(&response, Code::NotFound, "NEVER_EXISTED", "");
        let status = Status::from_header_map(response.headers()).unwrap();
        let info = tonic_types::StatusExt::get_details_request_info(&status).unwrap();
        assert_eq!(info.request_id, "id-1");
    }
}
