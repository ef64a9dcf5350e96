//! A time limit for the first bytes of a connection.
//!
//! Until they are there nothing knows whether the connection speaks HTTP/1.1 or HTTP/2, so neither protocol's
//! own time limits apply: without this a peer that sends nothing would hold a file descriptor for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Length of the HTTP/2 client preface: after so many bytes, the protocol is known.
const PREFACE_BYTES: usize = 24;

/// A stream whose reads fail if the protocol is not decided in time. Decided = 24 bytes read, or anything written.
pub(super) struct FirstBytes<I> {
    io: I,
    watch: Option<Watch>,
}

struct Watch {
    timer: Pin<Box<Sleep>>,
    missing: usize,
}

impl<I> FirstBytes<I> {
    pub(super) fn within(limit: Duration, io: I) -> Self {
        let watch = Watch { timer: Box::pin(sleep(limit)), missing: PREFACE_BYTES };
        Self { io, watch: Some(watch) }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for FirstBytes<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        let Some(watch) = &mut this.watch else {
            return read;
        };
        watch.missing = watch.missing.saturating_sub(buf.filled().len() - before);
        if watch.missing == 0 {
            this.watch = None;
        } else if read.is_pending() && watch.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for FirstBytes<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.watch = None;
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.watch = None;
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_cut_off() {
        let (_client, server) = tokio::io::duplex(64);
        let mut stream = FirstBytes::within(LIMIT, server);
        let failed = timeout(LIMIT * 2, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stalls_within_the_preface_is_cut_off() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"PRI * HTTP/2.0").await.unwrap();
        let mut stream = FirstBytes::within(LIMIT, server);
        let failed = timeout(LIMIT * 2, stream.read_exact(&mut [0; 24])).await.unwrap().unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_peer_that_sent_its_preface_is_not_cut_off() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut stream = FirstBytes::within(LIMIT, server);
        stream.read_exact(&mut [0; 24]).await.unwrap();
        let idle = timeout(LIMIT * 100, stream.read_u8()).await;
        assert!(idle.is_err(), "the read must go on waiting: {idle:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_request_that_was_answered_is_not_cut_off() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut stream = FirstBytes::within(LIMIT, server);
        stream.read_exact(&mut [0; 18]).await.unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
        let idle = timeout(LIMIT * 100, stream.read_u8()).await;
        assert!(idle.is_err(), "the read must go on waiting: {idle:?}");
    }
}
