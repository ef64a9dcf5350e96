//! PEM files, read whole and parsed from what was read: a file that is replaced meanwhile is seen as it was.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::Error;

/// A file's content, and its path for errors.
pub(super) struct PemFile {
    pub(super) path: PathBuf,
    pub(super) text: Vec<u8>,
}

impl PemFile {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// Every certificate in it; there is at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        self.sections("holds no certificate (no BEGIN CERTIFICATE line)")
    }

    /// Every list of revoked certificates in it; there is at least one, for without any nothing would be looked up.
    pub(super) fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
        self.sections("holds no revocation list (no BEGIN X509 CRL line)")
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|problem| match problem {
            pem::Error::NoItemsFound if self.is_encrypted() => {
                self.unusable("the private key is encrypted; decrypt it, for instance with `openssl pkcs8`")
            }
            pem::Error::NoItemsFound => self.unusable("holds no private key (no BEGIN PRIVATE KEY line)"),
            problem => self.unusable(format!("not valid PEM: {problem}")),
        })
    }

    pub(super) fn unusable(&self, problem: impl Into<String>) -> Error {
        Error::unusable(&self.path, problem)
    }

    fn sections<T: PemObject>(&self, none: &str) -> Result<Vec<T>, Error> {
        let sections = T::pem_slice_iter(&self.text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| self.unusable(format!("not valid PEM: {problem}")))?;
        if sections.is_empty() { Err(self.unusable(none)) } else { Ok(sections) }
    }

    fn is_encrypted(&self) -> bool {
        String::from_utf8_lossy(&self.text).contains("BEGIN ENCRYPTED PRIVATE KEY")
    }
}
