//! The connection: one lazy HTTP/2 channel, shared by all clones of a [`Client`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use operond_proto::operond::v1::keys_client::KeysClient;
use operond_proto::operond::v1::kinds_client::KindsClient;
use operond_proto::operond::v1::operations_client::OperationsClient;
use operond_proto::operond::v1::types_client::TypesClient;
use operond_proto::operond::v1::work_client::WorkClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::retry::repeat;

/// How to reach a server, and how patient to be with it.
#[derive(Debug, Clone)]
pub struct Options {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoint: String,
    /// With `https`: the only authority to trust, in PEM; the system's own ones when absent.
    pub ca_pem: Option<Vec<u8>>,
    /// An API key, or a token of an issuer that the server believes: sent with every call.
    pub token: Option<Token>,
    /// With `https`: the certificate that says who we are, for a server that asks for one.
    pub identity_pem: Option<IdentityPem>,
    /// How long a call that may be repeated is repeated while nobody answers.
    pub patience: Duration,
}

/// A certificate of one's own.
#[derive(Clone)]
pub struct IdentityPem {
    /// The certificate in PEM, with those that lead to an authority which the server trusts.
    pub certificate: Vec<u8>,
    /// Its private key in PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for IdentityPem {
    /// Without the key, which must not end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityPem").finish_non_exhaustive()
    }
}

impl Options {
    /// The system's authorities, and 10 s of patience.
    pub fn new(endpoint: impl Into<String>) -> Self {
        let patience = Duration::from_secs(10);
        Self { endpoint: endpoint.into(), ca_pem: None, identity_pem: None, token: None, patience }
    }
}

