//! One connection: the TLS handshake, then HTTP/1.1 or HTTP/2 until either side ends it.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::{Service, ServiceExt};

use super::calls::{ANSWER_PACE, Answer, Calls, Tasks};
use super::first_bytes::FirstBytes;
use super::paced_writes::PacedWrites;
use super::{Peer, Scope, lifetime};
use crate::http::Arriving;
use crate::tls::{ClientCertificate, Unreadable};

/// Time for a TLS handshake.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the first bytes of a connection, which decide between HTTP/1.1 and HTTP/2.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the head of an HTTP/1.1 request; also how long a connection may be idle between two requests.
const HTTP1_HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest head of an HTTP/1.1 request, in bytes (answer: 431), and the most that is read ahead of a handler.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;
/// Calls at a time on one HTTP/2 connection; more wait in the client.
const HTTP2_STREAMS_MAX: u32 = 250;
/// Largest header list of an HTTP/2 request, in bytes as HTTP/2 counts them (answer: 431).
const HTTP2_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// What a peer may send ahead of a handler: on one stream, and on all streams of a connection together.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What is ready to be sent on one stream before its answer is asked for more.
const HTTP2_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Silence after which the server asks whether the peer is still there, and how long it waits for the answer.
const HTTP2_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams the peer reset before the server looked at them ("rapid reset"); past it the connection is closed.
const HTTP2_PENDING_RESETS_MAX: usize = 20;
/// Streams the server had to reset because of the peer's errors ("made you reset"); past it, closed too.
const HTTP2_LOCAL_RESETS_MAX: usize = 256;

/// The TLS stream and the client's certificate, if there is one; or nothing if the peer failed, took too long, or the
/// server is going down.
pub(super) async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    scope: &Scope,
) -> Option<(TlsStream<TcpStream>, Option<Arc<ClientCertificate>>)> {
    let handshake = tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    match scope.shutdown.run_until_cancelled(handshake).await? {
        Ok(Ok(stream)) => match certificate(&stream) {
            Ok(certificate) => Some((stream, certificate)),
            Err(error) => {
                tracing::debug!(%error, "TLS handshake refused");
                None
            }
        },
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_elapsed) => {
            tracing::debug!("TLS handshake took too long");
            None
        }
    }
}

/// The certificate that the client has shown; the handshake has verified it.
fn certificate(stream: &TlsStream<TcpStream>) -> Result<Option<Arc<ClientCertificate>>, Unreadable> {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    chain.first().map(|own| ClientCertificate::read(own).map(Arc::new)).transpose()
}

/// Answers the calls of one connection until it ends, has lasted long enough, or until the calls in flight at a
/// shutdown are answered.
pub(super) async fn serve<I, S>(io: I, peer: Peer, service: S, scope: Scope)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let address = peer.address;
    let calls = Calls::none_yet();
    let tasks = Tasks::of(scope.clone());
    let builder = builder(tasks.clone());
    let (arrived, untaken, begun) = (scope.arrived.clone(), scope.untaken.clone(), Arc::clone(&calls));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let call = begun.begin();
        // HTTP/1.1 carries its calls out itself, one after another.
        if request.version() == Version::HTTP_2 {
            tasks.next_is(&call);
        }
        let mut request = request.map(|body| Body::new(Arriving::new(body, arrived.clone())));
        request.extensions_mut().insert(peer.clone());
        let (answered, untaken) = (service.clone().oneshot(request), untaken.clone());
        async move {
            let Ok(response) = answered.await;
            Ok::<_, Infallible>(response.map(|body| Answer::new(body, untaken, call)))
        }
    });
    let io = FirstBytes::within(FIRST_BYTES_TIMEOUT, PacedWrites::at(ANSWER_PACE, io));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = scope.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = lifetime::over(&calls) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = lifetime::closed_too_slowly(&calls) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        // Clients vanish all the time; this is for whoever is looking for one that does.
        tracing::debug!(%error, peer = %address, "connection ended with an error");
    }
}

fn builder(tasks: Tasks) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(tasks);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HTTP1_HEADER_TIMEOUT).max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HTTP2_HEADER_LIST_BYTES)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
        .keep_alive_interval(HTTP2_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(HTTP2_KEEPALIVE_TIMEOUT)
        .max_pending_accept_reset_streams(HTTP2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_LOCAL_RESETS_MAX);
    builder
}
