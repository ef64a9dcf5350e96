//! The listening sockets: protocols, TLS, shutdown, and the frames that clients see, over real connections.

mod raw_http2;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, Version};
use axum::routing::get;
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use operond_server::http::{GuardOptions, Layered, layers};
use operond_server::net::{BindError, Listen, Peer, SHUTDOWN_GRACE, Server};
use operond_server::tls::DevIdentity;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Service;

use raw_http2::{Frame, frames_of_call};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "what is left ends with the runtime of its test")]
fn background<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}

#[expect(clippy::disallowed_methods, reason = "TLS clients compare certificates with the real clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// A server with a plaintext and a TLS listener.
struct Running {
    plaintext: SocketAddr,
    encrypted: SocketAddr,
    identity: DevIdentity,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

impl Running {
    async fn start<S>(service: S, grace: Duration) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let dir = tempfile::tempdir().expect("a directory");
        let identity = DevIdentity::open_or_create(dir.path(), &[], wall_clock()).expect("an identity");
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listens = vec![Listen::plaintext(any_port), Listen::tls(any_port, identity.server_config())];
        let server = Server::bind(listens).await.expect("two sockets");
        let addresses: Vec<_> = server.addresses().collect();
        let shutdown = CancellationToken::new();
        let served = background(server.serve(service, shutdown.clone(), grace));
        Self { plaintext: addresses[0], encrypted: addresses[1], identity, shutdown, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.plaintext).await.expect("a connection")
    }

    async fn connect_tls(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.identity.ca_pem().as_bytes()).expect("a certificate");
        roots.add(ca).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.encrypted).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
    }

    /// Ends within the patience, or fails.
    async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.served).await.expect("the server ends").expect("no panic");
    }
}

async fn over_http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, path: &str) -> Response<String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.expect("a handshake");
    background(connection);
    let request = Request::get(path).header("host", "localhost").body(Body::empty()).expect("a request");
    text(sender.send_request(request).await.expect("an answer")).await
}

async fn http2_sender(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> http2::SendRequest<Body> {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(io));
    let (sender, connection) = handshake.await.expect("a handshake");
    background(connection);
    sender
}

fn get_request(path: &str) -> Request<Body> {
    Request::get(format!("http://localhost{path}")).body(Body::empty()).expect("a request")
}

async fn over_http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, path: &str) -> Response<String> {
    let mut sender = http2_sender(io).await;
    text(sender.send_request(get_request(path)).await.expect("an answer")).await
}

async fn text(response: Response<hyper::body::Incoming>) -> Response<String> {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(parts, String::from_utf8(bytes.into()).expect("UTF-8"))
}

/// Answers with what it knows of the connection.
fn mirror() -> Router {
    Router::new().route(
        "/",
        get(|request: Request<Body>| async move {
            let peer = request.extensions().get::<Peer>().expect("a peer");
            format!("{:?} tls={} {}", request.version(), peer.tls, peer.address.ip())
        }),
    )
}

#[tokio::test]
async fn one_server_speaks_http1_and_http2_with_and_without_tls() {
    let server = Running::start(mirror(), SHUTDOWN_GRACE).await;
    let answers = [
        over_http1(server.connect().await, "/").await,
        over_http2(server.connect().await, "/").await,
        over_http1(server.connect_tls(&["http/1.1"]).await, "/").await,
        over_http1(server.connect_tls(&[]).await, "/").await,
        over_http2(server.connect_tls(&["h2"]).await, "/").await,
    ];
    let expected = [
        "HTTP/1.1 tls=false 127.0.0.1",
        "HTTP/2.0 tls=false 127.0.0.1",
        "HTTP/1.1 tls=true 127.0.0.1",
        "HTTP/1.1 tls=true 127.0.0.1",
        "HTTP/2.0 tls=true 127.0.0.1",
    ];
    for (answer, expected) in answers.iter().zip(expected) {
        assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, expected));
    }
}

