//! Certificates of clients, and certificates that are replaced while the server runs: real handshakes on loopback.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use operond_server::net::{Listen, Peer, SHUTDOWN_GRACE, Server};
use operond_server::tls::{ClientFiles, Files, Look, Reloading};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[expect(clippy::disallowed_methods, reason = "what is left ends with the runtime of its test")]
fn background(task: impl Future<Output: Send> + Send + 'static) {
    tokio::spawn(task);
}

/// Somebody who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn server(&self) -> Pair {
        self.sign(|params| {
            params.subject_alt_names = vec![SanType::DnsName(ia5("localhost"))];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    fn client(&self, serial: u64) -> Pair {
        self.sign(|params| {
            params.serial_number = Some(SerialNumber::from(serial));
            params.subject_alt_names = vec![SanType::URI(ia5("spiffe://a/worker"))];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    fn revokes(&self, serials: &[u64]) -> String {
        let revoked = |&serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            // Long ago: a list that is out of date still counts.
            next_update: date_time_ymd(2020, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).expect("a list").pem().expect("PEM")
    }

    fn pem(&self) -> String {
        self.0.pem()
    }
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().expect("ASCII")
}

/// A server whose certificates are in files.
struct Running {
    address: SocketAddr,
    dir: TempDir,
    reloading: Reloading,
    /// Signs for the server; clients trust it.
    authority: Authority,
    _stop: DropGuard,
}

impl Running {
    /// Trusts `clients` to sign for clients. `revoked` is a revocation list, if there is to be one.
    async fn start(clients: &Authority, revoked: Option<String>, required: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let authority = Authority::new("servers");
        let pair = authority.server();
        let files = [("server.pem", &pair.certificate), ("key.pem", &pair.key), ("clients.pem", &clients.pem())];
        for (name, text) in files.into_iter().chain(revoked.as_ref().map(|list| ("revoked.pem", list))) {
            std::fs::write(path(name), text).expect("a file");
        }
        let clients = ClientFiles {
            authorities: path("clients.pem"),
            revoked: revoked.is_some().then(|| path("revoked.pem")),
            required,
        };
        let files = Files { certificate: path("server.pem"), key: path("key.pem"), clients: Some(clients) };
        let reloading = Reloading::load(files).expect("a configuration");
        let listen = Listen::tls(SocketAddr::from(([127, 0, 0, 1], 0)), reloading.current());
        let server = Server::bind(vec![listen]).await.expect("a socket");
        let address = server.addresses().next().expect("an address");
        let stop = CancellationToken::new();
        background(server.serve(mirror(), stop.clone(), SHUTDOWN_GRACE));
        Self { address, dir, reloading, authority, _stop: stop.drop_guard() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// What a client with these certificates makes its connections with.
    fn config(&self, own: Option<&Pair>, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("TLS versions")
            .with_root_certificates(roots);
        let Some(own) = own else { return builder.with_no_client_auth() };
        let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        builder.with_client_auth_cert(chain, key).expect("a pair")
    }

    async fn connect(&self, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await
    }

    /// What the server knows of a client.
    async fn seen(&self, config: &Arc<ClientConfig>) -> String {
        let call = async {
            let mut stream = self.connect(config).await.expect("a handshake");
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
        };
        tokio::time::timeout(PATIENCE, call).await.expect("an answer in time")
    }

    /// What the server says when it refuses a client; the client may hear of it after its own side of the handshake.
    async fn refusal(&self, config: &Arc<ClientConfig>) -> String {
        let refused = async {
            match self.connect(config).await {
                Err(error) => error.to_string(),
                Ok(mut stream) => stream.read_u8().await.expect_err("it is refused").to_string(),
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.expect("a refusal in time")
    }

    /// [`Self::refusal`] of a client with this certificate, with either version of TLS.
    #[track_caller]
    fn refuses(&self, own: Option<&Pair>, alert: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            for version in VERSIONS {
                let said = self.refusal(&Arc::new(self.config(own, &[version]))).await;
                assert_eq!(said, format!("received fatal alert: {alert}"), "{:?}, {caller}", version.version);
            }
        }
    }
}

/// Answers with what it knows of the client.
fn mirror() -> Router {
    let names = get(|request: Request<Body>| async move {
        let peer = request.extensions().get::<Peer>().expect("a peer");
        peer.certificate.as_ref().map_or_else(|| "nobody".to_owned(), |certificate| format!("{:?}", certificate.names))
    });
    Router::new().route("/", names)
}

const WORKER: &str = r#"[Uri("spiffe://a/worker")]"#;

#[tokio::test]
async fn a_client_that_is_asked_for_a_certificate_is_known_by_its_names() {
    let authority = Authority::new("clients");
    let server = Running::start(&authority, None, false).await;
    let several = authority.sign(|params| {
        params.distinguished_name.push(DnType::CommonName, "common.example");
        params.subject_alt_names = vec![
            SanType::DnsName(ia5("w.example")),
            SanType::URI(ia5("spiffe://a/w")),
            SanType::Rfc822Name(ia5("w@a.example")),
        ];
    });
    let nameless = authority.sign(|_| {});
    let cases = [
        (None, "nobody"),
        (Some(authority.client(1)), WORKER),
        (Some(several), r#"[Dns("w.example"), Uri("spiffe://a/w"), Email("w@a.example")]"#),
        (Some(nameless), "[]"),
    ];
    for (own, expected) in cases {
        for version in VERSIONS {
            let config = Arc::new(server.config(own.as_ref(), &[version]));
            assert_eq!(server.seen(&config).await, expected);
            assert_eq!(server.seen(&config).await, expected, "of a session that was resumed");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_refused_whether_one_is_required_or_not() {
    let (authority, other) = (Authority::new("clients"), Authority::new("clients"));
    let expired = authority.sign(|params| params.not_after = date_time_ymd(2001, 1, 1));
    let early = authority.sign(|params| params.not_before = date_time_ymd(2900, 1, 1));
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    };
    for required in [false, true] {
        let server = Running::start(&authority, None, required).await;
        server.refuses(Some(&other.client(1)), "DecryptError").await;
        server.refuses(Some(&expired), "CertificateExpired").await;
        server.refuses(Some(&early), "CertificateExpired").await;
        server.refuses(Some(&self_signed), "UnknownCA").await;
        server.refuses(Some(&authority.server()), "UnsupportedCertificate").await;
        server.refuses(Some(&server.authority.client(1)), "UnknownCA").await;
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let authority = Authority::new("clients");
    let server = Running::start(&authority, None, true).await;
    server.refuses(None, "CertificateRequired").await;
    assert_eq!(server.seen(&Arc::new(server.config(Some(&authority.client(1)), &VERSIONS))).await, WORKER);
}

#[tokio::test]
async fn what_an_authority_has_revoked_or_says_nothing_of_is_refused() {
    let (authority, other) = (Authority::new("clients"), Authority::new("others"));
    let server = Running::start(&authority, Some(authority.revokes(&[2, 3])), false).await;
    for revoked in [2, 3] {
        server.refuses(Some(&authority.client(revoked)), "CertificateRevoked").await;
    }
    assert_eq!(server.seen(&Arc::new(server.config(Some(&authority.client(1)), &VERSIONS))).await, WORKER);

    let server = Running::start(&authority, Some(other.revokes(&[2])), false).await;
    server.refuses(Some(&authority.client(1)), "UnknownCA").await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_broken_one_for_none() {
    let authority = Authority::new("clients");
    let mut server = Running::start(&authority, None, false).await;
    let config = Arc::new(server.config(None, &VERSIONS));
    let served = async |server: &Running| {
        let stream = server.connect(&config).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let mut h2 = server.config(None, &VERSIONS);
    h2.alpn_protocols = vec![b"h2".to_vec()];
    let stream = server.connect(&Arc::new(h2)).await.unwrap();
    let (mut old, connection) =
        http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    background(connection);
    let before = served(&server).await;

    let next = server.authority.server();
    server.write("server.pem", &next.certificate);
    assert!(matches!(server.reloading.look(Instant::now()), Look::Unusable { tell: false, .. }));
    assert_eq!(served(&server).await, before, "its key is still to come");
    server.write("key.pem", &next.key);
    assert!(matches!(server.reloading.look(Instant::now()), Look::Replaced));
    let after = CertificateDer::from_pem_slice(next.certificate.as_bytes()).unwrap();
    assert_eq!(served(&server).await, after);

    server.write("server.pem", "broken");
    assert!(matches!(server.reloading.look(Instant::now()), Look::Unusable { tell: true, .. }));
    assert_eq!(served(&server).await, after);
    let request = Request::get("https://localhost/").body(Body::empty()).unwrap();
    assert_eq!(old.send_request(request).await.expect("the old connection goes on").status(), 200);
}

#[tokio::test]
async fn clients_of_an_authority_that_was_replaced_or_has_revoked_them_are_refused() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let mut server = Running::start(&old, Some(old.revokes(&[])), true).await;
    for version in VERSIONS {
        // The same configuration all along: it would resume its session.
        let client = Arc::new(server.config(Some(&old.client(1)), &[version]));
        assert_eq!(server.seen(&client).await, WORKER);

        server.write("revoked.pem", &old.revokes(&[1]));
        assert!(matches!(server.reloading.look(Instant::now()), Look::Replaced));
        assert_eq!(server.refusal(&client).await, "received fatal alert: CertificateRevoked");

        server.write("revoked.pem", &new.revokes(&[]));
        server.write("clients.pem", &new.pem());
        assert!(matches!(server.reloading.look(Instant::now()), Look::Replaced));
        assert_eq!(server.refusal(&client).await, "received fatal alert: UnknownCA");
        assert_eq!(server.seen(&Arc::new(server.config(Some(&new.client(1)), &VERSIONS))).await, WORKER);

        server.write("revoked.pem", &old.revokes(&[]));
        server.write("clients.pem", &old.pem());
        assert!(matches!(server.reloading.look(Instant::now()), Look::Replaced));
    }
}
