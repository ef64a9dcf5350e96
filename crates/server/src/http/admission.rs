//! How many calls are carried out at a time.
//!
//! Beyond what keeps the store busy, one more call at a time makes every call slower and none sooner, until clients
//! give up on answers that are still being worked on. So the excess is refused at once, before its body is read, and
//! told when to come back. What waits is not counted, or workers and waiters would leave no room: a call that is
//! about to be held says so ([`hold`]), and a body that has not arrived yet does not count either.
//!
//! A call says so from within, where it is polled: the alternative is a handle in every signature in between.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use tonic::Code;

use super::Refusal;

/// Calls that are carried out at a time. Some times what the largest batch of a store takes; a few seconds of work
/// for the slowest of them.
pub(super) const CALLS_MAX: usize = 2_048;
/// Calls that wait until it is known who makes them: strangers can make any number of these, and their bodies wait, too.
pub(super) const UNDECIDED_MAX: usize = 1_024;
/// When a refused client may come back.
const RETRY: Duration = Duration::from_secs(1);

/// How many calls are carried out.
#[derive(Debug)]
pub(super) struct Admission {
    under_way: AtomicUsize,
    max: usize,
}

impl Admission {
    pub(super) fn of(max: usize) -> Arc<Self> {
        Arc::new(Self { under_way: AtomicUsize::new(0), max })
    }

    /// A turn, if it is not one too many.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Turn, Refusal> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let turn = Turn { admission: Arc::clone(self), counted: true };
        if before < self.max { Ok(turn) } else { Err(overloaded("too many calls are under way")) }
    }
}

/// A call that is carried out, until dropped.
#[derive(Debug)]
pub(super) struct Turn {
    admission: Arc<Admission>,
    counted: bool,
}

impl Turn {
    /// Whether it is counted among those that are carried out.
    pub(super) fn count(&mut self, counted: bool) {
        match (self.counted, counted) {
            (true, false) => _ = self.admission.under_way.fetch_sub(1, Ordering::Relaxed),
            // Without asking: what was admitted once goes on.
            (false, true) => _ = self.admission.under_way.fetch_add(1, Ordering::Relaxed),
            (true, true) | (false, false) => {}
        }
        self.counted = counted;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.count(false);
    }
}

thread_local! {
    /// The turn of the call that is being polled.
    static TURN: Cell<Option<Turn>> = const { Cell::new(None) };
}

/// Polls a call that has this turn.
pub(super) fn polled<T>(turn: &mut Option<Turn>, poll: impl FnOnce() -> T) -> T {
    let _back = Lent::new(turn);
    poll()
}

struct Lent<'a>(&'a mut Option<Turn>);

impl<'a> Lent<'a> {
    fn new(turn: &'a mut Option<Turn>) -> Self {
        TURN.set(turn.take());
        Self(turn)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.0 = TURN.take();
    }
}

/// The call that is being polled waits from now on, and is not counted any more.
pub(crate) fn hold() {
    TURN.set(None);
}

/// The call that is being polled waits for its client.
pub(super) fn pause() {
    count(false);
}

/// What it has waited for has arrived.
pub(super) fn resume() {
    count(true);
}

fn count(counted: bool) {
    let mut turn = TURN.take();
    if let Some(turn) = &mut turn {
        turn.count(counted);
    }
    TURN.set(turn);
}

