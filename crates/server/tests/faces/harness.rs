//! A server in this process, on virtual time, over the in-memory store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use futures::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use operond_core::{OperationId, Timestamp};
use operond_engine::{Engine, Options};
use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::work_client::WorkClient;
use operond_proto::operond::v1::{Claim, ClaimRequest, CreateRequest, Operation};
use operond_proto::yandex::cloud::operation::operation_service_client::OperationServiceClient;
use operond_server::auth::{Audit, Auth, Certificates, Keys};
use operond_server::http::{GuardOptions, Layered, audited, layers};
use operond_server::{Health, Settings, router};
use operond_store::{Clock, ListQuery, MemoryStore, Order, Store};
use serde_json::Value;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::ServiceExt;
use tower::util::MapRequest;

/// The router with its layers, as the listener serves it.
pub(crate) type App = Layered<Router>;
/// A transport for generated clients that ends in this process.
pub(crate) type InProcess = MapRequest<App, fn(Request<tonic::body::Body>) -> Request<Body>>;

pub(crate) const ADVERTISED: &str = "operond.example:7468";

pub(crate) struct Faces {
    pub(crate) engine: Engine,
    pub(crate) app: App,
    pub(crate) health: Health,
    store: Arc<MemoryStore>,
}

/// A REST answer, read to its end.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Faces {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(set: impl FnOnce(&mut Settings)) -> Self {
        let store = Arc::new(MemoryStore::new(Virtual::new()));
        let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, Options::default());
        let mut settings = Settings::new(ADVERTISED);
        set(&mut settings);
        Self::over(engine, settings, store)
    }

    /// Other faces of the same engine, as after a restart: they know what is stored.
    pub(crate) fn begun_anew(&self) -> Self {
        Self::over(self.engine.clone(), Settings::new(ADVERTISED), Arc::clone(&self.store))
    }

    /// Another server beside this one, over the same store as `seen` by it.
    pub(crate) fn beside(&self, seen: impl FnOnce(Arc<MemoryStore>) -> Arc<dyn Store>) -> Self {
        let engine = Engine::start(seen(Arc::clone(&self.store)), Options::default());
        Self::over(engine, Settings::new(ADVERTISED), Arc::clone(&self.store))
    }

    fn over(engine: Engine, settings: Settings, store: Arc<MemoryStore>) -> Self {
        let health = settings.health.clone();
        let guards = GuardOptions { advertised: Some(ADVERTISED.into()) };
        let app = layers(routed(&engine, settings), &guards, None);
        Self { engine, app, health, store }
    }

    /// The same server, which asks callers who they are, and the first key, an admin of everything.
    pub(crate) async fn asking() -> (Self, String) {
        Self::new().with_first_key(None).await
    }

    /// The same, which tells `audit`.
    pub(crate) async fn asking_audited(audit: &Audit) -> (Self, String) {
        let store = Arc::new(MemoryStore::new(Virtual::new()));
        let options = Options { audit: Some(Arc::new(audit.clone())), ..Options::default() };
        let engine = Engine::start(Arc::clone(&store) as Arc<dyn Store>, options);
        Self::over(engine, Settings::new(ADVERTISED), store).with_first_key(Some(audit)).await
    }

    async fn with_first_key(self, audit: Option<&Audit>) -> (Self, String) {
        let first = OnceLock::new();
        let keep = |key: &str| first.set(key.to_owned()).map_err(|_| std::io::ErrorKind::AlreadyExists.into());
        keys(&self.engine).create_first(None, keep).await.unwrap();
        (self.asking_for_keys(audit), first.into_inner().unwrap())
    }

    /// Other faces of the same engine, which ask for what keys are stored.
    pub(crate) fn asking_anew(&self) -> Self {
        self.asking_for_keys(None)
    }

    /// The same, which knows these certificates, too.
    pub(crate) fn recognising(mut self, certificates: Certificates) -> Self {
        let keys = keys(&self.engine);
        let router = router(self.engine.clone(), keys.clone(), Settings::new(ADVERTISED));
        let router = router.now_or_never().expect("no store is waited for").unwrap();
        let guards = GuardOptions { advertised: Some(ADVERTISED.into()) };
        self.app = layers(router, &guards, Some(Auth::new(keys).recognising(certificates)));
        self
    }

    fn asking_for_keys(&self, audit: Option<&Audit>) -> Self {
        let mut faces = self.begun_anew();
        let keys = keys(&self.engine);
        let settings = Settings { audit: audit.cloned(), ..Settings::new(ADVERTISED) };
        let router = router(self.engine.clone(), keys.clone(), settings);
        let router = router.now_or_never().expect("no store is waited for").unwrap();
        let guards = GuardOptions { advertised: Some(ADVERTISED.into()) };
        faces.app = audited(router, &guards, Some(Auth::new(keys)), audit.cloned());
        faces
    }

    /// `line` is method and path; a body is sent as JSON. `key` says who calls.
    pub(crate) async fn rest_as(&self, key: &str, line: &str, body: &str) -> Rest {
        self.rest_with(line, &[("authorization", &format!("Bearer {key}"))], body).await
    }

    /// A new key of `name`, by the admin of everything.
    pub(crate) async fn key(&self, admin: &str, new: &Value) -> String {
        let created = self.rest_as(admin, "POST /api/v1/keys", &new.to_string()).await.ok();
        created["secret"].as_str().unwrap().to_owned()
    }

    /// `line` is method and path; a body is sent as JSON.
    pub(crate) async fn rest(&self, line: &str, body: &str) -> Rest {
        self.rest_with(line, &[], body).await
    }

    pub(crate) async fn rest_with(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Rest {
        read(self.call(request(line, headers, body)).await).await
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Response<Body> {
        self.app.clone().oneshot(request).await.unwrap()
    }

    pub(crate) fn operations(&self) -> OperationsClient<InProcess> {
        OperationsClient::with_origin(self.in_process(), ORIGIN.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    pub(crate) fn work(&self) -> WorkClient<InProcess> {
        WorkClient::with_origin(self.in_process(), ORIGIN.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(crate) fn yandex(&self) -> OperationServiceClient<InProcess> {
        OperationServiceClient::with_origin(self.in_process(), ORIGIN.clone())
    }

    pub(crate) fn in_process(&self) -> InProcess {
        self.app.clone().map_request(|request: Request<tonic::body::Body>| request.map(Body::new))
    }

    pub(crate) async fn create(&self, kind: &str) -> Operation {
        self.operations().create(create(kind)).await.unwrap().into_inner()
    }

    /// The claim of the one operation of `kind` that there is to do.
    pub(crate) async fn claim(&self, kind: &str) -> Claim {
        let request = ClaimRequest { kinds: vec![kind.into()], worker: "w".into(), ..Default::default() };
        self.work().claim(request).await.unwrap().into_inner().claims.remove(0)
    }

    /// An operation of `kind` in the hands of a worker.
    pub(crate) async fn claimed(&self, kind: &str) -> Claim {
        self.create(kind).await;
        self.claim(kind).await
    }

    /// Everything that is stored, as ids and revisions.
    pub(crate) async fn rows(&self) -> Vec<(OperationId, u64)> {
        let query = ListQuery {
            order: Order::OldestFirst,
            limit: usize::MAX,
            bytes_max: usize::MAX,
            scan_max: usize::MAX,
            ..ListQuery::default()
        };
        let page = self.store.list(&query).await.unwrap();
        page.operations.iter().map(|operation| (operation.id.clone(), operation.revision)).collect()
    }
}

/// The faces of an engine over the in-memory store, which answers at once.
pub(crate) fn routed(engine: &Engine, settings: Settings) -> Router {
    router(engine.clone(), keys(engine), settings).now_or_never().expect("no store is waited for").unwrap()
}

/// The keys of an engine over the in-memory store.
pub(crate) fn keys(engine: &Engine) -> Keys {
    Keys::load(engine.clone()).now_or_never().expect("no store is waited for").unwrap()
}

impl Rest {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    /// The details of the error by the name of their type.
    pub(crate) fn detail(&self, name: &str) -> &Value {
        let url = format!("type.googleapis.com/google.rpc.{name}");
        let details = self.body["details"].as_array().into_iter().flatten();
        details.into_iter().find(|detail| detail["@type"] == *url).unwrap_or(&Value::Null)
    }

    pub(crate) fn reason(&self) -> &str {
        self.detail("ErrorInfo")["reason"].as_str().unwrap_or_default()
    }

    /// The member that is wrong.
    pub(crate) fn field(&self) -> &str {
        self.detail("BadRequest")["fieldViolations"][0]["field"].as_str().unwrap_or_default()
    }
}

pub(crate) fn create(kind: &str) -> CreateRequest {
    CreateRequest { kind: kind.into(), ..Default::default() }
}

pub(crate) fn request(line: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    request.body(if body.is_empty() { Body::empty() } else { Body::from(body.to_owned()) }).unwrap()
}

pub(crate) async fn read(response: Response<Body>) -> Rest {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Rest { status: parts.status, headers: parts.headers, body }
}

/// Code, reason, and the member that is wrong.
pub(crate) fn told(status: &Status) -> (Code, String, String) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"));
    assert_eq!(info.domain, "operond.dev");
    let field = details.bad_request().map(|bad| bad.field_violations[0].field.clone());
    (status.code(), info.reason.clone(), field.unwrap_or_default())
}

/// Ends what a test has begun when it is over.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it ends")
}

/// The runtime's clock, which stands still while there is something to do; no two readings are the same.
struct Virtual {
    wall: Timestamp,
    start: Instant,
    readings: AtomicU64,
}

impl Virtual {
    fn new() -> Self {
        // Of today: the server tells the age of operations by its own clock.
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Self { wall: Timestamp::default().after(since_epoch), start: Instant::now(), readings: AtomicU64::new(0) }
    }
}

impl Clock for Virtual {
    fn wall(&self) -> Timestamp {
        self.wall.after(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed() + Duration::from_micros(self.readings.fetch_add(1, Ordering::Relaxed))
    }
}

static ORIGIN: std::sync::LazyLock<Uri> = std::sync::LazyLock::new(|| Uri::from_static("http://localhost"));
