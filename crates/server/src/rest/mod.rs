//! REST: every path that is not a gRPC service.
//!
//! Paths are matched here and not by the router: `{id}:verb` is one segment, a wrong method is told apart from an
//! unknown path, and no method reaches a handler by another's name (HEAD must never cancel).

mod answer;
mod conditional;
mod google;
mod keys;
mod kinds;
mod native;
mod query;
mod route;
mod types;
mod watch;
mod yandex;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use http::request::Parts;
use http::{Method, Request, Response};
use operond_proto::operond::v1;
use prost::{Message, Name};

use crate::error::{ApiError, Reason, quote};
use crate::http::{Form, Refusal, RequestId, read_body};
use crate::service::{self, Hold, Service};
use crate::wire;

use conditional::Seen;
pub(crate) use route::{Call, call_of};

use route::Route;

/// Answers what no gRPC service is there for.
pub(crate) async fn serve(State(service): State<Arc<Service>>, request: Request<Body>) -> Response<Body> {
    let form = Form::of(&request);
    if form == Form::Grpc {
        let message = format!("there is no gRPC method {}", quote(request.uri().path()));
        return ApiError::new(Reason::UnknownMethod, message).into_status(request.extensions()).into_http();
    }
    let head = request.method() == Method::HEAD;
    let id = request.extensions().get::<RequestId>().cloned();
    let outcome = called(&service, request).await;
    let response = outcome.unwrap_or_else(|failure| match (failure, &id) {
        (Failure::Refused(refusal), Some(id)) => refusal.into_response(form, id),
        // Without the layers around the router there is no id to tell.
        (Failure::Refused(refusal), None) => refused(&refusal).into_response(form, None, &service.types()),
        (Failure::Error(error), id) => error.into_response(form, id.as_ref(), &service.types()),
    });
    if head { answer::without_body(response) } else { response }
}

/// Why there is no answer.
enum Failure {
    Error(ApiError),
    /// By the body rules, which are shared with the layers.
    Refused(Refusal),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

/// A call under way.
struct Rest<'a> {
    service: &'a Arc<Service>,
    /// The id in the path (Google face: the name); empty where the path has none.
    id: String,
    parts: Parts,
    body: Bytes,
}

async fn called(service: &Arc<Service>, request: Request<Body>) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let Route { id, calls } = route::find(parts.uri.path())?;
    let call = route::choose(calls, &parts.method)?;
    // Answers to GET and HEAD depend on nothing but the URL.
    let body = if matches!(parts.method, Method::POST | Method::PUT | Method::DELETE) {
        read_body(body).await.map_err(Failure::Refused)?
    } else {
        Bytes::new()
    };
    Ok(handle(call, Rest { service, id, parts, body }).await?)
}

async fn handle(call: Call, rest: Rest<'_>) -> Result<Response<Body>, ApiError> {
    match call {
        Call::Health => answer::health(&rest),
        Call::Ready => answer::ready(&rest).await,
        Call::OpenApi => answer::openapi(&rest),
        Call::Metrics => answer::metrics(&rest).await,
        Call::YandexGet => yandex::get(&rest).await,
        Call::YandexCancel => yandex::cancel(&rest).await,
        Call::GoogleList => google::list(&rest).await,
        Call::GoogleGet => google::get(&rest).await,
        Call::GoogleDelete => google::delete(&rest).await,
        Call::GoogleCancel => google::cancel(&rest).await,
        Call::GoogleWait => google::wait(&rest).await,
        Call::EndpointsList => yandex::endpoints(&rest),
        Call::EndpointsGet => yandex::endpoint(&rest),
        Call::Create => native::create(&rest).await,
        Call::Start => native::start(&rest).await,
        Call::Get => native::get(&rest).await,
        Call::List => native::list(&rest).await,
        Call::Count => native::count(&rest).await,
        Call::Wait => native::wait(&rest).await,
        Call::Watch => watch::watch(&rest).await,
        Call::Cancel => native::cancel(&rest).await,
        Call::Delete => native::delete(&rest).await,
        Call::Claim => native::claim(&rest).await,
        Call::Heartbeat => native::heartbeat(&rest).await,
        Call::ReportFailure => native::report_failure(&rest).await,
        Call::Complete => native::complete(&rest).await,
        Call::Retry => native::retry(&rest).await,
        Call::Release => native::release(&rest).await,
        Call::TypesRegister => types::register(&rest).await,
        Call::TypesList => types::list(&rest),
        Call::KindsList => kinds::list(&rest),
        Call::KindsGet => kinds::get(&rest),
        Call::KindsUpdate => kinds::update(&rest).await,
        Call::KeysCreate => keys::create(&rest).await,
        Call::KeysList => keys::list(&rest),
        Call::KeysRevoke => keys::revoke(&rest).await,
        Call::WhoAmI => keys::who_am_i(&rest),
    }
}

