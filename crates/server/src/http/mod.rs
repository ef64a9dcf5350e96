//! What every call passes before a face sees it, and every answer on its way out.
//!
//! In this order: request id; a turn, if not too many calls are under way; guards against web pages, and (where nobody is
//! asked who they are) against other names; REST body rules; `grpc-timeout`; who calls, and whether they may. All of it is one
//! tower service around the router, not a stack of layers:
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
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use pin_project_lite::pin_project;
use tonic::Code;
use tower::Service;

use crate::auth::{self, Audit, Auth, Deciding, Identity, Refused, admit};
use crate::error::Reason;
use crate::net::Peer;
use crate::rest::operation_of;

pub(crate) use admission::hold;
pub(crate) use arriving::{Arrived, Arriving};
pub use authority::host_of;
pub use body::{MAX_REQUEST_BYTES, read_body};
pub use deadline::Deadline;
pub use guard::{GuardOptions, is_cancel_path};
pub use refusal::{Form, Refusal};
pub(crate) use refusal::{google_envelope, retry_after};
pub use request_id::{RequestId, X_REQUEST_ID};

use admission::{Admission, CALLS_MAX, Turn, UNDECIDED_MAX, polled};
use deadline::Timer;
use guard::Guard;
use request_id::RequestIds;

/// Puts everything of this module around a service, usually the router with all faces in it. With `auth` callers are
/// asked who they are; without, everybody may do everything.
///
/// Handlers find [`RequestId`], the caller's [`Identity`] (but for what anyone may call) and (gRPC calls with a
/// `grpc-timeout`) [`Deadline`] among the request's extensions.
pub fn layers<S>(inner: S, options: &GuardOptions, auth: Option<Auth>) -> Layered<S> {
    audited(inner, options, auth, None)
}

/// The same, which tells `audit` of every call that is refused.
pub fn audited<S>(inner: S, options: &GuardOptions, auth: Option<Auth>, audit: Option<Audit>) -> Layered<S> {
    let guard = Guard::new(options, auth.is_some());
    let shared = Shared { guard, ids: RequestIds::new(), auth, unasked: Arc::new(Identity::unasked()), audit };
    let (admission, undecided) = (Admission::of(CALLS_MAX), Admission::of(UNDECIDED_MAX));
    Layered { inner, shared: Arc::new(shared), admission, undecided }
}

/// A service with everything of this module around it; see [`layers`].
#[derive(Clone)]
pub struct Layered<S> {
    inner: S,
    shared: Arc<Shared>,
    admission: Arc<Admission>,
    /// Calls that wait for the keys of an issuer: they are not carried out meanwhile, and nobody knows who makes them.
    undecided: Arc<Admission>,
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

struct Shared {
    guard: Guard,
    ids: RequestIds,
    auth: Option<Auth>,
    unasked: Arc<Identity>,
    audit: Option<Audit>,
}

impl<S> Service<Request<Body>> for Layered<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = self.shared.ids.of(request.headers());
        let form = Form::of(&request);
        let no_body = request.method() == Method::HEAD;
        let cancels = is_cancel_path(request.uri().path());
        let audited = self.shared.audit.as_ref().map(|audit| Box::new(Audited::of(audit, &request)));
        let mut answer = Answer { id: id.clone(), form, no_body, no_store: cancels, audited };
        let checked = self.admit(request.uri().path()).and_then(|turn| {
            self.shared.guard.check(&request, form, cancels)?;
            Ok((turn, deadline::of(&request, form)?))
        });
        let (mut turn, deadline) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                let state = State::Refused { refusal: Some(refusal) };
                return ResponseFuture { state, turn: None, timer: None, answer };
            }
        };
        request.extensions_mut().insert(id);
        if let Some(deadline) = &deadline {
            request.extensions_mut().insert(deadline.clone());
        }
        if let Some(auth) = &self.shared.auth
            && auth.limiter().limits_anything()
        {
            request.extensions_mut().insert(Arc::clone(auth.limiter()));
        }
        let state = self.begin(request, &mut turn, &mut answer);
        ResponseFuture { state, turn, timer: deadline.map(Timer::new), answer }
    }
}

impl<S: Service<Request<Body>> + Clone> Layered<S> {
    /// Asks who calls, and begins the call where that is known at once.
    fn begin(
        &mut self,
        mut request: Request<Body>,
        turn: &mut Option<Turn>,
        answer: &mut Answer,
    ) -> State<S, S::Future> {
        match admit(self.shared.auth.as_ref(), &self.shared.unasked, &request) {
            auth::Admission::Identity(identity) => {
                answer.is_by(&identity);
                request.extensions_mut().insert(identity);
                State::Called { call: self.inner.call(request) }
            }
            auth::Admission::Anyone => State::Called { call: self.inner.call(request) },
            auth::Admission::Refused(refusal, identity) => {
                identity.iter().for_each(|identity| answer.is_by(identity));
                State::Refused { refusal: Some(refusal) }
            }
            auth::Admission::Later(deciding) => match self.undecided.admit() {
                Ok(waits) => {
                    turn.iter_mut().for_each(|turn| turn.count(false));
                    // The one that is ready is called; its clone is, next time.
                    let clone = self.inner.clone();
                    let ready = std::mem::replace(&mut self.inner, clone);
                    State::Deciding { deciding, _waits: waits, called: Some((ready, request)) }
                }
                Err(refusal) => State::Refused { refusal: Some(refusal) },
            },
        }
    }
}