/// UNAVAILABLE, and when to come back (CONTRACT §4: RESOURCE_EXHAUSTED would end Google's pollers).
pub(super) fn overloaded(message: &'static str) -> Refusal {
    Refusal::new(Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", message).retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::extract::State;
    use axum::routing::{any, post};
    use http::{Request, Response, header};
    use http_body_util::StreamBody;
    use tokio::sync::{Notify, Semaphore, oneshot};
    use tokio::task::JoinSet;
    use tokio::time::{Instant, sleep, timeout};
    use tonic::Status;
    use tonic_types::StatusExt;
    use tower::ServiceExt;

    use super::super::{Arrived, Arriving, GuardOptions, Layered, layers, read_body};
    use super::*;

    const MAX: usize = 3;

    /// Says how many calls came through, and answers them when told to.
    struct Gate {
        faces: Layered<Router>,
        entered: Arc<Semaphore>,
        open: Arc<Notify>,
    }

    impl Gate {
        fn new(max: usize) -> Self {
            let (entered, open) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
            let pass = |held: bool| {
                let (entered, open) = (Arc::clone(&entered), Arc::clone(&open));
                any(move || async move {
                    if held {
                        hold();
                    }
                    entered.add_permits(1);
                    open.notified().await;
                })
            };
            let take = post(|body: Body| async { read_body(body).await.map(drop).map_err(|refusal| refusal.status()) });
            let panics = any(|| async {
                if true {
                    panic!("this panic belongs to the test")
                }
            });
            let router = Router::new().route("/", pass(false)).route("/held", pass(true)).route("/take", take);
            let router = router.route("/panic", panics).route("/healthz", any(|| async {}));
            let faces = layers(router, &GuardOptions { advertised: None }, None).with_calls_max(max);
            Self { faces, entered, open }
        }

        fn under_way(&self) -> usize {
            self.faces.admission.under_way.load(Ordering::Relaxed)
        }

        /// Calls that have come through, and go on.
        async fn enter(&self, calls: &mut JoinSet<Response<Body>>, path: &str, count: u32) {
            for _ in 0..count {
                let call = self.faces.clone().oneshot(request(path));
                calls.spawn(async { call.await.expect("infallible") });
            }
            self.entered.acquire_many(count).await.expect("open").forget();
        }

        async fn answer(&self, request: Request<Body>) -> Response<Body> {
            self.faces.clone().oneshot(request).await.expect("infallible")
        }
    }

    fn request(path: &str) -> Request<Body> {
        Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()
    }

    fn pending_body() -> Body {
        let body = StreamBody::new(futures::stream::pending::<Result<http_body::Frame<Bytes>, axum::BoxError>>());
        Body::new(Arriving::new(body, Arrived::default()))
    }

    #[tokio::test]
    async fn so_many_calls_are_carried_out_and_one_more_is_told_when_to_come_back() {
        let gate = Gate::new(MAX);
        let mut calls = JoinSet::new();
        gate.enter(&mut calls, "/", 3).await;
        // Its body never arrives: nobody waits for it.
        let json = Request::post("/").header("host", "localhost").header("content-type", "application/json");
        let refused = gate.answer(json.body(pending_body()).unwrap()).await;
        assert_eq!(
            (refused.status(), &refused.headers()[header::RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
        );
        let grpc = Request::post("/").header("host", "localhost").header("content-type", "application/grpc");
        let refused = gate.answer(grpc.body(pending_body()).unwrap()).await;
        let status = Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(
            (status.code(), status.get_details_error_info().unwrap().reason.as_str()),
            (Code::Unavailable, "OVERLOADED")
        );
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
        assert_eq!(gate.answer(request("/healthz")).await.status(), StatusCode::OK, "health can be asked always");

        gate.open.notify_one();
        calls.join_next().await.unwrap().unwrap();
        gate.enter(&mut calls, "/", 1).await;
        calls.shutdown().await;
        assert_eq!(gate.under_way(), 0, "calls that are given up leave nothing behind");
    }

    #[tokio::test]
    async fn what_waits_is_not_counted() {
        let gate = Gate::new(MAX);
        let mut calls = JoinSet::new();
        gate.enter(&mut calls, "/held", 10).await;
        for _ in 0..10 {
            let slow = Request::post("/take").header("host", "localhost").header("content-type", "application/json");
            let call = gate.faces.clone().oneshot(slow.body(pending_body()).unwrap());
            calls.spawn(async { call.await.expect("infallible") });
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.under_way(), 0);
        gate.enter(&mut calls, "/", 3).await;
        assert_eq!(gate.answer(request("/")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_call_that_panics_gives_its_turn_back() {
        let gate = Gate::new(1);
        for _ in 0..3 {
            let call = gate.faces.clone().oneshot(request("/panic"));
            let mut calls = JoinSet::new();
            calls.spawn(async { drop(call.await) });
            assert!(calls.join_next().await.unwrap().unwrap_err().is_panic());
        }
        assert_eq!(gate.under_way(), 0);
    }

    /// A store: works off what it was given in order, four at a time, also what nobody waits for any more.
    #[derive(Clone, Default)]
    struct Store(Arc<(Mutex<VecDeque<oneshot::Sender<()>>>, Notify)>);

    impl Store {
        const WORK: Duration = Duration::from_millis(10);
        const WORKERS: usize = 4;

        async fn work(self) {
            loop {
                let next = self.0.0.lock().unwrap().pop_front();
                match next {
                    Some(reply) => {
                        sleep(Self::WORK).await;
                        let _given_up = reply.send(());
                    }
                    None => self.0.1.notified().await,
                }
            }
        }

        async fn call(State(store): State<Self>) {
            let (reply, done) = oneshot::channel();
            store.0.0.lock().unwrap().push_back(reply);
            store.0.1.notify_one();
            done.await.expect("the store goes on");
        }
    }

    /// How many calls are answered in ten seconds to clients that wait a second, of so many a second.
    async fn goodput(calls_max: usize, per_second: u32) -> usize {
        let store = Store::default();
        let mut workers = JoinSet::new();
        (0..Store::WORKERS).for_each(|_| drop(workers.spawn(store.clone().work())));
        let router = Router::new().route("/", any(Store::call)).with_state(store);
        let faces = layers(router, &GuardOptions { advertised: None }, None).with_calls_max(calls_max);
        let mut clients = JoinSet::new();
        let begun = Instant::now();
        for call in 0..per_second * 10 {
            tokio::time::sleep_until(begun + Duration::from_secs(1) / per_second * call).await;
            let answer = timeout(Duration::from_secs(1), faces.clone().oneshot(request("/")));
            clients.spawn(async { matches!(answer.await, Ok(Ok(response)) if response.status().is_success()) });
        }
        clients.join_all().await.into_iter().filter(|good| *good).count()
    }

    /// FAILURES 56.
    #[tokio::test(start_paused = true)]
    async fn f56_three_times_the_load_leaves_four_fifths_of_the_goodput() {
        // 400 a second; what may be under way is half a second of work.
        let capacity = goodput(200, 400).await;
        let overloaded = goodput(200, 1_200).await;
        assert!(overloaded * 5 >= capacity * 4, "{overloaded} of {capacity}");
        let without = goodput(usize::MAX, 1_200).await;
        assert!(without * 5 < capacity * 4, "the load is none without the bound: {without} of {capacity}");
    }
}