impl Rest<'_> {
    /// What whoever calls can reach.
    fn call(&self) -> Result<service::Call, ApiError> {
        self.service.call(&self.parts.extensions)
    }

    /// The message in the body; the query has nothing to say. No body means no members.
    fn message<M: Message + Name + Default>(&self) -> Result<M, ApiError> {
        self.no_query()?;
        self.parse_body()
    }

    fn parse_body<M: Message + Name + Default>(&self) -> Result<M, ApiError> {
        if self.body.is_empty() {
            return Ok(M::default());
        }
        self.service.types().from_json(&self.body).map_err(|error| ApiError::json("body", &error))
    }

    /// The message in the query; `id` is the member that the path names.
    fn query<M: Message + Name + Default>(&self, id: Option<&str>) -> Result<M, ApiError> {
        let pairs = query::pairs(self.parts.uri.query())?;
        let id = id.map(|member| (member.to_owned(), self.id.clone()));
        let message = self.service.types().from_pairs(id.into_iter().chain(pairs));
        message.map_err(|error| ApiError::json("query", &error))
    }

    /// How a Get may be held that has no member for it: `?wait=30s` on every face.
    fn hold(&self, pairs: Vec<(String, String)>, seen: &Seen) -> Result<Hold<'static>, ApiError> {
        if let Some((name, _)) = pairs.iter().find(|(name, _)| name != "wait") {
            return Err(ApiError::invalid(quote(name), "is no query parameter of this call: `wait` is the only one"));
        }
        let message: v1::GetOperationRequest =
            self.service.types().from_pairs(pairs).map_err(|error| ApiError::json("query", &error))?;
        let wait = wire::parse_duration("wait", message.wait.as_ref())?;
        Ok(Hold { wait, seen: seen.revision(), deadline: None })
    }

    fn no_query(&self) -> Result<(), ApiError> {
        match query::pairs(self.parts.uri.query())?.first() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::invalid(quote(name), "is no query parameter of this call: it has none")),
        }
    }

    /// Refuses a member that says another id than the path.
    fn check_id(&self, field: &str, member: &str) -> Result<(), ApiError> {
        if member.is_empty() || member == self.id {
            return Ok(());
        }
        Err(ApiError::invalid(field, "differs from the id in the path: leave it out"))
    }
}

impl ApiError {
    /// `whole` names what the error is in when it is in no member.
    fn json(whole: &str, error: &crate::json::Error) -> Self {
        let field = if error.path.is_empty() { whole } else { &error.path };
        Self::new(Reason::InvalidField, format!("{field}: {}", error.problem)).violation(field, &error.problem)
    }
}

fn refused(refusal: &Refusal) -> ApiError {
    let reason =
        if refusal.reason() == Reason::LimitExceeded.as_str() { Reason::LimitExceeded } else { Reason::InvalidField };
    ApiError::new(reason, refusal.message().to_owned()).violation("body", refusal.message())
}
