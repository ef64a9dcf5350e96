//! One GET: no redirects, no proxies, nothing endless.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// Largest answer.
pub(super) const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Where something can be fetched: an https URL, or an http one on this machine.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    encrypted: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    /// As the host is told it.
    authority: String,
    port: u16,
    path: String,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("TLS fails")]
    Tls(#[source] std::io::Error),
    #[error("HTTP fails")]
    Http(#[from] hyper::Error),
    #[error("answers {0}")]
    Status(StatusCode),
    #[error("breaks off, or answers with more than {ANSWER_BYTES_MAX} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A URL as it may be shown: without a user, and without what is behind a question mark, where secrets are.
#[must_use]
pub fn without_secrets(url: &str) -> String {
    let (url, query) = url.split_once('?').map_or((url, ""), |(url, _)| (url, "?…"));
    let (before, rest) = url.split_at(url.find("://").map_or(0, |at| at + "://".len()));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("…@", host));
    format!("{before}{user}{host}{path}{query}")
}

impl Address {
    /// Reads a URL.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('#') {
            return Err("its URL has a fragment");
        }
        let url: Uri = text.parse().map_err(|_| "it is not a URL")?;
        let (encrypted, usual_port) = match url.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err("it is not an https URL"),
        };
        let authority = url.authority().ok_or("it is not a URL")?;
        if authority.as_str().contains('@') {
            return Err("its URL has a user");
        }
        let host = authority.host().trim_matches(['[', ']']);
        if !encrypted && !is_this_machine(host) {
            return Err("http is only for this machine: use https");
        }
        Ok(Self {
            encrypted,
            host: host.to_owned(),
            authority: authority.to_string(),
            port: authority.port_u16().unwrap_or(usual_port),
            path: url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// Whether what is fetched there is protected on its way.
    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        let host = self.authority.rsplit_once(&format!(":{}", self.port)).map_or(&*self.authority, |(host, _)| host);
        write!(f, "{scheme}://{host}:{}{}", self.port, self.path)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Fetches what is at `address`. Takes as long as it takes: the caller has a clock.
pub(super) async fn get(address: &Address, tls: &TlsConnector) -> Result<Bytes, FetchError> {
    let stream = TcpStream::connect((&*address.host, address.port)).await.map_err(FetchError::Connect)?;
    if !address.encrypted {
        return ask(address, stream).await;
    }
    let name = ServerName::try_from(address.host.clone())
        .map_err(|error| FetchError::Tls(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
    ask(address, tls.connect(name, stream).await.map_err(FetchError::Tls)?).await
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    address: &Address,
    stream: S,
) -> Result<Bytes, FetchError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this call, whatever its end.
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get(&address.path)
        .header(HOST, &address.authority)
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .expect("the parts of a URL make a request");
    let answer = sender.send_request(request).await?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(FetchError::Body)?;
    Ok(body.to_bytes())
}

/// Verifies servers with the certificates in a file, or else with the system's; believes none if that is not
/// `needed`. Reads files.
pub(super) fn connector(ca: Option<&Path>, needed: bool) -> Result<TlsConnector, String> {
    let roots = match ca {
        Some(file) => roots_in(file).map_err(|problem| format!("{}: {problem}", file.display()))?,
        None if needed => system_roots()?,
        None => RootCertStore::empty(),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots_in(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())? {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it holds no certificate".into()) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err("this machine has no root certificates; name a file with some".into()) } else { Ok(roots) }
}
