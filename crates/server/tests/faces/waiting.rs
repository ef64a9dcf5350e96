//! Calls that wait: Wait, held Get, Watch, held claims and heartbeats, and their ends.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use operond_proto::operond::v1::complete_request::Outcome;
use operond_proto::operond::v1::operation::State;
use operond_proto::operond::v1::{
    CancelRequest, ClaimRequest, CompleteRequest, GetOperationRequest, HeartbeatRequest, Progress, WaitRequest,
    WatchRequest,
};
use operond_proto::yandex::cloud::operation::GetOperationRequest as YandexGet;
use prost_types::Any;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::harness::{Faces, create, request, told, within};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn empty() -> Any {
    Any { type_url: "type.googleapis.com/google.protobuf.Empty".into(), value: Vec::new() }
}

async fn complete(faces: &Faces, lease: &str) {
    let outcome = Some(Outcome::Response(empty()));
    faces.work().complete(CompleteRequest { lease: lease.into(), metadata: None, outcome }).await.unwrap();
}

/// Runs `waiting`, then `then` once somebody waits, and returns what the wait came to and how long it took.
async fn meanwhile<T: Send + 'static>(
    faces: &Arc<Faces>,
    waiting: impl Future<Output = T> + Send + 'static,
    then: impl Future<Output = ()>,
) -> (T, Duration) {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    tasks.spawn(waiting);
    let mut turns = 0..10_000;
    while faces.engine.waiters() == 0 {
        turns.next().expect("somebody waits before long");
        tokio::task::yield_now().await;
    }
    then.await;
    (tasks.join_next().await.unwrap().unwrap(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn wait_answers_with_the_result_or_when_the_time_is_over() {
    let faces = Arc::new(Faces::new());
    let claim = faces.claimed("k").await;
    let id = claim.operation.unwrap().id;
    let wait = |timeout| WaitRequest { id: id.clone(), timeout };
    for (timeout, took) in [(seconds(3), 3), (None, 30), (seconds(0), 0), (seconds(61), 60), (seconds(1 << 37), 60)] {
        let began = Instant::now();
        assert!(!faces.operations().wait(wait(timeout)).await.unwrap().into_inner().done);
        assert_eq!(began.elapsed().as_secs(), took);
    }
    let mut client = faces.operations();
    let waiting = wait(seconds(60));
    let waiting = async move { client.wait(waiting).await.unwrap().into_inner() };
    let (done, took) = meanwhile(&faces, waiting, complete(&faces, &claim.lease)).await;
    assert_eq!((done.state(), took), (State::Succeeded, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn waits_answer_a_little_before_the_deadline_of_the_caller() {
    let faces = Faces::with(|settings| settings.held_get = Duration::from_secs(10));
    let id = faces.create("busy").await.id;
    let lease = faces.claim("busy").await.lease;
    let with_deadline = |millis: u64| {
        let began = Instant::now();
        move || {
            let took = began.elapsed();
            assert!(took < Duration::from_millis(millis), "{took:?}");
            assert!(took >= Duration::from_millis(millis - millis / 10), "{took:?}");
        }
    };
    fn hurried<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(Duration::from_millis(2_000));
        request
    }
    let check = with_deadline(2_000);
    let wait = WaitRequest { id: id.clone(), timeout: seconds(30) };
    assert!(!faces.operations().wait(hurried(wait)).await.unwrap().into_inner().done);
    check();
    let check = with_deadline(2_000);
    let get = GetOperationRequest { id: id.clone(), wait: seconds(30), ..Default::default() };
    assert!(!faces.operations().get(hurried(get)).await.unwrap().into_inner().done);
    check();
    let check = with_deadline(2_000);
    faces.yandex().get(hurried(YandexGet { operation_id: id.clone() })).await.unwrap();
    check();
    let check = with_deadline(2_000);
    let claim = ClaimRequest { kinds: vec!["k".into()], worker: "w".into(), ..Default::default() };
    assert!(faces.work().claim(hurried(claim)).await.unwrap().into_inner().claims.is_empty());
    check();
    let check = with_deadline(2_000);
    let heartbeat = HeartbeatRequest { lease, wait: seconds(10), ..Default::default() };
    assert_eq!(faces.work().heartbeat(hurried(heartbeat)).await.unwrap().into_inner().cancel_requested, None);
    check();
}

#[tokio::test(start_paused = true)]
async fn a_held_get_answers_after_the_next_change() {
    let faces = Arc::new(Faces::new());
    let claim = faces.claimed("k").await;
    let id = claim.operation.unwrap().id;
    let app = faces.app.clone();
    let line = format!("GET /api/v1/operations/{id}?wait=60s");
    let waiting = async move {
        let response = tower::ServiceExt::oneshot(app, request(&line, &[], "")).await.unwrap();
        crate::harness::read(response).await.ok()
    };
    let progress = Some(Progress { done: Some(7.0), ..Default::default() });
    let heartbeat = HeartbeatRequest { lease: claim.lease, progress, ..Default::default() };
    let change = async { drop(faces.work().heartbeat(heartbeat).await.unwrap()) };
    let (shown, took) = meanwhile(&faces, waiting, change).await;
    assert_eq!((shown["progress"]["done"].as_f64(), took), (Some(7.0), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_get_is_held_as_the_server_is_set_to_unless_it_says_so_itself() {
    for held in [0, 5] {
        let faces = Faces::with(|settings| settings.held_get = Duration::from_secs(held));
        let id = faces.create("k").await.id;
        let get = |wait| GetOperationRequest { id: id.clone(), wait, ..Default::default() };
        let began = Instant::now();
        faces.yandex().get(YandexGet { operation_id: id.clone() }).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), held);
        faces.operations().get(get(None)).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 2 * held);
        faces.rest(&format!("GET /operations/{id}"), "").await.ok();
        assert_eq!(began.elapsed().as_secs(), 3 * held);

        let began = Instant::now();
        faces.operations().get(get(seconds(0))).await.unwrap();
        faces.rest(&format!("GET /operations/{id}?wait=0s"), "").await.ok();
        assert_eq!(began.elapsed().as_secs(), 0);
        faces.rest(&format!("GET /operations/{id}?wait=7s"), "").await.ok();
        assert_eq!(began.elapsed().as_secs(), 7);
        faces.rest(&format!("GET /operations/{id}?wait=99s"), "").await.ok();
        assert_eq!(began.elapsed().as_secs(), 7 + 60, "a longer wait is cut");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_a_held_heartbeat_at_once() {
    let faces = Arc::new(Faces::new());
    let claim = faces.claimed("k").await;
    let id = claim.operation.unwrap().id;
    let mut client = faces.work();
    let heartbeat = HeartbeatRequest { lease: claim.lease, wait: seconds(15), ..Default::default() };
    let waiting = async move { client.heartbeat(heartbeat).await.unwrap().into_inner() };
    let cancel = CancelRequest { id, reason: "enough".into() };
    let cancel = async { drop(faces.operations().cancel(cancel).await.unwrap()) };
    let (standing, took) = meanwhile(&faces, waiting, cancel).await;
    assert_eq!((standing.cancel_requested.unwrap().reason.as_str(), took), ("enough", Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_claim_waits_for_work_and_a_caller_that_went_away_leaves_nothing_claimed() {
    let faces = Arc::new(Faces::new());
    let claim = |worker: &str| ClaimRequest { kinds: vec!["k".into()], worker: worker.into(), ..Default::default() };
    let mut tasks = JoinSet::new();
    for worker in ["gone", "stays"] {
        let (mut client, claim) = (faces.work(), claim(worker));
        tasks.spawn(async move { client.claim(claim).await.unwrap().into_inner() });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        if worker == "gone" {
            tasks.abort_all();
            assert!(tasks.join_next().await.unwrap().is_err());
        }
    }
    faces.create("k").await;
    let claims = tasks.join_next().await.unwrap().unwrap().claims;
    assert_eq!(claims[0].operation.as_ref().unwrap().worker, "stays");
    assert_eq!(claims[0].attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_gives_back_what_does_not_fit_into_an_answer() {
    let faces = Faces::new();
    let value = vec![7; 1024 * 1024 - 100];
    for _ in 0..5 {
        let input = Some(Any { type_url: "type.googleapis.com/acme.v1.T".into(), value: value.clone() });
        let mut request = create("k");
        request.input = input;
        faces.operations().create(request).await.unwrap();
    }
    let claim = ClaimRequest { kinds: vec!["k".into()], worker: "w".into(), max: Some(100), ..Default::default() };
    let mut attempts = Vec::new();
    while attempts.len() < 5 {
        let claims = faces.work().claim(claim.clone()).await.unwrap().into_inner().claims;
        assert!((1..=3).contains(&claims.len()), "{}", claims.len());
        attempts.extend(claims.iter().map(|claim| claim.attempt));
    }
    assert_eq!(attempts, [1; 5], "what was given back was not counted");
}

#[tokio::test(start_paused = true)]
async fn watch_sends_every_change_and_ends_with_the_result() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let watch = |after_revision: &str| WatchRequest { id: id.clone(), after_revision: after_revision.into() };
    let mut stream = faces.operations().watch(watch("")).await.unwrap().into_inner();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first.state(), State::Queued);
    let lease = faces.claim("k").await.lease;
    let second = stream.next().await.unwrap().unwrap();
    assert_eq!(second.state(), State::Running);
    let mut resumed = faces.operations().watch(watch(&second.revision)).await.unwrap().into_inner();
    let mut missed = faces.operations().watch(watch(&first.revision)).await.unwrap().into_inner();
    complete(&faces, &lease).await;
    for stream in [&mut stream, &mut resumed] {
        assert_eq!(stream.next().await.unwrap().unwrap().state(), State::Succeeded);
        assert!(within(stream.next()).await.is_none());
    }
    assert_eq!(missed.next().await.unwrap().unwrap().state(), State::Running, "the state when it was asked for");
    let error = faces.operations().watch(WatchRequest { id: "op0".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(told(&error).1, "NEVER_EXISTED");
}

#[tokio::test(start_paused = true)]
async fn b35_a_slow_reader_gets_the_last_state_not_all_of_them() {
    let faces = Faces::new();
    let claim = faces.claimed("k").await;
    let id = claim.operation.unwrap().id;
    let mut stream = faces.operations().watch(WatchRequest { id, ..Default::default() }).await.unwrap().into_inner();
    for done in 0..1_000 {
        let progress = Some(Progress { done: Some(f64::from(done)), ..Default::default() });
        let heartbeat = HeartbeatRequest { lease: claim.lease.clone(), progress, ..Default::default() };
        faces.work().heartbeat(heartbeat).await.unwrap();
    }
    complete(&faces, &claim.lease).await;
    let mut seen = 0;
    while let Some(operation) = stream.next().await {
        seen += 1;
        if operation.unwrap().done {
            break;
        }
    }
    assert!(seen <= 3, "{seen}");
}

/// The next event of a stream: its id and its data. Comments are skipped.
async fn event(response: &mut Response<Body>) -> Option<(String, serde_json::Value)> {
    loop {
        let frame = response.body_mut().frame().await?.unwrap().into_data().unwrap();
        let text = std::str::from_utf8(&frame).unwrap();
        assert!(text.ends_with("\n\n"), "{text}");
        if text.starts_with(':') {
            continue;
        }
        let (id, data) = text.trim_end().split_once('\n').unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        return Some((id.strip_prefix("id: ").unwrap().to_owned(), data));
    }
}

#[tokio::test(start_paused = true)]
async fn server_sent_events_resume_by_their_id_and_end_with_the_result() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let line = format!("GET /api/v1/operations/{id}:watch");
    let mut response = faces.call(request(&line, &[], "")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let (first, shown) = event(&mut response).await.unwrap();
    assert_eq!((&*first, shown["state"].as_str()), (shown["revision"].as_str().unwrap(), Some("QUEUED")));

    // Nothing but comments while nothing changes.
    let silence = tokio::time::timeout(Duration::from_secs(60), event(&mut response)).await;
    assert!(silence.is_err());
    let lease = faces.claim("k").await.lease;
    let (second, shown) = event(&mut response).await.unwrap();
    assert_eq!(shown["state"], "RUNNING");

    let mut resumed = faces.call(request(&line, &[("last-event-id", &second)], "")).await;
    complete(&faces, &lease).await;
    for response in [&mut response, &mut resumed] {
        let (last, shown) = event(response).await.unwrap();
        assert_eq!(shown["state"], "SUCCEEDED");
        assert!(within(event(response)).await.is_none());
        let over = faces.call(request(&line, &[("last-event-id", &last)], "")).await;
        assert_eq!(over.status(), StatusCode::NO_CONTENT, "a browser does not come back");
    }
}

#[tokio::test(start_paused = true)]
async fn keep_alive_comments_come_while_nothing_changes() {
    let faces = Faces::new();
    let id = faces.create("k").await.id;
    let mut response = faces.call(request(&format!("GET /api/v1/operations/{id}:watch"), &[], "")).await;
    event(&mut response).await.unwrap();
    let began = Instant::now();
    let frame = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((&*frame, began.elapsed().as_secs()), (&b":\n\n"[..], 15));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_answers_whoever_waits_with_the_present_state() {
    let faces = Arc::new(Faces::new());
    let id = faces.create("k").await.id;
    let mut watch =
        faces.operations().watch(WatchRequest { id: id.clone(), ..Default::default() }).await.unwrap().into_inner();
    watch.next().await.unwrap().unwrap();
    let mut client = faces.operations();
    let waiting = async move {
        // A connection goes on reading its streams: one that nobody reads would hold the shutdown up for a while.
        let wait = client.wait(WaitRequest { id, timeout: seconds(60) });
        tokio::join!(wait, watch.next())
    };
    let ((waited, watched), took) = meanwhile(&faces, waiting, faces.engine.shutdown()).await;
    assert_eq!((waited.unwrap().into_inner().done, took), (false, Duration::ZERO));
    assert!(watched.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_wait_is_cut_off_at_its_deadline() {
    let faces = Faces::new();
    let mut request = Request::new(create("k"));
    request.set_timeout(Duration::ZERO);
    // Carried out all the same; only whether the answer makes it in time is open.
    if let Err(error) = faces.operations().create(request).await {
        assert_eq!(error.code(), Code::DeadlineExceeded);
    }
}
