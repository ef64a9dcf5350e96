//! Whether clients are asked for a certificate, and who must have signed it.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientCertVerifierBuilder, WebPkiClientVerifier};

use super::Error;
use super::pem::PemFile;

/// Whether clients are asked for a certificate.
///
/// One that is shown is verified in the handshake: signed by an authority that is trusted, valid now, revoked by no
/// list, and meant for clients, if it says what it is meant for (extended key usage). Else there is no connection.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They are asked, and need not have one.
    Optional(ClientTrust),
    /// Without one there is no connection.
    Required(ClientTrust),
}

/// The authorities that sign for clients, and what they have revoked.
#[derive(Debug, Clone)]
pub struct ClientTrust {
    builder: ClientCertVerifierBuilder,
}

impl ClientAuth {
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let builder = match self {
            Self::None => return WebPkiClientVerifier::no_client_auth(),
            Self::Optional(trust) => trust.builder.clone().allow_unauthenticated(),
            Self::Required(trust) => trust.builder.clone(),
        };
        builder.build().expect("the same was built when it was loaded")
    }
}

impl ClientTrust {
    /// Of authorities, and what they have revoked.
    pub(super) fn of(authorities: &PemFile, revoked: Option<&PemFile>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in authorities.certificates()? {
            roots
                .add(certificate)
                .map_err(|problem| authorities.unusable(format!("unusable certificate: {problem}")))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider());
        if let Some(revoked) = revoked {
            builder = builder.with_crls(revoked.revocation_lists()?);
            builder
                .clone()
                .build()
                .map_err(|problem| revoked.unusable(format!("unusable revocation list: {problem}")))?;
        }
        Ok(Self { builder })
    }
}
