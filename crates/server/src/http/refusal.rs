//! Answers given before a call reaches a face. Faces have the general error table; this knows only its own few.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use operond_proto::google::rpc;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::RequestId;
use crate::wire;

/// The domain of every ErrorInfo (CONTRACT §4).
const ERROR_DOMAIN: &str = "operond.dev";

/// How a call wants its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON `{"code","message","details"}`.
    Rest,
    /// The same in the envelope that Google's clients read (CONTRACT §4): what is asked for under `/v1/`.
    Google,
    /// A gRPC status in the headers of an answer without a body (Trailers-Only).
    Grpc,
}

impl Form {
    /// gRPC is what calls itself `application/grpc`, alone or with a `+` or `;` behind it; everything else is REST,
    /// also `application/grpc-web`, which is another protocol.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let behind = content_type.and_then(|value| value.strip_prefix(b"application/grpc"));
        let grpc = behind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')));
        if grpc && request.method() == Method::POST {
            Self::Grpc
        } else if request.uri().path().starts_with("/v1/") {
            Self::Google
        } else {
            Self::Rest
        }
    }
}

/// A call that is refused.
#[derive(Debug)]
pub struct Refusal(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    status: StatusCode,
    reason: &'static str,
    message: Cow<'static, str>,
    metadata: Vec<(&'static str, String)>,
    allow: Option<HeaderValue>,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with its gRPC code, its HTTP status for REST, and the reason of its ErrorInfo. Messages never echo
    /// what the client sent (it might be long, and long messages break clients).
    #[must_use]
    pub fn new(code: Code, status: StatusCode, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self(Box::new(Parts { code, status, reason, message, metadata: Vec::new(), allow: None, retry_after: None }))
    }

    /// Adds an entry to the metadata of the ErrorInfo.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.metadata.push((key, value.into()));
        self
    }

    /// Adds an `Allow` header (the methods there are).
    #[must_use]
    pub(super) fn allow(mut self, methods: &'static str) -> Self {
        self.0.allow = Some(HeaderValue::from_static(methods));
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub(crate) fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The HTTP status for REST.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The reason of the ErrorInfo.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.0.reason
    }

    /// What a person reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The answer, in the form the call wants.
    #[must_use]
    pub fn into_response(self, form: Form, id: &RequestId) -> Response<Body> {
        tracing::debug!(code = ?self.code(), reason = self.reason(), request_id = id.as_str(), "call refused");
        match form {
            Form::Grpc => self.into_status(Some(id)).into_http(),
            Form::Rest | Form::Google => self.rest(form, id),
        }
    }

    /// For a gRPC call.
    pub(super) fn into_status(self, id: Option<&RequestId>) -> Status {
        let Parts { code, reason, message, metadata, retry_after, .. } = *self.0;
        let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, ERROR_DOMAIN, metadata);
        if let Some(id) = id {
            details.set_request_info(id.as_str(), "");
        }
        if retry_after.is_some() {
            details.set_retry_info(retry_after);
        }
        Status::with_error_details(code, message, details)
    }

    fn rest(self, form: Form, id: &RequestId) -> Response<Body> {
        let Parts { code, status, reason, message, metadata, allow, retry_after } = *self.0;
        let mut info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": ERROR_DOMAIN,
        });
        if !metadata.is_empty() {
            info["metadata"] = metadata.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
        }
        let request_info = json!({
            "@type": "type.googleapis.com/google.rpc.RequestInfo",
            "requestId": id.as_str(),
        });
        let mut details = vec![request_info, info];
        details.extend(retry_after.map(|delay| {
            let delay = wire::duration(delay).to_string();
            json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay })
        }));
        let error = json!({ "code": i32::from(code), "message": message, "details": details });
        let error = if form == Form::Google { google_envelope(status, error) } else { error };

        let mut response = Response::new(Body::from(error.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(methods) = allow {
            response.headers_mut().insert(header::ALLOW, methods);
        }
        if let Some(delay) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, self::retry_after(delay));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The header that says when to try again. It has whole seconds: never too early, and never at once.
pub(crate) fn retry_after(delay: Duration) -> HeaderValue {
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

/// An error as Google's clients read it (AIP-193): `{"code","message","details"}` with the HTTP status for its code,
/// and the code by its name.
pub(crate) fn google_envelope(status: StatusCode, mut error: Value) -> Value {
    let code = error["code"].as_i64().and_then(|code| i32::try_from(code).ok());
    let code = code.and_then(|code| rpc::Code::try_from(code).ok()).unwrap_or(rpc::Code::Unknown);
    error["code"] = status.as_u16().into();
    error["status"] = code.as_str_name().into();
    json!({ "error": error })
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::super::request_id::RequestIds;
    use super::*;

    fn refused(form: Form) -> Response<Body> {
        let id = RequestIds::new().of(&[(super::super::X_REQUEST_ID, "id-1".parse().unwrap())].into_iter().collect());
        Refusal::new(Code::PermissionDenied, StatusCode::FORBIDDEN, "SOME_REASON", "no, 100 %")
            .with("field", "host")
            .into_response(form, &id)
    }

    #[tokio::test]
    async fn rest_refusals_have_the_contract_shape() {
        let response = refused(Form::Rest);
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let expected = json!({
            "code": 7,
            "message": "no, 100 %",
            "details": [
                { "@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "id-1" },
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "SOME_REASON",
                    "domain": "operond.dev",
                    "metadata": { "field": "host" },
                },
            ],
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn grpc_refusals_are_trailers_only_with_the_same_details() {
        let response = refused(Form::Grpc);
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.body().is_end_stream());
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "no, 100 %"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("SOME_REASON", "operond.dev"));
        assert_eq!(info.metadata["field"], "host");
        assert_eq!(status.get_details_request_info().unwrap().request_id, "id-1");
    }
}
