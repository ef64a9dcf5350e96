//! `ApiEndpointService`: SDKs ask it where each service is, before they have credentials.

use operond_proto::yandex::cloud::endpoint::{ApiEndpoint, GetApiEndpointRequest, ListApiEndpointsResponse};

use crate::error::{ApiError, Reason, quote};
use crate::service::Service;

/// All services, all of them here.
pub(crate) fn endpoints(service: &Service) -> ListApiEndpointsResponse {
    let endpoints = IDS.iter().map(|id| at(service, id)).collect();
    ListApiEndpointsResponse { endpoints, next_page_token: String::new() }
}

/// One service.
pub(crate) fn endpoint(service: &Service, request: &GetApiEndpointRequest) -> Result<ApiEndpoint, ApiError> {
    let asked = &request.api_endpoint_id;
    if asked.is_empty() {
        return Err(ApiError::invalid("apiEndpointId", "is required"));
    }
    let id = IDS.iter().find(|id| *id == asked).ok_or_else(|| {
        let message = format!("there is no endpoint {}: known are {}", quote(asked), IDS.join(", "));
        ApiError::new(Reason::NeverExisted, message)
    })?;
    Ok(at(service, id))
}

fn at(service: &Service, id: &str) -> ApiEndpoint {
    ApiEndpoint { id: id.to_owned(), address: service.settings.advertised.clone() }
}

/// Python's SDK fails without `iam`, whatever it is used for (CONTRACT §4).
const IDS: [&str; 3] = ["endpoint", "iam", "operation"];
