//! How fast a cancel is, and that it is not done by accident.

use std::time::{Duration, Instant};

use operond_proto::operond::v1::{CancelRequest, GetOperationRequest, HeartbeatRequest, operation::State};

use crate::support::{Server, claimed, create, http, operations, work};

/// Issue 2: a cancel reaches a unary worker in 20 ms or less at the median.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_a_worker_in_a_held_heartbeat_within_twenty_milliseconds_at_the_median() {
    let server = Server::start();
    let mut operations = operations(&server.http);
    let mut took = Vec::new();
    for _ in 0..50 {
        let id = operations.create(create("cancel")).await.unwrap().into_inner().id;
        let lease = claimed(&server.http, "cancel").await.lease;
        let wait = Some(prost_types::Duration { seconds: 15, nanos: 0 });
        let mut work = work(&server.http);
        let held = tokio::spawn(async move {
            let heartbeat = HeartbeatRequest { lease, wait, ..HeartbeatRequest::default() };
            let answer = work.heartbeat(heartbeat).await.unwrap().into_inner();
            (answer.cancel_requested.is_some(), Instant::now())
        });
        held_by_the_server(&server, &id).await;
        let began = Instant::now();
        operations.cancel(CancelRequest { id, reason: "enough".into() }).await.unwrap();
        let (told, at) = held.await.unwrap();
        assert!(told, "the heartbeat ended without a cancel");
        took.push(at.saturating_duration_since(began));
    }
    took.sort();
    println!("cancel to worker: median {:?}, longest {:?}", took[25], took[49]);
    assert!(took[25] <= Duration::from_millis(20), "{took:?}");
}

/// A heartbeat moves the revision when it arrives: from then on it is held.
async fn held_by_the_server(server: &Server, id: &str) {
    let mut operations = operations(&server.http);
    let request = GetOperationRequest { id: id.to_owned(), ..GetOperationRequest::default() };
    let claimed = "2";
    while operations.get(request.clone()).await.unwrap().into_inner().revision == claimed {
        tokio::task::yield_now().await;
    }
}

/// FAILURES 46: Cancel is GET in the Yandex face, and the web is full of things that send GETs.
#[tokio::test(flavor = "multi_thread")]
async fn f46_nothing_but_a_deliberate_call_cancels_over_http() {
    let server = Server::start();
    let mut operations = operations(&server.http);
    let id = operations.create(create("guarded")).await.unwrap().into_inner().id;
    let path = format!("/operations/{id}:cancel");
    type Headers = &'static [(&'static str, &'static str)];
    let refused: [(&str, Headers, u16); 7] = [
        ("HEAD", &[], 405),
        ("OPTIONS", &[], 405),
        ("GET", &[("sec-purpose", "prefetch")], 403),
        ("GET", &[("purpose", "prefetch")], 403),
        ("GET", &[("sec-fetch-site", "cross-site")], 403),
        ("GET", &[("origin", "https://evil.example")], 403),
        ("POST", &[("origin", "https://evil.example"), ("content-type", "application/json")], 403),
    ];
    for (method, headers, status) in refused {
        let answer = http::call(&server.http, method, &path, headers, "");
        assert_eq!(answer.status, status, "{method} {headers:?}: {answer:?}");
        let request = GetOperationRequest { id: id.clone(), ..GetOperationRequest::default() };
        let found = operations.get(request).await.unwrap().into_inner();
        assert_eq!(found.state(), State::Queued, "{method} {headers:?} cancelled");
    }
    let answer = http::call(&server.http, "GET", &path, &[], "");
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
    assert!(answer.body.contains(r#""code":1"#) || answer.body.contains(r#""code": 1"#), "{answer:?}");
}
