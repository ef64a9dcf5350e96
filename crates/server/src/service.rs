//! All faces over one engine, as one router.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use http::Extensions;
use operond_core::limits::{REQUEST_BYTES_MAX, WAIT_MAX};
use operond_core::{Operation, OperationId, Reason as CancelReason, Scope, Spec, State, Timestamp};
use operond_engine::{Create, Engine, Error, Origin};
use operond_proto::FILE_DESCRIPTOR_SET;
use operond_proto::google::longrunning::operations_server::{
    self as google_operations_server, OperationsServer as GoogleOperationsServer,
};
use operond_proto::operond::v1;
use operond_proto::operond::v1::keys_server::{self, KeysServer};
use operond_proto::operond::v1::kinds_server::{self, KindsServer};
use operond_proto::operond::v1::operations_server::{self, OperationsServer};
use operond_proto::operond::v1::types_server::{self, TypesServer};
use operond_proto::operond::v1::work_server::{self, WorkServer};
use operond_proto::yandex::cloud::endpoint::api_endpoint_service_server::{self, ApiEndpointServiceServer};
use operond_proto::yandex::cloud::operation::operation_service_server::{self, OperationServiceServer};
use operond_store::Missing;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::codec::CompressionEncoding::Gzip;
use tonic_health::pb::health_server::{self, HealthServer};

use crate::auth::{Audit, Identity, Keys, Limiter, Reservation, origin};
use crate::error::{ApiError, Reason};
use crate::grpc::Strict;
use crate::health::{Health, HealthService};
use crate::http::{Deadline, hold};
use crate::json::Types;
use crate::kinds::Kinds;
use crate::listing::LISTS_MAX;
use crate::metrics::Standing;
use crate::readiness::Readiness;
use crate::types::{Registry, TypesError};
use crate::wire::{self, View};
use crate::{google, native, poll_interval, rest, yandex};

/// How the faces present themselves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `host:port` that clients are told to connect to; the certificate must name the host.
    pub advertised: String,
    /// The version of the server, for people.
    pub version: String,
    /// How long every Get of an unfinished operation is held for its next change, on any face; zero for not at all,
    /// at most 60 s (CONTRACT §4 "held Get"). A call that says how long itself wins.
    pub held_get: Duration,
    /// What stands before the ids in a list of the Google face that was asked for by no name: `operations`, or
    /// `{parent}/operations`. Otherwise the names have the form that was asked with.
    pub collection: String,
    /// Message types to begin with: [`Types::builtin`], perhaps with more. What is registered comes on top.
    pub types: Types,
    /// Told to health checks; keep a clone to say that the server is about to stop.
    pub health: Health,
    /// Told of keys and settings that are changed; the engine has it, too, and the layers.
    pub audit: Option<Audit>,
}

impl Settings {
    /// Nothing held, version of this crate.
    #[must_use]
    pub fn new(advertised: impl Into<String>) -> Self {
        Self {
            advertised: advertised.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            held_get: Duration::ZERO,
            collection: "operations".into(),
            types: Types::builtin(),
            health: Health::default(),
            audit: None,
        }
    }
}

/// Every face, health checks and reflection. Serve it with [`crate::http::layers`] around it: the guards, request
/// ids, deadlines and who calls are there. Without an identity from there no call reaches an operation.
///
/// # Errors
/// What was registered before cannot be read, or contradicts [`Settings::types`].
pub async fn router(engine: Engine, keys: Keys, settings: Settings) -> Result<Router, RouterError> {
    let health = HealthService::new(settings.health.clone(), SERVICES);
    let types = Registry::load(engine.clone(), settings.types.clone()).await?;
    let kinds = Kinds::load(engine.clone()).await?;
    let (lists, readiness, clock) = (Semaphore::new(LISTS_MAX), Readiness::default(), Clock::start());
    let service = Arc::new(Service { engine, settings, types, kinds, keys, lists, readiness, clock });

    macro_rules! serve {
        ($server:ident, $service:expr) => {
            Strict($server::new($service).accept_compressed(Gzip).max_decoding_message_size(REQUEST_BYTES_MAX))
        };
    }
    let operations = serve!(OperationsServer, native::Grpc(Arc::clone(&service)));
    let work = serve!(WorkServer, native::Grpc(Arc::clone(&service)));
    let types = serve!(TypesServer, native::Grpc(Arc::clone(&service)));
    let kinds = serve!(KindsServer, native::Grpc(Arc::clone(&service)));
    let keys = serve!(KeysServer, native::Grpc(Arc::clone(&service)));
    let yandex_operations = serve!(OperationServiceServer, yandex::Grpc(Arc::clone(&service)));
    let google_operations = serve!(GoogleOperationsServer, google::Grpc(Arc::clone(&service)));
    let endpoints = serve!(ApiEndpointServiceServer, yandex::Grpc(Arc::clone(&service)));
    let health = serve!(HealthServer, health);
    let reflection =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET);
    let reflection_v1 = reflection().build_v1().expect("the committed descriptors are checked by a test");
    let reflection_v1 = reflection_v1.accept_compressed(Gzip).max_decoding_message_size(REFLECTION_BYTES_MAX);
    let reflection_v1alpha = reflection().build_v1alpha().expect("the committed descriptors are checked by a test");
    let reflection_v1alpha = reflection_v1alpha.accept_compressed(Gzip).max_decoding_message_size(REFLECTION_BYTES_MAX);

    let path = |name: &str| format!("/{name}/{{*method}}");
    Ok(Router::new()
        .route_service(&path(operations_server::SERVICE_NAME), operations)
        .route_service(&path(work_server::SERVICE_NAME), work)
        .route_service(&path(types_server::SERVICE_NAME), types)
        .route_service(&path(kinds_server::SERVICE_NAME), kinds)
        .route_service(&path(keys_server::SERVICE_NAME), keys)
        .route_service(&path(operation_service_server::SERVICE_NAME), yandex_operations)
        .route_service(&path(google_operations_server::SERVICE_NAME), google_operations)
        .route_service(&path(api_endpoint_service_server::SERVICE_NAME), endpoints)
        .route_service(&path(health_server::SERVICE_NAME), health)
        .route_service(&path("grpc.reflection.v1.ServerReflection"), Strict(reflection_v1))
        .route_service(&path("grpc.reflection.v1alpha.ServerReflection"), Strict(reflection_v1alpha))
        .fallback(rest::serve)
        .with_state(service))
}

