//! The calls of one connection: how many are open, and whether the peer takes their answers.
//!
//! A call is open from its head until its answer has been handed on, or it has been given up. An HTTP/2 answer that
//! the peer does not take (its flow control gives no room) is cut by itself: the other calls go on. HTTP/1.1 has no
//! such thing: there the whole connection is held to a pace, see [`super::paced_writes`].

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Scope;
use super::pace::{Pace, Waiting};

/// How slowly a peer may take an answer: some 9 kB a second, once it keeps us waiting.
pub(super) const ANSWER_PACE: Pace = Pace { patience: Duration::from_secs(30), bytes: 256 * 1024 };
/// Largest piece of an answer that is handed on at a time. HTTP takes whole pieces, whatever room there is: of what
/// it has taken nothing is known any more.
const PIECE_BYTES: usize = 16 * 1024;
/// Bytes of large answers at a time that wait for their peers, in the whole server: as many lists as are carried out
/// at a time, each as large as an answer may be, and some more. What goes beyond is cut.
const UNTAKEN_BYTES_MAX: usize = 256 * 1024 * 1024;
/// From so many bytes on an answer is large. Others are let through, or slow readers of lists could keep everybody
/// from being answered.
const LARGE_BYTES: usize = 64 * 1024;

/// What is known of the calls of a connection.
#[derive(Debug)]
pub(super) struct Calls(Mutex<State>);

#[derive(Debug)]
struct State {
    open: usize,
    /// Since when none is open.
    idle_since: Instant,
    /// Whether there has been one.
    any: bool,
}

impl Calls {
    pub(super) fn none_yet() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { open: 0, idle_since: Instant::now(), any: false })))
    }

    /// A call has arrived.
    pub(super) fn begin(self: &Arc<Self>) -> Arc<Call> {
        let call = Arc::new(Call { calls: Arc::clone(self), taking: Mutex::new(Waiting::at(ANSWER_PACE)) });
        self.with(|state| {
            state.open += 1;
            state.any = true;
        });
        call
    }

    /// Whether there is none.
    pub(super) fn idle(&self) -> Idle {
        self.with(|state| match state {
            State { any: false, .. } => Idle::Never,
            State { open: 0, idle_since, .. } => Idle::Since(*idle_since),
            _ => Idle::No,
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a connection has no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// It has never had one.
    Never,
    /// It has none since.
    Since(Instant),
    /// It has some.
    No,
}

/// One call, open until dropped.
#[derive(Debug)]
pub(super) struct Call {
    calls: Arc<Calls>,
    taking: Mutex<Waiting>,
}

impl Call {
    /// Until when the peer has to take what it was given; none if it has.
    fn limit(&self) -> Option<Instant> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner).limit()
    }

    fn given(&self) {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner).on(Instant::now());
    }

    fn taken(&self, bytes: usize) {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner).moved(bytes);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.with(|state| {
            state.open -= 1;
            state.idle_since = Instant::now();
        });
    }
}

/// How much of the large answers of a server waits for its peers.
#[derive(Clone, Debug)]
pub(super) struct Untaken {
    bytes: Arc<AtomicUsize>,
    max: usize,
}

impl Default for Untaken {
    fn default() -> Self {
        Self::up_to(UNTAKEN_BYTES_MAX)
    }
}

impl Untaken {
    pub(super) fn up_to(max: usize) -> Self {
        Self { bytes: Arc::default(), max }
    }
}

/// An answer's body, in pieces; it tells its call when the peer is given one and when it has room for the next.
/// It is at its end when the body is, which clients see (ARCHITECTURE "No layer touches an answer's body").
pub(super) struct Answer {
    body: Body,
    /// What the body gave and is not handed on yet.
    rest: Bytes,
    /// The size of the last piece.
    given: usize,
    untaken: Untaken,
    /// Our part of `untaken`.
    counted: usize,
    call: Arc<Call>,
}

/// There is no memory for an answer at the moment.
#[derive(Debug, thiserror::Error)]
#[error("too much of large answers waits for its readers")]
struct TooMuch;

impl Answer {
    pub(super) fn new(body: Body, untaken: Untaken, call: Arc<Call>) -> Self {
        Self { body, rest: Bytes::new(), given: 0, untaken, counted: 0, call }
    }

    /// A piece of what the body has given.
    fn give(&mut self, mut data: Bytes) -> Bytes {
        self.rest = data.split_off(data.len().min(PIECE_BYTES));
        self.given = data.len();
        self.call.given();
        data
    }

    /// The last piece has been taken.
    fn taken(&mut self) {
        let bytes = std::mem::take(&mut self.given);
        self.call.taken(bytes);
        self.uncount(bytes);
    }

    fn count(&mut self, bytes: usize) -> Result<(), TooMuch> {
        if bytes < LARGE_BYTES {
            return Ok(());
        }
        self.counted += bytes;
        let before = self.untaken.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.untaken.max { Err(TooMuch) } else { Ok(()) }
    }

    fn uncount(&mut self, bytes: usize) {
        let bytes = bytes.min(self.counted);
        self.counted -= bytes;
        self.untaken.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.uncount(self.counted);
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        // Who asks for more has room for what it was given.
        this.taken();
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(Frame::data(this.give(rest)))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)?) else {
            return Poll::Ready(None);
        };
        if let Some(data) = frame.data_ref() {
            this.count(data.len()).map_err(axum::Error::new)?;
        }
        Poll::Ready(Some(Ok(frame.map_data(|data| this.give(data)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// Carries out the calls of a connection, each as a task: they are counted and ended with their connection.
#[derive(Clone, Debug)]
pub(super) struct Tasks {
    scope: Scope,
    /// The call that has arrived and is carried out next: the library hands over a task right after the service
    /// was asked for the answer, and the task itself says nothing.
    next: Arc<Mutex<Option<Arc<Call>>>>,
}

impl Tasks {
    pub(super) fn of(scope: Scope) -> Self {
        Self { scope, next: Arc::default() }
    }

    /// The next task is that of this call.
    pub(super) fn next_is(&self, call: &Arc<Call>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(call));
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        let call = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.scope.spawn(WhileTaken { task, call, timer: None });
    }
}

pin_project! {
    /// Carries out a call, and gives it up when the peer has not taken its answer for too long: dropping the task
    /// resets its stream.
    struct WhileTaken<F> {
        #[pin]
        task: F,
        call: Option<Arc<Call>>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for WhileTaken<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.task.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(limit) = this.call.as_ref().and_then(|call| call.limit()) else {
            return Poll::Pending;
        };
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if timer.deadline() != limit {
            timer.as_mut().reset(limit);
        }
        ready!(timer.as_mut().poll(cx));
        tracing::debug!("an answer was not taken in time");
        Poll::Ready(())
    }
}
