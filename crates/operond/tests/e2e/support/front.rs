//! A server in front of the server that answers every third call itself: UNAVAILABLE.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceExt;

use super::channel;

/// Speaks HTTP/1.1 and HTTP/2; gone when dropped.
pub(crate) struct Front {
    /// `http://127.0.0.1:PORT`
    pub(crate) http: String,
    calls: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl Front {
    /// Two calls of three go on to `server`.
    pub(crate) fn before(server: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let calls = Arc::new(AtomicU64::new(0));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let http = format!("http://{}", listener.local_addr().unwrap());
        let (server, counter) = (server.to_owned(), Arc::clone(&calls));
        runtime.spawn(async move {
            let server = channel(&server);
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (server, calls) = (server.clone(), Arc::clone(&counter));
                let service = service_fn(move |request| answer(request, server.clone(), Arc::clone(&calls)));
                tokio::spawn(async move {
                    // How a client leaves is its own affair.
                    let builder = Builder::new(TokioExecutor::new());
                    let _left = builder.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { http, calls, _runtime: runtime }
    }

    /// How many calls it has answered itself.
    pub(crate) fn refused(&self) -> u64 {
        self.calls.load(Ordering::Relaxed) / EVERY
    }
}

async fn answer(
    request: Request<Incoming>,
    server: Channel,
    calls: Arc<AtomicU64>,
) -> Result<Response<Body>, Infallible> {
    if (calls.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(EVERY) {
        return Ok(unavailable(&request));
    }
    Ok(server.oneshot(request.map(Body::new)).await.unwrap())
}

fn unavailable(request: &Request<Incoming>) -> Response<Body> {
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
    if content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        return Status::unavailable("every third call").into_http();
    }
    let body = r#"{"error": {"code": 503, "message": "every third call", "status": "UNAVAILABLE"}}"#;
    let response = Response::builder().status(503).header(CONTENT_TYPE, "application/json");
    response.body(Body::new(body.to_owned())).unwrap()
}

const EVERY: u64 = 3;
