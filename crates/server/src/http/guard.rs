//! What protects a server from the web pages that its users happen to visit, above all one that asks nobody who they are.
//!
//! A page can make a browser send requests to the loopback address (CONTRACT §4 "While there is no
//! authentication"), and with them a client certificate that the browser has. It cannot choose `Host` (unless its own name is made to resolve to loopback, which the host
//! rule catches), nor `Origin` and `Sec-Fetch-Site`, nor send `content-type: application/json` without asking first.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as _;
use tonic::Code;

use super::authority::Authority;
use super::body::{MAX_REQUEST_BYTES, too_large};
use super::{Form, Refusal, host_of};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What browsers say of a request that a page of ours sent, or a person typed.
const OUR_SITE: [&[u8]; 2] = [b"same-origin", b"none"];
const PURPOSES: [HeaderName; 2] = [HeaderName::from_static("sec-purpose"), HeaderName::from_static("purpose")];

/// What the guards have to be told.
#[derive(Debug, Clone)]
pub struct GuardOptions {
    /// The advertised `host` or `host:port`; its host is accepted in `Host` beside loopback, with any port.
    pub advertised: Option<String>,
}

/// Whether a path is that of a cancel call. Handlers see paths percent-decoded, so `%3Acancel` is one, too.
#[must_use]
pub fn is_cancel_path(path: &str) -> bool {
    if path.contains('%') {
        percent_encoding::percent_decode_str(path).collect::<Vec<u8>>().ends_with(b":cancel")
    } else {
        path.ends_with(":cancel")
    }
}

#[derive(Debug)]
pub(super) struct Guard {
    advertised_host: Option<String>,
    /// Where callers say who they are, it does not matter by which name they call: proxies have their own.
    any_host: bool,
}

impl Guard {
    pub(super) fn new(options: &GuardOptions, any_host: bool) -> Self {
        let host = options.advertised.as_deref().map(|advertised| host_of(advertised).unwrap_or(advertised));
        Self { advertised_host: host.map(str::to_owned), any_host }
    }

    /// `cancels`: whether the path is that of a cancel call.
    pub(super) fn check(&self, request: &Request<Body>, form: Form, cancels: bool) -> Result<(), Refusal> {
        let authority = self.check_host(request)?;
        if cancels {
            check_cancel(request)?;
        }
        if cancels || changes_state(request.method()) {
            check_site(request.headers(), authority)?;
        }
        match form {
            Form::Rest | Form::Google => check_body(request),
            Form::Grpc => Ok(()),
        }
    }

    /// HTTP/2 and absolute URLs carry the name in the URI, HTTP/1.1 in `Host`; whatever is there has to be ours.
    fn check_host<'a>(&self, request: &'a Request<Body>) -> Result<Authority<'a>, Refusal> {
        let in_uri = request.uri().authority().map(|authority| Authority::parse(authority.as_str()));
        let in_headers = request.headers().get_all(header::HOST).iter();
        let in_headers = in_headers.map(|host| host.to_str().ok().and_then(Authority::parse));
        let mut first = None;
        for authority in in_uri.into_iter().chain(in_headers) {
            let own = authority.filter(|authority| self.is_own(authority.host)).ok_or_else(foreign_host)?;
            first.get_or_insert(own);
        }
        first.ok_or_else(foreign_host)
    }

    fn is_own(&self, host: &str) -> bool {
        if self.any_host {
            return true;
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let loopback = || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        let advertised = || self.advertised_host.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(bare));
        bare.eq_ignore_ascii_case("localhost") || loopback() || advertised()
    }
}

fn changes_state(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn check_cancel(request: &Request<Body>) -> Result<(), Refusal> {
    if matches!(*request.method(), Method::HEAD | Method::OPTIONS) {
        let message = "cancelling an operation is not possible with this method";
        let refusal = Refusal::new(Code::Unimplemented, StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message);
        // Only the Yandex face cancels over GET.
        let yandex = request.uri().path().starts_with("/operations/");
        return Err(refusal.allow(if yandex { "GET, POST" } else { "POST" }));
    }
    let speculative = |name: &HeaderName| {
        let values = request.headers().get_all(name).iter();
        values
            .into_iter()
            .any(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase().contains("prefetch"))
    };
    if PURPOSES.iter().any(speculative) {
        return Err(denied("PREFETCH", "nothing is cancelled by a prefetch"));
    }
    Ok(())
}

/// Refuses what a page of another site sent. A page of ours names our own host and port as its origin.
fn check_site(headers: &HeaderMap, own: Authority<'_>) -> Result<(), Refusal> {
    // A page on another port of this host is of the same site, but not ours.
    let ours = |value: &HeaderValue| OUR_SITE.iter().any(|own| value.as_bytes().eq_ignore_ascii_case(own));
    if !headers.get_all(SEC_FETCH_SITE).iter().all(ours) {
        return Err(denied("CROSS_SITE", "requests from pages of other servers are refused"));
    }
    let foreign = |origin: &HeaderValue| !is_origin_of(origin, own);
    if headers.get_all(header::ORIGIN).iter().any(foreign) {
        return Err(denied("CROSS_SITE", "the Origin is not this server: requests from other pages are refused"));
    }
    Ok(())
}

fn is_origin_of(origin: &HeaderValue, own: Authority<'_>) -> bool {
    let Some((scheme, origin)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    Authority::parse(origin).is_some_and(|origin| {
        let port = |authority: Authority<'_>| authority.port.unwrap_or(default_port);
        origin.host.eq_ignore_ascii_case(own.host) && port(origin) == port(own)
    })
}

fn check_body(request: &Request<Body>) -> Result<(), Refusal> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse::<u64>().ok());
    if length == Some(0) || request.body().is_end_stream() {
        return Ok(());
    }
    if length.is_some_and(|length| length > MAX_REQUEST_BYTES as u64) {
        return Err(too_large(length));
    }
    let mut content_types = request.headers().get_all(header::CONTENT_TYPE).iter().peekable();
    if content_types.peek().is_none() || !content_types.all(is_json) {
        let message = "a request body needs `content-type: application/json`";
        return Err(Refusal::new(Code::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE, "INVALID_FIELD", message)
            .with("field", "content-type"));
    }
    Ok(())
}

fn is_json(content_type: &HeaderValue) -> bool {
    let media_type = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

fn foreign_host() -> Refusal {
    denied("FOREIGN_HOST", "the Host is neither a loopback name or address nor the advertised host of this server")
}

fn denied(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::PermissionDenied, StatusCode::FORBIDDEN, reason, message)
}