pin_project! {
    /// The answer to come of a [`Layered`] service.
    pub struct ResponseFuture<S, F> {
        #[pin]
        state: State<S, F>,
        turn: Option<Turn>,
        timer: Option<Timer>,
        answer: Answer,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F> {
        Refused { refusal: Option<Refusal> },
        Deciding { deciding: Deciding, _waits: Turn, called: Option<(S, Request<Body>)> },
        Called { #[pin] call: F },
    }
}

impl<S, F> Future for ResponseFuture<S, F>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = F>,
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let outcome = loop {
            match this.state.as_mut().project() {
                StateProjection::Refused { refusal } => {
                    break Err(refusal.take().expect("a future is polled until it is ready"));
                }
                StateProjection::Deciding { deciding, called, .. } => match deciding.as_mut().poll(cx) {
                    Poll::Ready(Ok(identity)) => {
                        let (mut service, mut request) = called.take().expect("it is called once");
                        this.answer.is_by(&identity);
                        request.extensions_mut().insert(identity);
                        this.turn.iter_mut().for_each(|turn| turn.count(true));
                        let call = service.call(request);
                        this.state.set(State::Called { call });
                        continue;
                    }
                    Poll::Ready(Err((refusal, identity))) => {
                        identity.iter().for_each(|identity| this.answer.is_by(identity));
                        break Err(refusal);
                    }
                    Poll::Pending => {}
                },
                StateProjection::Called { call } => {
                    if let Poll::Ready(Ok(response)) = polled(this.turn, || call.poll(cx)) {
                        break Ok(response);
                    }
                }
            }
            break Err(ready!(deadline::poll_expired(this.timer, cx)));
        };
        let response = outcome.unwrap_or_else(|refusal| {
            // Drops the call at once, not when the answer has been sent.
            this.state.set(State::Refused { refusal: None });
            *this.turn = None;
            this.answer.refuse(refusal)
        });
        Poll::Ready(Ok(this.answer.sign(response)))
    }
}

/// What an answer needs to know of its request.
struct Answer {
    id: RequestId,
    form: Form,
    no_body: bool,
    no_store: bool,
    audited: Option<Box<Audited>>,
}

/// What the audit is told of a call that is refused.
struct Audited {
    audit: Audit,
    method: Option<auth::Method>,
    uri: Uri,
    identity: Option<Arc<Identity>>,
    peer: Option<SocketAddr>,
}

impl Audited {
    fn of(audit: &Audit, request: &Request<Body>) -> Self {
        Self {
            audit: audit.clone(),
            method: auth::Method::of(request),
            uri: request.uri().clone(),
            identity: None,
            peer: request.extensions().get::<Peer>().map(|peer| peer.address),
        }
    }

    fn tell(&self, code: Code, request: &RequestId) {
        let identity = self.identity.as_deref();
        let (request, operation) = (request.as_str(), operation_of(self.uri.path()));
        let operation = operation.as_ref();
        self.audit.refused(&Refused { method: self.method, operation, identity, code, peer: self.peer, request });
    }
}

/// Marks an answer that says that somebody calls too often.
#[derive(Clone, Copy)]
struct TooOften;

/// The code of an answer that says that somebody may not, or may not now.
fn refused(response: &Response<Body>) -> Option<Code> {
    if response.extensions().get::<TooOften>().is_some() {
        return Some(Code::Unavailable);
    }
    let grpc = response.headers().get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
    let code = match (grpc, response.status()) {
        (Some(code), _) => Code::from_i32(code),
        (None, StatusCode::UNAUTHORIZED) => Code::Unauthenticated,
        (None, StatusCode::FORBIDDEN) => Code::PermissionDenied,
        (None, StatusCode::TOO_MANY_REQUESTS) => Code::ResourceExhausted,
        (None, _) => return None,
    };
    matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::ResourceExhausted).then_some(code)
}

impl Answer {
    fn refuse(&self, refusal: Refusal) -> Response<Body> {
        let too_often = refusal.reason() == Reason::RateLimited.as_str();
        let mut response = refusal.into_response(self.form, &self.id);
        if too_often {
            response.extensions_mut().insert(TooOften);
        }
        if self.no_body {
            *response.body_mut() = Body::empty();
        }
        response
    }

    fn is_by(&mut self, identity: &Arc<Identity>) {
        if let Some(audited) = &mut self.audited {
            audited.identity = Some(Arc::clone(identity));
        }
    }

    /// Adds headers; the body stays what it is.
    fn sign(&self, mut response: Response<Body>) -> Response<Body> {
        if let Some(audited) = &self.audited
            && let Some(code) = refused(&response)
        {
            audited.tell(code, &self.id);
        }
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, self.id.header_value().clone());
        if self.no_store {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }
}
