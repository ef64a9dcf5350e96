//! The Yandex face over REST.

use axum::body::Body;
use http::Response;
use operond_proto::yandex::cloud::endpoint::{GetApiEndpointRequest, ListApiEndpointsRequest};
use operond_proto::yandex::cloud::operation::{CancelOperationRequest, GetOperationRequest};

use super::conditional::Seen;
use super::{Rest, answer, query};
use crate::error::ApiError;
use crate::{wire, yandex};

type Answer = Result<Response<Body>, ApiError>;

pub(super) async fn get(rest: &Rest<'_>) -> Answer {
    let seen = Seen::of(&rest.parts.headers);
    let request = GetOperationRequest { operation_id: rest.id.clone() };
    let hold = rest.hold(query::pairs(rest.parts.uri.query())?, &seen)?;
    let operation = yandex::get(&rest.call()?, &request, hold).await?;
    Ok(seen.unless(&operation, answer::polled(rest, &operation, &wire::yandex(&operation))?))
}

/// By GET and by POST.
pub(super) async fn cancel(rest: &Rest<'_>) -> Answer {
    let mut request: CancelOperationRequest = rest.message()?;
    rest.check_id("operationId", &request.operation_id)?;
    request.operation_id.clone_from(&rest.id);
    let operation = yandex::cancel(&rest.call()?, &request).await?;
    answer::polled(rest, &operation, &wire::yandex(&operation))
}

pub(super) fn endpoints(rest: &Rest<'_>) -> Answer {
    // Never paged, whatever is asked for.
    let _: ListApiEndpointsRequest = rest.query(None)?;
    answer::message(rest, &yandex::endpoints(rest.service))
}

pub(super) fn endpoint(rest: &Rest<'_>) -> Answer {
    rest.no_query()?;
    let request = GetApiEndpointRequest { api_endpoint_id: rest.id.clone() };
    answer::message(rest, &yandex::endpoint(rest.service, &request)?)
}
