//! Certificates: PEM files given by the operator, which are followed, or an own development CA; and those of clients.
//!
//! TLS matters even on a laptop: some client SDKs cannot speak plaintext at all (CONTRACT §4).
//! There is one cryptography provider (aws-lc-rs), named explicitly so that no process-wide default is needed.

mod client_auth;
mod client_certificate;
mod dev;
mod pem;
mod reloading;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

pub use client_auth::{ClientAuth, ClientTrust};
pub use client_certificate::{ClientCertificate, SanName, Unreadable};
pub use dev::DevIdentity;
pub use reloading::{ClientFiles, Current, Files, Look, Reloading};

use pem::PemFile;

/// Protocols offered by ALPN, most wanted first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What is wrong with a certificate or key; every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: "read", "write" or "create".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is there but of no use.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// Both files are good, but not for each other.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A name that no certificate can be made for.
    #[error("{name:?} is neither a host name nor an IP address")]
    Name {
        /// The name asked for.
        name: String,
    },
    /// A new key or certificate could not be made.
    #[error("cannot make a certificate")]
    Generate(#[from] rcgen::Error),
}

impl Error {
    fn unusable(path: &Path, problem: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_owned(), problem: problem.into() }
    }
}

/// A certificate chain and its private key.
#[derive(Debug, Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// The configuration of a TLS listener: TLS 1.2 and 1.3, HTTP/2 preferred, client certificates as `clients` has it.
    ///
    /// Each configuration has a memory of sessions of its own: a client that resumes a session is not verified again,
    /// so that none may outlive the authorities it was verified by.
    #[must_use]
    pub fn server_config(&self, clients: &ClientAuth) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for TLS 1.2 and 1.3")
            .with_client_cert_verifier(clients.verifier())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified))));
        config.alpn_protocols = ALPN.map(Vec::from).to_vec();
        Arc::new(config)
    }

    fn leaf(&self) -> &CertificateDer<'static> {
        self.certified.cert.first().expect("a loaded chain is not empty")
    }
}

/// Loads a certificate chain (leaf first) and its private key from PEM files.
///
/// # Errors
/// A file that cannot be read, holds no (usable) certificate or key, or two files that do not belong together.
pub fn load(certificate_path: &Path, key_path: &Path) -> Result<Identity, Error> {
    identity(&PemFile::read(certificate_path)?, &PemFile::read(key_path)?)
}

fn identity(certificate: &PemFile, key: &PemFile) -> Result<Identity, Error> {
    let chain = certificate.certificates()?;
    let signing_key = provider()
        .key_provider
        .load_private_key(key.private_key()?)
        .map_err(|problem| Error::unusable(&key.path, format!("unusable private key: {problem}")))?;
    let certified = CertifiedKey::new(chain, signing_key);
    match certified.keys_match() {
        Ok(()) => Ok(Identity { certified: Arc::new(certified) }),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Error::Mismatch { certificate: certificate.path.clone(), key: key.path.clone() })
        }
        Err(problem) => Err(Error::unusable(&certificate.path, format!("unusable certificate: {problem}"))),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn refused(files: &[(&str, &str)], certificate: &str, key: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let error = load(&dir.path().join(certificate), &dir.path().join(key)).unwrap_err();
        let prefix = format!("{}/", dir.path().display());
        error.to_string().replace(&prefix, "")
    }

    fn pem_of_a_new_pair() -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        DevIdentity::open_or_create(dir.path(), &[], UNIX_EPOCH + Duration::from_secs(1_800_000_000)).unwrap();
        let text = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        (text("server.pem"), text("server-key.pem"))
    }

    #[test]
    fn load_accepts_a_pair_that_belongs_together() {
        let (certificate, key) = pem_of_a_new_pair();
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("c.pem"), dir.path().join("k.pem")];
        std::fs::write(&paths[0], certificate).unwrap();
        std::fs::write(&paths[1], key).unwrap();
        let config = load(&paths[0], &paths[1]).unwrap().server_config(&ClientAuth::None);
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn load_names_the_file_and_the_problem() {
        let (certificate, key) = pem_of_a_new_pair();
        let (_, other_key) = pem_of_a_new_pair();
        let garbled = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let files = [
            ("c.pem", certificate.as_str()),
            ("k.pem", &key),
            ("other.pem", &other_key),
            ("garbled.pem", garbled),
            ("not-x509.pem", not_x509),
            ("encrypted.pem", encrypted),
            ("not-a-key.pem", not_a_key),
        ];
        let cases = [
            ("absent.pem", "k.pem", "cannot read absent.pem"),
            ("c.pem", "absent.pem", "cannot read absent.pem"),
            ("k.pem", "k.pem", "k.pem: holds no certificate"),
            ("c.pem", "c.pem", "c.pem: holds no private key"),
            ("garbled.pem", "k.pem", "garbled.pem: not valid PEM"),
            ("not-x509.pem", "k.pem", "not-x509.pem: unusable certificate"),
            ("c.pem", "encrypted.pem", "encrypted.pem: the private key is encrypted"),
            ("c.pem", "not-a-key.pem", "not-a-key.pem: unusable private key"),
            ("c.pem", "other.pem", "the key in other.pem does not belong to the certificate in c.pem"),
        ];
        for (certificate, key, expected) in cases {
            let message = refused(&files, certificate, key);
            assert!(message.starts_with(expected), "{certificate} + {key}: {message}");
        }
    }
}
