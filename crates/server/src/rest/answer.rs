//! What REST calls are answered with.

use axum::body::{Body, HttpBody};
use http::{HeaderValue, Response, header};
use operond_core::Operation;
use operond_proto::OPENAPI;
use prost::{Message, Name};

use super::Rest;
use crate::auth::Planes;
use crate::error::{ApiError, Reason};
use crate::metrics;
use crate::net::Peer;
use crate::poll_interval::X_OPERATION_POLL_INTERVAL;

/// A message as JSON.
pub(super) fn message<M: Message + Name>(rest: &Rest<'_>, message: &M) -> Result<Response<Body>, ApiError> {
    let text = rest.service.types().to_json(message);
    // Instants and numbers are in range by construction.
    text.map(json).map_err(|error| ApiError::new(Reason::Internal, format!("the answer has no JSON: {error}")))
}

/// A message as JSON; while `operation` is not done, with when to ask again.
pub(super) fn polled<M: Message + Name>(
    rest: &Rest<'_>,
    operation: &Operation,
    shown: &M,
) -> Result<Response<Body>, ApiError> {
    let mut response = message(rest, shown)?;
    if let Some(seconds) = rest.service.poll_interval(operation) {
        let headers = response.headers_mut();
        headers.insert(X_OPERATION_POLL_INTERVAL, HeaderValue::from(seconds));
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

/// JSON text.
pub(super) fn json(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Keeps an answer out of every cache.
pub(super) fn no_store(response: &mut Response<Body>) {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// How many bytes a message takes as JSON.
pub(super) fn json_bytes<M: Message + Name>(rest: &Rest<'_>, message: &M) -> usize {
    rest.service.types().to_json(message).map_or(0, |text| text.len())
}

/// The answer to HEAD: all but the body, whose length is told.
pub(super) fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

/// Alive: the process answers.
pub(super) fn health(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    rest.no_query()?;
    let version = &rest.service.settings.version;
    Ok(json(serde_json::json!({ "status": "SERVING", "version": version }).to_string()))
}

/// What REST can be asked for, for programs that make clients of it.
pub(super) fn openapi(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    rest.no_query()?;
    Ok(json(OPENAPI.into()))
}

/// How the server is, for programs that ask every few seconds.
pub(super) async fn metrics(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    rest.no_query()?;
    let mut response = Response::new(Body::from(metrics::encode(&rest.service.standing().await)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    Ok(response)
}

/// Ready: it means to go on, and the store answers; and, where operators are served, what they should know of the store.
pub(super) async fn ready(rest: &Rest<'_>) -> Result<Response<Body>, ApiError> {
    rest.no_query()?;
    if !rest.service.settings.health.serving() {
        return Err(ApiError::from(operond_engine::Error::Unavailable(operond_engine::Unavailable::ShuttingDown)));
    }
    let warnings = rest.service.ping().await?;
    let for_operators = rest.parts.extensions.get::<Peer>().is_none_or(|peer| peer.planes.meet(Planes::ADMIN));
    let ready = match for_operators {
        true => serde_json::json!({ "status": "SERVING", "warnings": warnings }),
        false => serde_json::json!({ "status": "SERVING" }),
    };
    Ok(json(ready.to_string()))
}
