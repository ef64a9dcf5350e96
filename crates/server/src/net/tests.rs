//! What a connection is given time for, over pipes in memory and a clock that the tests move.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures::stream::{self, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calls::Untaken;
use super::{Peer, Scope, connection};
use crate::http::{Arrived, GuardOptions, layers};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// A connection being served, and its other end.
struct Served {
    server: JoinSet<()>,
    clients: JoinSet<()>,
    client: Option<DuplexStream>,
    begun: Instant,
}

impl Served {
    fn new(router: Router) -> Self {
        Self::with(router, Untaken::default())
    }

    fn with(router: Router, untaken: Untaken) -> Self {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let scope = Scope {
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            kill: CancellationToken::new(),
            arrived: Arrived::default(),
            untaken,
        };
        let peer = Peer {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            tls: false,
            planes: crate::auth::Planes::ALL,
            certificate: None,
        };
        let service = layers(router, &GuardOptions { advertised: None }, None);
        let mut tasks = JoinSet::new();
        tasks.spawn(connection::serve(server, peer, service, scope));
        Self { server: tasks, clients: JoinSet::new(), client: Some(client), begun: Instant::now() }
    }

    async fn http1(&mut self) -> http1::SendRequest<Body> {
        let io = TokioIo::new(self.client.take().expect("one client"));
        let (sender, connection) = http1::handshake(io).await.unwrap();
        self.clients.spawn(async { drop(connection.await) });
        sender
    }

    /// A client that pings every 30 s, and gives so much room for each answer.
    async fn http2(&mut self, window: u32) -> http2::SendRequest<Body> {
        let io = TokioIo::new(self.client.take().expect("one client"));
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(30 * SECOND).keep_alive_while_idle(true);
        let (sender, connection) = builder.initial_stream_window_size(window).handshake(io).await.unwrap();
        self.clients.spawn(async { drop(connection.await) });
        sender
    }

    /// How long after the beginning the server closed its end.
    async fn closed_after(&mut self) -> Duration {
        timeout(PATIENCE, self.server.join_next()).await.expect("the connection is closed");
        self.begun.elapsed()
    }
}

fn request(path: &str) -> Request<Body> {
    Request::get(format!("http://localhost{path}")).header("host", "localhost").body(Body::empty()).unwrap()
}

/// Answers at once, after ten minutes, with much, with an event each ten seconds, or with the size of what was sent.
fn router() -> Router {
    let events = || {
        stream::unfold((), |()| async {
            tokio::time::sleep(10 * SECOND).await;
            Some((Ok::<_, Infallible>("event\n"), ()))
        })
    };
    Router::new()
        .route("/", get(|| async { "now" }))
        .route("/late", get(|| async { tokio::time::sleep(10 * MINUTE).await }))
        .route("/much", get(|| async { vec![b'x'; 3 << 20] }))
        .route("/events", get(move || async move { Body::from_stream(events()) }))
        .route("/take", post(take))
}

async fn take(body: Body) -> Result<String, StatusCode> {
    let taken = crate::http::read_body(body).await;
    taken.map(|bytes| bytes.len().to_string()).map_err(|refusal| refusal.status())
}

