//! Request bodies while they arrive: how slowly, and how much of them at a time.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

use super::{Refusal, admission};
use crate::net::pace::{Pace, Waiting};

/// How slowly a request body may come: some 6 kB a second, once it keeps us waiting; and no byte for 10 s ends it.
const BODY_PACE: Pace = Pace { patience: std::time::Duration::from_secs(10), bytes: 64 * 1024 };
/// Bytes of request bodies at a time that have arrived in part, in the whole server.
const ARRIVING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How much of the request bodies of a server has arrived before they are complete.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    bytes: Arc<AtomicUsize>,
    max: usize,
}

impl Default for Arrived {
    fn default() -> Self {
        Self { bytes: Arc::default(), max: ARRIVING_BYTES_MAX }
    }
}

/// Why the rest of a request body is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It came too slowly.
    Slow,
    /// There is no memory for it at the moment.
    NoRoom,
}

impl Cut {
    /// What an error says that came out of [`Arriving`], perhaps through others.
    pub(super) fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut errors = std::iter::successors(Some(error), |&error| error.source());
        errors.find_map(|error| error.downcast_ref::<CutError>()).map(|error| error.cut)
    }

    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Slow => {
                let message = "the request body came too slowly";
                Refusal::new(Code::DeadlineExceeded, StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", message)
            }
            Self::NoRoom => admission::overloaded("too much of request bodies is under way"),
        }
    }
}

/// The error of a body that was cut.
#[derive(Debug, thiserror::Error)]
#[error("{}", status.message())]
struct CutError {
    cut: Cut,
    /// What the gRPC library answers with.
    #[source]
    status: Status,
}

/// A request body that fails when its peer is too slow, or when too much is under way.
pub(crate) struct Arriving<B> {
    body: B,
    waiting: Waiting,
    timer: Option<Pin<Box<Sleep>>>,
    arrived: Arrived,
    /// Our part of `arrived`.
    bytes: usize,
}

impl<B> Arriving<B> {
    pub(crate) fn new(body: B, arrived: Arrived) -> Self {
        Self { body, waiting: Waiting::at(BODY_PACE), timer: None, arrived, bytes: 0 }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Cut> {
        self.bytes += bytes;
        let before = self.arrived.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.arrived.max { Err(Cut::NoRoom) } else { Ok(()) }
    }

    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.waiting.on(Instant::now());
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if timer.deadline() != limit {
            timer.as_mut().reset(limit);
        }
        timer.as_mut().poll(cx)
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            // Whoever trickles a body keeps no other call from its turn.
            admission::pause();
            ready!(this.poll_too_slow(cx));
            return Poll::Ready(Some(Err(cut(Cut::Slow))));
        };
        admission::resume();
        let bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        this.waiting.moved(bytes);
        if let Err(no_room) = this.take(bytes) {
            return Poll::Ready(Some(Err(cut(no_room))));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Arriving<B> {
    fn drop(&mut self) {
        self.arrived.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn cut(cut: Cut) -> axum::BoxError {
    Box::new(CutError { cut, status: cut.refusal().into_status(None) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream::{self, StreamExt};
    use http_body_util::{BodyExt, StreamBody};
    use tonic_types::StatusExt;

    use super::super::read_body;
    use super::*;

    /// So many pieces of so many bytes, each after a wait.
    fn trickle(pieces: usize, bytes: usize, wait: Duration) -> impl Body<Data = Bytes, Error = axum::BoxError> + Unpin {
        StreamBody::new(Box::pin(stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(wait).await;
            Ok(Frame::data(Bytes::from(vec![b' '; bytes])))
        })))
    }

    async fn read(
        body: impl Body<Data = Bytes, Error = axum::BoxError> + Send + Unpin + 'static,
    ) -> Result<usize, Refusal> {
        let body = axum::body::Body::new(Arriving::new(body, Arrived::default()));
        read_body(body).await.map(|bytes| bytes.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_keep_us_waiting_for_the_patience_and_no_longer() {
        let just = BODY_PACE.patience - Duration::from_millis(1);
        assert_eq!(read(trickle(1, 5, just)).await.unwrap(), 5);
        let over = BODY_PACE.patience + Duration::from_millis(1);
        let refusal = read(trickle(1, 5, over)).await.unwrap_err();
        assert_eq!((refusal.status(), refusal.reason()), (StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_cut_and_one_at_the_pace_is_not() {
        let second = Duration::from_secs(1);
        assert!(read(trickle(12, 1, second)).await.is_err(), "a byte a second");
        assert_eq!(read(trickle(60, 8 * 1024, second)).await.unwrap(), 60 * 8 * 1024);
    }

    #[tokio::test]
    async fn bodies_may_fill_the_room_there_is_and_no_byte_more_and_leave_it_free() {
        let arrived = Arrived { max: 10, ..Arrived::default() };
        let body =
            |bytes: usize| Arriving::new(http_body_util::Full::new(Bytes::from(vec![0; bytes])), arrived.clone());
        let mut first = body(4);
        first.frame().await.unwrap().unwrap();
        body(6).collect().await.unwrap();
        let error = body(7).collect().await.unwrap_err();
        assert_eq!(Cut::of(&*error), Some(Cut::NoRoom));
        let status = Status::from_error(error);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
        drop(first);
        assert_eq!(arrived.bytes.load(Ordering::Relaxed), 0);
    }
}
