//! Who is let in: before a face, and before a body is read.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Method as HttpMethod, Request, StatusCode, header};
use tonic::Code;

use super::certificate::Certificates;
use super::clock::now;
use super::identity::{Identity, Role, Roles};
use super::keys::{Keys, is_key};
use super::limits::{Limiter, Limits};
use super::method::{May, Method, Planes};
use super::token::{Refused as NotBelieved, Tokens, Verdict};
use crate::http::{Form, Refusal, is_cancel_path};
use crate::net::Peer;

/// Asks callers who they are. A cheap handle.
#[derive(Clone)]
pub struct Auth(Arc<Shared>);

#[derive(Clone)]
struct Shared {
    keys: Keys,
    tokens: Option<Tokens>,
    certificates: Option<Certificates>,
    limiter: Arc<Limiter>,
}

/// What comes of asking.
pub(crate) enum Admission {
    /// This is who calls, and they may.
    Identity(Arc<Identity>),
    /// Nobody is asked for this.
    Anyone,
    /// They may not, or nobody knows who they are.
    Refused(Refusal, Option<Arc<Identity>>),
    /// It takes a while to find out.
    Later(Deciding),
}

/// Finds out who calls, where keys of an issuer have to be fetched first.
pub(crate) type Deciding = Pin<Box<dyn Future<Output = Result<Arc<Identity>, Refused>> + Send>>;

/// A refusal, and who is refused where that is known: the audit says so.
pub(crate) type Refused = (Refusal, Option<Arc<Identity>>);

/// What a call shows of who makes it.
enum Shown {
    Identity(Arc<Identity>),
    /// A token whose key is not known, or not yet.
    Token(Tokens, String),
}

impl Auth {
    /// Asks for keys that are among `keys`.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        let limiter = Arc::new(Limiter::new(Limits::default()));
        Self(Arc::new(Shared { keys, tokens: None, certificates: None, limiter }))
    }

    /// Believes tokens, too.
    #[must_use]
    pub fn believing(mut self, tokens: Tokens) -> Self {
        Arc::make_mut(&mut self.0).tokens = Some(tokens);
        self
    }

    /// Knows whom client certificates stand for, too. Where a call has a credential in its header, that alone counts.
    #[must_use]
    pub fn recognising(mut self, certificates: Certificates) -> Self {
        Arc::make_mut(&mut self.0).certificates = Some(certificates);
        self
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
}

impl Shared {
    fn shown(&self, request: &Request<Body>) -> Result<Shown, Refused> {
        let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
        let credential = match (headers.next(), headers.next()) {
            (None, _) => return self.certificate(request).map(Shown::Identity).map_err(of_nobody),
            (Some(_), Some(_)) => Err(unauthenticated("there are two authorization headers: send one")),
            (Some(value), None) => bearer(value),
        };
        let credential = credential.map_err(of_nobody)?;
        if is_key(credential) { self.key(credential) } else { self.token(credential).map_err(of_nobody) }
    }

    fn key(&self, key: &str) -> Result<Shown, Refused> {
        let verified = self.keys.verify(key).map(Shown::Identity);
        verified.map_err(|invalid| (unauthenticated(invalid.to_string()), invalid.identity().cloned()))
    }

    fn token(&self, token: &str) -> Result<Shown, Refusal> {
        let Some(tokens) = &self.tokens else {
            return Err(unauthenticated(
                "the credential is neither an API key nor a token of an issuer that this server believes",
            ));
        };
        match tokens.verify(token) {
            Verdict::Identity(identity) => Ok(Shown::Identity(Arc::new(identity))),
            Verdict::Refused(refused) => Err(not_believed(&refused)),
            Verdict::Unsure => Ok(Shown::Token(tokens.clone(), token.to_owned())),
        }
    }

    fn certificate(&self, request: &Request<Body>) -> Result<Arc<Identity>, Refusal> {
        let certificate = request.extensions().get::<Peer>().and_then(|peer| peer.certificate.as_ref());
        let (Some(certificates), Some(certificate)) = (&self.certificates, certificate) else {
            return Err(unauthenticated("send an API key or a token: `authorization: Bearer …`"));
        };
        // A browser shows a certificate by itself, and follows links (CONTRACT §4 "Cancel over GET").
        if request.method() == HttpMethod::GET && is_cancel_path(request.uri().path()) {
            return Err(unauthenticated("a cancel over GET needs `authorization: Bearer …`, or send it by POST"));
        }
        let identity = certificates.identify(certificate, now());
        identity.map(Arc::new).map_err(|refused| unauthenticated(refused.to_string()))
    }