/// Why the faces cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// The types that were registered before cannot be used, or not together with [`Settings::types`].
    #[error("cannot use the message types that are stored: {0}")]
    Types(#[from] TypesError),
    /// The defaults of kinds cannot be read.
    #[error("cannot read the defaults of kinds that are stored: {0}")]
    Kinds(#[from] Error),
}

/// What every call needs. Operations are reached through a [`Call`] alone.
pub(crate) struct Service {
    engine: Engine,
    pub(crate) settings: Settings,
    pub(crate) types: Registry,
    pub(crate) kinds: Kinds,
    pub(crate) keys: Keys,
    /// Turns for lists and counts; see [`LISTS_MAX`].
    pub(crate) lists: Semaphore,
    readiness: Readiness,
    clock: Clock,
}

/// A call of somebody known: what they can reach, and nothing else.
pub(crate) struct Call {
    service: Arc<Service>,
    /// Within the scope of who calls.
    pub(crate) engine: Engine,
    /// Who calls.
    pub(crate) identity: Arc<Identity>,
    /// The same for the audit, where there is one.
    origin: Option<Origin>,
    /// Holds what is created to the limits of its tenant, and what is said of leases to those of who calls.
    limiter: Option<Arc<Limiter>>,
}

impl Deref for Call {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl Service {
    /// The call of whoever the layers found to be calling.
    pub(crate) fn call(self: &Arc<Self>, extensions: &Extensions) -> Result<Call, ApiError> {
        let identity = extensions.get::<Arc<Identity>>().ok_or_else(|| {
            ApiError::new(
                Reason::Unauthenticated,
                "nobody has asked who is calling: the server is put together wrongly",
            )
        })?;
        let mut engine = self.engine.within(identity.scope.clone());
        let mut who = None;
        if engine.is_audited() || self.settings.audit.is_some() {
            let origin = origin(identity, extensions.get());
            engine = engine.on_behalf_of(Arc::clone(&origin));
            who = Some(origin);
        }
        let (service, identity, limiter) = (Arc::clone(self), Arc::clone(identity), extensions.get().cloned());
        Ok(Call { service, engine, identity, origin: who, limiter })
    }

    /// The message types that are known now.
    pub(crate) fn types(&self) -> Types {
        self.types.known().types.clone()
    }

    /// An operation as the native face shows it.
    pub(crate) fn show(&self, operation: &Operation, view: View) -> v1::Operation {
        let spec = &operation.spec;
        let unattended = operation.state() == State::Queued && !self.engine.attended(&spec.tenant, &spec.kind);
        v1::Operation { unattended, ..wire::native(operation, view) }
    }

    /// Seconds until the next poll of `operation`; `None` once it is done.
    pub(crate) fn poll_interval(&self, operation: &Operation) -> Option<u64> {
        poll_interval::poll_interval(operation, self.clock.now())
    }

    /// Fails when operations cannot be served now; else what an operator should know of the store.
    pub(crate) async fn ping(&self) -> Result<Vec<String>, ApiError> {
        Ok(self.readiness.ask(self.engine.ping()).await?)
    }

    /// How the server is now.
    pub(crate) async fn standing(&self) -> Standing<'_> {
        Standing {
            version: &self.settings.version,
            serving: self.settings.health.serving(),
            store: self.ping().await.ok(),
            held: self.engine.waiters(),
        }
    }

    /// Seals page tokens.
    pub(crate) fn seal_key(&self) -> &[u8; 32] {
        self.engine.seal_key()
    }
}

impl Call {
    /// Whether whoever calls may still be told something: a call that goes on and on ends with its key.
    pub(crate) fn goes_on(&self) -> bool {
        self.keys.still_let_in(&self.identity)
    }

    /// Tells the audit what was done to which key or setting.
    pub(crate) fn audit(&self, what: &str, which: &str) {
        if let (Some(audit), Some(origin)) = (&self.settings.audit, &self.origin) {
            audit.setting(origin, what, which);
        }
    }

    /// Begins an operation by `begin`, if its tenant may have one more. If not, a create that was carried out before is
    /// answered all the same: whoever repeats it has not learnt of its operation.
    pub(crate) async fn create<T, F>(&self, create: Create, begin: impl FnOnce(Create) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let over = match self.reserve(&create.spec).await {
            Ok(_until_it_is_created) => return Ok(begin(create).await?),
            Err(over) if create.key.is_none() => return Err(over),
            Err(over) => over,
        };
        match begin(Create { repeat_only: true, ..create }).await {
            Err(Error::NotFound(Missing::Never)) => Err(over),
            answered => Ok(answered?),
        }
    }

    /// What comes of a report on leased work. One that comes to nothing is counted: real leases are few, made-up ones many.
    pub(crate) fn reported<T>(&self, outcome: Result<T, Error>) -> Result<T, ApiError> {
        let by_the_caller = |error: &Error| !matches!(error, Error::Unavailable(_) | Error::DataLoss);
        if let (Some(limiter), true) = (&self.limiter, outcome.as_ref().is_err_and(by_the_caller)) {
            limiter.missed(&self.identity);
        }
        Ok(outcome?)
    }

    /// Room for an operation. Where the caller cannot create it, it takes none from whoever can.
    async fn reserve(&self, spec: &Spec) -> Result<Option<Reservation>, ApiError> {
        match &self.limiter {
            Some(limiter) if self.identity.scope.covers(spec) => {
                let of_tenant = self.service.engine.within(Scope::of_tenant(spec.tenant.clone()));
                limiter.reserve(&spec.tenant, &of_tenant).await
            }
            _ => Ok(None),
        }
    }

    /// An operation: at once, or held for its next change.
    pub(crate) async fn get(&self, id: &OperationId, hold: Hold<'_>) -> Result<Arc<Operation>, ApiError> {
        let wait = hold.wait.unwrap_or(self.settings.held_get).min(WAIT_MAX);
        let got = if wait.is_zero() {
            self.engine.get(id).await
        } else {
            self.engine.get_held(id, hold.seen, until(wait, hold.deadline)).await
        };
        got.map_err(|error| ApiError::of_operation(error, id.as_str()))
    }

    /// Asks for an operation to be cancelled, in the name of who calls.
    pub(crate) async fn cancel(&self, id: &OperationId, reason: CancelReason) -> Result<Arc<Operation>, ApiError> {
        let cancelled = self.engine.cancel(id, self.identity.principal.clone(), reason).await;
        cancelled.map_err(|error| ApiError::of_operation(error, id.as_str()))
    }

    /// Forgets a finished operation.
    pub(crate) async fn delete(&self, id: &OperationId) -> Result<(), ApiError> {
        self.engine.delete(id).await.map_err(|error| ApiError::of_operation(error, id.as_str()))
    }
}

/// How a Get may be held (CONTRACT §4 "held Get").
#[derive(Clone, Copy, Default)]
pub(crate) struct Hold<'a> {
    /// How long, if the call says so itself; else as the server is set.
    pub(crate) wait: Option<Duration>,
    /// Which revision the caller has; another one is answered at once.
    pub(crate) seen: Option<u64>,
    /// Until when the caller is there.
    pub(crate) deadline: Option<&'a Deadline>,
}

