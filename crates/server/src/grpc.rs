//! What all gRPC services share: answers, and errors of the library turned into ours.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower::Service;

use crate::error::{ApiError, Reason};
use crate::http::Form;

/// A gRPC service that serves gRPC alone, and whose own refusals (undecodable or oversized messages, unknown methods) are those of CONTRACT §5.
///
/// The library answers them before any of our code runs, as INTERNAL, OUT_OF_RANGE and the like, without details.
/// Our own errors always have details, so the two cannot be taken for each other. Only headers are written. What calls
/// itself anything but gRPC (JSON, gRPC-Web) is 415, which the library would have decoded all the same.
#[derive(Clone, Debug)]
pub(crate) struct Strict<S>(pub(crate) S);

impl<S, In, Out> Service<http::Request<In>> for Strict<S>
where
    S: Service<http::Request<In>, Response = http::Response<Out>>,
    Out: Default,
{
    type Response = http::Response<Out>;
    type Error = S::Error;
    type Future = StrictFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<In>) -> Self::Future {
        let served = Form::of(&request) == Form::Grpc;
        StrictFuture { answer: served.then(|| self.0.call(request)) }
    }
}

pin_project! {
    /// The answer to come of a [`Strict`] service.
    pub(crate) struct StrictFuture<F> {
        // None for what is not gRPC.
        #[pin]
        answer: Option<F>,
    }
}

impl<F, Out, E> Future for StrictFuture<F>
where
    F: Future<Output = Result<http::Response<Out>, E>>,
    Out: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = self.project().answer.as_pin_mut() else {
            let mut response = http::Response::new(Out::default());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Poll::Ready(Ok(response));
        };
        let mut response = ready!(answer.poll(cx))?;
        if response.headers().contains_key(GRPC_STATUS) {
            restate(response.headers_mut());
        }
        Poll::Ready(Ok(response))
    }
}

fn restate(headers: &mut HeaderMap) {
    if headers.contains_key(GRPC_STATUS_DETAILS) {
        return;
    }
    let Some(error) = Status::from_header_map(headers).and_then(|status| translated(&status)) else { return };
    let status = error.into_status(&http::Extensions::new());
    if status.add_header(headers).is_err() {
        // Only metadata that is no header could fail, and there is none.
        headers.insert(GRPC_STATUS, HeaderValue::from_static("13"));
    }
}

fn translated(status: &Status) -> Option<ApiError> {
    let message = status.message();
    match status.code() {
        Code::Ok => None,
        // Too large as sent, or when decompressed.
        Code::OutOfRange | Code::ResourceExhausted => Some(
            ApiError::new(Reason::LimitExceeded, format!("the request is too large: {message}"))
                .violation("request", message),
        ),
        Code::Unimplemented => {
            let said = if message.is_empty() { "no such method" } else { message };
            Some(ApiError::new(Reason::UnknownMethod, said.to_owned()))
        }
        _ => {
            let problem = format!("the request cannot be read: {message}");
            Some(ApiError::new(Reason::InvalidField, problem).violation("request", message))
        }
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
