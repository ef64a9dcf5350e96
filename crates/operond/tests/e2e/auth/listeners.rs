//! Addresses of their own for workers and for administration take those calls away from the public one.

use std::process::Stdio;

use operond_proto::operond::v1::keys_client::KeysClient;
use operond_proto::operond::v1::{ListKeysRequest, WhoAmIRequest};
use rustix::process::{Pid, Signal, kill_process};
use tonic::body::Body;
use tonic::{Code, Request, Status};
use tower::ServiceExt;

use crate::auth::{Identity, Running, soon};
use crate::support::asking::{Asking, client, operond, printed, sqlite};
use crate::support::{channel, claim, create, http, operations, work};

/// Three plaintext addresses: the public one, the workers', the administration's.
fn three() -> (Asking, [String; 3], String) {
    let server = Asking::start(&["--worker-listen", "127.0.0.1:0", "--admin-listen", "http://127.0.0.1:0"]);
    let urls = server.urls.clone().try_into().expect("it says where it listens, in this order");
    let admin = server.admin();
    (server, urls, admin)
}

#[test]
fn calls_over_rest_are_served_at_their_address_alone() {
    let (_server, [public, worker, admin], key) = three();
    let bearer = format!("Bearer {key}");
    let status = |url: &str, method: &str, path: &str, body: &str| {
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let answer = http::call(url, method, path, &headers, body);
        assert!(answer.status != 404 || answer.body.contains("UNKNOWN_PATH"), "{}", answer.body);
        answer.status
    };
    // 400: it was served, and did not like what it was asked.
    for (method, path, body, served) in [
        ("GET", "/api/v1/operations", "", [200, 404, 404]),
        ("POST", "/api/v1/operations", "{}", [400, 404, 404]),
        ("GET", "/v1/operations", "", [200, 404, 404]),
        ("GET", "/endpoints", "", [200, 404, 404]),
        ("POST", "/api/v1/work:claim", "{}", [404, 400, 404]),
        ("POST", "/api/v1/work:complete", "{}", [404, 400, 404]),
        ("GET", "/api/v1/keys", "", [404, 404, 200]),
        ("POST", "/api/v1/keys", "{}", [404, 404, 400]),
        ("POST", "/api/v1/types:register", "{}", [404, 404, 400]),
        ("PUT", "/api/v1/kinds/k", r#"{"maxAttempts": 0}"#, [404, 404, 400]),
        ("GET", "/api/v1/kinds", "", [200, 200, 200]),
        ("GET", "/api/v1/types", "", [200, 200, 200]),
        ("GET", "/api/v1/whoami", "", [200, 200, 200]),
        ("GET", "/metrics", "", [404, 404, 200]),
        ("GET", "/healthz", "", [200, 200, 200]),
        ("GET", "/readyz", "", [200, 200, 200]),
    ] {
        let found = [&public, &worker, &admin].map(|url| status(url, method, path, body));
        assert_eq!(found, served, "{method} {path}");
    }
    // Health checks have no key.
    for url in [&public, &worker, &admin] {
        assert_eq!(http::call(url, "GET", "/healthz", &[], "").status, 200);
        assert_eq!(http::call(url, "GET", "/api/v1/whoami", &[], "").status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_grpc_are_served_at_their_address_alone() {
    let (_server, [public, worker, admin], key) = three();
    let mut found = Vec::new();
    for url in [&public, &worker, &admin] {
        let created = operations(url).create(signed(&key, create("k"))).await;
        let claimed = work(url).claim(signed(&key, claim("k"))).await;
        let keys = KeysClient::new(channel(url)).list(signed(&key, ListKeysRequest::default())).await;
        let me = KeysClient::new(channel(url)).who_am_i(signed(&key, WhoAmIRequest {})).await;
        let health = asked(url, HEALTH, None).await;
        let reflection = asked(url, REFLECTION, Some(&key)).await;
        found.push([code(&created), code(&claimed), code(&keys), code(&me), health, reflection]);
        assert_eq!(
            asked(url, REFLECTION, None).await,
            if url == &admin { Code::Unauthenticated } else { Code::Unimplemented }
        );
    }
    let none = Code::Unimplemented;
    assert_eq!(found[0], [Code::Ok, none, none, Code::Ok, Code::Ok, none], "public");
    assert_eq!(found[1], [none, Code::Ok, none, Code::Ok, Code::Ok, none], "workers");
    assert_eq!(found[2], [none, none, Code::Ok, Code::Ok, Code::Ok, Code::Ok], "administration");
}

#[test]
fn commands_are_given_the_address_that_serves_them() {
    let (_server, [public, worker, admin], key) = three();
    let refused = operond(&public, &key, &["keys", "list"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("KeysList is not served at this address"), "{refused:?}");
    printed(&admin, &key, &["keys", "list"]);
    let refused = operond(&public, &key, &["worker", "exec", "--kind", "k", "--", "true"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Claim is not served at this address"), "{refused:?}");
    let refused = operond(&worker, &key, &["create", "k"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Create is not served at this address"), "{refused:?}");

    // A worker needs no other address than its own, and a producer none but the public one.
    let exec = ["worker", "exec", "--kind", "shout", "--", "tr", "a-z", "A-Z"];
    let mut exec = Running(client(&worker, &key, &exec).stderr(Stdio::null()).spawn().unwrap());
    let create = operond(&public, &key, &["create", "shout", "--input", r#""hello""#, "--wait", "-o", "json"]);
    kill_process(Pid::from_child(&exec.0), Signal::TERM).unwrap();
    soon("the worker ends", || exec.0.try_wait().unwrap().is_some_and(|status| status.success()));
    assert!(String::from_utf8_lossy(&create.stdout).contains("HELLO"), "{create:?}");
}

#[test]
fn without_addresses_of_their_own_all_but_reflection_is_served_at_the_public_one() {
    let server = Asking::start(&[]);
    let (url, admin) = (server.http(), server.admin());
    printed(url, &admin, &["keys", "list"]);
    printed(url, &admin, &["create", "k"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(asked(url, REFLECTION, Some(&admin))), Code::Unimplemented);
    assert_eq!(runtime.block_on(asked(url, HEALTH, None)), Code::Ok);
}

#[test]
fn every_address_speaks_tls_where_it_is_told_to() {
    let identity = Identity::new();
    let data = tempfile::tempdir().unwrap();
    let own = [
        "--tls-listen",
        "127.0.0.1:0",
        "--worker-listen",
        "https://127.0.0.1:0",
        "--admin-listen",
        "https://127.0.0.1:0",
    ];
    let arguments = [&identity.arguments()[..], &own].concat();
    let server = Asking::on(&sqlite(data.path()), &arguments);
    let schemes: Vec<_> = server.urls.iter().map(|url| url.split(':').next().unwrap()).collect();
    assert_eq!(schemes, ["http", "https", "https", "https"]);
    let key = server.admin();
    let call = |url: &str, arguments: &[&str]| printed(url, &key, &[arguments, &["--ca", &identity.ca]].concat());
    call(&server.urls[1], &["create", "k"]);
    assert!(call(&server.urls[2], &["whoami"]).contains("admin"));
    assert!(call(&server.urls[3], &["keys", "list"]).contains("admin"));
    // What is spoken in the clear there is not understood.
    for url in &server.urls[1..] {
        let clear = url.replace("https", "http");
        assert_eq!(operond(&clear, &key, &["whoami"]).status.code(), Some(5));
    }
}

/// What a call with an empty message is answered first; asked with a key or without.
async fn asked(url: &str, path: &str, key: Option<&str>) -> Code {
    let mut request = hyper::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let empty = "\0".repeat(5);
    let answer = channel(url).oneshot(request.body(Body::new(empty)).unwrap()).await.unwrap();
    Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
}

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn signed<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

fn code<T>(answer: &Result<T, Status>) -> Code {
    answer.as_ref().map_or_else(Status::code, |_| Code::Ok)
}