    /// Whether `identity` may call `method`, now.
    fn check(&self, method: Option<Method>, identity: &Identity) -> Result<(), Refusal> {
        check(method, identity)?;
        self.limiter.let_in(method, identity)
    }
}

/// What comes of a call that `auth` is to be asked about; none asks nobody.
pub(crate) fn admit(auth: Option<&Auth>, unasked: &Arc<Identity>, request: &Request<Body>) -> Admission {
    let method = Method::of(request);
    match decide(auth, unasked, request, method) {
        Ok(admission) => admission,
        Err((refusal, identity)) => Admission::Refused(refusal, identity),
    }
}

fn decide(
    auth: Option<&Auth>,
    unasked: &Arc<Identity>,
    request: &Request<Body>,
    method: Option<Method>,
) -> Result<Admission, Refused> {
    let served = request.extensions().get::<Peer>().map_or(Planes::ALL.and(Planes::REFLECTION), |peer| peer.planes);
    if let Some(method) = method.filter(|method| !method.planes().meet(served)) {
        return Err(of_nobody(elsewhere(method, Form::of(request))));
    }
    let Some(auth) = auth else { return Ok(Admission::Identity(Arc::clone(unasked))) };
    if method.is_some_and(|method| method.may() == May::Anyone) {
        return Ok(Admission::Anyone);
    }
    match auth.0.shown(request)? {
        Shown::Identity(identity) => Ok(match auth.0.check(method, &identity) {
            Ok(()) => Admission::Identity(identity),
            Err(refusal) => Admission::Refused(refusal, Some(identity)),
        }),
        Shown::Token(tokens, token) => Ok(Admission::Later(later(Arc::clone(&auth.0), method, tokens, token))),
    }
}

/// Goes on when the keys of a token's issuer are there.
fn later(auth: Arc<Shared>, method: Option<Method>, tokens: Tokens, token: String) -> Deciding {
    Box::pin(async move {
        let verified = tokens.verify_patiently(&token).await;
        let identity = verified.map(Arc::new).map_err(|refused| of_nobody(not_believed(&refused)))?;
        match auth.check(method, &identity) {
            Ok(()) => Ok(identity),
            Err(refusal) => Err((refusal, Some(identity))),
        }
    })
}

/// Whether `identity` may call `method`. Where nothing is served, the face says so to whoever it is.
fn check(method: Option<Method>, identity: &Identity) -> Result<(), Refusal> {
    let Some(method) = method else { return Ok(()) };
    match method.may() {
        May::Anyone | May::AnyIdentity => Ok(()),
        May::One(roles) if roles.meets(identity.roles) => Ok(()),
        May::One(roles) => {
            let roles = names(roles);
            let message =
                format!("{} takes one of the roles {roles}: the credential has none of them", method.as_str());
            Err(denied(message).with("method", method.as_str()).with("roles", roles))
        }
        May::Whole(roles) if roles.meets(identity.roles) && identity.reaches_all() => Ok(()),
        May::Whole(roles) => {
            let roles = names(roles);
            let method = method.as_str();
            let message =
                format!("{method} concerns everybody: it takes one of the roles {roles}, for all tenants and kinds");
            Err(denied(message).with("method", method).with("roles", roles))
        }
    }
}

fn names(roles: Roles) -> String {
    let names: Vec<_> = roles.iter().map(Role::as_str).collect();
    names.join(", ")
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

fn of_nobody(refusal: Refusal) -> Refused {
    (refusal, None)
}

fn unauthenticated(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::Unauthenticated, StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
}

fn not_believed(refused: &NotBelieved) -> Refusal {
    match refused {
        NotBelieved::IssuerUnavailable => {
            let message = refused.to_string();
            Refusal::new(Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "ISSUER_UNAVAILABLE", message)
                .retry_after(ISSUER_RETRY)
        }
        refused => unauthenticated(refused.to_string()),
    }
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

/// When to come back where the keys of an issuer could not be fetched.
const ISSUER_RETRY: Duration = Duration::from_secs(5);
