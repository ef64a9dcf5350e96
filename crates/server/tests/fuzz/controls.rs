//! What the harness must catch, planted: otherwise it shows nothing.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tonic::Status;
use tower::{ServiceExt, service_fn};

use crate::bearer::Bearer;
use crate::grpc::Grpc;
use crate::input::Input;
use crate::judge::judge;
use crate::rest::Rest;
use crate::rig::{App, Rig};
use crate::run::{Target, inputs_of};

/// What is said of an input that `planted` answers in the server's place.
fn caught<F>(planted: impl Fn(Request<Body>) -> F) -> String
where
    F: Future<Output = Response<Body>>,
{
    caught_at(&Rig::new(), planted)
}

fn caught_at<F>(rig: &Rig, planted: impl Fn(Request<Body>) -> F) -> String
where
    F: Future<Output = Response<Body>>,
{
    let input = Input::new("POST", "/operond.v1.Operations/Get").header("content-type", "application/grpc");
    let service = service_fn(|request| {
        let answer = planted(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    rig.call_of(service, &input).and_then(|answer| judge(&input, &answer)).unwrap_err()
}

#[test]
fn a_panic_is_caught() {
    assert_eq!(caught(async |_| panic!("planted")), "it panicked");
}

/// The runtime keeps the panic of a task to itself, and the call may go on without it.
#[test]
fn a_panic_in_a_task_is_caught() {
    let planted = async |_| {
        let mut tasks = JoinSet::new();
        tasks.spawn(async { panic!("planted") });
        assert!(tasks.join_next().await.unwrap().is_err());
        Response::new(Body::empty())
    };
    assert_eq!(caught(planted), "it panicked");
}

#[test]
fn a_hang_is_caught() {
    assert_eq!(caught(async |_| std::future::pending().await), "it hangs");
}

#[test]
fn an_internal_error_is_caught() {
    let internal = caught(async |_| Status::internal("planted").into_http());
    assert_eq!(internal, "refused with Internal");
    let rest = caught(async |_| {
        let mut response = Response::new(Body::from(r#"{"code":13,"message":"planted","details":[]}"#));
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    });
    assert!(rest.starts_with("500 with"), "{rest}");
}

#[test]
fn an_error_without_details_or_with_a_body_is_caught() {
    let bare = caught(async |_| Status::not_found("planted").into_http());
    assert!(bare.starts_with("no ErrorInfo"), "{bare}");
    let rebuilt = caught(async |_| {
        let (parts, _) = Status::not_found("planted").into_http::<Body>().into_parts();
        Response::from_parts(parts, Body::from_stream(futures::stream::empty::<Result<&str, Infallible>>()))
    });
    assert_eq!(rebuilt, "an error that is not Trailers-Only");
}

#[test]
fn a_long_error_and_a_long_answer_are_caught() {
    let long = caught(async |_| Status::not_found("x".repeat(8_000)).into_http());
    assert!(long.starts_with("an error of 8"), "{long}");
    let large = caught(async |_| Response::new(Body::from(vec![0; (4 << 20) + 1])));
    assert_eq!(large, "the answer has 4194305 bytes");
}

#[test]
fn a_refusal_that_stores_something_is_caught() {
    let rig = Rig::new();
    let planted = async |_| {
        let request = Input::parse(
            "POST /api/v1/operations\nhost: localhost\ncontent-type: application/json\n\n{\"kind\":\"a\"}",
        );
        let created = rig.app().oneshot(request.request(Arc::default()).unwrap()).await;
        assert_eq!(created.unwrap().status(), 200);
        let none = "GET /operations/none\nhost: localhost";
        let refused = Input::parse(none).request(Arc::default()).unwrap();
        rig.app().oneshot(refused).await.unwrap()
    };
    let caught = caught_at(&rig, planted);
    assert!(caught.ends_with("by a call that was answered NEVER_EXISTED"), "{caught}");
}

/// What is said of a create by somebody whose key was revoked, where `planted` stands before the server.
fn caught_letting_in<F>(planted: impl Fn(App, Request<Body>) -> F) -> String
where
    F: Future<Output = Response<Body>>,
{
    let mut target = Bearer::new();
    let rig = target.begin();
    let create = "POST /api/v1/operations\nhost: localhost\ncontent-type: application/json";
    let input = target.kept(&rig, &format!("{create}\nauthorization: Bearer {{revoked}}\n\n{{\"kind\":\"a\"}}"), 0);
    let service = service_fn(|request| {
        let answer = planted(rig.app(), request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let answer = rig.call_of(service, &input).unwrap();
    target.judge(&input, &answer, &judge(&input, &answer).unwrap()).unwrap_err()
}

#[test]
fn a_stranger_who_is_let_in_is_caught() {
    let admin = Bearer::new().kept(&Rig::new(), "GET /\nauthorization: Bearer {admin}", 0);
    let admin = http::HeaderValue::from_bytes(admin.get("authorization").unwrap()).unwrap();
    let caught = caught_letting_in(|app, mut request| {
        request.headers_mut().insert("authorization", admin.clone());
        async { app.oneshot(request).await.unwrap() }
    });
    assert_eq!(caught, "let in: ok");
}

#[test]
fn a_strangers_body_that_is_read_is_caught() {
    let caught = caught_letting_in(async |app, request| {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        app.oneshot(Request::from_parts(parts, Body::from(body))).await.unwrap()
    });
    assert_eq!(caught, "a stranger's body was read");
}

#[test]
fn a_seed_brings_the_same_inputs_back() {
    assert_eq!(inputs_of(Grpc::new(), 1, 500), inputs_of(Grpc::new(), 1, 500));
    assert_eq!(inputs_of(Rest, 1, 500), inputs_of(Rest, 1, 500));
    assert_eq!(inputs_of(Bearer::new(), 1, 500), inputs_of(Bearer::new(), 1, 500));
    assert_ne!(inputs_of(Rest, 1, 10), inputs_of(Rest, 2, 10));
}