/// A credential, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a credential; blanks and line breaks around it do not count.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().to_owned())
    }

    fn header(&self) -> Result<MetadataValue<Ascii>, String> {
        if self.0.is_empty() {
            return Err("the token is empty".into());
        }
        let mut header: MetadataValue<Ascii> =
            format!("Bearer {}", self.0).parse().map_err(|_| "the token has characters that no token has")?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What calls go through: the connection, with the credential added to each call.
pub(crate) type Transport = InterceptedService<Channel, Bearer>;

/// Adds the credential to a call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// Typed calls to an operond server. Cheap to clone; all clones share one connection, which is made
/// when it is needed and made again when it breaks.
///
/// Calls that may be repeated are, while nobody answers ([`Options::patience`]); a create without an
/// idempotency key is given one, so that it may be repeated, too.
#[derive(Clone)]
pub struct Client {
    pub(crate) operations: OperationsClient<Transport>,
    pub(crate) work: WorkClient<Transport>,
    pub(crate) types: TypesClient<Transport>,
    pub(crate) kinds: KindsClient<Transport>,
    pub(crate) keys: KeysClient<Transport>,
    shared: Arc<Shared>,
}

/// What every clone and every further connection have in common.
struct Shared {
    options: Options,
    bearer: Bearer,
    dial: Box<dyn Fn() -> Channel + Send + Sync>,
}

impl Client {
    /// A client of the server at `options.endpoint`. Nothing is sent yet; must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`Error::Endpoint`]: an endpoint that is no `http` or `https` URL, or unusable certificates.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let unusable = |problem| Error::Endpoint { endpoint: options.endpoint.clone(), problem };
        let endpoint = endpoint(&options).map_err(unusable)?;
        let bearer = Bearer(options.token.as_ref().map(Token::header).transpose().map_err(unusable)?);
        Ok(Self::over(Arc::new(Shared { options, bearer, dial: Box::new(move || endpoint.connect_lazy()) })))
    }

    /// A client that gets its connections from `dial`.
    #[cfg(test)]
    pub(crate) fn dialling(options: Options, dial: Box<dyn Fn() -> Channel + Send + Sync>) -> Self {
        Self::over(Arc::new(Shared { options, bearer: Bearer(None), dial }))
    }

    /// The same client over a connection of its own: a server bounds the calls on one connection, so
    /// that many held calls would keep the others waiting.
    pub(crate) fn another_connection(&self) -> Self {
        Self::over(Arc::clone(&self.shared))
    }

    /// Where this client's server is, as given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.shared.options.endpoint
    }

    pub(crate) fn patience(&self) -> Duration {
        self.shared.options.patience
    }

    /// Makes a call that may be repeated, for up to `patience` while nobody answers.
    pub(crate) async fn repeat<T, F>(&self, patience: Duration, call: impl Fn(Self) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        repeat(patience, |_| answer(Duration::ZERO, call(self.clone()))).await
    }

    fn over(shared: Arc<Shared>) -> Self {
        let channel = InterceptedService::new((shared.dial)(), shared.bearer.clone());
        Self {
            operations: OperationsClient::new(channel.clone()),
            work: WorkClient::new(channel.clone()),
            types: TypesClient::new(channel.clone()),
            kinds: KindsClient::new(channel.clone()),
            keys: KeysClient::new(channel),
            shared,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

/// One attempt at a call that the server may hold for `hold`.
pub(crate) async fn answer<T>(
    hold: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    let limit = hold + ANSWER_TIMEOUT;
    let answered = tokio::time::timeout(limit, call).await.map_err(|_| Error::unanswered(limit))?;
    Ok(answered?.into_inner())
}

fn endpoint(options: &Options) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(options.endpoint.clone()).map_err(|error| innermost(&error))?;
    let uri = endpoint.uri();
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err("it must begin with http:// or https://".into()),
    };
    if uri.host().is_none_or(str::is_empty) {
        return Err("it names no host".into());
    }
    let endpoint = endpoint
        .user_agent(concat!("operond-client/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| innermost(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE_INTERVAL))
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    if !tls {
        // Who means to prove who they are is not made somebody unknown.
        let identity = options.identity_pem.as_ref();
        return identity.map_or(Ok(endpoint), |_| Err("a certificate is shown over https:// alone".into()));
    }
    let mut config = match &options.ca_pem {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some(IdentityPem { certificate, key }) = &options.identity_pem {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    endpoint.tls_config(config).map_err(|error| innermost(&error))
}

/// What is wrong, without the layers that only say that something is.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// How long an answer may take that the server does not hold.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As often as servers of this contract tolerate (CONTRACT §4).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_must_be_a_url_of_http_or_https() {
        let problem = |endpoint: &str| match Client::connect(Options::new(endpoint)) {
            Err(Error::Endpoint { problem, .. }) => problem,
            other => panic!("{endpoint}: {other:?}"),
        };
        assert_eq!(problem("127.0.0.1:7467"), "it must begin with http:// or https://");
        assert_eq!(problem("ftp://127.0.0.1:7467"), "it must begin with http:// or https://");
        assert!(!problem("http://a b").is_empty());
        let client = Client::connect(Options::new("http://127.0.0.1:7467")).unwrap();
        assert_eq!(client.endpoint(), "http://127.0.0.1:7467");
    }

    #[tokio::test]
    async fn a_token_is_never_printed_and_has_to_fit_into_a_header() {
        let options = Options { token: Some(Token::new(" secret\n")), ..Options::new("http://127.0.0.1:7467") };
        assert!(!format!("{options:?}").contains("secret"), "{options:?}");
        Client::connect(options).unwrap();
        for wrong in ["", " \n", "a\nb", "\u{1}"] {
            let options = Options { token: Some(Token::new(wrong)), ..Options::new("http://127.0.0.1:7467") };
            assert!(matches!(Client::connect(options), Err(Error::Endpoint { .. })), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn an_authority_that_is_no_certificate_is_refused() {
        let garbage = "-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n";
        let options = Options { ca_pem: Some(garbage.into()), ..Options::new("https://127.0.0.1:7468") };
        assert!(matches!(Client::connect(options), Err(Error::Endpoint { .. })));
    }

    #[tokio::test]
    async fn a_certificate_of_ones_own_needs_its_key_and_https() {
        let identity = |text: &str| Some(IdentityPem { certificate: text.into(), key: text.into() });
        let problem = |endpoint: &str| {
            let options = Options { identity_pem: identity("nonsense"), ..Options::new(endpoint) };
            assert!(!format!("{options:?}").contains(&format!("{:?}", b"nonsense")));
            match Client::connect(options) {
                Err(Error::Endpoint { problem, .. }) => problem,
                other => panic!("{endpoint}: {other:?}"),
            }
        };
        assert!(!problem("https://127.0.0.1:7468").is_empty());
        assert_eq!(problem("http://127.0.0.1:7467"), "a certificate is shown over https:// alone");
    }
}
