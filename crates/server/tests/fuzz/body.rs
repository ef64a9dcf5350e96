//! The body of a request, which knows whether anybody has asked for it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::Bytes;
use http_body::{Body, Frame};

pub(crate) struct Watched {
    chunks: VecDeque<Bytes>,
    breaks: bool,
    polls: Arc<AtomicUsize>,
}

impl Watched {
    /// `bytes`, cut at `cut` into two; with `breaks` the connection is lost behind them. `polls` counts.
    pub(crate) fn new(bytes: &[u8], cut: usize, breaks: bool, polls: Arc<AtomicUsize>) -> Self {
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        let chunks = [head, tail].into_iter().filter(|chunk| !chunk.is_empty()).map(Bytes::copy_from_slice);
        Self { chunks: chunks.collect(), breaks, polls }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(match self.chunks.pop_front() {
            Some(chunk) => Some(Ok(Frame::data(chunk))),
            None if std::mem::take(&mut self.breaks) => Some(Err(io::ErrorKind::ConnectionReset.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && !self.breaks
    }
}
