//! What every call passes before a face sees it, and every answer on its way out.
//!
//! In this order: request id; a turn, if not too many calls are under way; guards against web pages and other names (while there is no authentication);
//! REST body rules; `grpc-timeout`. All of it is one tower service around the router, not a stack of layers:
//! it costs a call no allocation of its own, and it never touches an answer's body. The latter is a rule
//! (CONTRACT §4 "An error is one HEADERS frame"): a body that is rebuilt loses its "already at the end", and
//! with it clients lose the error.

mod admission;
mod arriving;
mod authority;
mod body;
mod deadline;
mod guard;
mod refusal;
mod request_id;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, header};
use pin_project_lite::pin_project;
use tower::Service;

pub(crate) use admission::hold;
pub(crate) use arriving::{Arrived, Arriving};
pub use authority::host_of;
pub use body::{MAX_REQUEST_BYTES, read_body};
pub use deadline::Deadline;
pub use guard::{GuardOptions, is_cancel_path};
pub(crate) use refusal::google_envelope;
pub use refusal::{Form, Refusal};
pub use request_id::{RequestId, X_REQUEST_ID};

use admission::{Admission, CALLS_MAX, Turn, polled};
use deadline::Timer;
use guard::Guard;
use request_id::RequestIds;

/// Puts everything of this module around a service, usually the router with all faces in it.
///
/// Handlers find [`RequestId`] and (gRPC calls with a `grpc-timeout`) [`Deadline`] among the request's extensions.
pub fn layers<S>(inner: S, options: &GuardOptions) -> Layered<S> {
    let shared = Shared { guard: Guard::new(options), ids: RequestIds::new() };
    Layered { inner, shared: Arc::new(shared), admission: Admission::of(CALLS_MAX) }
}

/// A service with everything of this module around it; see [`layers`].
#[derive(Debug, Clone)]
pub struct Layered<S> {
    inner: S,
    shared: Arc<Shared>,
    admission: Arc<Admission>,
}

impl<S> Layered<S> {
    /// Carries out so many calls at a time, instead of as many as suit a whole server.
    #[must_use]
    pub fn with_calls_max(self, calls_max: usize) -> Self {
        Self { admission: Admission::of(calls_max), ..self }
    }

    /// A turn for a call to this path. Whether the server is well can be asked always: or a server that is busy
    /// would be taken for one that is ill, and its load given to the next.
    fn admit(&self, path: &str) -> Result<Option<Turn>, Refusal> {
        let health = matches!(path, "/healthz" | "/readyz") || path.starts_with("/grpc.health.v1.Health/");
        if health { Ok(None) } else { self.admission.admit().map(Some) }
    }
}

#[derive(Debug)]
struct Shared {
    guard: Guard,
    ids: RequestIds,
}

impl<S> Service<Request<Body>> for Layered<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = self.shared.ids.of(request.headers());
        let form = Form::of(&request);
        let no_body = request.method() == Method::HEAD;
        let cancels = is_cancel_path(request.uri().path());
        let checked = self.admit(request.uri().path()).and_then(|turn| {
            self.shared.guard.check(&request, form, cancels)?;
            Ok((turn, deadline::of(&request, form)?))
        });
        let state = match checked {
            Ok((turn, deadline)) => {
                request.extensions_mut().insert(id.clone());
                if let Some(deadline) = &deadline {
                    request.extensions_mut().insert(deadline.clone());
                }
                State::Called { call: self.inner.call(request), timer: deadline.map(Timer::new), turn }
            }
            Err(refusal) => State::Refused { refusal: Some(refusal) },
        };
        ResponseFuture { state, answer: Answer { id, form, no_body, no_store: cancels } }
    }
}

pin_project! {
    /// The answer to come of a [`Layered`] service.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
        answer: Answer,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        Refused { refusal: Option<Refusal> },
        Called { #[pin] call: F, timer: Option<Timer>, turn: Option<Turn> },
    }
}

/// What an answer needs to know of its request.
#[derive(Debug)]
struct Answer {
    id: RequestId,
    form: Form,
    no_body: bool,
    no_store: bool,
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for ResponseFuture<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let outcome = match this.state.as_mut().project() {
            StateProjection::Refused { refusal } => Err(refusal.take().expect("a future is polled until it is ready")),
            StateProjection::Called { call, timer, turn } => match polled(turn, || call.poll(cx)) {
                Poll::Ready(Ok(response)) => Ok(response),
                Poll::Pending => Err(ready!(deadline::poll_expired(timer, cx))),
            },
        };
        let response = outcome.unwrap_or_else(|refusal| {
            // Drops the call at once, not when the answer has been sent.
            this.state.set(State::Refused { refusal: None });
            this.answer.refuse(refusal)
        });
        Poll::Ready(Ok(this.answer.sign(response)))
    }
}

impl Answer {
    fn refuse(&self, refusal: Refusal) -> Response<Body> {
        let mut response = refusal.into_response(self.form, &self.id);
        if self.no_body {
            *response.body_mut() = Body::empty();
        }
        response
    }

    /// Adds headers; the body stays what it is.
    fn sign(&self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, self.id.header_value().clone());
        if self.no_store {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }
}
