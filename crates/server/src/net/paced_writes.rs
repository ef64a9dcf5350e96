//! A limit for peers that do not read what they have asked for.
//!
//! Once the system's send buffer is full, an answer stays in memory for as long as the peer likes. This is the
//! limit for the connection; an HTTP/2 stream that its peer alone holds back has its own (see [`super::calls`]).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::{Pace, Waiting};

/// A stream whose writes fail once the peer has been too slow to take them.
pub(super) struct PacedWrites<I> {
    io: I,
    waiting: Waiting,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<I> PacedWrites<I> {
    pub(super) fn at(pace: Pace, io: I) -> Self {
        Self { io, waiting: Waiting::at(pace), timer: None }
    }

    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        bytes: impl FnOnce(&io::Result<usize>) -> usize,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = done {
            self.waiting.moved(bytes(&result));
            return Poll::Ready(result);
        }
        let limit = self.waiting.on(Instant::now());
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if timer.deadline() != limit {
            timer.as_mut().reset(limit);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn written(result: &io::Result<usize>) -> usize {
        result.as_ref().map_or(0, |bytes| *bytes)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for PacedWrites<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for PacedWrites<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.watch(cx, Self::written, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.watch(cx, Self::written, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx).map_ok(|()| 0);
        this.watch(cx, |_| 0, flushed).map_ok(|_| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = Pin::new(&mut this.io).poll_shutdown(cx).map_ok(|()| 0);
        this.watch(cx, |_| 0, ended).map_ok(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    const PACE: Pace = Pace { patience: Duration::from_secs(30), bytes: 1024 };

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_cut_off_after_the_patience() {
        let (_client, server) = tokio::io::duplex(64);
        let mut stream = PacedWrites::at(PACE, server);
        let start = Instant::now();
        let failed = timeout(PACE.patience * 2, stream.write_all(&[0; 65])).await.unwrap().unwrap_err();
        assert_eq!((failed.kind(), start.elapsed()), (io::ErrorKind::TimedOut, PACE.patience));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_trickles_is_cut_off_and_one_that_keeps_pace_is_not() {
        for (chunk, kept) in [(1, false), (64, true)] {
            let (mut client, server) = tokio::io::duplex(64);
            let mut stream = PacedWrites::at(PACE, server);
            let reader = async {
                let mut buffer = vec![0; chunk];
                while client.read_exact(&mut buffer).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let written = tokio::select! {
                written = stream.write_all(&[0; 8192]) => written,
                () = reader => panic!("the reader outlives the writer"),
            };
            assert_eq!(written.is_ok(), kept, "{chunk} bytes each second");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_nothing_to_read_is_not_cut_off() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut stream = PacedWrites::at(PACE, server);
        stream.write_all(&[0; 64]).await.unwrap();
        let idle = timeout(PACE.patience * 10, stream.read_u8()).await;
        assert!(idle.is_err(), "the read must go on waiting: {idle:?}");
        client.read_exact(&mut [0; 64]).await.unwrap();
        stream.write_all(&[0; 64]).await.unwrap();
    }
}
