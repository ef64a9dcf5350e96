//! The development identity: an own CA that clients are told to trust, and a server certificate signed by it.
//!
//! The CA outlives server certificates, so that a client configured once keeps working. A stored certificate is
//! judged as a client would judge it (chain, names, validity), not by reading fields out of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{RootCertStore, ServerConfig};

use super::pem::PemFile;
use super::{ClientAuth, Error, Identity};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// With the day before `now` still under the 398 days that strict clients accept.
const SERVER_LIFETIME: Duration = Duration::from_secs(396 * 24 * 60 * 60);
/// Certificates are valid from a day before they are made: the client's clock may be behind.
const BACKDATE: Duration = DAY;
/// A server certificate with less left than this is replaced at the next start.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What every development certificate is for.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca-key.pem";
const SERVER_FILE: &str = "server.pem";
const SERVER_KEY_FILE: &str = "server-key.pem";

/// A CA of our own with a server certificate, kept in a directory as `ca.pem`, `ca-key.pem`, `server.pem` and
/// `server-key.pem` (keys readable by their owner alone).
#[derive(Debug, Clone)]
pub struct DevIdentity {
    ca_path: PathBuf,
    ca_pem: String,
    server: Identity,
}

impl DevIdentity {
    /// Opens the identity in `dir`, making what is missing. The server certificate is for `localhost`,
    /// `127.0.0.1`, `::1` and `names` (host names or IP addresses, no ports); it is made anew when it has under
    /// 30 days left, does not cover a name, or is damaged. The CA (10 years) is never replaced.
    ///
    /// # Errors
    /// Files that cannot be read or written, a name that is none, and a CA that is damaged or has lost its key
    /// when a new server certificate is needed.
    pub fn open_or_create(dir: &Path, names: &[&str], now: SystemTime) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::Io { action: "create", path: dir.to_owned(), source })?;
        let names = Names::parse(names)?;
        let ca_path = dir.join(CA_FILE);
        if !ca_path.exists() {
            create_ca(dir, now)?;
        }
        let ca = PemFile::read(&ca_path)?.certificates()?.swap_remove(0);
        let ca_pem = read_text(&ca_path)?;

        if let Some(server) = usable_server(dir, &ca, &names, now) {
            return Ok(Self { ca_path, ca_pem, server });
        }
        create_server(dir, &names, now)?;
        let server = super::load(&dir.join(SERVER_FILE), &dir.join(SERVER_KEY_FILE))?;
        verify(server.leaf(), &ca, &names, now).map_err(|problem| {
            let advice = format!("does not fit {CA_KEY_FILE} ({problem}); remove both to have a new CA made");
            Error::unusable(&ca_path, advice)
        })?;
        Ok(Self { ca_path, ca_pem, server })
    }

    /// The file that clients are given as their root certificate.
    #[must_use]
    pub fn ca_path(&self) -> &Path {
        &self.ca_path
    }

    /// The content of that file.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The configuration of a TLS listener with this identity, which asks nobody for a certificate.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server.server_config(&ClientAuth::None)
    }
}

/// The stored server certificate, if clients will accept it for the next 30 days.
fn usable_server(dir: &Path, ca: &CertificateDer<'_>, names: &Names, now: SystemTime) -> Option<Identity> {
    let path = dir.join(SERVER_FILE);
    if !path.exists() {
        return None;
    }
    let judged = super::load(&path, &dir.join(SERVER_KEY_FILE)).map_err(|error| error.to_string()).and_then(|server| {
        let good = [now, now + RENEW_BEFORE].into_iter().try_for_each(|at| verify(server.leaf(), ca, names, at));
        good.map(|()| server).map_err(|error| error.to_string())
    });
    judged.inspect_err(|problem| tracing::info!(%problem, "making a new server certificate")).ok()
}

/// Judges a server certificate as a client that trusts the CA would, for every name.
fn verify(
    leaf: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
    names: &Names,
    at: SystemTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned())?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), super::provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    for name in &names.wire {
        verifier.verify_server_cert(leaf, &[], name, &[], at)?;
    }
    Ok(())
}