#[tokio::test]
async fn alpn_prefers_http2() {
    let server = Running::start(mirror(), SHUTDOWN_GRACE).await;
    for (offered, chosen) in [(&["http/1.1", "h2"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let stream = server.connect_tls(offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen.as_bytes()), "{offered:?}");
    }
}

#[tokio::test]
async fn an_occupied_port_is_told_by_name() {
    let first = Server::bind(vec![Listen::plaintext(SocketAddr::from(([127, 0, 0, 1], 0)))]).await.unwrap();
    let address = first.addresses().next().unwrap();
    let error = Server::bind(vec![Listen::plaintext(address)]).await.unwrap_err();
    assert!(matches!(error, BindError::Io { address: refused, .. } if refused == address));
}

#[tokio::test]
async fn b41_an_enormous_header_list_is_answered_431() {
    let server = Running::start(mirror(), SHUTDOWN_GRACE).await;
    let mut sender = http2_sender(server.connect().await).await;
    for (bytes, expected) in [(15_000, StatusCode::OK), (17_000, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)] {
        let mut request = get_request("/");
        request.headers_mut().insert("x-padding", "x".repeat(bytes).parse().unwrap());
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{bytes}");
    }
}

#[tokio::test]
async fn a_panic_in_one_call_leaves_the_others_alone() {
    let router = mirror().route(
        "/panic",
        get(|| async {
            if true {
                panic!("this panic belongs to the test");
            }
        }),
    );
    let server = Running::start(router, SHUTDOWN_GRACE).await;
    let mut sender = http2_sender(server.connect().await).await;
    assert!(sender.send_request(get_request("/panic")).await.is_err());
    let same_connection = sender.send_request(get_request("/")).await.unwrap();
    assert_eq!(same_connection.status(), StatusCode::OK);
    assert_eq!(over_http1(server.connect().await, "/").await.status(), StatusCode::OK);
}

/// A route that says when it was entered and answers when it is told to.
struct Gate {
    entered: mpsc::Receiver<()>,
    open: Arc<Notify>,
    router: Router,
}

impl Gate {
    fn new() -> Self {
        let (enter, entered) = mpsc::channel(8);
        let open = Arc::new(Notify::new());
        let opened = Arc::clone(&open);
        let handler = move || {
            let (enter, opened) = (enter.clone(), Arc::clone(&opened));
            async move {
                enter.send(()).await.expect("the test listens");
                opened.notified().await;
                "late but complete"
            }
        };
        Self { entered, open, router: Router::new().route("/", get(handler)) }
    }
}

#[tokio::test]
async fn shutdown_finishes_calls_in_flight_and_takes_no_new_ones() {
    let mut gate = Gate::new();
    let server = Running::start(gate.router, PATIENCE).await;
    let streams = (server.connect().await, server.connect().await, server.connect_tls(&["h2"]).await);
    let calls = [
        background(over_http1(streams.0, "/")),
        background(over_http2(streams.1, "/")),
        background(over_http2(streams.2, "/")),
    ];
    for _ in &calls {
        gate.entered.recv().await.unwrap();
    }
    let idle = http2_sender(server.connect().await).await;

    server.shutdown.cancel();
    while TcpStream::connect(server.plaintext).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!server.served.is_finished(), "calls are in flight");
    gate.open.notify_waiters();
    for call in calls {
        assert_eq!(call.await.unwrap().body(), "late but complete");
    }
    server.ended().await;
    assert!(idle.is_closed(), "an idle connection is told to go");
}

#[tokio::test]
async fn shutdown_ends_calls_that_outlive_the_grace() {
    let mut gate = Gate::new();
    let server = Running::start(gate.router.clone(), Duration::from_millis(20)).await;
    let calls = [server.connect().await, server.connect().await];
    let [one, two] = calls;
    let calls = (
        background(async move {
            let (mut sender, connection) = http1::handshake(TokioIo::new(one)).await.unwrap();
            background(connection);
            let request = Request::get("/").header("host", "localhost").body(Body::empty()).unwrap();
            sender.send_request(request).await.is_err()
        }),
        background(async move { http2_sender(two).await.send_request(get_request("/")).await.is_err() }),
    );
    gate.entered.recv().await.unwrap();
    gate.entered.recv().await.unwrap();
    server.shutdown.cancel();
    server.ended().await;
    // The calls are gone, and so is what they held: nobody waits at the gate.
    drop(gate.router);
    assert_eq!(Arc::strong_count(&gate.open), 1);
    assert!(calls.0.await.unwrap() && calls.1.await.unwrap());
}

