//! Who is let in: before a face, and before a body is read.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Method as HttpMethod, Request, StatusCode, header};
use tonic::Code;

use super::identity::{Identity, Role};
use super::keys::{Keys, is_key};
use super::limits::{Limiter, Limits};
use super::method::{May, Method, Planes};
use crate::http::{Form, Refusal};
use crate::net::Peer;

/// Asks callers who they are. A cheap handle.
#[derive(Clone)]
pub struct Auth(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    keys: Keys,
    limiter: Arc<Limiter>,
}

/// What comes of asking.
pub(crate) enum Admission {
    /// This is who calls, and they may.
    Identity(Arc<Identity>),
    /// Nobody is asked for this.
    Anyone,
    /// They may not, or nobody knows who they are.
    Refused(Refusal),
    /// It takes a while to find out.
    Later(Deciding),
}

/// Finds out who calls, where keys of an issuer have to be fetched first.
pub(crate) type Deciding = Pin<Box<dyn Future<Output = Result<Arc<Identity>, Refusal>> + Send>>;

impl Auth {
    /// Asks for keys that are among `keys`.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self(Arc::new(Shared { keys, limiter: Arc::new(Limiter::new(Limits::default())) }))
    }

    /// Lets callers ask for so much and no more; for as much as they want unless said.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        Arc::make_mut(&mut self.0).limiter = Arc::new(Limiter::new(limits));
        self
    }

    /// Holds what a call creates to the limits of its tenant.
    pub(crate) fn limiter(&self) -> &Arc<Limiter> {
        &self.0.limiter
    }

    fn identify(&self, request: &Request<Body>) -> Result<Arc<Identity>, Refusal> {
        let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
        match (headers.next(), headers.next()) {
            (None, _) => Err(unauthenticated("send an API key or a token: `authorization: Bearer …`")),
            (Some(_), Some(_)) => Err(unauthenticated("there are two authorization headers: send one")),
            (Some(value), None) => self.bearer(bearer(value)?),
        }
    }

    fn bearer(&self, credential: &str) -> Result<Arc<Identity>, Refusal> {
        if is_key(credential) {
            return self.0.keys.verify(credential).map_err(|invalid| unauthenticated(invalid.to_string()));
        }
        Err(unauthenticated("the credential is neither an API key nor a token of an issuer that this server believes"))
    }
}

/// What comes of a call that `auth` is to be asked about; none asks nobody.
pub(crate) fn admit(auth: Option<&Auth>, unasked: &Arc<Identity>, request: &Request<Body>) -> Admission {
    let method = Method::of(request);
    match decide(auth, unasked, request, method) {
        Ok(admission) => admission,
        Err(refusal) => Admission::Refused(refusal),
    }
}

fn decide(
    auth: Option<&Auth>,
    unasked: &Arc<Identity>,
    request: &Request<Body>,
    method: Option<Method>,
) -> Result<Admission, Refusal> {
    let served = request.extensions().get::<Peer>().map_or(Planes::ALL.and(Planes::REFLECTION), |peer| peer.planes);
    if let Some(method) = method.filter(|method| !method.planes().meet(served)) {
        return Err(elsewhere(method, Form::of(request)));
    }
    let Some(auth) = auth else { return Ok(Admission::Identity(Arc::clone(unasked))) };
    if method.is_some_and(|method| method.may() == May::Anyone) {
        return Ok(Admission::Anyone);
    }
    let identity = auth.identify(request)?;
    check(method, &identity)?;
    auth.0.limiter.let_in(method, &identity)?;
    Ok(Admission::Identity(identity))
}

/// Whether `identity` may call `method`. Where nothing is served, the face says so to whoever it is.
fn check(method: Option<Method>, identity: &Identity) -> Result<(), Refusal> {
    let Some(method) = method else { return Ok(()) };
    match method.may() {
        May::Anyone | May::AnyIdentity => Ok(()),
        May::One(roles) if roles.meets(identity.roles) => Ok(()),
        May::One(roles) => {
            let roles: Vec<_> = roles.iter().map(Role::as_str).collect();
            let roles = roles.join(", ");
            let message =
                format!("{} takes one of the roles {roles}: the credential has none of them", method.as_str());
            Err(denied(message).with("method", method.as_str()).with("roles", roles))
        }
        May::WholeAdmin if identity.is_whole_admin() => Ok(()),
        May::WholeAdmin => {
            let message = format!("{} concerns everybody: it takes an admin of all tenants and kinds", method.as_str());
            Err(denied(message).with("method", method.as_str()).with("roles", Role::Admin.as_str()))
        }
    }
}

/// The credential in an authorization header.
fn bearer(value: &HeaderValue) -> Result<&str, Refusal> {
    let text = value.to_str().map_err(|_| unauthenticated("the authorization header is not ASCII"))?;
    let (scheme, credential) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthenticated("the authorization header has another scheme: send `authorization: Bearer …`"));
    }
    match credential.trim_matches(' ') {
        "" => Err(unauthenticated("the authorization header has no credential behind `Bearer`")),
        credential => Ok(credential),
    }
}

fn unauthenticated(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::Unauthenticated, StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
}

fn denied(message: String) -> Refusal {
    Refusal::new(Code::PermissionDenied, StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
}

/// As if there were nothing: another address serves it.
fn elsewhere(method: Method, form: Form) -> Refusal {
    let message = format!("{} is not served at this address", method.as_str());
    match form {
        Form::Grpc => Refusal::new(Code::Unimplemented, StatusCode::NOT_IMPLEMENTED, "UNKNOWN_METHOD", message),
        Form::Rest | Form::Google => Refusal::new(Code::NotFound, StatusCode::NOT_FOUND, "UNKNOWN_PATH", message),
    }
}

/// A browser sends certificates by itself, and follows links: only a header proves that whoever calls over GET means it
/// (CONTRACT §4 "Cancel over GET").
#[expect(dead_code, reason = "certificates come next")]
fn means_it(request: &Request<Body>, cancels: bool) -> bool {
    !(cancels && request.method() == HttpMethod::GET)
}