/// The key is written first: a certificate without its key could never be used, a key alone is replaced.
fn create_ca(dir: &Path, now: SystemTime) -> Result<(), Error> {
    let key = KeyPair::generate()?;
    let mut params = ca_params(&key);
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + CA_LIFETIME).into();
    let certificate = params.self_signed(&key)?;
    write(&dir.join(CA_KEY_FILE), &key.serialize_pem(), Access::Owner)?;
    write(&dir.join(CA_FILE), &certificate.pem(), Access::All)
}

fn create_server(dir: &Path, names: &Names, now: SystemTime) -> Result<(), Error> {
    let ca_key_path = dir.join(CA_KEY_FILE);
    let ca_key = KeyPair::from_pem(&read_text(&ca_key_path)?)
        .map_err(|problem| Error::unusable(&ca_key_path, format!("unusable private key: {problem}")))?;
    let issuer = Issuer::new(ca_params(&ca_key), ca_key);

    let mut params = CertificateParams::new(names.text.clone())?;
    params.distinguished_name.push(DnType::CommonName, "operond dev server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + SERVER_LIFETIME).into();
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    write(&dir.join(SERVER_KEY_FILE), &key.serialize_pem(), Access::Owner)?;
    write(&dir.join(SERVER_FILE), &certificate.pem(), Access::All)
}

/// All that a CA certificate and its later signatures must agree in. It follows from the key alone, so the stored
/// certificate need not be parsed; the name tells the CAs of several directories apart in a trust store.
fn ca_params(key: &KeyPair) -> CertificateParams {
    let fingerprint = blake3::hash(key.public_key_raw()).to_hex();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("operond dev CA {}", &fingerprint[..8]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The names of a certificate, as text for making one and parsed for judging one.
struct Names {
    text: Vec<String>,
    wire: Vec<ServerName<'static>>,
}

impl Names {
    fn parse(extra: &[&str]) -> Result<Self, Error> {
        let mut names = Self { text: Vec::new(), wire: Vec::new() };
        for name in LOOPBACK_NAMES.iter().chain(extra) {
            let text = normal(name);
            let wire = ServerName::try_from(text.clone()).map_err(|_| Error::Name { name: (*name).to_owned() })?;
            if !names.wire.contains(&wire) {
                names.text.push(text);
                names.wire.push(wire);
            }
        }
        Ok(names)
    }
}

/// Lower case, an IPv6 address without the brackets it has in URLs and in its usual form.
fn normal(name: &str) -> String {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => bare.to_ascii_lowercase(),
    }
}

#[derive(Clone, Copy)]
enum Access {
    Owner,
    All,
}

/// Replaces the file as a whole: a crash leaves the old one or the new one.
fn write(path: &Path, text: &str, access: Access) -> Result<(), Error> {
    let new_path = path.with_extension("pem.new");
    let replaced = write_new(&new_path, text, access).and_then(|()| fs::rename(&new_path, path));
    replaced.map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })
}

fn write_new(path: &Path, text: &str, access: Access) -> io::Result<()> {
    // A left-over of a crash would keep its own permissions.
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    restrict(&mut options, access);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(unix)]
fn restrict(options: &mut OpenOptions, access: Access) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(match access {
        Access::Owner => 0o600,
        Access::All => 0o644,
    });
}

#[cfg(not(unix))]
fn restrict(_options: &mut OpenOptions, _access: Access) {}

fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// An arbitrary instant; nothing here looks at the real clock.
    fn start() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn open(&self, names: &[&str], now: SystemTime) -> Result<DevIdentity, Error> {
            DevIdentity::open_or_create(self.0.path(), names, now)
        }

        fn files(&self) -> [String; 4] {
            [CA_FILE, CA_KEY_FILE, SERVER_FILE, SERVER_KEY_FILE].map(|name| read_text(&self.path(name)).unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Whether a client trusting the CA accepts the server at that name and time.
        fn accepts(&self, name: &str, at: SystemTime) -> bool {
            let ca = PemFile::read(&self.path(CA_FILE)).unwrap().certificates().unwrap().swap_remove(0);
            let leaf = PemFile::read(&self.path(SERVER_FILE)).unwrap().certificates().unwrap().swap_remove(0);
            let names = Names { text: Vec::new(), wire: vec![ServerName::try_from(name.to_owned()).unwrap()] };
            verify(&leaf, &ca, &names, at).is_ok()
        }
    }

    #[test]
    fn a_new_identity_serves_loopback_and_the_given_names_and_no_other() {
        let dir = Dir::new();
        let identity = dir.open(&["Operond.Example", "[fd00::1]"], start()).unwrap();
        for name in ["localhost", "127.0.0.1", "::1", "operond.example", "fd00::1"] {
            assert!(dir.accepts(name, start()), "{name}");
        }
        assert!(!dir.accepts("other.example", start()));
        assert_eq!(identity.ca_path(), dir.path(CA_FILE));
        assert_eq!(identity.ca_pem(), dir.files()[0]);
    }

    #[test]
    fn the_server_certificate_lasts_at_most_397_days() {
        let dir = Dir::new();
        dir.open(&[], start()).unwrap();
        assert!(dir.accepts("localhost", start() - BACKDATE));
        assert!(!dir.accepts("localhost", start() - BACKDATE - DAY));
        assert!(dir.accepts("localhost", start() + 395 * DAY));
        assert!(!dir.accepts("localhost", start() - BACKDATE + 397 * DAY + Duration::from_secs(1)));
    }

    #[test]
    fn keys_are_readable_by_their_owner_alone() {
        let dir = Dir::new();
        dir.open(&[], start()).unwrap();
        for (name, expected) in [(CA_KEY_FILE, 0o600), (SERVER_KEY_FILE, 0o600)] {
            let mode = fs::metadata(dir.path(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, expected, "{name}");
        }
    }

    #[test]
    fn a_restart_reuses_every_file() {
        let dir = Dir::new();
        dir.open(&["a.example"], start()).unwrap();
        let before = dir.files();
        dir.open(&["a.example"], start() + 365 * DAY).unwrap();
        assert_eq!(dir.files(), before);
    }

    #[test]
    fn renewal_keeps_the_ca_and_makes_a_new_server_key() {
        let renewed = [
            ("near expiry", "a.example", start() + 367 * DAY),
            ("long expired", "a.example", start() + 3000 * DAY),
            ("clock far behind the certificate", "a.example", start() - 100 * DAY),
            ("clock a little behind it", "a.example", start() - 10 * DAY),
            ("another name", "b.example", start()),
        ];
        for (why, name, now) in renewed {
            let dir = Dir::new();
            dir.open(&["a.example"], start()).unwrap();
            let before = dir.files();
            dir.open(&[name], now).unwrap();
            let after = dir.files();
            assert_eq!(after[..2], before[..2], "{why}: the CA stays");
            assert!(after[2] != before[2] && after[3] != before[3], "{why}: a new server certificate");
            assert!(dir.accepts(name, now), "{why}");
        }
    }

    #[test]
    fn a_damaged_server_certificate_is_replaced() {
        let dir = Dir::new();
        dir.open(&[], start()).unwrap();
        for name in [SERVER_FILE, SERVER_KEY_FILE] {
            fs::write(dir.path(name), "torn").unwrap();
            dir.open(&[], start()).unwrap();
            assert!(dir.accepts("localhost", start()), "{name}");
        }
    }

    #[test]
    fn a_lost_ca_key_matters_only_when_a_certificate_is_needed() {
        let dir = Dir::new();
        dir.open(&[], start()).unwrap();
        fs::remove_file(dir.path(CA_KEY_FILE)).unwrap();
        dir.open(&[], start()).unwrap();
        let error = dir.open(&["new.example"], start()).unwrap_err();
        assert!(error.to_string().contains(CA_KEY_FILE), "{error}");
    }

    #[test]
    fn a_ca_that_does_not_fit_its_key_is_told() {
        let dir = Dir::new();
        dir.open(&[], start()).unwrap();
        fs::write(dir.path(CA_KEY_FILE), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let error = dir.open(&["new.example"], start()).unwrap_err();
        assert!(error.to_string().contains("does not fit ca-key.pem"), "{error}");
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let error = Dir::new().open(&["no spaces"], start()).unwrap_err();
        assert!(matches!(error, Error::Name { name } if name == "no spaces"));
    }
}