#[tokio::test]
async fn dropping_the_server_ends_its_calls() {
    let mut gate = Gate::new();
    let server = Running::start(gate.router, PATIENCE).await;
    let mut sender = http2_sender(server.connect().await).await;
    let call = background(async move { sender.send_request(get_request("/")).await.is_err() });
    gate.entered.recv().await.unwrap();
    server.served.abort();
    assert!(tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap());
}

/// A tonic service behind everything that calls pass.
fn health() -> Layered<Router> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let slow = get(|| async {}).post(std::future::pending::<()>);
    let router = tonic::service::Routes::new(health).into_axum_router().route("/test.Slow/Call", slow);
    layers(router, &GuardOptions { advertised: None }, None)
}

/// Makes a call that fails, without and with TLS.
async fn one_frame(server: &Running, path: &str, message: &[u8], headers: &[(&str, &str)]) {
    let plaintext = frames_of_call(server.connect().await, path, message, headers).await;
    let encrypted = frames_of_call(server.connect_tls(&["h2"]).await, path, message, headers).await;
    assert_eq!(plaintext, [Frame::Headers { end_stream: true }], "{path} {headers:?}");
    assert_eq!(encrypted, [Frame::Headers { end_stream: true }], "{path} {headers:?}, TLS");
}

#[tokio::test]
async fn an_error_is_one_headers_frame_with_end_stream() {
    let server = Running::start(health(), SHUTDOWN_GRACE).await;
    let check = "/grpc.health.v1.Health/Check";
    // By a handler, the decoder, the router; then by each part of the layers.
    one_frame(&server, check, b"\x0a\x04nope", &[]).await;
    one_frame(&server, check, b"\x0a\xff", &[]).await;
    one_frame(&server, "/nobody.Knows/This", b"", &[]).await;
    one_frame(&server, check, b"", &[("origin", "http://evil.example")]).await;
    one_frame(&server, check, b"", &[("grpc-timeout", "soon")]).await;
    one_frame(&server, "/test.Slow/Call", b"", &[("grpc-timeout", "10m")]).await;
    let success = frames_of_call(server.connect().await, check, b"", &[]).await;
    let expected =
        [Frame::Headers { end_stream: false }, Frame::Data { end_stream: false }, Frame::Headers { end_stream: true }];
    assert_eq!(success, expected);
}

#[tokio::test]
async fn a_tonic_client_sees_the_errors_of_services_and_guards() {
    let server = Running::start(health(), SHUTDOWN_GRACE).await;
    let endpoint = tonic::transport::Endpoint::try_from(format!("http://{}", server.plaintext)).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let mut code = async |metadata: Option<(&'static str, &str)>| {
        let mut request = tonic::Request::new(HealthCheckRequest { service: "nope".to_owned() });
        if let Some((name, value)) = metadata {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        let status = client.check(request).await.unwrap_err();
        assert!(status.metadata().contains_key("x-request-id"));
        status.code()
    };
    assert_eq!(code(None).await, Code::NotFound);
    assert_eq!(code(Some(("grpc-timeout", "1S"))).await, Code::NotFound);
    assert_eq!(code(Some(("origin", "http://evil.example"))).await, Code::PermissionDenied);
    assert_eq!(code(Some(("grpc-timeout", "soon"))).await, Code::InvalidArgument);
}

#[tokio::test]
async fn client_keepalive_pings_on_an_idle_connection_are_tolerated() {
    let server = Running::start(mirror(), SHUTDOWN_GRACE).await;
    let mut stream = server.connect().await;
    raw_http2::greet(&mut stream).await;
    for _ in 0..50 {
        raw_http2::ping(&mut stream).await;
    }
    assert_eq!(Version::HTTP_2, over_http2(server.connect().await, "/").await.version());
}
