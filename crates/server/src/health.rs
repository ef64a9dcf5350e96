//! Whether this server serves: `grpc.health.v1`, `/healthz`, `/readyz`.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::error::{ApiError, Reason, quote};

/// What the server says of its health; a handle to share. It is SERVING at first.
#[derive(Clone, Debug)]
pub struct Health {
    serving: Arc<watch::Sender<bool>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { serving: Arc::new(watch::Sender::new(true)) }
    }
}

impl Health {
    /// From now on NOT_SERVING: load balancers go elsewhere. The first thing to do at shutdown.
    pub fn stop_serving(&self) {
        self.serving.send_replace(false);
    }

    /// Whether the server serves.
    #[must_use]
    pub fn serving(&self) -> bool {
        *self.serving.borrow()
    }
}

/// `grpc.health.v1.Health` over a [`Health`].
#[derive(Clone, Debug)]
pub(crate) struct HealthService {
    health: Health,
    /// The services that can be asked for by name; the empty name means the whole server.
    names: &'static [&'static str],
    /// Turns for those who watch, whom nobody asks who they are.
    watchers: Arc<Semaphore>,
}

#[tonic::async_trait]
impl health_server::Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !self.knows(service) {
            let message = format!("service {} is not served here", quote(service));
            return Err(ApiError::new(Reason::NeverExisted, message).into_status(request.extensions()));
        }
        Ok(Response::new(answer(status(self.health.serving()))))
    }

    /// The present status, then each change. It ends behind NOT_SERVING, so that it does not hold up a shutdown; and
    /// behind the first one where too many watch.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = self.knows(&request.get_ref().service);
        let mut serving = self.health.serving.subscribe();
        serving.mark_changed();
        let turn = Arc::clone(&self.watchers).try_acquire_owned().ok();
        let stream = unfold(Some((serving, turn)), move |watcher| async move {
            let (mut serving, turn) = watcher?;
            serving.changed().await.ok()?;
            let now = *serving.borrow_and_update();
            let status = if known { status(now) } else { ServingStatus::ServiceUnknown };
            let goes_on = now && turn.is_some();
            Some((Ok(answer(status)), goes_on.then_some((serving, turn))))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

impl HealthService {
    pub(crate) fn new(health: Health, names: &'static [&'static str]) -> Self {
        Self { health, names, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.names.contains(&service)
    }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// Watches of the health at a time: one for each load balancer that does not ask instead.
const WATCHERS_MAX: usize = 1_024;
