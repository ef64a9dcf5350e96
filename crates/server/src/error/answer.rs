//! Errors on their way out: a gRPC status, or JSON.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use operond_proto::google::rpc::{
    BadRequest, ErrorInfo, QuotaFailure, RequestInfo, RetryInfo, Status, bad_request::FieldViolation, quota_failure,
};
use prost::{Message, Name};
use prost_types::Any;
use tonic::Code;

use super::{ApiError, DOMAIN};
use crate::http::{Form, RequestId, google_envelope, retry_after};
use crate::json::Types;
use crate::wire;

impl ApiError {
    /// For a gRPC call with these extensions. It is sent as one HEADERS frame.
    pub(crate) fn into_status(self, extensions: &http::Extensions) -> tonic::Status {
        let id = extensions.get::<RequestId>();
        self.log(id);
        let details = self.details(id).encode_to_vec();
        let code = self.0.reason.code();
        tonic::Status::with_details(code, self.0.message, details.into())
    }

    /// For a REST call (CONTRACT §4 "REST/JSON").
    pub(crate) fn into_response(self, form: Form, id: Option<&RequestId>, types: &Types) -> Response<Body> {
        self.log(id);
        let mut json = types.to_json(&self.details(id)).expect("google.rpc.Status and its details are built in");
        if form == Form::Google {
            let error = serde_json::from_str(&json).expect("it was printed just now");
            json = google_envelope(self.http_status(), error).to_string();
        }
        let mut response = Response::new(Body::from(json));
        *response.status_mut() = self.http_status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(delay) = self.retry_delay() {
            headers.insert(header::RETRY_AFTER, retry_after(delay));
        }
        if let Some(methods) = &self.0.allow {
            headers.insert(header::ALLOW, HeaderValue::try_from(methods).expect("methods are ASCII"));
        }
        response
    }

    fn details(&self, id: Option<&RequestId>) -> Status {
        let facts = self.0.facts.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let info = ErrorInfo {
            reason: self.0.reason.as_str().to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: facts.collect(),
        };
        let mut details = Vec::with_capacity(3);
        details.extend(id.map(|id| any(&RequestInfo { request_id: id.as_str().into(), serving_data: String::new() })));
        details.push(any(&info));
        details.extend(self.0.violation.as_ref().map(|(field, description)| {
            let reason = self.0.reason.as_str().to_owned();
            let violation =
                FieldViolation { field: field.clone(), description: description.clone(), reason, ..Default::default() };
            any(&BadRequest { field_violations: vec![violation] })
        }));
        details.extend(self.0.quota.as_ref().map(|quota| {
            let (subject, description) = (quota.subject.clone(), quota.description.clone());
            let violation = quota_failure::Violation { subject, description, ..Default::default() };
            any(&QuotaFailure { violations: vec![violation] })
        }));
        let retry = |delay: Duration| any(&RetryInfo { retry_delay: Some(wire::duration(delay)) });
        details.extend(self.retry_delay().map(retry));
        Status { code: self.0.reason.code().into(), message: self.0.message.clone(), details }
    }

    /// Clients are wrong all the time; this is for whoever looks for one that is. What they sent is not logged.
    fn log(&self, id: Option<&RequestId>) {
        tracing::debug!(reason = self.reason().as_str(), request_id = id.map(RequestId::as_str), "call refused");
    }

    fn http_status(&self) -> StatusCode {
        if self.0.allow.is_some() {
            return StatusCode::METHOD_NOT_ALLOWED;
        }
        http_status(self.0.reason.code())
    }
}

/// The HTTP status of a code (CONTRACT §4).
pub(crate) fn http_status(code: Code) -> StatusCode {
    let status = match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unauthenticated => 401,
    };
    StatusCode::from_u16(status).expect("three digits are a status")
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;
    use operond_core::Invalid;
    use operond_engine::{Error, Unavailable};
    use serde_json::{Value, json};
    use tonic_types::StatusExt;
    use tower::ServiceExt;

    use super::*;
    use crate::error::Reason;

    /// The longest that a client can choose.
    async fn request_id() -> RequestId {
        let service = tower::service_fn(|request: http::Request<Body>| async move {
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(request.extensions().get::<RequestId>().unwrap().clone());
            Ok(response)
        });
        let request = http::Request::get("http://localhost/").header(crate::http::X_REQUEST_ID, "i".repeat(128));
        let layers = crate::http::layers(service, &crate::http::GuardOptions { advertised: None }, None);
        let response = layers.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.extensions().get::<RequestId>().unwrap().clone()
    }

    #[tokio::test]
    async fn rest_errors_have_the_shape_and_order_of_the_contract() {
        let error = ApiError::from(Invalid::missing("kind"));
        let response = error.into_response(Form::Rest, None, &Types::builtin());
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let expected = json!({
            "code": 3,
            "message": "kind is required",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "INVALID_FIELD",
                    "domain": "operond.dev",
                    "metadata": { "field": "kind" },
                },
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [
                        { "field": "kind", "description": "kind is required", "reason": "INVALID_FIELD" },
                    ],
                },
            ],
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }

    #[tokio::test]
    async fn overload_tells_when_to_come_back() {
        let overloaded = || ApiError::from(Error::Unavailable(Unavailable::Overloaded));
        let response = overloaded().into_response(Form::Rest, None, &Types::builtin());
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let status = overloaded().into_status(&http::Extensions::new());
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    }

    #[test]
    fn grpc_errors_are_trailers_only_with_the_same_details() {
        let status = ApiError::from(Invalid::missing("kind")).into_status(&http::Extensions::new());
        let response: Response<Body> = status.into_http();
        assert!(response.body().is_end_stream());
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "kind is required"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELD", "operond.dev"));
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "kind");
    }

    #[tokio::test]
    async fn no_error_is_ever_longer_than_clients_bear() {
        for text in ["x", "ж", "😀", "\u{1b}", "%"].map(|text| text.repeat(100_000)) {
            let error = ApiError::new(Reason::InvalidField, text.clone())
                .violation(&text, &text)
                .fact("operation", &text)
                .fact("size", &text)
                .fact("limit", &text)
                .fact("unit", &text);
            let quota = ApiError::new(Reason::Quota, text.clone())
                .quota(&text, &text, Duration::MAX / 2)
                .fact("limit", &text)
                .fact("unit", &text);
            for error in [error, quota] {
                let mut extensions = http::Extensions::new();
                extensions.insert(request_id().await);
                let response: Response<Body> = error.into_status(&extensions).into_http();
                let bytes: usize = response.headers().values().map(HeaderValue::len).sum();
                assert!(bytes < 8_000, "{bytes} bytes of {}", &text[..1]);
            }
        }
    }

    #[test]
    fn every_code_has_the_http_status_of_the_contract() {
        let expected = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        for (code, status) in (0..).zip(expected) {
            assert_eq!(http_status(Code::from_i32(code)).as_u16(), status, "{code}");
        }
    }
}