/// `wait`, cut so that a call with this deadline answers a little before it. Such a call is not cut off, and while it
/// waits it is not counted among those that are carried out.
pub(crate) fn until(wait: Duration, deadline: Option<&Deadline>) -> Duration {
    if !wait.is_zero() {
        hold();
    }
    match deadline {
        Some(deadline) if !wait.is_zero() => {
            deadline.answer_myself();
            wait.min(deadline.answer_by().saturating_duration_since(Instant::now()))
        }
        _ => wait,
    }
}

/// The age of operations, for poll intervals only: wall time at start, and the monotonic clock since.
struct Clock {
    wall: Timestamp,
    start: Instant,
}

impl Clock {
    fn start() -> Self {
        // Read once, as the zero of a monotonic clock.
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self { wall: Timestamp::default().after(since_epoch), start: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.wall.after(self.start.elapsed())
    }
}

/// Largest question of reflection. Its library echoes names whole, three bytes for one, and clients take an error
/// beyond 8,000 bytes for another one (CONTRACT §4).
const REFLECTION_BYTES_MAX: usize = 1024;

/// The services whose health can be asked for.
const SERVICES: &[&str] = &[
    operations_server::SERVICE_NAME,
    work_server::SERVICE_NAME,
    types_server::SERVICE_NAME,
    kinds_server::SERVICE_NAME,
    keys_server::SERVICE_NAME,
    operation_service_server::SERVICE_NAME,
    google_operations_server::SERVICE_NAME,
    api_endpoint_service_server::SERVICE_NAME,
];
