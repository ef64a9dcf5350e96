//! Every path that the protos promise is there.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use operond_proto::{FILE_DESCRIPTOR_SET, OPENAPI};
use prost_reflect::{DescriptorPool, MethodDescriptor, ReflectMessage, Value};
use serde_json::Value as Json;
use tokio::task::JoinSet;

use crate::connections::start;
use crate::harness::{Faces, read, request, within};

/// The HTTP methods and paths of a call, from its `google.api.http` annotation.
pub(crate) fn annotations(pool: &DescriptorPool, method: &MethodDescriptor) -> Vec<(Method, String)> {
    let extension = pool.get_extension_by_name("google.api.http").expect("the annotations are in the set");
    let options = method.options();
    if !options.has_extension(&extension) {
        return Vec::new();
    }
    let rule = options.get_extension(&extension).into_owned();
    let rule = rule.as_message().unwrap();
    let more = rule.get_field_by_name("additional_bindings").unwrap().into_owned();
    let more = more.as_list().unwrap().iter().map(|rule| rule.as_message().unwrap());
    std::iter::once(rule).chain(more).map(route).collect()
}

fn route(rule: &prost_reflect::DynamicMessage) -> (Method, String) {
    let methods = [Method::GET, Method::PUT, Method::POST, Method::DELETE];
    let found = methods.into_iter().find_map(|method| {
        let Value::String(path) = rule.get_field_by_name(&method.as_str().to_lowercase())?.into_owned() else {
            return None;
        };
        (!path.is_empty()).then_some((method, path))
    });
    found.unwrap_or_else(|| panic!("{} has no method that is known here: {rule:?}", rule.descriptor().full_name()))
}

/// The path with something for each of its variables.
pub(crate) fn filled(path: &str) -> String {
    let path =
        path.replace("{name=**/", "projects/p/").replace("{name=", "").replace("operations/*}", "operations/op0");
    let path = path.replace("operations}", "operations");
    let Some((before, rest)) = path.split_once('{') else { return path };
    let (_, after) = rest.split_once('}').unwrap();
    format!("{before}op0{after}")
}

/// All that is promised: the call, its method, its path.
fn promised() -> Vec<(String, Method, String)> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let calls = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    calls
        .flat_map(|call| {
            let name = call.full_name().to_owned();
            annotations(&pool, &call).into_iter().map(move |(method, path)| (name.clone(), method, filled(&path)))
        })
        .collect()
}

fn reason(body: &Json) -> &str {
    let details = body["details"].as_array().or(body["error"]["details"].as_array());
    let mut reasons = details.into_iter().flatten().filter_map(|detail| detail["reason"].as_str());
    reasons.next_back().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn every_annotated_path_is_served_and_refuses_other_methods() {
    let faces = Faces::new();
    let promised = promised();
    for (call, method, path) in &promised {
        let answer = faces.rest(&format!("{method} {path}"), "").await;
        assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{call} {path}");
        assert_ne!(reason(&answer.body), "UNKNOWN_PATH", "{call} {path}");
        let wrong = faces.call(request(&format!("PATCH {path}"), &[], "")).await;
        assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
        let allowed = wrong.headers()["allow"].to_str().unwrap();
        assert!(allowed.split(", ").any(|allowed| allowed == method.as_str()), "{path} allows {allowed}");
    }
    let calls: BTreeSet<_> = promised.iter().map(|(call, ..)| call.rsplit_once('.').unwrap().0).collect();
    let services = ["Kinds", "Operations", "Types", "Work"].map(|name| format!("operond.v1.{name}"));
    for service in services.iter().map(String::as_str).chain(["google.longrunning.Operations"]) {
        assert!(calls.contains(service), "{service} is promised");
    }
}

/// The status and the reason of an answer to one request over a connection of its own.
async fn over(version: Version, address: std::net::SocketAddr, method: &Method, path: &str) -> (StatusCode, String) {
    let socket = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let mut connection = JoinSet::new();
    let request = Request::builder().method(method);
    let response: Response<Body> = if version == Version::HTTP_2 {
        let (mut client, driver) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
        connection.spawn(driver);
        let request = request.uri(format!("http://{address}{path}")).body(Body::empty()).unwrap();
        client.send_request(request).await.unwrap().map(Body::new)
    } else {
        let (mut client, driver) = http1::handshake(socket).await.unwrap();
        connection.spawn(driver);
        let request = request.uri(path).header("host", address.to_string()).body(Body::empty()).unwrap();
        client.send_request(request).await.unwrap().map(Body::new)
    };
    assert_eq!(response.version(), version);
    let answer = read(response).await;
    (answer.status, reason(&answer.body).to_owned())
}

#[tokio::test]
async fn every_annotated_path_answers_the_same_over_http_1_and_2() {
    let running = start().await;
    for (call, method, path) in promised() {
        let [one, two] =
            [Version::HTTP_11, Version::HTTP_2].map(|version| within(over(version, running.address, &method, &path)));
        let (one, two) = (one.await, two.await);
        assert_eq!(one, two, "{call}: {method} {path}");
        assert!(one.0.is_success() || !one.1.is_empty(), "{call}: {method} {path} answers {}", one.0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_openapi_document_is_served_and_knows_every_path() {
    let answer = Faces::new().rest("GET /api/v1/openapi.json", "").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let document = answer.ok();
    assert_eq!(document, serde_json::from_str::<Json>(OPENAPI).unwrap());
    let known: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(known, promised().len());
}

#[tokio::test(start_paused = true)]
async fn neither_cors_nor_grpc_web_is_offered() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let preflight = [("origin", "https://page.example"), ("access-control-request-method", "POST")];
    let asked = request(&format!("OPTIONS /api/v1/operations/{id}"), &preflight, "");
    let answer = faces.call(asked).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("access-control-")));

    for other in ["application/grpc-web+proto", "application/grpc-web", "application/json"] {
        let call = request("POST /operond.v1.Operations/Create", &[("content-type", other)], "\0\0\0\0\x03\n\x01k");
        let answer = faces.call(call).await;
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{other}");
    }
    assert_eq!(faces.rows().await.len(), 1, "nothing was created");
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_are_404_and_head_has_no_body() {
    let faces = Faces::new();
    for path in ["/", "/operations", "/api/v1", "/api/v2/operations", "/api/v1/work", "/api/v1/work:stream"] {
        let answer = faces.rest(&format!("GET {path}"), "").await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::NOT_FOUND, "UNKNOWN_PATH"), "{path}");
    }
    let id = faces.create("k").await.id;
    let get = faces.rest(&format!("GET /operations/{id}"), "").await;
    let head = faces.rest(&format!("HEAD /operations/{id}"), "").await;
    assert_eq!((head.status, head.body), (StatusCode::OK, Json::Null));
    assert_eq!(head.headers["content-type"], get.headers["content-type"]);
}