fn between(found: Duration, least: Duration, most: Duration) {
    assert!(least <= found && found <= most, "{found:?} is not within {least:?} and {most:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_call_is_closed_after_ten_seconds() {
    let mut served = Served::new(router());
    let _sender = served.http2(65_535).await;
    between(served.closed_after().await, 10 * SECOND, 11 * SECOND);

    // Half a head, after the bytes that decide on the protocol.
    let mut served = Served::new(router());
    let mut client = served.client.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut client, b"GET / HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    between(served.closed_after().await, 10 * SECOND, 21 * SECOND);

    // A peer that does not heed the goodbye.
    let mut served = Served::new(router());
    let mut client = served.client.take().unwrap();
    let greeting = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    tokio::io::AsyncWriteExt::write_all(&mut client, &greeting).await.unwrap();
    between(served.closed_after().await, 20 * SECOND, 21 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_when_idle_for_a_quarter_hour_whatever_it_pings() {
    let mut served = Served::new(router());
    let mut sender = served.http2(65_535).await;
    sender.send_request(request("/")).await.unwrap();
    tokio::time::sleep(14 * MINUTE).await;
    sender.send_request(request("/")).await.unwrap();
    between(served.closed_after().await, 29 * MINUTE, 30 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_call_is_not_idle() {
    let mut served = Served::new(router());
    let mut sender = served.http2(65_535).await;
    for _ in 0..2 {
        let late = sender.send_request(request("/late")).await.unwrap();
        assert_eq!(late.status(), StatusCode::OK);
    }
    between(served.closed_after().await, 35 * MINUTE, 36 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_used_lasts_an_hour_give_or_take() {
    let mut served = Served::new(router());
    let mut sender = served.http2(65_535).await;
    let begun = Instant::now();
    let mut calls = 0;
    while sender.ready().await.is_ok() && !sender.is_closed() {
        // A call that the server did not take on is the client's to make again; one that it took is answered.
        match sender.send_request(request("/")).await {
            Ok(response) => assert_eq!(response.status(), StatusCode::OK),
            Err(error) => assert!(error.is_canceled() || begun.elapsed() > 53 * MINUTE, "{error:?}"),
        }
        calls += 1;
        tokio::time::sleep(SECOND).await;
    }
    between(begun.elapsed(), HOUR.mul_f64(0.9), HOUR.mul_f64(1.1) + 2 * SECOND);
    assert!(calls > 3000, "{calls}");
    served.closed_after().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_an_old_connection_ends_two_minutes_after_the_goodbye() {
    for http2 in [true, false] {
        let mut served = Served::new(router());
        let response = if http2 {
            served.http2(65_535).await.send_request(request("/events")).await.unwrap()
        } else {
            served.http1().await.send_request(request("/events")).await.unwrap()
        };
        let begun = Instant::now();
        let mut body = response.into_body();
        while let Some(Ok(_event)) = body.frame().await {}
        let grace = 2 * MINUTE + 11 * SECOND;
        between(begun.elapsed(), HOUR.mul_f64(0.9), HOUR.mul_f64(1.1) + grace);
        served.closed_after().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_client_does_not_take_is_cut_alone() {
    let mut served = Served::new(router());
    let mut sender = served.http2(65_535).await;
    let stuck = sender.send_request(request("/much")).await.unwrap();
    let begun = Instant::now();
    tokio::time::sleep(29 * SECOND).await;
    sender.send_request(request("/")).await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    let mut body = stuck.into_body();
    let mut taken = 0;
    let error = loop {
        match body.frame().await {
            Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => break error,
            None => panic!("the answer is not whole: {taken}"),
        }
    };
    assert!(taken <= 65_535 && begun.elapsed() < 32 * SECOND, "{taken} bytes, {:?}: {error}", begun.elapsed());
    assert_eq!(sender.send_request(request("/")).await.unwrap().status(), StatusCode::OK, "the connection goes on");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_client_takes_slowly_but_steadily_is_whole() {
    let mut served = Served::new(router());
    let mut sender = served.http2(65_535).await;
    let mut body = sender.send_request(request("/much")).await.unwrap().into_body();
    let mut taken = 0;
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().data_ref().map_or(0, Bytes::len);
        taken += bytes;
        tokio::time::sleep(SECOND.mul_f64(bytes as f64 / 12_000.0)).await;
    }
    assert_eq!(taken, 3 << 20);
}

#[tokio::test(start_paused = true)]
async fn an_http1_connection_whose_answer_is_not_read_is_cut() {
    let mut served = Served::new(router());
    let response = served.http1().await.send_request(request("/much")).await.unwrap();
    between(served.closed_after().await, 30 * SECOND, 31 * SECOND);
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn a_watch_with_nothing_to_tell_is_not_taken_for_a_slow_reader() {
    let quiet = Arc::new(Notify::new());
    let told = Arc::clone(&quiet);
    let events = move || {
        let told = Arc::clone(&told);
        async move {
            Body::from_stream(stream::once(async move {
                told.notified().await;
                Ok::<_, Infallible>("at last")
            }))
        }
    };
    let mut served = Served::new(Router::new().route("/", get(events)));
    let mut sender = served.http2(65_535).await;
    let mut body = sender.send_request(request("/")).await.unwrap().into_body();
    tokio::time::sleep(10 * MINUTE).await;
    quiet.notify_one();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "at last");
}

#[tokio::test(start_paused = true)]
async fn a_request_body_that_stalls_is_answered_408() {
    for http2 in [true, false] {
        let mut served = Served::new(router());
        let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{")))]);
        let body = Body::new(StreamBody::new(first.chain(stream::pending())));
        let request = Request::post("http://localhost/take").header("host", "localhost");
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let begun = Instant::now();
        let answer: Response<_> = if http2 {
            served.http2(65_535).await.send_request(request).await.unwrap()
        } else {
            served.http1().await.send_request(request).await.unwrap()
        };
        assert_eq!((answer.status(), begun.elapsed().as_secs()), (StatusCode::REQUEST_TIMEOUT, 10), "http2: {http2}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_answers_that_wait_for_their_readers_have_a_limit_together() {
    const ONE: usize = 3 << 20;
    // What fits into the window of the first is handed on.
    const BOTH: usize = 2 * ONE - 64 * 1024;
    for (room, whole) in [(BOTH, 2), (BOTH - 1, 1)] {
        let untaken = Untaken::up_to(room);
        let (mut first, mut second) = (Served::with(router(), untaken.clone()), Served::with(router(), untaken));
        let (mut first, mut second) = (first.http2(65_535).await, second.http1().await);
        let one = first.send_request(request("/much")).await.unwrap().into_body();
        // A reader that waits, not so long that it is cut for it.
        tokio::time::sleep(SECOND).await;
        let other = match second.send_request(request("/much")).await {
            Ok(response) => response.into_body().collect().await.is_ok(),
            // Cut before its head was sent.
            Err(_) => false,
        };
        assert_eq!(usize::from(other) + 1, whole, "room for {room} bytes");
        assert_eq!(first.send_request(request("/")).await.unwrap().status(), StatusCode::OK, "small ones pass");
        assert_eq!(one.collect().await.unwrap().to_bytes().len(), ONE);
        // What was taken, and what was cut, is counted no more.
        let again = first.send_request(request("/much")).await.unwrap().into_body();
        assert_eq!(again.collect().await.unwrap().to_bytes().len(), ONE);
    }
}
